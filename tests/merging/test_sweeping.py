"""Sweeps: which points, what is put into the configuration, what is measured, kept, and gone on with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

import transformers  # noqa: E402
from safetensors.torch import load_file  # noqa: E402

from finetooth.config import config_of  # noqa: E402
from finetooth.errors import ConfigError, MergeError  # noqa: E402
from finetooth.inspection import open_records  # noqa: E402
from finetooth.labels import encode_records, make_setup  # noqa: E402
from finetooth.merging.merge import merge  # noqa: E402
from finetooth.merging.sweeping.axes import name_of, points_of, with_values  # noqa: E402
from finetooth.merging.sweeping.lines import Sweep, best_of  # noqa: E402
from finetooth.merging.sweeping.measuring import Measures, held_out_loss, measure, names_of_data  # noqa: E402
from finetooth.merging.sweeping.pages import document_of  # noqa: E402
from finetooth.merging.sweeping.sweep import sweep  # noqa: E402
from tests.cli.conftest import Finetooth, finetooth  # noqa: E402, F401
from tests.training.recipes import save_model, write_data  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


@pytest.mark.parametrize(
    ("axes", "candidates", "names"),
    [
        (["t=0:1:0.25"], [], ["t=0", "t=0.25", "t=0.5", "t=0.75", "t=1"]),
        (["t=0.1:0.3:0.1"], [], ["t=0.1", "t=0.2", "t=0.3"]),
        (["w[0]=0.3,0.7", "d=0.5,1"], [], ["w[0]=0.3,d=0.5", "w[0]=0.3,d=1", "w[0]=0.7,d=0.5", "w[0]=0.7,d=1"]),
        (["t=0.5"], ["t=0.5", "t=0.9,lambda=2"], ["t=0.5", "t=0.9,lambda=2"]),
    ],
)
def test_points(axes: list[str], candidates: list[str], names: list[str]) -> None:
    assert [name_of(point) for point in points_of(axes, candidates)] == names


@pytest.mark.parametrize(
    ("axes", "candidates"),
    [
        (["t"], []),
        (["t=a"], []),
        (["t=0:1"], []),
        (["t=1:0:0.1"], []),
        (["t=0:1:0"], []),
        (["t=0:1:1e-9"], []),
        (["t=nan"], []),
        (["t[x]=1"], []),
        (["t=0", "t=1"], []),
        ([], ["t"]),
        (["a=0:1:0.01", "b=0:1:0.01"], []),
    ],
)
def test_what_names_no_points(axes: list[str], candidates: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        points_of(axes, candidates)
    assert caught.value.where


def test_values_are_put_into_a_configuration() -> None:
    document: dict[str, Any] = {
        "merge_method": "ties",
        "models": [{"model": "a", "parameters": {"weight": 1, "density": 0.2}}, {"model": "b"}],
        "parameters": {"normalize": True},
    }
    made = with_values(document, {"weight[1]": 0.3, "density": 0.7, "lambda": 2.0})
    assert made["models"] == [
        {"model": "a", "parameters": {"weight": 1, "density": 0.7}},
        {"model": "b", "parameters": {"weight": 0.3}},
    ]
    assert made["parameters"] == {"normalize": True, "density": 0.7, "lambda": 2.0}
    assert document["models"][1] == {"model": "b"}
    with pytest.raises(ConfigError, match="has 2"):
        with_values(document, {"weight[2]": 1.0})


def test_names_of_data(tmp_path: Path) -> None:
    (tmp_path / "a=b.jsonl").write_text("")
    assert names_of_data(["x/half.a.jsonl", "other=y.jsonl", str(tmp_path / "a=b.jsonl")]) == {
        "half": "x/half.a.jsonl",
        "other": "y.jsonl",
        "a=b": str(tmp_path / "a=b.jsonl"),
    }


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two toy models, and data to hold them against."""
    folder = tmp_path_factory.mktemp("models")
    save_model(folder / "a")
    save_model(folder / "b")
    model = transformers.AutoModelForCausalLM.from_pretrained(folder / "b")
    torch.manual_seed(1)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(torch.randn_like(value) * 0.05)
    model.save_pretrained(folder / "b")
    write_data(folder / "held.jsonl", 6)
    write_data(folder / "other.jsonl", 3)
    return folder


