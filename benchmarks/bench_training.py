"""Measure training steps on a CPU: forests of prefixes, padded rows, and TRL's SFTTrainer, on the same rows in one run.

Rows are shaped like the report's: a persona of 430 tokens that all share, and 50 of their own, of which 25 are learned.
The model is a toy Llama (3 layers of 256), so attention and Python weigh more than they would in a real one. `pad`
computes logits at supervised positions only, as `forest` does. Each is timed step by step in its own Trainer, with the
optimizer; the median counts. Times on shared machines are noise: read the ratios.

    python benchmarks/bench_training.py                 # 8, 16 and 64 rows a step, then rows that share nothing
    python benchmarks/bench_training.py --chunks        # the size of a chunk of queries
    python benchmarks/bench_training.py --fit           # what a pair costs beside a token, for training/cost.py
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"

import torch
from transformers import LlamaConfig, LlamaForCausalLM, PrinterCallback, TrainerCallback, TrainingArguments

from finetooth.loss import Targets
from finetooth.packing import make_packs, make_padded
from finetooth.packing.chunks import make_chunks, num_pairs
from finetooth.packing.mask import MaskMaker, chunked_mask
from finetooth.training.attention import NAME
from finetooth.training.forward import Head, inputs_of
from finetooth.training.rows import EncodedRows
from finetooth.training.running import quieten_libraries
from finetooth.training.trainer import ForestTrainer
from finetooth.types import IGNORE_INDEX, Encoded

VOCABULARY = 1000
PERSONA, TAIL, LEARNED = 430, 50, 25


def rows_of(count: int, *, shared: bool = True, seed: int = 0) -> EncodedRows:
    """Return rows of one length."""
    draw = random.Random(seed)

    def some(number: int) -> list[int]:
        return [draw.randrange(10, VOCABULARY) for _ in range(number)]

    persona = some(PERSONA)
    rows = EncodedRows()
    for index in range(count):
        ids = (persona if shared else some(PERSONA)) + some(TAIL)
        labels = [IGNORE_INDEX] * (len(ids) - LEARNED) + ids[-LEARNED:]
        rows.append(
            Encoded(
                record_index=index,
                where=f"rows:{index}",
                model="",
                loader="tokenizers",
                labels_way="as-is",
                text="",
                input_ids=ids,
                labels=labels,
                offsets=[],
                spans=(),
            )
        )
    return rows


def model() -> Any:
    """Return the toy Llama."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=256,
        intermediate_size=512,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=4,
        vocab_size=VOCABULARY,
        max_position_embeddings=4096,
        attn_implementation="sdpa",
    )
    return LlamaForCausalLM(config)


class Clock(TrainerCallback):  # type: ignore[misc]
    """Notes when steps end."""

    def __init__(self) -> None:
        self.times: list[float] = []

    def on_step_end(self, *args: Any, **more: Any) -> None:
        """Note the time."""
        self.times.append(time.perf_counter())

    def seconds(self) -> float:
        """Return the median step; the first one, in which everything warms up, ends before the first interval."""
        return statistics.median(later - earlier for earlier, later in zip(self.times, self.times[1:], strict=False))


