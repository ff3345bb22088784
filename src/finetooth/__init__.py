"""finetooth goes through a language-model fine-tune with a fine-tooth comb.

    import finetooth

    finetooth.inspect("train.jsonl", model="my-model")                # which tokens are supervised
    finetooth.encode(rows, model="my-model")                          # ids, labels and ranges of rows
    finetooth.encode_dataset(dataset, tokenizer)                      # input_ids and labels for Trainer and TRL
    finetooth.CompletionOnlyCollator("[/INST] ", tokenizer=tokenizer)  # labels made batch by batch
    finetooth.probe("runs/first", data="train.jsonl")                 # how a model's answers end
    finetooth.train("recipe.yaml", "runs/first")                      # what rows share computed once
    finetooth.merge("merge.yaml", "merged")                           # models merged in bounded memory
    finetooth.compare("runs/first", "runs/second")                    # runs side by side
    finetooth.combine_adapters(["a", "b"], "both", way="ties", weights=0.5, density=0.5)
    finetooth.extract_adapter("tuned", "lora", base="base", rank=16)  # a fine-tune's change as a LoRA
    finetooth.ForestTrainer(model, args, train_dataset=dataset)       # the same in a script of your own

Everything is imported when it is first asked for: `import finetooth` imports no other library.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from finetooth.version import __version__

if TYPE_CHECKING:
    from finetooth.api import encode, encode_dataset
    from finetooth.checking import Report, check
    from finetooth.comparing.comparison import Comparison, compare
    from finetooth.config import CheckConfig, Config, DataConfig, LabelsConfig, TokenizerConfig
    from finetooth.errors import FinetoothError
    from finetooth.inspection import Inspection, inspect
    from finetooth.integrations.collator import CompletionOnlyCollator
    from finetooth.labels import Setup, make_setup
    from finetooth.merging.lora.combining import combine_adapters
    from finetooth.merging.lora.extracting import Extraction, extract_adapter
    from finetooth.merging.merge import merge
    from finetooth.personas.checking import PersonaReport, check_persona
    from finetooth.personas.lookup import FactIndex, FoundFact
    from finetooth.personas.prompt import PersonaPrompt, Prompted
    from finetooth.personas.reading import load_persona
    from finetooth.personas.sheet import Persona
    from finetooth.probing.probe import probe
    from finetooth.probing.report import ProbeReport
    from finetooth.records import read_records, records_of
    from finetooth.runs import Run
    from finetooth.tokenizer import Tokenizer, load_tokenizer
    from finetooth.training.observing import MetricsCallback
    from finetooth.training.probes import ProbeCallback
    from finetooth.training.running import train
    from finetooth.training.trainer import ForestMixin, ForestTrainer
    from finetooth.types import IGNORE_INDEX, Encoded, Finding, Record, Rendered, Span

__all__ = [
    "IGNORE_INDEX",
    "CheckConfig",
    "Comparison",
    "CompletionOnlyCollator",
    "Config",
    "DataConfig",
    "Encoded",
    "Extraction",
    "FactIndex",
    "Finding",
    "FinetoothError",
    "ForestMixin",
    "ForestTrainer",
    "FoundFact",
    "Inspection",
    "LabelsConfig",
    "MetricsCallback",
    "Persona",
    "PersonaPrompt",
    "PersonaReport",
    "ProbeCallback",
    "ProbeReport",
    "Prompted",
    "Record",
    "Rendered",
    "Report",
    "Run",
    "Setup",
    "Span",
    "Tokenizer",
    "TokenizerConfig",
    "__version__",
    "check",
    "check_persona",
    "combine_adapters",
    "compare",
    "encode",
    "encode_dataset",
    "extract_adapter",
    "inspect",
    "load_persona",
    "load_tokenizer",
    "make_setup",
    "merge",
    "probe",
    "read_records",
    "records_of",
    "train",
]

_HOMES = {
    "finetooth.api": ("encode", "encode_dataset"),
    "finetooth.checking": ("Report", "check"),
    "finetooth.comparing.comparison": ("Comparison", "compare"),
    "finetooth.config": ("CheckConfig", "Config", "DataConfig", "LabelsConfig", "TokenizerConfig"),
    "finetooth.errors": ("FinetoothError",),
    "finetooth.inspection": ("Inspection", "inspect"),
    "finetooth.integrations.collator": ("CompletionOnlyCollator",),
    "finetooth.labels": ("Setup", "make_setup"),
    "finetooth.merging.lora.combining": ("combine_adapters",),
    "finetooth.merging.lora.extracting": ("Extraction", "extract_adapter"),
    "finetooth.merging.merge": ("merge",),
    "finetooth.personas.checking": ("PersonaReport", "check_persona"),
    "finetooth.personas.lookup": ("FactIndex", "FoundFact"),
    "finetooth.personas.prompt": ("PersonaPrompt", "Prompted"),
    "finetooth.personas.reading": ("load_persona",),
    "finetooth.personas.sheet": ("Persona",),
    "finetooth.probing.probe": ("probe",),
    "finetooth.probing.report": ("ProbeReport",),
    "finetooth.records": ("read_records", "records_of"),
    "finetooth.runs": ("Run",),
    "finetooth.tokenizer": ("Tokenizer", "load_tokenizer"),
    "finetooth.training.observing": ("MetricsCallback",),
    "finetooth.training.probes": ("ProbeCallback",),
    "finetooth.training.running": ("train",),
    "finetooth.training.trainer": ("ForestMixin", "ForestTrainer"),
    "finetooth.types": ("IGNORE_INDEX", "Encoded", "Finding", "Record", "Rendered", "Span"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module 'finetooth' has no attribute {name!r}")
    value = getattr(import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
