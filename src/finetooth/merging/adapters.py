"""`Adapter`: a LoRA that is merged into its base as the base is read: W + scale * B @ A, in fp32."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetooth.errors import MergeError
from finetooth.merging.headers import DTYPES, Entry, WeightFile, read_weight_file
from finetooth.merging.references import model_directory
from finetooth.messages import say

_KNOWN_IDLE = {
    "alpha_pattern", "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "fan_in_fan_out", "inference_mode", "init_lora_weights", "layer_replication", "layers_pattern",
    "layers_to_transform", "loftq_config", "lora_alpha", "lora_bias", "lora_dropout", "megatron_config",
    "megatron_core", "modules_to_save", "peft_type", "peft_version", "qalora_group_size", "r", "rank_pattern",
    "revision", "runtime_config", "target_modules", "target_parameters", "task_type", "trainable_token_indices",
    "use_bdlora", "use_dora", "use_qalora", "use_rslora", "bias", "arrow_config", "alora_invocation_tokens",
}  # fmt: skip
"""Options that change nothing in the factors, or whose change is known here (peft 0.18, `LoraConfig`)."""

_REFUSED = (
    "use_dora", "fan_in_fan_out", "use_qalora", "lora_bias", "layer_replication", "trainable_token_indices",
    "target_parameters",
)  # fmt: skip
"""Options that change what the factors mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Factors:
    """The two factors of one tensor's change."""

    down: Entry
    """A, `[rank, in]`."""
    up: Entry
    """B, `[out, rank]`."""
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapter:
    """An adapter whose header is read."""

    file: WeightFile
    factors: Mapping[str, Factors]
    """By the name of the tensor that they change."""
    replaced: Mapping[str, Entry]
    """Tensors that it holds whole (`modules_to_save`), by the name of the tensor that they replace."""


def open_adapter(path: str, base: Mapping[str, Entry]) -> Adapter:
    """Read an adapter's config and header.

    Args:
        path: A directory or hub id.
        base: The tensors of the model that it is for.

    Raises:
        MergeError: It is no LoRA, changes a tensor that the model lacks, or is of a kind that is not supported.
    """
    directory = model_directory(path)
    config = _config(directory)
    for name in (
        "use_dora",
        "fan_in_fan_out",
        "use_qalora",
        "lora_bias",
        "layer_replication",
        "trainable_token_indices",
        "target_parameters",
    ):
        if config.get(name):
            raise _refused(directory, say("merging.adapter_option", name=name))
    if config.get("peft_type") != "LORA":
        raise _refused(directory, say("merging.adapter_option", name=f"peft_type: {config.get('peft_type')}"))
    if config.get("bias", "none") != "none":
        raise _refused(directory, say("merging.adapter_option", name=f"bias: {config['bias']}"))
    file = directory / "adapter_model.safetensors"
    if not file.is_file():
        raise _refused(directory, say("merging.no_adapter_weights"))
    weights = read_weight_file(file)
    downs: dict[str, Entry] = {}
    ups: dict[str, Entry] = {}
    replaced: dict[str, Entry] = {}
    for name, entry in weights.entries.items():
        plain = re.sub(r"^base_model\.model\.", "", name)
        module, _, kind = plain.partition(".lora_")
        kind = kind.replace(".default", "")
        if kind == "A.weight":
            downs[module] = entry
        elif kind == "B.weight":
            ups[module] = entry
        elif kind:
            raise _refused(directory, say("merging.adapter_option", name=name))
        else:
            replaced[plain.replace(".modules_to_save", "").replace(".default", "")] = entry
    factors = {}
    for module in sorted(downs.keys() | ups.keys()):
        name = f"{module}.weight"
        if module not in downs or module not in ups or not _fits(downs[module], ups[module], base.get(name)):
            raise _refused(directory, say("merging.adapter_misfit", name=module))
        rank = downs[module].shape[0]
        factors[name] = Factors(down=downs[module], up=ups[module], scale=_scale(config, module, rank))
    for name, entry in replaced.items():
        if name not in base or base[name].shape != entry.shape:
            raise _refused(directory, say("merging.adapter_misfit", name=name))
    return Adapter(file=weights, factors=factors, replaced=replaced)


def _fits(down: Entry, up: Entry, whole: Entry | None) -> bool:
    if whole is None or {down.dtype, up.dtype} - DTYPES.keys() or len(down.shape) != 2 or len(up.shape) != 2:
        return False
    return up.shape[1] == down.shape[0] and (up.shape[0], down.shape[1]) == whole.shape


def _scale(config: Mapping[str, Any], module: str, rank: int) -> float:
    """Return alpha over rank, or over its root for rank-stabilized LoRA (Kalajdzievski, 2023, arXiv:2312.03732)."""
    alpha = float(_pattern(config.get("alpha_pattern") or {}, module, config.get("lora_alpha", 8)))
    return alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)


def _pattern(patterns: Mapping[str, Any], module: str, default: Any) -> Any:
    # peft 0.18, `get_pattern_key`: a key is a regular expression that the module's name ends with.
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _config(directory: Path) -> dict[str, Any]:
    path = directory / "adapter_config.json"
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise _refused(directory, say("merging.no_adapter")) from error
    if not isinstance(value, dict):
        raise _refused(directory, say("merging.no_adapter"))
    unknown = [name for name in value if name not in _KNOWN_IDLE and value[name]]
    if unknown:
        raise _refused(directory, say("merging.adapter_option", name=unknown[0]))
    return value


def _refused(directory: Path, what: str) -> MergeError:
    return MergeError(what, where=str(directory), help=say("merging.adapter_help"))
