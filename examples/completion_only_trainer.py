"""Train a tiny Llama on answers alone: by transformers' Trainer, or with the argument `sft` by TRL's SFTTrainer."""

import sys
import tempfile

from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import finetooth
from finetooth.demo import tokenizer_path

questions = ("はい？", "Hello?", "お元気ですか。", "How are you?")
rows = [{"text": f"[INST] {question} [/INST] ごきげんよう。</s>"} for question in questions]
tokenizer = AutoTokenizer.from_pretrained(tokenizer_path("supervised"))
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
)
collator = finetooth.CompletionOnlyCollator("[/INST] ", tokenizer=tokenizer)

with tempfile.TemporaryDirectory() as directory:
    options = {
        "output_dir": directory,
        "max_steps": 2,
        "per_device_train_batch_size": 2,
        "use_cpu": True,
        "bf16": False,
        "report_to": [],
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    dataset = Dataset.from_list(rows)
    if "sft" in sys.argv[1:]:
        from trl import SFTConfig, SFTTrainer

        # The text is encoded by SFTTrainer; its limit of length is 1024 tokens unless it is told otherwise.
        trainer = SFTTrainer(
            model,
            args=SFTConfig(max_length=None, **options),
            train_dataset=dataset,
            data_collator=collator,
            processing_class=tokenizer,
        )
    else:
        dataset = dataset.map(lambda row: tokenizer(row["text"]), remove_columns="text")
        trainer = Trainer(model, TrainingArguments(**options), train_dataset=dataset, data_collator=collator)
    labels = next(iter(trainer.get_train_dataloader()))["labels"]
    for row in labels.tolist():
        learned = [label for label in row if label != finetooth.IGNORE_INDEX]
        print("learned:", repr(tokenizer.decode(learned)), "ends in", learned[-1])
    trainer.train()
    print("steps:", trainer.state.global_step)