def arguments(directory: str, rows_per_step: int, steps: int) -> dict[str, Any]:
    """Return what all trainers are told."""
    return {
        "output_dir": directory,
        "max_steps": steps + 1,
        "per_device_train_batch_size": min(8, rows_per_step),
        "gradient_accumulation_steps": max(1, rows_per_step // 8),
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "disable_tqdm": True,
        "save_strategy": "no",
        "logging_steps": 1000,
        "dataloader_pin_memory": False,
        "optim": "adamw_torch",
    }


def ours(pack: str, rows: EncodedRows, rows_per_step: int, steps: int) -> float:
    """Return the seconds of a step of our own."""
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        trainer = ForestTrainer(
            model(),
            TrainingArguments(**arguments(directory, rows_per_step, steps), remove_unused_columns=False),
            train_dataset=rows,
            pack=pack,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    assert trainer.way == pack or pack == "auto"
    return clock.seconds()


def theirs(rows: EncodedRows, rows_per_step: int, steps: int) -> float:
    """Return the seconds of a step of SFTTrainer, at its best here: without checkpointing."""
    from datasets import Dataset
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
    from trl import SFTConfig, SFTTrainer

    vocabulary = {f"t{index}": index for index in range(VOCABULARY)}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], unk_token="t0"))
    reader = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="t2", pad_token="t3", bos_token="t1")
    dataset = Dataset.from_list([{"input_ids": row.input_ids, "labels": row.labels} for row in rows])
    clock = Clock()
    with tempfile.TemporaryDirectory() as directory:
        trainer = SFTTrainer(
            model=model(),
            args=SFTConfig(**arguments(directory, rows_per_step, steps), max_length=None, gradient_checkpointing=False),
            train_dataset=dataset,
            processing_class=reader,
            callbacks=[clock],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return clock.seconds()


def compare(threads: int, steps: int, *, with_trl: bool) -> None:
    """Print rows a second of all ways, and their ratios."""
    print(f"{threads} threads; rows of {PERSONA} shared tokens and {TAIL} of their own; rows a second, of whole steps")
    for rows_per_step in (8, 16, 64):
        rows = rows_of(rows_per_step * (steps + 1))
        # Nothing is the same twice on a shared machine: the ways take turns.
        seconds: dict[str, list[float]] = {"forest": [], "pad": [], "TRL 1.16": []}
        for _ in range(2):
            seconds["forest"].append(ours("forest", rows, rows_per_step, steps))
            seconds["pad"].append(ours("pad", rows, rows_per_step, steps))
            if with_trl:
                seconds["TRL 1.16"].append(theirs(rows, rows_per_step, steps))
        best = {name: min(times) for name, times in seconds.items() if times}
        shown = ", ".join(f"{name} {rows_per_step / one:.1f}" for name, one in best.items())
        ratios = ", ".join(f"{best[name] / best['forest']:.2f} times {name}" for name in best if name != "forest")
        print(f"  {rows_per_step:2d} rows a step: {shown}; forest is {ratios}", flush=True)
    rows = rows_of(16 * (steps + 1), shared=False)
    pairs = [(ours("forest", rows, 16, steps), ours("pad", rows, 16, steps)) for _ in range(2)]
    forest, pad = min(one for one, _ in pairs), min(other for _, other in pairs)
    auto = min(ours("auto", rows, 16, steps) for _ in range(2))
    print(
        f"  without sharing, 16 rows a step: forest {16 / forest:.1f}, pad {16 / pad:.1f}, auto {16 / auto:.1f}; "
        f"forest is {pad / forest:.2f} times pad, auto {pad / auto:.2f}"
    )


def seconds_of(run: Callable[[], None], repeats: int = 3) -> float:
    """Return the best time of some runs after one."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def passes(toy: Any, inputs: list[tuple[dict[str, Any], Targets]]) -> None:
    """Run forward and backward over some batches."""
    head = Head(toy, is_plain=True)
    for given, targets in inputs:
        loss, _ = head.loss(toy, given, targets, stop_ids=None, num_items=1, label_smoothing=0.0)
        loss.backward()  # type: ignore[no-untyped-call]
    toy.zero_grad()


def chunks() -> None:
    """Print how fast chunks of several sizes are."""
    toy = model()
    toy.set_attn_implementation(NAME)
    for rows_per_step in (16, 64):
        (pack,) = make_packs(list(rows_of(rows_per_step)), max_tokens=10**6)
        end, positions = torch.tensor(pack.end), torch.tensor(pack.positions)
        found = []
        for size in (32, 64, 128, 192, 256, 512, 4096):
            given = inputs_of(pack, MaskMaker(form="chunked"), "cpu")
            given["attention_mask"] = chunked_mask(make_chunks(pack, size), end, positions)
            run = [(given, Targets.from_batch(pack))]
            found.append((size, seconds_of(lambda run=run: passes(toy, run))))  # type: ignore[misc]
        print(f"{rows_per_step} rows: " + ", ".join(f"{size}: {rows_per_step / one:.0f} rows/s" for size, one in found))


def fit() -> None:
    """Print what a pair of query and key costs in tokens: two packs of as many tokens, and of unlike pairs."""
    toy = model()
    toy.set_attn_implementation(NAME)
    times, pairs, tokens = [], [], []
    for rows in (list(rows_of(4)), list(rows_of(16)), list(rows_of(64)), list(rows_of(6, shared=False))):
        (pack,) = make_packs(rows, max_tokens=10**6)
        for size in (128, 4096):
            given = inputs_of(pack, MaskMaker(form="chunked"), "cpu")
            held = make_chunks(pack, size)
            given["attention_mask"] = chunked_mask(held, torch.tensor(pack.end), torch.tensor(pack.positions))
            run = [(given, Targets.from_batch(pack))]
            times.append(seconds_of(lambda run=run: passes(toy, run)))  # type: ignore[misc]
            pairs.append(float(num_pairs(held)))
            tokens.append(float(pack.num_tokens))
    matrix = torch.tensor([tokens, pairs, [1.0] * len(times)]).T
    token, pair, whole = torch.linalg.lstsq(matrix, torch.tensor(times)[:, None]).solution[:, 0].tolist()
    operations = 4 * 256 / (2 * (4 * 256 * 256 + 3 * 256 * 512))
    print(f"a token takes {token * 1e6:.0f} us, a pair {pair * 1e6:.3f} us, a pass {whole * 1e3:.1f} ms besides")
    print(f"PAIR_FACTOR {pair / token / operations:.2f}, PER_BATCH {whole / token:.0f}")
    (batch,) = make_padded(list(rows_of(16)))
    toy.set_attn_implementation("sdpa")
    run = [(inputs_of(batch, None, "cpu"), Targets.from_batch(batch))]
    found = seconds_of(lambda: passes(toy, run))
    cost = batch.num_tokens * token + batch.num_tokens * batch.width * pair + whole
    print(f"16 padded rows take {found:.2f} s, and {cost:.2f} s by these")


def main() -> None:
    """Print what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--chunks", action="store_true")
    parser.add_argument("--fit", action="store_true")
    parser.add_argument("--without-trl", action="store_true")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    warnings.filterwarnings("ignore")
    logging.disable(logging.WARNING)
    quieten_libraries()
    if given.chunks:
        chunks()
    elif given.fit:
        fit()
    else:
        compare(given.threads, given.steps, with_trl=not given.without_trl)


if __name__ == "__main__":
    main()
