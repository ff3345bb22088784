"""Compare merges with those of mergekit 0.1.5, run as a program of its own on the same toy models.

    MERGEKIT=/path/to/mergekit-yaml python benchmarks/bench_merging_parity.py

mergekit's pins do not go with ours, so it needs an environment of its own (`pip install mergekit==0.1.5`). Where its
program is not found, the script says so and does nothing.

Deterministic methods: both compute in float32 and write bfloat16, and every element is compared in units in the last
place. Some elements are counted apart. Tied: where several magnitudes equal the threshold of a cut, which of them are
kept is not defined by mergekit, which sorts. (For `sce`, a tie counts for its tensor, whose weights it moves.)
Cancelled: where the merged value is so small beside the inputs that the rounding of float32 shows in its units.
mergekit's error: where ours is within a unit of float64 and mergekit's, which sums whole tensors in float32, is not;
known for the methods that this script has in float64. Then the same in bfloat16 throughout, where mergekit computes
in bfloat16 and finetooth in float32: the share of elements that differ, and the mean error of each against float64.
Random methods: what share is kept, and the expectation.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import yaml
from safetensors.torch import load_file
from torch import Tensor
from toy_llamas import Shape, write_family

import finetooth

Tensors = Mapping[str, Tensor]

VOCABULARY = 2304
"""Embeddings of so many rows are large enough for cuts to be found by a sample."""
FORMS = {
    "fp32, untied": (Shape(vocabulary=VOCABULARY), torch.float32),
    "bf16, untied": (Shape(vocabulary=VOCABULARY), torch.bfloat16),
    "fp16, tied": (Shape(vocabulary=VOCABULARY, is_tied=True), torch.float16),
}
W = [0.4, 0.8, 0.3]
CANCELLED = 2**-21
"""A difference that is smaller beside the inputs is one of float32's rounding: a few of its steps of 2**-24."""


def _models(*names: str, **values: Sequence[Any]) -> list[dict[str, Any]]:
    found = []
    for index, name in enumerate(names):
        parameters = {key: value[index] for key, value in values.items()}
        found.append({"model": name, "parameters": parameters} if parameters else {"model": name})
    return found


def _config(method: str, models: list[dict[str, Any]], base: str | None = None, **parameters: Any) -> dict[str, Any]:
    config: dict[str, Any] = {"merge_method": method, "models": models}
    if base:
        config["base_model"] = base
    return config | ({"parameters": parameters} if parameters else {})


ABC = _models("a", "b", "c")
WEIGHTED = _models("a", "b", "c", weight=W)
TRIMMED = _models("a", "b", "c", weight=W, density=[0.4, 0.5, 0.6])
CRUMBS = _models("a", "b", "c", weight=W, density=[0.6, 0.7, 0.8], gamma=[0.05, 0.01, 0.1])
PAIR = _models("a", "b", weight=W[:2])
GRADIENT = [{"filter": "self_attn", "value": [0, 0.5, 1]}, {"filter": "mlp", "value": [1, 0.2]}, {"value": 0.25}]

DETERMINISTIC: dict[str, dict[str, Any]] = {
    "linear": _config("linear", WEIGHTED),
    "linear, normalize: false": _config("linear", WEIGHTED, normalize=False),
    "slerp": _config("slerp", _models("base", "a"), "base", t=0.3),
    "slerp, gradients": _config("slerp", _models("base", "a"), "base", t=GRADIENT),
    "nuslerp": _config("nuslerp", PAIR),
    "nuslerp, base": _config("nuslerp", PAIR, "base"),
    "nuslerp, flatten: false": _config("nuslerp", PAIR, "base", nuslerp_flatten=False),
    "nuslerp, row_wise": _config("nuslerp", PAIR, "base", nuslerp_flatten=False, nuslerp_row_wise=True),
    "multislerp": _config("multislerp", WEIGHTED),
    "multislerp, base": _config("multislerp", WEIGHTED, "base", normalize_weights=False),
    "karcher": _config("karcher", ABC),
    "karcher, max_iter: 2": _config("karcher", ABC, max_iter=2, tol=1e-3),
    "task_arithmetic": _config("task_arithmetic", WEIGHTED, "base", **{"lambda": 0.7}),
    "task_arithmetic, normalize": _config("task_arithmetic", WEIGHTED, "base", normalize=True),
    "ties": _config("ties", TRIMMED, "base"),
    "ties, normalize: false": _config("ties", TRIMMED, "base", normalize=False, int8_mask=True, **{"lambda": 0.7}),
    "ties, rescale": _config("ties", TRIMMED, "base", rescale=True),
    "ties, a negative weight": _config(
        "ties", _models("a", "b", "c", weight=[0.4, -0.8, 0.3], density=[0.5] * 3), "base"
    ),
    "breadcrumbs": _config("breadcrumbs", CRUMBS, "base"),
    "breadcrumbs, rescale": _config("breadcrumbs", CRUMBS, "base", rescale=True),
    "breadcrumbs_ties": _config("breadcrumbs_ties", CRUMBS, "base"),
    "model_stock": _config("model_stock", ABC, "base"),
    "model_stock, filter_wise": _config("model_stock", ABC, "base", filter_wise=True),
    "sce": _config("sce", ABC, "base"),
    "sce, select_topk: 0.3": _config("sce", ABC, "base", select_topk=0.3),
    "nearswap": _config("nearswap", _models("base", "a"), "base", t=0.002),
    "passthrough": _config("passthrough", _models("a", scale=[0.5])),
}

