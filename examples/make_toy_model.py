"""Write a toy Llama with one of the package's tokenizers: make_toy_model.py DIR [split | masked | supervised]."""

import shutil
import sys
from pathlib import Path

import torch
from transformers import LlamaConfig, LlamaForCausalLM
from transformers.utils import logging

from finetooth.demo import tokenizer_path

logging.disable_progress_bar()
directory = Path(sys.argv[1])
name = sys.argv[2] if len(sys.argv) > 2 else "supervised"
torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=2048,
    hidden_size=64,
    intermediate_size=128,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    max_position_embeddings=1024,
    bos_token_id=1,
    eos_token_id=2,
    tie_word_embeddings=True,
)
model = LlamaForCausalLM(config)
model.save_pretrained(directory)
for path in tokenizer_path(name).iterdir():
    if path.name not in ("config.json", "generation_config.json"):
        shutil.copyfile(path, directory / path.name)
print(f"{directory}: a Llama of {model.num_parameters():,} weights, with the tokenizer `{name}`")