def config_for(models: Path) -> dict[str, Any]:
    return {"merge_method": "slerp", "base_model": str(models / "a"), "models": [{"model": str(models / "b")}]}


def measures_for(models: Path, **more: Any) -> Measures:
    data = {"held": str(models / "held.jsonl"), "other": str(models / "other.jsonl")}
    return Measures(**{"data": data, "num_prompts": 2, "max_new_tokens": 3, **more})


def run(models: Path, output: Path, *texts: str, **how: Any) -> Sweep:
    return sweep(config_for(models), output, points_of(texts), measures_for(models), **how)


def test_the_loss_is_that_of_transformers(models: Path) -> None:
    """Summed over rows, as one model call for each row gives it."""
    model = transformers.AutoModelForCausalLM.from_pretrained(models / "a")
    setup = make_setup(str(models / "a"))
    source = str(models / "held.jsonl")
    total = count = 0.0
    for row in encode_records(setup, open_records(source, config_of({}).data)):
        ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
        number = int((labels[:, 1:] != -100).sum())
        total += float(model(input_ids=ids, labels=labels).loss) * number
        count += number
    assert held_out_loss(model, setup, source, measures_for(models)) == pytest.approx(total / count, rel=1e-6)


def test_candidates_inputs_and_the_best(models: Path, tmp_path: Path) -> None:
    told: list[str] = []
    found = run(models, tmp_path / "out", "t=0,0.5,1", best_by="loss", tell=told.append)
    assert [line["name"] for line in found.inputs] == [str(models / "a"), str(models / "b")]
    assert [line["name"] for line in found.candidates] == ["t=0", "t=0.5", "t=1"]
    assert len(told) == 5
    # The ends of a slerp are its inputs.
    for candidate, one in zip((found.candidates[0], found.candidates[2]), found.inputs, strict=True):
        assert candidate["losses"] == pytest.approx(one["losses"], rel=1e-5)
        assert candidate["outcomes"] == one["outcomes"]
    losses = {line["name"]: line["loss"] for line in found.candidates}
    assert found.best == min(losses, key=losses.__getitem__)
    kept = load_file(tmp_path / "out" / "merged" / "model.safetensors")
    again = load_file(
        merge(with_values(config_for(models), {"t": float(found.best[2:])}), tmp_path / "again") / "model.safetensors"
    )
    assert all(torch.equal(kept[name], again[name]) for name in again)
    assert measure(tmp_path / "out" / "merged", measures_for(models), name="x")["loss"] == losses[found.best]
    assert not [path for path in (tmp_path / "out").iterdir() if path.name.startswith(".finetooth")]


