"""What a recipe says of its weights reaches the rules, and stops a run that could not learn to end."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from finetooth.config import load_recipes
from finetooth.labels import Trained
from finetooth.training.preparing import check_recipe, setup_of
from tests.training.recipes import save_model, write_recipe

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning")


def found(path: Path, **sets: Any) -> dict[str, str]:
    (recipe,) = load_recipes(path, sets=[f"{key.replace('__', '.')}={value}" for key, value in sets.items()])
    report = check_recipe(recipe, setup_of(recipe)).report()
    return {one.cause.code: one.severity for one in report.findings if one.code in ("RUN004", "RUN005") and one.cause}


def test_a_recipe_tells_what_is_trained(tmp_path: Path) -> None:
    path = write_recipe(tmp_path, tokenizer=str(save_model(tmp_path / "other")), train__method="lora")
    (recipe,) = load_recipes(path, sets=["lora.modules_to_save=embed_tokens,lm_head"])
    assert setup_of(recipe).trained == Trained(
        directory=tmp_path / "base",
        method="lora",
        target_modules=("all-linear",),
        modules_to_save=("embed_tokens", "lm_head"),
    )


def test_a_terminator_that_cannot_be_learned_is_an_error(tmp_path: Path) -> None:
    import torch
    import transformers

    path = write_recipe(tmp_path, train__method="lora")
    assert found(path) == {}
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "base")
    with torch.no_grad():
        model.lm_head.weight[2] = 0
    model.save_pretrained(tmp_path / "base")
    assert found(path) == {"norm-near-zero": "error"}
    assert found(path, train__method="full") == {}
    assert found(path, lora__modules_to_save="lm_head") == {}


def test_tied_embeddings_that_an_adapter_parts(tmp_path: Path) -> None:
    save_model(tmp_path / "base", tie_word_embeddings=True)
    path = write_recipe(tmp_path, train__method="lora")
    assert found(path) == {}
    assert found(path, lora__modules_to_save="embed_tokens") == {"saved-apart": "warning"}
    assert found(path, lora__target_modules="q_proj,lm_head") == {"adapted-apart": "warning"}
    assert found(path, lora__target_modules="c_attn") == {"no-such-module": "error"}
