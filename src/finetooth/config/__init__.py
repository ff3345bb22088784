"""The configuration of a command: its tree, its keys, and where each value comes from.

    from finetooth.config import load_config

    resolved = load_config({"labels.way": "trl"})
    resolved.config.labels.way          # "trl"
    resolved.origins["labels.way"]      # "argument"

`tree` holds the dataclasses, the one place where a field is documented; `keys` reads them as dotted keys; `files`
finds and reads a file, `loading` puts files, environment and command line together, `recipe` makes of a file with a
`matrix:` the configurations of several runs.
"""

from finetooth.config.files import find_file
from finetooth.config.keys import Key, closest, flatten, key_of, keys, nest
from finetooth.config.loading import ConfigErrors, Flag, Resolved, config_of, load_config
from finetooth.config.recipe import Recipe, load_recipes
from finetooth.config.tree import (
    CheckConfig,
    Config,
    DataConfig,
    LabelsConfig,
    LabelsWay,
    Loader,
    LoraConfig,
    ModelConfig,
    OutputConfig,
    TokenizerConfig,
    TrainConfig,
    TrainOn,
)

__all__ = [
    "CheckConfig",
    "Config",
    "ConfigErrors",
    "DataConfig",
    "Flag",
    "Key",
    "LabelsConfig",
    "LabelsWay",
    "Loader",
    "LoraConfig",
    "ModelConfig",
    "OutputConfig",
    "Recipe",
    "Resolved",
    "TokenizerConfig",
    "TrainConfig",
    "TrainOn",
    "closest",
    "config_of",
    "find_file",
    "flatten",
    "key_of",
    "keys",
    "load_config",
    "load_recipes",
    "nest",
]
