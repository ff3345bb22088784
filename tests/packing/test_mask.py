from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given

from finetooth.packing import Pack, make_packs
from finetooth.types import IGNORE_INDEX
from tests.packing.rows import IdRow, forests, seen, supervised

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from finetooth.loss import Targets, supervised_loss  # noqa: E402
from finetooth.packing.mask import FORM_OF, MaskMaker, additive, keep_mask, sliding  # noqa: E402

SHAPE: dict[str, Any] = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
WINDOW = 5

PERSONA = [1, 7, 8, 9, 10, 11, 12, 13, 14, 15]
ROWS = [
    supervised([*PERSONA, 20, 21, 22, 2], first=11),
    supervised([*PERSONA, 20, 21, 23, 24, 2], first=11),  # branches off within the answer
    supervised([*PERSONA, 20, 30, 31, 2], first=11),  # another answer to the same prompt
    supervised([*PERSONA, 20, 30, 31, 2], first=11),  # the same row again
    supervised([*PERSONA, 40, 41], first=11),
    supervised([*PERSONA, 40, 41, 42, 43, 44, 2], first=13),  # goes on where the row before ends
    supervised([1, 50, 51, 52, 53, 54, 55, 2], first=2),  # another persona
    IdRow(input_ids=[1, 56], labels=[IGNORE_INDEX] * 2),
]


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Keep toy models on one core: threads cost more than they bring, and the order of sums stays the same."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def toy(kind: str, attention: str) -> Any:
    """Return a toy model of a kind, in fp32, its weights large enough for attention to matter."""
    shape = dict(SHAPE)
    if kind != "Llama":
        shape["sliding_window"] = WINDOW
    if kind == "Gemma3":
        shape |= {"head_dim": 8, "layer_types": ["sliding_attention", "full_attention"]}
    if kind == "Qwen2":
        shape |= {"use_sliding_window": True, "layer_types": ["full_attention", "sliding_attention"]}
    config_name = f"{kind}TextConfig" if kind == "Gemma3" else f"{kind}Config"
    config = getattr(transformers, config_name)(**shape)
    config._attn_implementation = attention
    torch.manual_seed(0)
    model = getattr(transformers, f"{kind}ForCausalLM")(config).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.25)
    return model


def padded_loss(model: Any, rows: list[IdRow], num_items: int) -> tuple[Any, list[Any]]:
    """Return the loss of rows side by side, padded, by the model's own path, and each row's hidden states."""
    width = max(len(row.input_ids) for row in rows)
    ids = torch.tensor([row.input_ids + [0] * (width - len(row.input_ids)) for row in rows])
    labels = torch.tensor([row.labels + [IGNORE_INDEX] * (width - len(row.labels)) for row in rows])
    attended = torch.tensor([[1] * len(row.input_ids) + [0] * (width - len(row.input_ids)) for row in rows])
    output = model(
        input_ids=ids, attention_mask=attended, labels=labels, num_items_in_batch=num_items, output_hidden_states=True
    )
    return output.loss, list(output.hidden_states[-1])


def packed_loss(model: Any, pack: Pack, mask: Any, num_items: int) -> tuple[Any, Any]:
    hidden = model.model(
        input_ids=torch.tensor([pack.input_ids]),
        position_ids=torch.tensor([pack.positions]),
        attention_mask=mask,
        use_cache=False,
    ).last_hidden_state
    return supervised_loss(hidden, model.lm_head, Targets.from_batch(pack), num_items=num_items), hidden[0]


def masks(kind: str, attention: str, pack: Pack) -> Any:
    maker = MaskMaker(
        form=FORM_OF[attention], window=None if kind == "Llama" else WINDOW, by_layer_type=kind in {"Gemma3", "Qwen2"}
    )
    return maker.make(pack)


def dense(pack: Pack) -> Any:
    return MaskMaker(form="boolean").make(pack)


def gradients(model: Any) -> dict[str, Any]:
    taken = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()
    return taken


