"""Starting: how long the commands take that do next to nothing, against an interpreter that does nothing.

The median of several runs of each, in turns, so that a busy machine slows all alike.

    python benchmarks/bench_startup.py [--repeat 20]
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time

COMMANDS = {
    "python -c pass": ["-c", "pass"],
    "import click": ["-c", "import click"],
    "finetooth --version": ["-m", "finetooth", "--version"],
    "finetooth --help": ["-m", "finetooth", "--help"],
    "finetooth --help --lang ja": ["-m", "finetooth", "--help", "--lang", "ja"],
    "finetooth config": ["-m", "finetooth", "config"],
    "finetooth config --set labels.way=trl": ["-m", "finetooth", "config", "--set", "labels.way=trl"],
    "finetooth inspect --help": ["-m", "finetooth", "inspect", "--help"],
    "finetooth env": ["-m", "finetooth", "env"],
}


def seconds(arguments: list[str], folder: str) -> float:
    """Return how long one run takes."""
    start = time.perf_counter()
    subprocess.run([sys.executable, *arguments], cwd=folder, check=True, stdout=subprocess.DEVNULL, env=os.environ)
    return time.perf_counter() - start


def main() -> None:
    """Print the median of each command, in milliseconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=20)
    repeat = parser.parse_args().repeat
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(repeat + 1):
            for name, arguments in COMMANDS.items():
                taken = seconds(arguments, folder)
                if turn > 0:  # the first turn writes the bytecode
                    times[name].append(taken)
    for name, taken_s in times.items():
        print(f"{statistics.median(taken_s) * 1000:7.0f} ms  {name}")


if __name__ == "__main__":
    main()
