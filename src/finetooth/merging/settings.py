"""`Setting`: the value of a parameter as it is written: a number, a list over layers, or several by name of tensor.

weight: 0.5                                             # one value
t: [0, 0.5, 1]                                          # a gradient: drawn in straight lines over the layers
density:
- {filter: mlp, value: [0.5, 0.9]}                    # for tensors whose name has `mlp` in it
- {filter: self_attn, value: 0.7}
- {value: 1}                                          # for all others
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from finetooth.config.yamlnodes import Node
from finetooth.errors import ConfigError
from finetooth.merging.methods import Parameter, Value
from finetooth.messages import say

Settings = Mapping[str, "Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """The values of one parameter in one place of a configuration."""

    entries: tuple[tuple[str | None, Value | tuple[float, ...]], ...]
    """What the tensor's name has in it (`None`: anything), and the value or the gradient."""
    where: str

    def value_for(self, name: str, t: float) -> Value | None:
        """Return the value for a tensor, or `None` where no filter lets it through.

        Args:
            name: The tensor's name.
            t: How far its layer is from the first (0) to the last (1); 0 for tensors outside layers.
        """
        for part, value in self.entries:
            if part is None or part == "*" or part in name:
                return _along(value, t) if isinstance(value, tuple) else value
        return None


def _along(values: tuple[float, ...], t: float) -> float:
    place = t * (len(values) - 1)
    index = min(int(place), len(values) - 2) if len(values) > 1 else 0
    if len(values) == 1:
        return values[0]
    share = place - index
    return (1 - share) * values[index] + share * values[index + 1]


def read_setting(node: Node, parameter: Parameter) -> Setting:
    """Read the value of a parameter.

    Raises:
        ConfigError: It has a form or a value that the parameter does not take.
    """
    if isinstance(node.value, list) and node.value and isinstance(node.value[0].value, dict):
        entries = []
        for item in node.items(parameter.name):
            fields = item.mapping(("filter", "value"), f"`{parameter.name}`")
            if "value" not in fields:
                raise item.error(say("merging.no_value", name=parameter.name))
            given = fields.get("filter")
            part = None if given is None or given.value is None else given.text("`filter`")
            entries.append((part, _one(fields["value"], parameter)))
        return Setting(tuple(entries), node.where)
    return Setting(((None, _one(node, parameter)),), node.where)


def _one(node: Node, parameter: Parameter) -> Value | tuple[float, ...]:
    if isinstance(node.value, list):
        numbers = [_scalar(item, parameter) for item in node.items(f"`{parameter.name}`")]
        if isinstance(parameter.default, bool | str):
            raise node.error(say("merging.no_gradient", name=parameter.name))
        return tuple(float(number) for number in numbers)
    return _scalar(node, parameter)


def _scalar(node: Node, parameter: Parameter) -> Value:
    value = node.value
    if parameter.choices:
        if value in parameter.choices:
            return str(value)
        raise _wrong(node, parameter, say("merging.one_of", allowed=", ".join(parameter.choices)))
    if isinstance(parameter.default, bool):
        if isinstance(value, bool):
            return value
        if isinstance(value, int | float) and value in (0, 1):
            return bool(value)
        raise _wrong(node, parameter, say("merging.one_of", allowed="true, false"))
    if isinstance(value, str):
        try:
            value = float(value)  # YAML reads 1e-4 as a text
        except ValueError:
            value = None
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value or abs(value) == float("inf"):
        raise _wrong(node, parameter, say("merging.a_number"))
    low, high = parameter.low, parameter.high
    if (low is not None and value < low) or (high is not None and value > high):
        limits = (f"{low:g} <= " if low is not None else "") + "x" + (f" <= {high:g}" if high is not None else "")
        raise _wrong(node, parameter, say("merging.in_range", range=limits))
    return value


def _wrong(node: Node, parameter: Parameter, remedy: str) -> ConfigError:
    return node.error(say("merging.bad_value", name=parameter.name, value=node.shown), help=remedy)


def setting_of(value: Value, where: str) -> Setting:
    """Return a setting that is the same for every tensor."""
    return Setting(((None, value),), where)
