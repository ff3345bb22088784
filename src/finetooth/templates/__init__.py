"""The built-in chat templates: one `<name>.jinja` file a format, and the facts that go with it.

Each file is written from the format's documentation, which its first comment names, and keeps to four rules:

- The inference prompt of every answer is a prefix of the training text, in characters and in tokens. It never ends
  on a space: where a format has one there, the model writes it.
- `{% generation %}` holds all that the model has to write, the terminator included, and nothing else.
- A role, a tool call or a list of tools that the format cannot show is refused, never dropped.
- Nothing is made up: no date, and no system message but a preamble that is part of the format.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from types import MappingProxyType

from finetooth.errors import TemplateError
from finetooth.messages import say


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltinTemplate:
    """What is to know of a built-in template without rendering it."""

    name: str
    """What `--template` takes; the file is `<name>.jinja`."""
    title: str
    """The models that speak this format."""
    source: str
    """The address of the document that the template is written from."""
    terminator: str | None
    """The text that ends an answer; `None` where it is the tokenizer's `eos_token`."""
    needs_tokens: tuple[str, ...] = ()
    """Control literals that should be added tokens of the tokenizer; elsewhere they are cut into pieces."""
    has_tools: bool = False
    """Whether the format shows tools, tool calls and their results; the others refuse them."""


_ENTRIES = (
    BuiltinTemplate(
        name="alpaca",
        title="Stanford Alpaca and its followers",
        source="https://github.com/tatsu-lab/stanford_alpaca",
        terminator=None,
    ),
    BuiltinTemplate(
        name="chatml",
        title="ChatML: Hermes, and base models without a format",
        source="https://github.com/openai/openai-python/blob/release-v0.28.0/chatml.md",
        terminator="<|im_end|>",
        needs_tokens=("<|im_start|>", "<|im_end|>"),
        has_tools=True,
    ),
    BuiltinTemplate(
        name="gemma",
        title="Gemma 1, 2 and 3 (text)",
        source="https://ai.google.dev/gemma/docs/formatting",
        terminator="<end_of_turn>",
        needs_tokens=("<start_of_turn>", "<end_of_turn>"),
    ),
    BuiltinTemplate(
        name="ja-instruct",
        title="Japanese Alpaca: LLM-jp and others",
        source="https://huggingface.co/llm-jp/llm-jp-3-13b-instruct",
        terminator=None,
    ),
    BuiltinTemplate(
        name="llama2",
        title="Llama 2 chat, and models tuned from it",
        source="https://www.llama.com/docs/model-cards-and-prompt-formats/meta-llama-2/",
        terminator=None,
    ),
    BuiltinTemplate(
        name="llama3",
        title="Llama 3, 3.1, 3.2 (text) and 3.3",
        source="https://www.llama.com/docs/model-cards-and-prompt-formats/llama3_1/",
        terminator="<|eot_id|>",
        needs_tokens=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        has_tools=True,
    ),
    BuiltinTemplate(
        name="mistral",
        title="Mistral and Mixtral Instruct (tokenizer v3)",
        source="https://docs.mistral.ai/cookbook/concept-deep-dive-tokenization-templates",
        terminator=None,
        needs_tokens=(
            "[INST]",
            "[/INST]",
            "[AVAILABLE_TOOLS]",
            "[/AVAILABLE_TOOLS]",
            "[TOOL_CALLS]",
            "[TOOL_RESULTS]",
            "[/TOOL_RESULTS]",
        ),
        has_tools=True,
    ),
    BuiltinTemplate(
        name="phi",
        title="Phi-3 and Phi-3.5",
        source="https://huggingface.co/microsoft/Phi-3.5-mini-instruct",
        terminator="<|end|>",
        needs_tokens=("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    ),
    BuiltinTemplate(
        name="phi4",
        title="Phi-4 (14B)",
        source="https://huggingface.co/microsoft/phi-4",
        terminator="<|im_end|>",
        needs_tokens=("<|im_start|>", "<|im_sep|>", "<|im_end|>"),
    ),
    BuiltinTemplate(
        name="qwen",
        title="Qwen 2.5, and Qwen 3 without thinking",
        source="https://huggingface.co/Qwen/Qwen3-4B-Instruct-2507",
        terminator="<|im_end|>",
        needs_tokens=("<|im_start|>", "<|im_end|>"),
        has_tools=True,
    ),
    BuiltinTemplate(
        name="vicuna",
        title="Vicuna 1.1 to 1.5",
        source="https://github.com/lm-sys/FastChat/blob/main/docs/vicuna_weights_version.md",
        terminator=None,
    ),
)

TEMPLATES: Mapping[str, BuiltinTemplate] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""The built-in templates by name."""

BUILTIN: tuple[str, ...] = tuple(sorted(TEMPLATES))
"""Their names, sorted."""


def builtin_template(name: str) -> str:
    """Return the jinja source of a built-in template.

    Raises:
        TemplateError: No built-in template has this name.
    """
    if name not in TEMPLATES:
        near = get_close_matches(name.lower(), BUILTIN, n=1)
        known = say("templates.known", names=", ".join(BUILTIN))
        remedy = say("templates.did_you_mean", name=near[0]) if near else known
        raise TemplateError(say("templates.unknown", name=name), help=remedy)
    return files(__package__).joinpath(f"{name}.jinja").read_text(encoding="utf-8")