@pytest.mark.parametrize("max_tokens", [1000, 20], ids=["one pack", "split"])
@pytest.mark.parametrize("attention", ["sdpa", "eager"])
@pytest.mark.parametrize("kind", ["Llama", "Mistral", "Qwen2", "Gemma3"])
def test_packs_equal_padded_rows(kind: str, attention: str, max_tokens: int) -> None:
    model = toy(kind, attention)
    packs = make_packs(ROWS, max_tokens=max_tokens)
    assert (len(packs) > 1) == (max_tokens == 20)
    num_items = sum(pack.num_supervised for pack in packs)

    loss, expected_hidden = padded_loss(model, ROWS, num_items)
    loss.backward()
    expected = gradients(model)
    total = 0.0
    for pack in packs:
        packed, hidden = packed_loss(model, pack, masks(kind, attention, pack), num_items)
        packed.backward()
        total += packed.item()
        for number, last in zip(pack.row_indices, pack.last_indices, strict=True):
            path = seen(pack, last)
            torch.testing.assert_close(hidden[path], expected_hidden[number][: len(path)], rtol=1e-5, atol=1e-5)

    assert total == pytest.approx(loss.item(), abs=1e-5)
    for name, gradient in gradients(model).items():
        assert (gradient - expected[name]).norm() <= 1e-5 * expected[name].norm(), name


def test_each_target_has_the_loss_that_it_has_in_its_row() -> None:
    model = toy("Llama", "sdpa")
    (pack,) = make_packs(ROWS, max_tokens=1000)
    hidden = packed_loss(model, pack, dense(pack), 1)[1]
    packed = torch.log_softmax(model.lm_head(hidden[pack.source_indices]), dim=-1)
    found = {
        (tuple(pack.input_ids[key] for key in seen(pack, source)), target): packed[number, target].item()
        for number, (source, target) in enumerate(zip(pack.source_indices, pack.targets, strict=True))
    }
    for row in ROWS:
        alone = torch.log_softmax(model(input_ids=torch.tensor([row.input_ids])).logits[0], dim=-1)
        for depth, label in enumerate(row.labels):
            if label != IGNORE_INDEX:
                expected = alone[depth - 1, label].item()
                assert found[tuple(row.input_ids[:depth]), label] == pytest.approx(expected, abs=1e-5)


def test_an_empty_pack_has_zero_loss_and_zero_gradients() -> None:
    model = toy("Llama", "sdpa")
    loss, _ = packed_loss(model, Pack.empty(), dense(Pack.empty()), 7)
    loss.backward()
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients(model).values())


def test_a_boolean_mask_under_eager_is_wrong() -> None:
    """The trap that the additive form is there for."""
    model = toy("Llama", "eager")
    (pack,) = make_packs(ROWS, max_tokens=1000)
    forms: tuple[Any, ...] = ("additive", "boolean")
    right, wrong = (packed_loss(model, pack, MaskMaker(form=form).make(pack), 1)[0] for form in forms)
    assert abs(right.item() - wrong.item()) > 0.1


@given(forests())
def test_a_query_keeps_what_end_says(rows: list[IdRow]) -> None:
    for pack in make_packs(rows, max_tokens=30):
        keep = keep_mask(pack.end)
        assert keep.dtype == torch.bool
        narrow = sliding(keep, pack.positions, 3)
        for query in range(pack.num_tokens):
            path = seen(pack, query)
            assert keep[query].nonzero().flatten().tolist() == path
            assert narrow[query].nonzero().flatten().tolist() == path[-3:]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_the_additive_form_is_zero_or_the_smallest_number(dtype: Any) -> None:
    mask = additive(keep_mask([2, 2, 3]), dtype)
    low = torch.finfo(dtype).min
    assert mask.dtype == dtype
    assert mask.tolist() == [[0, low, low], [0, 0, low], [low, low, 0]]


def test_masks_have_the_shape_that_models_take() -> None:
    (pack,) = make_packs([supervised([1, 2, 3, 4])], max_tokens=3)
    pair = MaskMaker(form="boolean", window=1, by_layer_type=True).make(pack)
    assert {name: tuple(mask.shape) for name, mask in pair.items()} == {
        "full_attention": (1, 1, 3, 3),
        "sliding_attention": (1, 1, 3, 3),
    }
    assert pair["sliding_attention"][0, 0].tolist() == torch.eye(3, dtype=torch.bool).tolist()


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="window is 0"):
        sliding(keep_mask([1]), [0], 0)