def test_a_sweep_goes_on(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(models, tmp_path / "whole", "t=0,0.5,1", best_by="loss")
    calls: list[str] = []
    interrupted: list[str] = []

    def counted(directory: Path, measures: Measures, *, name: str, adapter: str | None = None) -> dict[str, Any]:
        if name == "t=0.5" and not interrupted:
            interrupted.append(name)
            raise KeyboardInterrupt
        calls.append(name)
        return measure(directory, measures, name=name, adapter=adapter)

    monkeypatch.setattr("finetooth.merging.sweeping.sweep.measure", counted)
    with pytest.raises(KeyboardInterrupt):
        run(models, tmp_path / "out", "t=0,0.5,1", best_by="loss")
    with pytest.raises(MergeError, match="there is a sweep already"):
        run(models, tmp_path / "out", "t=0,0.5,1", best_by="loss")
    # A line that a kill cut short is not there.
    with (tmp_path / "out" / "sweep.jsonl").open("a") as file:
        file.write('{"kind": "candi')
    calls.clear()
    found = run(models, tmp_path / "out", "t=0,0.5,1", best_by="loss", resume=True)
    assert calls == ["t=0.5", "t=1"]
    assert [line["losses"] for line in found.candidates] == [line["losses"] for line in whole.candidates]
    # More candidates may be added; what has the best's place unnoted is merged again.
    (tmp_path / "out" / ".best").unlink()
    calls.clear()
    found = run(models, tmp_path / "out", "t=0,0.5,1,0.25", best_by="loss", resume=True)
    assert calls == ["t=0.25"]
    assert (tmp_path / "out" / ".best").read_text() == found.best
    with pytest.raises(MergeError, match="`seed` differs"):
        run(models, tmp_path / "out", "t=0,1", resume=True, seed=3)


def test_what_is_no_sweep_is_left_alone(models: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").write_text("x")
    with pytest.raises(MergeError):
        run(models, tmp_path / "mine", "t=0", force=True)
    assert (tmp_path / "mine" / "file").read_text() == "x"


def test_a_refused_value_costs_no_measure(models: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        run(models, tmp_path / "out", "nonsense=0,1")
    assert not (tmp_path / "out").exists()


def test_the_order_of_endings() -> None:
    def line(name: str, leak: float, stop: float, loss: float) -> dict[str, Any]:
        return {"name": name, "leak_rate": leak, "stop_rate": stop, "loss": loss}

    lines = [line("leaks", 0.5, 1, 0.1), line("runs", 0, 0.2, 0.2), line("good", 0, 1, 0.9), line("better", 0, 1, 0.8)]
    assert best_of(lines, "endings") == "better"
    assert best_of(lines, "loss") == "leaks"
    assert best_of(lines, "stop_rate") == "leaks"  # of equals, the least loss
    assert (
        best_of([{"name": "without", "loss": 1.0}, {"name": "with", "loss": 2.0, "style_rate": 0.0}], "style_rate")
        == "with"
    )


def test_pages(models: Path, tmp_path: Path) -> None:
    from finetooth.documents import html, text

    one = run(models, tmp_path / "one", "t=0,1")
    shown = "".join(text.render(document_of(one), width=80, color=False))
    assert "input a" in shown and "t=1" in shown and "Figure 2" in shown
    config = {"merge_method": "linear", "models": [{"model": str(models / name)} for name in "ab"]}
    points = points_of(["weight[0]=0.3,1", "weight[1]=0.5"])
    two = sweep(config, tmp_path / "two", points, measures_for(models, style=("。",), asked_chars=9))
    page = "".join(html.render(document_of(two)))
    assert "What a loss buys" in page and "in style" in page and "in length" in page


def test_a_comparison_shows_it(models: Path, tmp_path: Path) -> None:
    """A sweep beside a merged model: settings, endings of the best, the table; a broken one is told of."""
    from finetooth.comparing.comparison import compare

    run(models, tmp_path / "swept", "t=0,1")
    merge(with_values(config_for(models), {"t": 0.5}), tmp_path / "half")
    comparison = compare(tmp_path / "swept", tmp_path / "half")
    assert [entry.kind for entry in comparison.entries] == ["merge", "merge"]
    assert [one.key for one in comparison.settings] == ["merge.parameters.t"]
    text = str(comparison)
    assert "Sweep over t" in text and "input a" in text
    assert "What the check found" not in text
    (tmp_path / "swept" / "sweep.json").write_text("{")
    assert "cannot be read" in str(compare(tmp_path / "swept"))


def test_the_command(models: Path, tmp_path: Path, finetooth: Finetooth) -> None:  # noqa: F811
    (tmp_path / "merge.yaml").write_text(json.dumps(config_for(models)))
    arguments = ["merge", "merge.yaml", "--sweep", "t=0,1", "-o", "out", "--lang", "en"]
    assert "held-out data" in finetooth(*arguments).err
    arguments += ["--data", str(models / "held.jsonl"), "--prompts", "1", "--max-new-tokens", "2"]
    result = finetooth(*arguments)
    assert result.code == 0, result.err
    assert "★" in result.out
    assert (tmp_path / "out" / "sweep.html").is_file()
    assert finetooth(*arguments).code == 2
    assert finetooth(*arguments, "--resume").code == 0
