"""Adapters combined are what peft's `add_weighted_adapter` makes of them."""

from __future__ import annotations

import json
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

import finetooth
from finetooth.errors import FinetoothError
from finetooth.merging.lora.truncation import nearest, nearest_to_product, sketched
from finetooth.merging.lora.ways import WAYS, Pruning
from finetooth.merging.methods.draws import Draws
from tests.merging.lora.adapters import load_model, make_adapter, merged_by_peft, write_gpt2
from tests.merging.toys import family, files_of, read_weights

pytest.importorskip("peft")

DETERMINISTIC = sorted(name for name, way in WAYS.items() if not way.is_random)
RANDOM = sorted(name for name, way in WAYS.items() if way.is_random)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with bases and adapters of them."""
    root = tmp_path_factory.mktemp("adapters")
    family(root, "")
    write_gpt2(root / "gpt2")
    for seed, name in enumerate("abc"):
        make_adapter(root / "base", root / name, seed=seed, lora_alpha=6 + seed)
        make_adapter(root / "base", root / f"wide-{name}", seed=seed, r=3 + seed)
        make_adapter(root / "base", root / f"embed-{name}", seed=seed, target_modules=["embed_tokens", "q_proj"])
        make_adapter(root / "base", root / f"root-{name}", seed=seed, use_rslora=True)
        make_adapter(root / "gpt2", root / f"gpt2-{name}", seed=seed, target_modules=["c_attn", "c_proj"])
        make_adapter(root / "base", root / f"pattern-{name}", seed=seed, rank_pattern={"q_proj": 2},
                     alpha_pattern={"v_proj": 3 + seed})  # fmt: skip
    return root


def by_peft(base: Path, adapters: list[Path], output: Path, weights: list[float], **options: Any) -> dict[str, Tensor]:
    """Return what peft saves of the combination."""
    from peft import PeftModel

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = PeftModel.from_pretrained(load_model(base), adapters[0], adapter_name="a0")
        for number, adapter in enumerate(adapters[1:], 1):
            model.load_adapter(adapter, adapter_name=f"a{number}")
        names = [f"a{number}" for number in range(len(adapters))]
        model.add_weighted_adapter(names, weights, "combined", **options)
        model.save_pretrained(output, selected_adapters=["combined"])
    found: dict[str, Tensor] = load_file(output / "combined" / "adapter_model.safetensors")
    return found


def changes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return B @ A by module."""
    found = {}
    for name, down in state.items():
        for kinds in (("lora_A", "lora_B"), ("lora_embedding_A", "lora_embedding_B")):
            if f".{kinds[0]}" in name:
                found[name.partition(f".{kinds[0]}")[0]] = state[name.replace(*kinds)] @ down
    return found


def options_of(way: str, majority: str = "total") -> dict[str, Any]:
    taken = WAYS[way]
    return ({"density": 0.6} if taken.needs_density else {}) | ({"majority_sign": majority} if taken.elects else {})


def compare(root: Path, kind: str, way: str, tmp_path: Path, majority: str = "total", **more: Any) -> None:
    base = root / ("gpt2" if kind == "gpt2-" else "base")
    adapters, weights = [root / f"{kind}{name}" for name in "abc"], [0.7, -0.4, 1.2]
    options = options_of(way, majority)
    directory = finetooth.combine_adapters(adapters, tmp_path / "ours", way=way, weights=weights, **options, **more)
    options = {"majority_sign_method" if name == "majority_sign" else name: value for name, value in options.items()}
    options |= {"svd_rank": more["rank"]} if "rank" in more else {}
    theirs = by_peft(base, adapters, tmp_path / "theirs", weights, combination_type=way, **options)
    ours = load_file(directory / "adapter_model.safetensors")
    assert ours.keys() == theirs.keys()
    if WAYS[way].cuts or kind == "pattern-":
        # singular vectors have no sign; and ranks below the largest are filled with zeros
        ours, theirs = changes(ours), changes(theirs)
        assert len(ours) == len(theirs) > 0
    for name, tensor in theirs.items():
        # Ours are cut in fp64, peft's in fp32, which parts singular values that are near each other less well.
        limit = 1e-5 if WAYS[way].cuts else 1e-6
        assert (ours[name] - tensor).abs().max() <= limit * max(1, float(tensor.abs().max())), name


