"""The trial on toy models of many architectures: which take packs, in which form, and which do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from finetooth.training.forward import Head  # noqa: E402
from finetooth.training.trainer import ForestTrainer  # noqa: E402
from finetooth.training.trial import GRADIENT_TOLERANCE, LOSS_TOLERANCE, Trial, try_packs  # noqa: E402
from tests.training.toys import VOCABULARY, WINDOW, arguments, losses, persona_rows, toy  # noqa: E402

MIX_OTHERWISE = ("LFM2", "Qwen3-Next")
NO_SDPA = ("Gemma 2",)
TAKE_PACKS = ("Llama", "Mistral", "Qwen2", "Qwen3", "Gemma", "Gemma 3", "Phi-3", "Granite")

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::UserWarning")


def trial_of(model: Any, *, longest: int = 100) -> Trial:
    head = Head.find(model, {"input_ids": torch.tensor([[3, 4, 5]]), "use_cache": False})
    return try_packs(model, head, ids=range(3, VOCABULARY), longest=longest)


@pytest.mark.parametrize("attention", ["sdpa", "eager", "forest_sdpa"])
@pytest.mark.parametrize("kind", TAKE_PACKS)
def test_attention_alone_takes_packs(kind: str, attention: str) -> None:
    trial = trial_of(toy(kind, attention))
    assert trial.passed, trial.reason
    assert trial.loss_difference < 1e-5
    assert trial.gradient_difference < 1e-5
    windowed = kind in ("Mistral", "Phi-3", "Qwen2", "Gemma 3")
    assert trial.masks is not None
    assert trial.masks.window == (WINDOW if windowed else None)


@pytest.mark.parametrize("kind", NO_SDPA)
def test_eager_where_a_model_has_nothing_else(kind: str) -> None:
    assert trial_of(toy(kind, "eager")).passed


@pytest.mark.parametrize("attention", ["sdpa", "eager", "forest_sdpa"])
@pytest.mark.parametrize("kind", MIX_OTHERWISE)
def test_other_mixing_fails_by_far(kind: str, attention: str) -> None:
    trial = trial_of(toy(kind, attention))
    assert not trial.passed
    assert trial.loss_difference > 50 * LOSS_TOLERANCE
    assert trial.gradient_difference > 100 * GRADIENT_TOLERANCE
    assert trial.reason is not None
    assert "do not come out the same" in trial.reason


@pytest.mark.parametrize("kind", [*TAKE_PACKS, *MIX_OTHERWISE])
def test_half_precision_tells_them_apart_too(kind: str) -> None:
    """Rounding is measured on the model itself, so that its depth does not matter."""
    trial = trial_of(toy(kind).to(torch.bfloat16))
    assert trial.passed == (kind in TAKE_PACKS), trial


def test_a_window_that_no_row_reaches_is_none() -> None:
    trial = trial_of(toy("Mistral"), longest=WINDOW)
    assert trial.passed
    assert trial.masks is not None
    assert trial.masks.window is None


def test_a_window_too_wide_by_one_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    import finetooth.training.trial as module
    from finetooth.packing.mask import MaskMaker

    monkeypatch.setattr(
        module, "_candidates", lambda form, dtype, window: [MaskMaker(form=form, dtype=dtype, window=window + 1)]
    )
    assert not trial_of(toy("Mistral")).passed


def test_an_attention_without_masks_is_said() -> None:
    model = toy("Llama")
    model.config._attn_implementation = "flash_attention_2"
    trial = try_packs(model, Head(model, is_plain=True), ids=range(3, 9), longest=9)
    assert not trial.passed
    assert "flash_attention_2 takes no mask" in (trial.reason or "")


def test_the_trial_leaves_the_model_as_it_was() -> None:
    model = toy("Llama").train()
    before, state = [weight.clone() for weight in model.parameters()], torch.random.get_rng_state()
    trial_of(model)
    assert model.training
    assert all(weight.grad is None for weight in model.parameters())
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))
    assert torch.equal(state, torch.random.get_rng_state())


@pytest.mark.parametrize("refused", [("forest_sdpa",), ("forest_sdpa", "sdpa")])
def test_an_attention_that_refuses_the_model_is_passed_over(
    refused: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As FlexAttention refuses heads narrower than 16, for padded rows as well."""

    def tried(model: Any, *more: Any, **options: Any) -> Trial:
        if model.config._attn_implementation in refused:
            raise NotImplementedError("too narrow")
        return try_packs(model, *more, **options)

    monkeypatch.setattr("finetooth.training.trainer.try_packs", tried)
    said: list[str] = []
    model = toy("Llama")
    trainer = ForestTrainer(
        model, arguments(tmp_path, max_steps=2), train_dataset=persona_rows(8), pack="forest", on_choice=said.append
    )
    if "sdpa" in refused:
        with pytest.raises(NotImplementedError, match="too narrow"):
            trainer.choose_packing()
    else:
        assert trainer.choose_packing() == "forest"
        assert said[0] == "forest_sdpa cannot compute this model, and another attention is tried: too narrow"
        assert model.config._attn_implementation == "sdpa"
        trainer.train()
        assert len(losses(trainer)) == 2


@pytest.mark.parametrize("kind", MIX_OTHERWISE)
def test_training_falls_back_to_padding_and_says_so(kind: str, tmp_path: Path) -> None:
    said: list[str] = []
    runs = []
    for pack in ("forest", "pad"):
        trainer = ForestTrainer(
            toy(kind),
            arguments(tmp_path, max_steps=2),
            train_dataset=persona_rows(8),
            pack=pack,
            on_choice=said.append,
        )
        trainer.train()
        assert trainer.way == "pad"
        runs.append(losses(trainer))
    assert runs[0] == pytest.approx(runs[1], abs=1e-6)
    assert said[0].startswith("rows are padded: on this model, packs and padded rows do not come out the same")


@pytest.mark.parametrize("kind", ["Llama", "Granite"])
def test_a_head_is_plain_where_nothing_is_done_to_its_logits(kind: str) -> None:
    head = Head.find(toy(kind), {"input_ids": torch.tensor([[3, 4, 5]])})
    assert head.is_plain == (kind == "Llama")
