"""Time whole merges of a Llama of 1.1 billion parameters, base and three fine-tunes in bf16, and their peak memory.

    MERGEKIT=/path/to/mergekit-yaml python benchmarks/bench_merging.py                # side by side with mergekit
    python benchmarks/bench_merging.py --methods ties sce                             # some methods
    python benchmarks/bench_merging.py --layers 44 --closely --methods ties           # memory of twice the layers
    python benchmarks/bench_merging.py --repeat 3 --methods linear                    # the best of three, in turn

The floor is a bare loop in two threads that reads the same bytes into buffers, adds them, and writes the sum: what any
merge has to do. Its time is that of the loop alone; those of the programs hold their start, imports and all. Needs 11
GB on disk (`--root`), and memory for the files to stay cached; times on shared machines are noise: read the ratios.
"""

from __future__ import annotations

import argparse
import compileall
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import yaml
from toy_llamas import TINY_LLAMA, Shape, write_family

import finetooth

_SPARSE = {"weight": 0.3, "density": 0.5}

METHODS: dict[str, dict[str, Any]] = {
    "linear": {"weight": 0.25},
    "task_arithmetic": {"weight": 0.3},
    "slerp": {"t": 0.5},
    "model_stock": {},
    "ties": _SPARSE,
    "dare_linear": _SPARSE,
    "dare_ties": _SPARSE,
    "della": {**_SPARSE, "epsilon": 0.2},
    "breadcrumbs": {"weight": 0.3, "density": 0.9, "gamma": 0.01},
    "sce": {"select_topk": 0.5},
}
"""Methods and their parameters."""


def configuration(method: str, root: Path) -> dict[str, Any]:
    """Return the merge of a method."""
    names = {"linear": ["base", "a", "b", "c"], "slerp": ["base", "a"]}.get(method, ["a", "b", "c"])
    config: dict[str, Any] = {
        "merge_method": method,
        "models": [{"model": str(root / name)} for name in names],
        "parameters": METHODS[method],
        "dtype": "bfloat16",
    }
    if method != "linear":
        config["base_model"] = str(root / "base")
    return config


@dataclass(frozen=True, slots=True)
class Cost:
    """What a command took."""

    seconds: float
    cpu_seconds: float
    """Of all its threads: what others do on the machine changes it less."""
    peak_gib: float
    """Resident memory of all its processes, mapped files among it; pages that they share count once."""

    def cells(self) -> str:
        """Return the cells of a table."""
        return f"{self.seconds:.1f} | {self.cpu_seconds:.1f} | {self.peak_gib:.2f}"


def timed(command: Sequence[str], environment: Mapping[str, str], looks_apart: int) -> Cost:
    """Run a command and return what it took; memory is looked at every so many twentieths of a second."""
    start = time.perf_counter()
    silent = subprocess.DEVNULL
    process = subprocess.Popen(command, env={**os.environ, **environment}, stdout=silent, stderr=silent)
    peak = 0
    # The peak that `wait4` tells holds what this process had in memory when it forked.
    looks = 0
    while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
        family = _family(process.pid)
        if len(family) == 1:
            peak = max(peak, _kib(process.pid, "status", "VmHWM:"))
        elif looks % looks_apart == 0:
            # What processes share has to be found page by page, which holds them up.
            peak = max(peak, sum(_kib(number, "smaps_rollup", "Pss:") for number in family))
        looks += 1
        time.sleep(0.05)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(ended[1])
    if process.returncode:
        raise SystemExit(f"{command[0]} failed: {process.returncode}")
    return Cost(seconds, ended[2].ru_utime + ended[2].ru_stime, peak / 2**20)


def _family(process: int) -> list[int]:
    """Return a process and those that it began, and they in turn."""
    with suppress(OSError):
        tasks = Path(f"/proc/{process}/task").iterdir()
        children = [int(child) for task in tasks for child in (task / "children").read_text(encoding="ascii").split()]
        return [process, *(number for child in children for number in _family(child))]
    return []


