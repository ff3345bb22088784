"""Preparing data: records in memory to an Arrow table of ids and labels, against the bare tokenizer and TRL.

All are measured side by side in one run, on prompts shaped like the report's (a persona of about 250 tokens, a short
turn, a short answer). Quote the ratios, not the rates: machines differ and are shared.

    python benchmarks/bench_preparation.py [--records 4000] [--trl-records 1000] [--repeat 5]
"""

from __future__ import annotations

import argparse
import logging
import os
import random
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SHARED = Path(__file__).resolve().parents[2] / "shared"


def rows(count: int) -> list[dict[str, Any]]:
    """Return rows shaped like the report's, each with a turn and an answer of its own."""
    generator = random.Random(0)
    system = (
        "あなたは役立つアシスタントです。お嬢様のように振る舞い、お嬢様が使うようなトーン、方式、語彙で応答してください。"
        "応答は1文程度、30文字程度に簡潔にお願いします。必要に応じて、参考になりうるお嬢様の情報を与えます。"
        "参考にならない情報を含む場合もありますので、その場合は無視してください。言葉づかいは最後まで崩さないでください。"
    )
    turns = [
        "こんにちは",
        "今日の天気はどうですか",
        "好きな食べ物は何ですか",
        "おすすめの本を教えて",
        "週末は何をしますか",
    ]
    answers = [
        "こんにちは。お会いできて嬉しいですわ。",
        "今日はとても良いお天気ですわ。",
        "紅茶とスコーンが好きですの。",
    ]
    return [
        {
            "prompt": [
                {"role": "system", "content": system},
                {"role": "user", "content": generator.choice(turns) + str(i)},
            ],
            "completion": [{"role": "assistant", "content": generator.choice(answers) + str(i)}],
        }
        for i in range(count)
    ]


def best(function: Callable[[], Any], repeat: int) -> float:
    """Return the least time of several runs, in seconds: what is left when the machine is quiet."""
    times = []
    for _ in range(repeat):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times)


def trl_seconds(data: list[dict[str, Any]], directory: Path) -> float:
    """Return how long SFTTrainer prepares these rows, in one process."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    import tempfile

    from datasets import Dataset, disable_caching
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
    from trl import SFTConfig, SFTTrainer

    disable_caching()
    logging.disable(logging.WARNING)
    tokenizer = AutoTokenizer.from_pretrained(str(directory))
    model = LlamaForCausalLM(
        LlamaConfig(hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2, vocab_size=32000)
    )
    with tempfile.TemporaryDirectory() as folder:
        config = SFTConfig(folder, report_to=[], max_length=2048, use_cpu=True, bf16=False)
        dataset = Dataset.from_list(data)
        start = time.perf_counter()
        SFTTrainer(model=model, args=config, train_dataset=dataset, processing_class=tokenizer)
        return time.perf_counter() - start


def main() -> None:
    """Print a table of rates and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=4000)
    parser.add_argument("--trl-records", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    options = parser.parse_args()
    directory = SHARED / "data/tokenizers/llama2-pad-is-unk"
    if not directory.is_dir():
        sys.exit("skipped: the real tokenizer of shared/ is absent")

    from finetooth.dataset import encode_table
    from finetooth.labels import make_setup
    from finetooth.records import records_of

    data = rows(options.records)
    records = list(records_of(data))
    setup = make_setup(str(directory))
    template, backend = setup.template, setup.tokenizer.backend
    assert template is not None
    texts = [template.render(record.messages or []) for record in records]
    tokens = sum(len(one.ids) for one in backend.encode_batch_fast(texts, add_special_tokens=False))

    seconds = {
        "tokenizers encode_batch": best(lambda: backend.encode_batch(texts, add_special_tokens=False), options.repeat),
        "tokenizers encode_batch_fast": best(
            lambda: backend.encode_batch_fast(texts, add_special_tokens=False), options.repeat
        ),
        "chat template alone": best(
            lambda: [template.render(record.messages or []) for record in records], options.repeat
        ),
        "finetooth, records to Arrow": best(lambda: encode_table(setup, records), options.repeat),
    }
    rates = {name: options.records / taken for name, taken in seconds.items()}
    if options.trl_records:
        rates["TRL SFTTrainer preparation"] = options.trl_records / trl_seconds(data[: options.trl_records], directory)
    base = rates["tokenizers encode_batch"]
    print(f"{options.records} records of {tokens / options.records:.0f} tokens, {os.cpu_count()} cores")
    print(f"{'what':32} {'records/s':>10} {'of encode_batch':>16}")
    for name, rate in rates.items():
        print(f"{name:32} {rate:10,.0f} {rate / base:16.2f}")
    if options.trl_records:
        ratio = rates["finetooth, records to Arrow"] / rates["TRL SFTTrainer preparation"]
        print(f"finetooth against TRL: {ratio:.1f} times")


if __name__ == "__main__":
    main()