@pytest.mark.parametrize("way", DETERMINISTIC)
@pytest.mark.parametrize("kind", ["", "embed-", "gpt2-", "pattern-"])
def test_as_add_weighted_adapter(kind: str, way: str, root: Path, tmp_path: Path) -> None:
    compare(root, kind, way, tmp_path)


@pytest.mark.parametrize("way", [name for name in DETERMINISTIC if WAYS[name].elects])
def test_majorities_of_signs(way: str, root: Path, tmp_path: Path) -> None:
    compare(root, "", way, tmp_path, "frequency")


@pytest.mark.parametrize("way", [name for name in DETERMINISTIC if WAYS[name].cuts])
def test_a_rank_that_is_given(way: str, root: Path, tmp_path: Path) -> None:
    compare(root, "", way, tmp_path, rank=3)


@pytest.mark.parametrize("way", [name for name in DETERMINISTIC if WAYS[name].cuts or name == "cat"])
def test_different_ranks(way: str, root: Path, tmp_path: Path) -> None:
    compare(root, "wide-", way, tmp_path)


@pytest.mark.parametrize("way", sorted(WAYS))
@pytest.mark.parametrize("kind", ["", "pattern-", "root-", "embed-"])
def test_the_result_loads_in_peft_and_does_what_it_says(kind: str, way: str, root: Path, tmp_path: Path) -> None:
    adapters = [root / f"{kind}{name}" for name in "ab"]
    directory = finetooth.combine_adapters(adapters, tmp_path / "lora", way=way, weights=[1, 0.5], **options_of(way))
    before, merged = read_weights(root / "base"), merged_by_peft(root / "base", directory)
    made = changes(load_file(directory / "adapter_model.safetensors"))
    for module, change in made.items():
        name = module.removeprefix("base_model.model.") + ".weight"
        change = change.T if "embed" in name else change
        torch.testing.assert_close(merged[name] - before[name], change, rtol=1e-4, atol=1e-6)
    config = {"merge_method": "passthrough", "models": [{"model": f"{root / 'base'}+{directory}"}]}
    ours = read_weights(finetooth.merge(config, tmp_path / "merged"))
    assert all(torch.allclose(ours[name], tensor, rtol=1e-5, atol=1e-7) for name, tensor in merged.items())
    if way in ("cat", "svd"):
        # cat is exact; svd of the largest of two equal ranks is not, but nothing is nearer at that rank
        exact = _sum_of_changes(root, adapters, [1, 0.5])
        for module, change in exact.items():
            if way == "cat":
                torch.testing.assert_close(made[module], change, rtol=1e-5, atol=1e-6)
            elif kind != "pattern-":
                up, down = nearest(change.double(), 4)
                torch.testing.assert_close(made[module].double(), up @ down, rtol=0, atol=1e-6)


def _sum_of_changes(root: Path, adapters: list[Path], weights: list[float]) -> dict[str, Tensor]:
    from peft import PeftModel

    total: dict[str, Tensor] = {}
    for adapter, weight in zip(adapters, weights, strict=True):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = PeftModel.from_pretrained(load_model(root / "base"), adapter)
        for name, module in model.named_modules():
            if hasattr(module, "get_delta_weight"):
                change = module.get_delta_weight("default") * weight
                change = change.T if "embed" in name else change
                total[name] = total.get(name, torch.zeros(())) + change.detach()
    return total


