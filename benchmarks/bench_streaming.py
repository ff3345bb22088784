"""Streaming: records from a file to ids and labels, and how much memory that takes as the file grows.

Each size runs in a process of its own, whose peak resident memory is printed; it must not grow with the rows.

    python benchmarks/bench_streaming.py [--records 10000 100000 1000000]
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from finetooth.demo import DIALOGUES, data_path, tokenizer_path


def write_rows(path: Path, count: int) -> None:
    """Write so many rows, the package's dialogues over and over, each with a number of its own."""
    lines = data_path(DIALOGUES["ja"]).read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line) for line in lines]
    with path.open("w", encoding="utf-8") as file:
        for number in range(count):
            row = rows[number % len(rows)]
            messages = [{**turn, "content": f"{turn['content']}{number}"} for turn in row["messages"]]
            file.write(json.dumps({"messages": messages}, ensure_ascii=False) + "\n")


def peak_mib() -> float:
    """Return the most memory that this process has held."""
    status = Path("/proc/self/status")
    if status.exists():
        # getrusage would tell of the process that started this one, where that was larger.
        (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
        return int(line.split()[1]) / 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def stream(path: Path) -> None:
    """Read and encode a file, and print what it took."""
    from finetooth.config import DataConfig
    from finetooth.labels import make_setup
    from finetooth.labels.columns import encode_columns
    from finetooth.records import read_records

    setup = make_setup(str(tokenizer_path("supervised")))
    start = time.perf_counter()
    rows = tokens = 0
    for columns in encode_columns(setup, read_records([str(path)], DataConfig())):
        rows += len(columns.ends)
        tokens += len(columns.input_ids)
    seconds = time.perf_counter() - start
    peak = peak_mib()
    size = path.stat().st_size / 2**20
    print(f"{rows:>10,} {size:>9,.0f} {tokens:>13,} {seconds:>8.1f} {rows / seconds:>10,.0f} {peak:>9.0f}", flush=True)


def main() -> None:
    """Print a table, a line for each number of records."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--stream", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.stream:
        stream(options.stream)
        return
    print(
        f"{'records':>10} {'file MiB':>9} {'tokens':>13} {'seconds':>8} {'records/s':>10} {'peak MiB':>9}", flush=True
    )
    with tempfile.TemporaryDirectory() as folder:
        for count in options.records:
            path = Path(folder) / "rows.jsonl"
            write_rows(path, count)
            subprocess.run([sys.executable, __file__, "--stream", str(path)], check=True)


if __name__ == "__main__":
    main()
