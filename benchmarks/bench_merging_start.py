"""Time the start of a merge: the import of torch and of what merges, with and without searches for garbage.

    python benchmarks/bench_merging_start.py
    python benchmarks/bench_merging_start.py --repeat 20

Seconds of CPU of a process each, the ways in turn: what others do on the machine changes them less than the time.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys

WAYS = {
    "as Python collects": ("", ""),
    "not collected while importing": ("gc.disable()", "gc.enable()"),
    "and frozen afterwards, as `finetooth merge` does": ("gc.disable()", "gc.freeze(); gc.enable()"),
}
"""What is said to the garbage collector before the import and after it."""

_PROGRAM = """
import gc, time
{before}
import finetooth.merging.merge
{after}
from finetooth.rules import all_rules
all_rules("MRG")
print(time.process_time())
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=int, default=10)
    arguments = parser.parse_args()
    found: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(arguments.repeat):
        for name, (before, after) in WAYS.items():
            program = _PROGRAM.format(before=before, after=after)
            ended = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
            found[name].append(float(ended.stdout))
    print("| imports | CPU seconds, median | least |")
    print("| --- | --- | --- |")
    for name, seconds in found.items():
        print(f"| {name} | {statistics.median(seconds):.2f} | {min(seconds):.2f} |")


if __name__ == "__main__":
    main()
