"""Checking: every rule over every record, against the bare tokenizer; the cost of each rule; memory as the data grows.

    python benchmarks/bench_checking.py [--records 20000] [--memory 10000 100000 1000000]

The rate is that of a whole check in as many processes as there are cores, from records in memory to findings, beside
the tokenizer's own `encode_batch` of the same texts in the same run. Quote the ratio.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from bench_preparation import SHARED, best, rows
from bench_streaming import peak_mib, write_rows

from finetooth.demo import tokenizer_path


def rates(count: int, repeat: int) -> None:
    """Print the rate of a check, and of each rule."""
    from finetooth.checking import check_records
    from finetooth.counting import Checker, label_each
    from finetooth.labels import make_setup
    from finetooth.records import records_of
    from finetooth.rules import all_rules
    from finetooth.rules.endings import ending_of
    from finetooth.rules.facts import SetupFacts
    from finetooth.rules.row import Row

    directory = SHARED / "data/tokenizers/llama2-pad-is-unk"
    if not directory.is_dir():
        sys.exit("skipped: the real tokenizer of shared/ is absent")
    setup = make_setup(str(directory))
    assert setup.template is not None
    records = list(records_of(rows(count)))
    texts = [setup.template.render(record.messages or []) for record in records]
    backend = setup.tokenizer.backend
    encode = best(lambda: backend.encode_batch(texts, add_special_tokens=False), repeat)
    cores = os.cpu_count() or 1
    check = best(lambda: check_records(records, [setup], all_rules(), processes=cores), repeat)
    print(f"{count} records, {cores} cores")
    print(f"tokenizers encode_batch    {count / encode:10,.0f} records/s")
    print(f"finetooth check, all rules {count / check:10,.0f} records/s, {encode / check:.2f} of encode_batch")

    sample = records[:2000]
    checker = Checker([setup], all_rules())
    start = time.perf_counter()
    encoded = [
        one for i in range(0, len(sample), 256) for one in label_each(checker.labellers[0], sample[i : i + 256], None)
    ]
    print(f"\nin one process, microseconds a record\n{'reading, rendering, labels':32} {per(start, sample):8.1f}")
    facts = SetupFacts(setup)
    known = [Row(facts, record, one) for record, one in encoded]
    start = time.perf_counter()
    for row in known:
        ending_of(row)
    print(f"{'how answers end':32} {per(start, sample):8.1f}")
    for rule in all_rules():
        start = time.perf_counter()
        if rule.scope == "record":
            for row in known:
                for _ in rule.run(row):
                    pass
        elif rule.scope == "data set":
            tally = rule.run()
            for row in known:
                tally.add(row)
        else:
            continue
        print(f"{rule.code + ' ' + rule.name:32} {per(start, sample):8.1f}")


def per(start: float, sample: Sequence[object]) -> float:
    """Return the microseconds a record since `start`."""
    return (time.perf_counter() - start) / len(sample) * 1e6


def memory(path: Path) -> None:
    """Check a file in one process, and print what it took."""
    from finetooth.checking import check_records
    from finetooth.config import DataConfig
    from finetooth.labels import make_setup
    from finetooth.records import read_records
    from finetooth.rules import all_rules

    start = time.perf_counter()
    setup = make_setup(str(tokenizer_path("supervised")))
    report = check_records(read_records([str(path)], DataConfig()), [setup], all_rules(), processes=os.cpu_count() or 1)
    own = peak_mib()
    workers = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    seconds = time.perf_counter() - start
    print(
        f"{report.num_records:>10,} {seconds:>8.1f} {report.num_records / seconds:>10,.0f} {own:>9.0f} {workers:>15.0f}"
    )


def main() -> None:
    """Print the rates, then the memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--memory", type=int, nargs="*", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--file", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.file:
        memory(options.file)
        return
    rates(options.records, options.repeat)
    if options.memory:
        print(f"\n{'records':>10} {'seconds':>8} {'records/s':>10} {'peak MiB':>9} {'a worker, MiB':>15}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for count in options.memory:
            path = Path(folder) / "rows.jsonl"
            write_rows(path, count)
            subprocess.run([sys.executable, __file__, "--file", str(path)], check=True)


if __name__ == "__main__":
    main()