def _kib(process: int, file: str, key: str) -> int:
    """Return a number of KiB that the system tells of a process; 0 of one that has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{process}/{file}").read_text(encoding="ascii").splitlines():
            if line.startswith(key):
                return int(line.split()[1])
    return 0


def floor(root: Path, target: Path, num_models: int, threads: int = 2) -> float:
    """Return the seconds of a bare loop over the bytes of so many models."""
    files = [os.open(root / name / "model.safetensors", os.O_RDONLY) for name in ("base", "a", "b", "c")[:num_models]]
    size = min(os.fstat(file).st_size for file in files) // 2 * 2
    chunk = 1 << 19
    start = time.perf_counter()
    output = os.open(target, os.O_RDWR | os.O_CREAT)
    os.truncate(output, size)

    def work(share: int) -> None:
        torch.set_num_threads(1)
        buffers = [bytearray(chunk) for _ in files]
        views = [memoryview(buffer) for buffer in buffers]
        total, term = torch.empty(chunk // 2), torch.empty(chunk // 2)
        for offset in range(share * chunk, size, threads * chunk):
            count = min(chunk, size - offset)
            for index, (file, view, buffer) in enumerate(zip(files, views, buffers, strict=True)):
                os.preadv(file, [view[:count]], offset)
                values = torch.frombuffer(buffer, dtype=torch.bfloat16)
                if index:
                    total.add_(term.copy_(values))
                else:
                    total.copy_(values)
            os.pwrite(output, total.to(torch.bfloat16).view(torch.uint8).numpy().data[:count], offset)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))
    os.fsync(output)
    seconds = time.perf_counter() - start
    for descriptor in (*files, output):
        os.close(descriptor)
    target.unlink()
    return seconds


def measure(root: Path, methods: Sequence[str], mergekit: str | None, repeat: int, looks_apart: int) -> None:
    """Print the table: of each program the fastest of so many runs, the two in turn."""
    floors = {count: floor(root, root / "floor", count) for count in (2, 4)}
    floors = {count: min(seconds, floor(root, root / "floor", count)) for count, seconds in floors.items()}
    print(f"floor: {floors[2]:.2f} s for two models, {floors[4]:.2f} s for four")
    print("| method | finetooth, s | CPU s | GiB | of the floor | mergekit, s | CPU s | GiB | times faster | in CPU |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    path, output = root / "merge.yaml", root / "merged"
    for method in methods:
        config = configuration(method, root)
        path.write_text(yaml.safe_dump(config), encoding="utf-8")
        commands = [[sys.executable, "-m", "finetooth", "merge", str(path), "-o", str(output), "-q", "--no-test"]]
        if mergekit is not None:
            commands.append([mergekit, str(path), str(output), "--quiet", "--no-copy-tokenizer"])
        costs: list[list[Cost]] = [[] for _ in commands]
        for _ in range(repeat):
            for command, found in zip(commands, costs, strict=True):
                shutil.rmtree(output, ignore_errors=True)
                found.append(timed(command, {"HF_HUB_OFFLINE": "1"}, looks_apart))
        shutil.rmtree(output)
        ours, *others = (min(found, key=lambda cost: cost.seconds) for found in costs)
        line = f"| {method} | {ours.cells()} | {ours.seconds / floors[2 if method == 'slerp' else 4]:.1f} |"
        for theirs in others:
            faster, in_cpu = theirs.seconds / ours.seconds, theirs.cpu_seconds / ours.cpu_seconds
            line += f" {theirs.cells()} | {faster:.1f} | {in_cpu:.1f} |"
        if not others:
            line += " - | - | - | - | - |"
        print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mergekit", default=os.environ.get("MERGEKIT", "mergekit-yaml"))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--layers", type=int, default=TINY_LLAMA.layers)
    parser.add_argument("--repeat", type=int, default=1, metavar="N", help="the fastest of so many runs of each")
    parser.add_argument("--closely", action="store_true", help="look at memory often, which slows what is timed")
    parser.add_argument("--root", type=Path, help="where models are made, and taken from where they are there already")
    arguments = parser.parse_args()
    mergekit = shutil.which(arguments.mergekit)
    if mergekit is None:
        print(f"there is no {arguments.mergekit}: finetooth alone is timed", file=sys.stderr)
    # pip compiles what it installs, as it did mergekit; a checkout may never have been.
    compileall.compile_dir(Path(finetooth.__file__).parent, quiet=1)
    shape: Shape = replace(TINY_LLAMA, layers=arguments.layers)
    with tempfile.TemporaryDirectory() as folder:
        root = arguments.root or Path(folder)
        if not (root / "base").is_dir():
            write_family(root, shape, torch.bfloat16)
        measure(root, arguments.methods, mergekit, arguments.repeat, 1 if arguments.closely else 10)


if __name__ == "__main__":
    main()
