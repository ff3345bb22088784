"""Train a tiny Llama on forests of prefixes: by ForestTrainer, or `sft` by SFTTrainer, or `callback` by a plain one."""

import sys
import tempfile

from datasets import Dataset
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM, Trainer, TrainingArguments

import finetooth
from finetooth.demo import tokenizer_path

questions = ("はい？", "Hello?", "お元気ですか。", "How are you?")
rows = [{"text": f"[INST] あなたはお嬢様です。{question} [/INST] ごきげんよう。</s>"} for question in questions]
tokenizer = AutoTokenizer.from_pretrained(tokenizer_path("supervised"))
model = LlamaForCausalLM(
    LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2
    )
)
collator = finetooth.CompletionOnlyCollator("[/INST] ", tokenizer=tokenizer)
dataset = Dataset.from_list(rows)
encoded = dataset.map(lambda row: tokenizer(row["text"]), remove_columns="text")

with tempfile.TemporaryDirectory() as directory:
    options = {
        "output_dir": directory,
        "max_steps": 2,
        "per_device_train_batch_size": 4,
        "logging_steps": 1,
        "use_cpu": True,
        "bf16": False,
        "report_to": "none",
        "save_strategy": "no",
        "disable_tqdm": True,
    }
    way = "plain"
    if "sft" in sys.argv[1:]:
        from trl import SFTConfig, SFTTrainer

        class ForestSFTTrainer(finetooth.ForestMixin, SFTTrainer):
            """SFTTrainer on forests of prefixes."""

        trainer = ForestSFTTrainer(
            model,
            args=SFTConfig(max_length=None, **options),
            train_dataset=dataset,
            data_collator=collator,
            processing_class=tokenizer,
            pack="forest",
        )
    elif "callback" in sys.argv[1:]:
        trainer = Trainer(model, TrainingArguments(**options), train_dataset=encoded, data_collator=collator)
        finetooth.MetricsCallback.attach(trainer)
    else:
        trainer = finetooth.ForestTrainer(
            model, TrainingArguments(**options), train_dataset=encoded, data_collator=collator, pack="forest"
        )
    from transformers import PrinterCallback

    trainer.remove_callback(PrinterCallback)
    trainer.train()
    first = trainer.state.log_history[0]
    print(f"{getattr(trainer, 'way', way)}: loss {first['loss']:.2f}, p_eos_end {first['p_eos_end']:.5f}")
    print("steps:", trainer.state.global_step)