@pytest.mark.parametrize("way", RANDOM)
def test_random_ways(way: str, root: Path, tmp_path: Path) -> None:
    adapters = [root / name for name in "ab"]
    found = []
    for threads, seed in ((1, 5), (2, 5), (1, 6)):
        before = torch.get_num_threads()
        torch.set_num_threads(threads)
        try:
            output = tmp_path / f"{threads}-{seed}" / "lora"
            finetooth.combine_adapters(adapters, output, way=way, weights=0.5, density=0.5, seed=seed)
        finally:
            torch.set_num_threads(before)
        found.append(load_file(output / "adapter_model.safetensors"))
    for name in found[0]:
        torch.testing.assert_close(found[0][name], found[1][name], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(found[0][name], found[2][name], atol=1e-4)


def test_a_random_share_is_kept_and_rescaled() -> None:
    ones = torch.ones(1 << 20)
    pruning = Pruning(density=0.3, counts_signs=False, draws=[Draws.of(0, "x", 0), Draws.of(0, "x", 1)])
    blend = WAYS["dare_linear"].blend
    assert blend is not None
    total = blend([ones, ones], [1.0, 10.0], pruning)
    shares = {round(value, 3): int((total == value).sum()) / len(total) for value in sorted(set(total.tolist()))}
    expected = {0.0: 0.49, round(1 / 0.3, 3): 0.21, round(10 / 0.3, 3): 0.21, round(11 / 0.3, 3): 0.09}
    assert shares.keys() == expected.keys()
    # Within five standard deviations of a share of 2**20 independent draws.
    assert all(abs(shares[value] - share) < 5 * (share * (1 - share) / len(total)) ** 0.5
               for value, share in expected.items())  # fmt: skip


def test_of_elements_at_the_cut_the_first_ones_stay() -> None:
    blend = WAYS["magnitude_prune"].blend
    assert blend is not None
    tensor = torch.tensor([1.0, -2, 2, -2, 0, 3])
    pruned = blend([tensor], [1.0], Pruning(density=0.5, counts_signs=False, draws=[]))
    assert pruned.tolist() == [0, -2, 2, 0, 0, 3]


@pytest.mark.parametrize("shape", [(30, 20), (20, 30), (6, 50)])
def test_singular_values_of_a_product_and_of_sketches(shape: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    up, down = torch.randn((shape[0], 7), generator=generator), torch.randn((7, shape[1]), generator=generator)
    exact = nearest(up @ down, 4)
    for other in (nearest_to_product(up, down, 4), sketched(up @ down, 4)):
        assert [one.shape for one in other] == [one.shape for one in exact]
        torch.testing.assert_close(other[0] @ other[1], exact[0] @ exact[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("adapters", "options", "message"),
    [
        (["a", "b"], {"way": "tie"}, "did you mean `ties`"),
        (["a", "b"], {"way": "ties"}, "needs a density"),
        (["a", "b"], {"way": "ties", "density": 0.0}, "needs a density"),
        (["a", "b"], {"way": "linear", "density": 0.5}, "`--density` changes nothing for linear"),
        (["a", "b"], {"way": "cat", "rank": 3}, "`--rank` changes nothing for cat"),
        (["a", "b"], {"way": "svd", "rank": 0}, "the rank cannot be 0"),
        (["a", "b"], {"way": "dare_linear", "density": 0.5, "majority_sign": "frequency"}, "`--majority-sign` changes"),
        (["a", "b"], {"way": "linear", "weights": [1, 2, 3]}, "3 times, for 2 adapters"),
        (["a", "wide-c"], {"way": "linear"}, r"equal ranks: `model.layers.0.mlp.down_proj` has rank 5 here and 4"),
        (["a", "embed-b"], {"way": "cat"}, r"does not change `model.layers.0.mlp.down_proj` \(4 modules"),
        (["a", "gpt2-a"], {"way": "cat"}, "for another base"),
        (["a", "dora"], {"way": "linear"}, "use_dora cannot be combined"),
        (
            ["norm-a", "norm-b"],
            {"way": "linear"},
            "`model.layers.0.input_layernorm.weight` is held whole, and not the same",
        ),
        (["a", "nowhere"], {"way": "linear"}, "no such model"),
    ],
)
def test_what_is_refused(
    adapters: list[str], options: dict[str, Any], message: str, root: Path, tmp_path: Path
) -> None:
    make_adapter(root / "base", tmp_path / "dora", use_dora=True)
    for seed, name in enumerate("ab"):
        make_adapter(root / "base", tmp_path / f"norm-{name}", seed=seed, modules_to_save=["norm"])
    paths = [root / name if (root / name).exists() else tmp_path / name for name in adapters]
    with pytest.raises(FinetoothError, match=message):
        finetooth.combine_adapters(paths, tmp_path / "lora", **{"weights": 1} | options)
    assert not list(tmp_path.glob("*lora*")), "nothing is left"


def test_equal_whole_tensors_are_kept(root: Path, tmp_path: Path) -> None:
    for seed, name in enumerate("ab"):
        adapter = make_adapter(root / "base", tmp_path / name, seed=seed, modules_to_save=["norm"])
        state = load_file(adapter / "adapter_model.safetensors")
        from safetensors.torch import save_file

        state |= {name: torch.arange(16.0) for name in state if "norm" in name}
        save_file(state, adapter / "adapter_model.safetensors", metadata={"format": "pt"})
    directory = finetooth.combine_adapters([tmp_path / "a", tmp_path / "b"], tmp_path / "lora", way="cat", weights=1)
    assert merged_by_peft(root / "base", directory)["model.norm.weight"].tolist() == list(range(16))


def test_what_is_written(root: Path, tmp_path: Path) -> None:
    made = finetooth.combine_adapters([root / "a", root / "b"], tmp_path / "lora", way="svd", weights=0.5, rank=2,
                                      dtype="bfloat16")  # fmt: skip
    files = files_of(made)
    assert set(files) == {"README.md", "adapter.yaml", "adapter_config.json", "adapter_model.safetensors"}
    assert b"combine: svd" in files["adapter.yaml"]
    card = files["README.md"].decode()
    assert card.count("adapter_model.safetensors") == 2
    assert "combine: svd" in card and "library_name: peft" in card
    config = json.loads(files["adapter_config.json"])
    assert (config["r"], config["lora_alpha"], config["rank_pattern"]) == (2, 2, {})
    assert {tensor.dtype for tensor in load_file(made / "adapter_model.safetensors").values()} == {torch.bfloat16}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lora"]


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (float("nan"), None, r"`model.layers.0.mlp.down_proj` holds 1 values that are no numbers"),
        (1e6, "float16", r"`base_model.model.model.layers.0.mlp.down_proj.lora_A.weight` has values beyond"),
    ],
)
def test_what_is_no_number(value: float, dtype: str | None, message: str, root: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    broken = make_adapter(root / "base", tmp_path / "broken")
    state = load_file(broken / "adapter_model.safetensors")
    state["base_model.model.model.layers.0.mlp.down_proj.lora_A.weight"][1, 2] = value
    save_file(state, broken / "adapter_model.safetensors", metadata={"format": "pt"})
    for way in ("linear", "svd", "ties_svd") if dtype is None else ("linear",):
        with pytest.raises(FinetoothError, match=message):
            finetooth.combine_adapters(
                [root / "a", broken], tmp_path / "lora", way=way, weights=1, dtype=dtype, **options_of(way)
            )
    assert not (tmp_path / "lora").exists()


def test_nothing_that_is_not_ours_is_deleted(root: Path, tmp_path: Path) -> None:
    def combine(**more: Any) -> Path:
        adapters = [root / "a", root / "b"]
        return finetooth.combine_adapters(adapters, tmp_path / "lora", way="cat", weights=1, **more)

    (tmp_path / "lora").mkdir()
    (tmp_path / "lora" / "thesis.tex").write_text("years of work")
    for force in (False, True):
        with pytest.raises(FinetoothError, match="holds no adapter that finetooth made"):
            combine(force=force)
    assert (tmp_path / "lora" / "thesis.tex").read_text() == "years of work"
    (tmp_path / "lora" / "thesis.tex").unlink()
    first = files_of(combine())  # an empty directory is taken
    with pytest.raises(FinetoothError, match=r"an adapter already(.|\n)*--force"):
        combine()
    assert files_of(combine(force=True)) == first


def test_a_full_disk_leaves_what_was_there(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    adapters = [root / "a", root / "b"]
    made = finetooth.combine_adapters(adapters, tmp_path / "lora", way="cat", weights=1)
    before = files_of(made)

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("finetooth.merging.shards._write", full)
    with pytest.raises(FinetoothError, match="the disk is full; nothing was written"):
        finetooth.combine_adapters(adapters, made, way="linear", weights=1, force=True)
    assert files_of(made) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["lora"]
