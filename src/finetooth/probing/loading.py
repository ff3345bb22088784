"""Load a model as users name it: a directory, a hub id, a run, or an adapter."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetooth.errors import ConfigError, FinetoothError
from finetooth.messages import say
from finetooth.runs import MODEL


def model_path(model: str | Path) -> str:
    """Return what to load: of the directory of a run, the model in it.

    Raises:
        ConfigError: The directory holds several runs, or one beside nothing else.
    """
    place = Path(model)
    if (place / MODEL).is_dir():
        return str(place / MODEL)
    if place.is_dir() and not (place / "config.json").is_file() and not (place / "adapter_config.json").is_file():
        runs = sorted(child for child in place.iterdir() if (child / MODEL).is_dir())
        if runs:
            names = ", ".join(child.name for child in runs)
            raise ConfigError(say("probing.several_runs", names=names), where=str(model), help=str(runs[0]))
    return str(model)


def load(path: str, adapter: str | Path | None = None) -> Any:
    """Load a model for generation, with its adapter; an adapter's directory brings the model that it was made for.

    Raises:
        FinetoothError: It cannot be loaded.
    """
    import json

    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()
    own = Path(path) / "adapter_config.json"
    try:
        if adapter is None and own.is_file():
            path, adapter = json.loads(own.read_text(encoding="utf-8"))["base_model_name_or_path"], path
        model = AutoModelForCausalLM.from_pretrained(path, dtype="auto", use_safetensors=True, trust_remote_code=False)
        if adapter is not None:
            from peft import PeftModel

            model = PeftModel.from_pretrained(model, str(adapter))
    except (OSError, ValueError, ImportError, KeyError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise FinetoothError(
            say("probing.no_model", reason=reason), where=path, help=say("probing.no_model_help")
        ) from error
    import torch

    return model.to("cuda" if torch.cuda.is_available() else "cpu")