RANDOM: dict[str, dict[str, Any]] = {
    "dare_linear": _config("dare_linear", _models("a", weight=[1.0], density=[0.3]), "base"),
    "dare_ties": _config("dare_ties", _models("a", weight=[1.0], density=[0.3]), "base"),
    "dare_linear, rescale: false": _config(
        "dare_linear", _models("a", weight=[1.0], density=[0.3]), "base", rescale=False
    ),
    "della_linear": _config("della_linear", _models("a", weight=[1.0], density=[0.5], epsilon=[0.3]), "base"),
    "della": _config("della", _models("a", weight=[1.0], density=[0.5], epsilon=[0.3]), "base"),
}


class Bench:
    """Runs both programs."""

    def __init__(self, program: str, root: Path) -> None:
        self.program, self.root = program, root
        self.count = 0

    def both(self, models: Path, config: Mapping[str, Any], **dtypes: str) -> tuple[Tensors, Tensors]:
        """Return our weights and mergekit's."""
        placed = _placed(config, models) | dtypes
        self.count += 1
        ours, theirs = self.root / f"ours-{self.count}", self.root / f"theirs-{self.count}"
        finetooth.merge(placed, ours)
        path = self.root / "config.yaml"
        path.write_text(yaml.safe_dump(placed), encoding="utf-8")
        command = [self.program, str(path), str(theirs), "--quiet", "--random-seed", "1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise SystemExit(f"mergekit: {done.stderr.strip().splitlines()[-1]}")
        found = load_file(ours / "model.safetensors"), load_file(theirs / "model.safetensors")
        shutil.rmtree(ours)
        shutil.rmtree(theirs)
        return found


def _placed(config: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """Return a configuration whose models are those of a directory."""
    placed = dict(config)
    placed["models"] = [{**one, "model": str(root / one["model"])} for one in config["models"]]
    if "base_model" in config:
        placed["base_model"] = str(root / config["base_model"])
    return placed


def ulps(left: Tensor, right: Tensor) -> Tensor:
    """Return how many bf16 numbers lie between two."""

    def ordered(values: Tensor) -> Tensor:
        bits = values.view(torch.int16).to(torch.int32)
        return torch.where(bits < 0, -(bits & 0x7FFF), bits)

    return (ordered(left) - ordered(right)).abs()


def tied(name: str, config: Mapping[str, Any], models: Mapping[str, Tensors]) -> Tensor:
    """Return where some magnitude equals the threshold of a cut that does not keep all of its equals."""
    base = models["base"][name].float()
    found = torch.zeros(base.shape, dtype=torch.bool)
    size = base.numel()
    parameters = config.get("parameters", {})
    if config["merge_method"] == "sce" and "select_topk" in parameters:
        deltas = torch.stack([models[one["model"]][name].float() - base for one in config["models"]])
        variance = deltas.var(0, unbiased=False)
        kept = max(int(parameters["select_topk"] * int(variance.count_nonzero())), 1)
        # A variance is rounded by the way it is summed up: what lies within rounding of the threshold is as good as
        # tied. What is selected decides on the weights, and so on every element of the tensor.
        return _at_cut(variance, kept, 1e-5).any().expand(base.shape)
    for one in config["models"]:
        values = one.get("parameters", {})
        if "density" not in values:
            continue
        magnitudes = (models[one["model"]][name].float() - base).abs()
        kept = int(values["density"] * size)
        dropped = min(int(values.get("gamma", 0.0) * size), size - kept)
        found |= _at_cut(magnitudes, dropped) | _at_cut(magnitudes, dropped + kept)
    return found


def _at_cut(values: Tensor, rank: int, tolerance: float = 0.0) -> Tensor:
    """Return where values equal that of a rank, if the next one is equal to it as well."""
    ordered = values.flatten().sort(descending=True).values
    if not 0 < rank < len(ordered):
        return torch.zeros(values.shape, dtype=torch.bool)
    at, after = ordered[rank - 1], ordered[rank]
    if at - after > tolerance * at:
        return torch.zeros(values.shape, dtype=torch.bool)
    return (values - at).abs() <= tolerance * at


def plain(title: str, config: Mapping[str, Any]) -> Callable[[Tensor, list[Tensor]], Tensor] | None:
    """Return a method in float64, where it is short enough to be written once more without any cleverness."""
    if any(word in title for word in ("gradients", "normalize", "filter_wise")):
        return None
    method, parameters = config["merge_method"], config.get("parameters", {})
    weights = [one.get("parameters", {}).get("weight", 1.0) for one in config["models"]]

    def linear(base: Tensor, models: list[Tensor]) -> Tensor:
        total = sum(weights) if parameters.get("normalize", True) else 1.0
        return torch.stack([w * model for w, model in zip(weights, models, strict=True)]).sum(0).div(total)

    def task_arithmetic(base: Tensor, models: list[Tensor]) -> Tensor:
        moved = torch.stack([w * (model - base) for w, model in zip(weights, models, strict=True)]).sum(0)
        return base.add(moved, alpha=parameters.get("lambda", 1.0))

    def slerp(base: Tensor, models: list[Tensor]) -> Tensor:
        merged: Tensor
        t, other = parameters["t"], models[-1]
        cosine = (base * other).sum() / base.norm() / other.norm()
        if cosine.abs() > 0.9995:
            merged = (1 - t) * base + t * other
        else:
            angle = cosine.acos()
            merged = (((1 - t) * angle).sin() * base + (t * angle).sin() * other) / angle.sin()
        return merged

    def model_stock(base: Tensor, models: list[Tensor]) -> Tensor:
        deltas = [model - base for model in models]
        pairs = [(i, j) for i in range(len(deltas)) for j in range(i)]
        cosines = [(deltas[i] * deltas[j]).sum() / deltas[i].norm() / deltas[j].norm() for i, j in pairs]
        cosine: Tensor = torch.stack(cosines).mean()
        t = len(models) * cosine / (1 + (len(models) - 1) * cosine)
        return t * torch.stack(models).mean(0) + (1 - t) * base

    def multislerp(base: Tensor, models: list[Tensor]) -> Tensor:
        origin = base if "base_model" in config else torch.zeros_like(base)
        shares = weights
        if parameters.get("normalize_weights", True):
            shares = [weight / sum(weights) for weight in weights]
        deltas = [model - origin for model in models]
        mean = torch.stack([w * delta / delta.norm() for w, delta in zip(shares, deltas, strict=True)]).sum(0)
        length = torch.stack([w * delta.norm() for w, delta in zip(shares, deltas, strict=True)]).sum()
        merged: Tensor = origin + mean / mean.norm() * length
        return merged

    known = {one.__name__: one for one in (linear, task_arithmetic, slerp, model_stock, multislerp)}
    return known.get(method)


def deterministic(bench: Bench, root: Path) -> bool:
    """Print the table of deterministic methods; return whether all are equal within one unit."""
    print("| inputs | method | elements | differ | by more than 1 ulp | of these tied | cancelled | mergekit's error |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    is_equal = True
    for form, (shape, dtype) in FORMS.items():
        directory = root / form.replace(", ", "-")
        write_family(directory, shape, dtype)
        models = {name: load_file(directory / name / "model.safetensors") for name in ("base", "a", "b", "c")}
        for title, config in DETERMINISTIC.items():
            ours, theirs = bench.both(directory, config, dtype="float32", out_dtype="bfloat16")
            assert ours.keys() == theirs.keys(), f"{title}: {sorted(ours.keys() ^ theirs.keys())}"
            reference = plain(title, config)
            count = differ = beyond = apart = cancelled = mistaken = 0
            for name in ours:
                distance = ulps(ours[name], theirs[name])
                is_tied = tied(name, config, models)
                count += distance.numel()
                differ += int((distance > 0).sum())
                beyond += int((distance > 1).sum())
                apart += int(((distance > 1) & is_tied).sum())
                largest = torch.stack([model[name].double().abs() for model in models.values()]).amax(0)
                is_near = (ours[name].double() - theirs[name].double()).abs() < CANCELLED * largest
                cancelled += int(((distance > 1) & ~is_tied & is_near).sum())
                if reference is not None:
                    is_left = (distance > 1) & ~is_tied & ~is_near
                    true = _in_float64(reference, name, config, models).to(torch.bfloat16)
                    mistaken += int((is_left & (ulps(ours[name], true) <= 1) & (ulps(theirs[name], true) > 1)).sum())
            is_equal = is_equal and beyond == apart + cancelled + mistaken
            counts = (count, differ, beyond, apart, cancelled, mistaken)
            print(f"| {form} | {title} | {' | '.join(f'{one:,}' for one in counts)} |", flush=True)
    return is_equal


def _in_float64(
    reference: Callable[[Tensor, list[Tensor]], Tensor],
    name: str,
    config: Mapping[str, Any],
    models: Mapping[str, Tensors],
) -> Tensor:
    return reference(models["base"][name].double(), [models[one["model"]][name].double() for one in config["models"]])


def in_bfloat16(bench: Bench, root: Path) -> None:
    """Print how bfloat16 throughout differs, and whose error is smaller."""
    print("\n| bf16 throughout | differ | our mean error | mergekit's |\n| --- | --- | --- | --- |")
    directory = root / "bf16-untied"
    models = {name: load_file(directory / name / "model.safetensors") for name in ("base", "a", "b", "c")}
    for title, config in DETERMINISTIC.items():
        reference = plain(title, config)
        if reference is None:
            continue
        ours, theirs = bench.both(directory, config, dtype="bfloat16")
        count = differ = 0
        errors = [0.0, 0.0]
        for name in ours:
            true = _in_float64(reference, name, config, models)
            count += true.numel()
            differ += int((ours[name] != theirs[name]).sum())
            for index, result in enumerate((ours[name], theirs[name])):
                errors[index] += float((result.double() - true).abs().sum())
        print(f"| {title} | {differ / count:.1%} | {errors[0] / count:.2e} | {errors[1] / count:.2e} |", flush=True)


def random(bench: Bench, root: Path) -> None:
    """Print what random methods keep and expect; by quarters of rank for DELLA."""
    print("\n| method | | kept | kept by quarters of rank | expectation |\n| --- | --- | --- | --- | --- |")
    directory = root / "fp32-untied"
    base, model = (load_file(directory / name / "model.safetensors") for name in ("base", "a"))
    for title, config in RANDOM.items():
        for who, result in zip(("ours", "mergekit's"), bench.both(directory, config, dtype="float32"), strict=True):
            kept: list[Tensor] = []
            quarters: list[list[Tensor]] = [[], [], [], []]
            product = square = 0.0
            for name in (name for name in result if result[name].dim() == 2):
                delta, moved = model[name] - base[name], result[name] - base[name]
                is_kept = (moved != 0).float()
                kept.append(is_kept.flatten())
                product += float((moved * delta).sum())
                square += float((delta * delta).sum())
                quarter = delta.abs().argsort(1).argsort(1) * 4 // delta.shape[1]
                for index in range(4):
                    quarters[index].append(is_kept[quarter == index])
            by_rank = ", ".join(f"{float(torch.cat(one).mean()):.3f}" for one in quarters)
            share = float(torch.cat(kept).mean())
            print(f"| {title} | {who} | {share:.4f} | {by_rank} | {product / square:.4f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mergekit", default=os.environ.get("MERGEKIT", "mergekit-yaml"))
    parser.add_argument("--only", help="a word that titles of methods must have in them")
    arguments = parser.parse_args()
    program = shutil.which(arguments.mergekit)
    if program is None:
        print(
            f"skipped: there is no {arguments.mergekit}; name mergekit-yaml by --mergekit or MERGEKIT", file=sys.stderr
        )
        return
    if arguments.only:
        for table in (DETERMINISTIC, RANDOM):
            for title in [title for title in table if arguments.only not in title]:
                del table[title]
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        bench = Bench(program, root)
        is_equal = deterministic(bench, root)
        in_bfloat16(bench, root)
        random(bench, root)
    print("\nequal within one unit in the last place, but for ties" if is_equal else "\nNOT EQUAL")
    sys.exit(0 if is_equal else 1)


if __name__ == "__main__":
    main()
