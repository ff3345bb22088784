"""Time merges with chunks of several lengths: what the cache gives, and what each chunk costs.

    python benchmarks/bench_merging_chunks.py                                 # some methods, 0.3 B in bf16
    python benchmarks/bench_merging_chunks.py --methods ties --chunks 17 18   # 131,072 and 262,144 elements
    python benchmarks/bench_merging_chunks.py --layers 22 --threads 8 --device cuda --chunks 20 21

One thread unless told otherwise: what several do to each other is another question.
Times are those of `finetooth.merge` alone, the fastest of several runs in turn; the imports came before.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import torch
from bench_merging import METHODS, configuration
from toy_llamas import TINY_LLAMA, write_family

import finetooth
from finetooth.merging.working import Pace

LAYERS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["linear", "model_stock", "ties", "della"])
    parser.add_argument("--chunks", nargs="+", type=int, default=[14, 15, 16, 17, 18, 19], help="powers of two")
    parser.add_argument("--threads", type=int, default=1, help="0 is as many as a merge takes")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--layers", type=int, default=LAYERS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--root", type=Path, help="where models are made, and taken from where they are there already")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root or Path(folder)
        if not (root / "base").is_dir():
            write_family(root, replace(TINY_LLAMA, layers=arguments.layers), torch.bfloat16)
        print("| seconds | " + " | ".join(f"{1 << power:,}" for power in arguments.chunks) + " |")
        print("| --- " * (1 + len(arguments.chunks)) + "|")
        for method in arguments.methods:
            best = dict.fromkeys(arguments.chunks, float("inf"))
            for _ in range(arguments.repeat):
                for power in best:
                    start = time.perf_counter()
                    pace = Pace(threads=arguments.threads, chunk=1 << power, device=arguments.device)
                    finetooth.merge(configuration(method, root), root / "merged", pace=pace, on_note=lambda note: None)
                    best[power] = min(best[power], time.perf_counter() - start)
                    shutil.rmtree(root / "merged")
            print(f"| {method} | " + " | ".join(f"{seconds:.2f}" for seconds in best.values()) + " |", flush=True)


if __name__ == "__main__":
    main()
