"""Measure what rounding does to gradients, and what a trial sees: the ground for its tolerances.

One set of rows, four ways: padded in fp32 (the reference) and in the half precision that is trained in, and as packs in
both, under the attention implementations of the device. Differences are norm-wise and relative, the largest tensor's.

    python benchmarks/bench_trial.py                             # a toy Llama, on the CPU
    python benchmarks/bench_trial.py --layers 8 --hidden 2048    # on a GPU; --speed adds rows a second
"""

from __future__ import annotations

import argparse
import random
import time
import warnings
from typing import Any

import torch
from transformers import LlamaConfig, LlamaForCausalLM

from finetooth.loss import Targets
from finetooth.packing import Pack, Padded, make_packs, make_padded
from finetooth.packing.mask import FORM_OF, MaskMaker
from finetooth.training.attention import NAME
from finetooth.training.forward import Head, inputs_of
from finetooth.training.rows import TrainRow
from finetooth.types import IGNORE_INDEX

VOCABULARY = 32_000


def rows_of(count: int, persona: int, *, vocabulary: int) -> list[TrainRow]:
    """Return rows that share a persona and learn their last 24 tokens."""
    draw = random.Random(0)
    shared = [draw.randrange(10, vocabulary) for _ in range(persona)]
    rows = []
    for index in range(count):
        ids = shared + [draw.randrange(10, vocabulary) for _ in range(draw.randrange(32, 76))]
        rows.append(TrainRow(index=index, where="", input_ids=ids, labels=[IGNORE_INDEX] * (len(ids) - 24) + ids[-24:]))
    return rows


def model_of(given: argparse.Namespace, dtype: torch.dtype, attention: str) -> Any:
    """Return a Llama with an adapter on all linear layers, its weights the same for every dtype."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=given.hidden,
        intermediate_size=int(given.hidden * 2.6875),
        num_hidden_layers=given.layers,
        num_attention_heads=max(2, given.hidden // 128),
        vocab_size=given.vocabulary,
        max_position_embeddings=8192,
    )
    with torch.device(given.device):
        model: Any = LlamaForCausalLM(config).to(dtype)
    if given.lora:
        import peft

        torch.manual_seed(1)
        adapter = peft.LoraConfig(
            task_type="CAUSAL_LM", r=16, lora_alpha=32, target_modules="all-linear", init_lora_weights=False
        )
        model = peft.get_peft_model(model, adapter)
    base = model.get_base_model() if given.lora else model
    base.set_attn_implementation(attention)
    return model


def step(model: Any, batches: list[Pack] | list[Padded], attention: str, device: str) -> float:
    """Run forward and backward over the batches of a step, and return the loss."""
    head = Head(model, is_plain=True)
    masks = MaskMaker(form=FORM_OF[attention], dtype=next(model.parameters()).dtype)
    num_items = sum(batch.num_supervised for batch in batches)
    total = 0.0
    for batch in batches:
        loss, _ = head.loss(
            model,
            inputs_of(batch, masks, device),
            Targets.from_batch(batch, device=device),
            stop_ids=None,
            num_items=num_items,
            label_smoothing=0.0,
        )
        loss.backward()  # type: ignore[no-untyped-call]
        total += float(loss.item())
    return total


def gradients(model: Any) -> dict[str, torch.Tensor]:
    """Take the gradients off a model."""
    taken = {name: weight.grad.float() for name, weight in model.named_parameters() if weight.grad is not None}
    model.zero_grad(set_to_none=True)
    return taken


def difference(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> float:
    """Return the largest relative difference, as the trial counts it."""
    whole = sum(float(gradient.norm()) ** 2 for gradient in expected.values()) ** 0.5
    shares = [
        float((found[name] - gradient).norm()) / max(float(gradient.norm()), 1e-3 * float(whole))
        for name, gradient in expected.items()
    ]
    return max(shares)


def main() -> None:
    """Print the differences, and rows a second where asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=3)
    parser.add_argument("--vocabulary", type=int, default=VOCABULARY)
    parser.add_argument("--rows", type=int, default=16)
    parser.add_argument("--persona", type=int, default=430)
    parser.add_argument("--pack", type=int, default=4096)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--speed", action="store_true")
    given = parser.parse_args()
    warnings.filterwarnings("ignore")
    fast = "flex_attention" if given.device == "cuda" else NAME
    rows = rows_of(given.rows, given.persona, vocabulary=given.vocabulary)
    padded = make_padded(rows, max_tokens=given.pack)
    packs = make_packs(rows, max_tokens=given.pack)
    name = torch.cuda.get_device_name() if given.device == "cuda" else "CPU"
    shape = f"{given.layers} layers of {given.hidden}, {given.rows} rows, LoRA {given.lora}"
    print(f"{name}, torch {torch.__version__}; {shape}")
    reference: dict[str, torch.Tensor] | None = None
    for dtype in (torch.float32, torch.bfloat16):
        own: dict[str, torch.Tensor] | None = None
        for form, attention in (("padded", "sdpa"), ("packed", "sdpa"), ("packed", fast)):
            model = model_of(given, dtype, attention)
            batches: Any = padded if form == "padded" else packs
            loss = step(model, batches, attention, given.device)
            found = gradients(model)
            if reference is None:
                reference = found
            if own is None:
                own = found
            line = f"  {str(dtype).removeprefix('torch.'):9} {form} {attention:15} loss {loss:.5f}"
            line += f"  against padded fp32 {difference(found, reference):.1e}, against padded in this dtype "
            print(line + f"{difference(found, own):.1e}", flush=True)
            if given.speed and dtype == torch.bfloat16:
                start = time.perf_counter()
                for _ in range(3):
                    step(model, batches, attention, given.device)
                print(f"    {3 * given.rows / (time.perf_counter() - start):.1f} rows/s", flush=True)
            del model


if __name__ == "__main__":
    main()
