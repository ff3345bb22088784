"""What peft and transformers do with tied embeddings: on this RUN005, and what RUN004 takes for trained, is built."""

from __future__ import annotations

import json
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
peft = pytest.importorskip("peft")
transformers = pytest.importorskip("transformers")

from safetensors.torch import load_file, save_file  # noqa: E402

from finetooth.labels import Trained  # noqa: E402

IDS = [[5, 9, 2, 7, 1, 40, 12, 3]]
SIDES = ("model.embed_tokens", "lm_head")


def tiny() -> Any:
    torch.manual_seed(0)
    return transformers.LlamaForCausalLM(
        transformers.LlamaConfig(
            vocab_size=64,
            hidden_size=16,
            intermediate_size=32,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            tie_word_embeddings=True,
        )
    )


def adapted(targets: list[str], saved: list[str]) -> Any:
    """Return a model with an adapter after a few steps."""
    modules: Any = "all-linear" if targets == ["all-linear"] else targets
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=modules, modules_to_save=saved or None)
    model = peft.get_peft_model(tiny(), config)
    optimizer = torch.optim.AdamW([weight for weight in model.parameters() if weight.requires_grad], lr=0.1)
    ids = torch.tensor(IDS)
    for _ in range(5):
        optimizer.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
    return model.eval()


def weight_of(module: Any) -> Any:
    """Return what a module computes with: its copy, or its weights with what the adapter adds."""
    if hasattr(module, "modules_to_save"):
        module = module.modules_to_save["default"]
    if hasattr(module, "get_delta_weight"):
        return (module.get_base_layer().weight + module.get_delta_weight("default")).detach()
    return module.weight.detach()


@pytest.fixture(autouse=True)
def without_warnings() -> Any:
    """Pass over what peft warns of, for it is what the rule says."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize(
    ("targets", "saved", "merges"),
    [
        (["all-linear"], [], True),
        (["q_proj"], [], True),
        (["all-linear"], ["embed_tokens", "lm_head"], True),
        (["q_proj"], ["embed_tokens"], True),
        (["q_proj"], ["lm_head"], True),
        (["q_proj"], ["model.embed_tokens"], True),
        (["q_proj", "embed_tokens"], ["lm_head"], True),
        (["q_proj", "lm_head"], ["embed_tokens"], True),
        (["q_proj", "embed_tokens"], [], False),
        (["q_proj", "lm_head"], [], False),
        (["q_proj", "embed_tokens", "lm_head"], [], False),
    ],
)
def test_what_is_trained_and_what_merging_makes_of_it(targets: list[str], saved: list[str], merges: bool) -> None:
    trained = Trained(directory=None, method="lora", target_modules=tuple(targets), modules_to_save=tuple(saved))
    before = tiny().get_input_embeddings().weight.detach()
    model = adapted(targets, saved)
    inner = model.base_model.model
    sides = {name: weight_of(inner.get_submodule(name)) for name in SIDES}
    assert {name: not torch.equal(side, before) for name, side in sides.items()} == {
        name: trained.trains(name) for name in SIDES
    }
    # A side that is named is trained by itself, both where both are.
    assert torch.equal(*sides.values()) == (not any(map(trained.trains, SIDES)))
    with torch.no_grad():
        expected = model(input_ids=torch.tensor(IDS)).logits
        merged = model.merge_and_unload()
        assert torch.allclose(merged(input_ids=torch.tensor(IDS)).logits, expected, atol=1e-4) == merges
    assert merged.config.tie_word_embeddings == (not any(map(trained.copies, SIDES)))


@pytest.mark.parametrize(
    "targets", [["q_proj", "nope"], ["all-linear", "q_proj"], ["layers.0.self_attn.q_proj"], ["q"]]
)
def test_which_modules_get_an_adapter(targets: list[str]) -> None:
    trained = Trained(directory=None, method="lora", target_modules=tuple(targets))
    names = [name for name, _ in tiny().named_modules() if name]
    matched = {name for name in names if trained.adapts(name)}
    unmatched, _ = trained.unmatched(names)
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=targets)
    if set(unmatched) == set(targets):
        with pytest.raises(ValueError, match="not found"):
            peft.get_peft_model(tiny(), config)
        return
    # Names that no module has are passed over in silence.
    model = peft.get_peft_model(tiny(), config)
    assert set(model.base_model.targeted_module_names) == matched


def test_names_to_save_that_no_module_has_are_passed_over() -> None:
    names = [name for name, _ in tiny().named_modules() if name]
    trained = Trained(directory=None, method="lora", target_modules=("q_proj",), modules_to_save=("wte",))
    assert trained.unmatched(names) == ((), ("wte",))
    config = peft.LoraConfig(task_type="CAUSAL_LM", target_modules=["q_proj"], modules_to_save=["wte"])
    model = peft.get_peft_model(tiny(), config)
    assert {name.rpartition(".lora_")[0] for name, weight in model.named_parameters() if weight.requires_grad} == {
        "base_model.model.model.layers.0.self_attn.q_proj"
    }


@pytest.mark.parametrize("added", [0.0, 1.0])
def test_two_matrices_that_differ_are_left_apart(added: float, tmp_path: Path) -> None:
    """transformers 5.23 ties two matrices that are equal, and keeps two that differ, whatever config.json says."""
    tiny().save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"] + added
    save_file(tensors, tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert json.loads((tmp_path / "config.json").read_text(encoding="utf-8"))["tie_word_embeddings"] is True
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path)
    assert torch.equal(model.lm_head.weight, tensors["lm_head.weight"])
    assert torch.equal(model.get_input_embeddings().weight, tensors["model.embed_tokens.weight"])
    assert (model.lm_head.weight is model.get_input_embeddings().weight) == (added == 0.0)


@pytest.mark.parametrize("targets", [["q_proj"], ["q_proj", "embed_tokens"]])
def test_an_adapter_of_zeros_is_told_from_one_that_was_trained(targets: list[str], tmp_path: Path) -> None:
    from finetooth.demo import tokenizer_path
    from finetooth.labels import make_setup
    from finetooth.rules import rule_of
    from finetooth.rules.facts import SetupFacts

    shutil.copytree(tokenizer_path("supervised"), tmp_path / "adapter")
    facts = SetupFacts(make_setup(str(tmp_path / "adapter")))
    config = peft.LoraConfig(task_type="CAUSAL_LM", r=2, target_modules=targets)
    peft.get_peft_model(tiny(), config).save_pretrained(tmp_path / "adapter")
    (hit,) = rule_of("RUN005").run(facts)
    assert hit.because.code == "adapter-of-zeros"
    adapted(targets, []).save_pretrained(tmp_path / "adapter")
    assert list(rule_of("RUN005").run(facts)) == []
