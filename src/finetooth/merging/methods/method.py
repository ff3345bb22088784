"""What a merge method is: one function over the stacked tensors of all models, with the parameters that it declares.

    @merge_method("linear", parameters=(WEIGHT, NORMALIZE))
    def linear(tensor: Stacked, values: Values) -> Iterator[Tensor]:
        weights = ...
        for chunk in tensor.chunks():
            yield chunk.blend(weights)

A method is handed one tensor of every model, as chunks of fp32 values that it may go through as often as it likes: once
to merge, and before that as often as a threshold or a norm needs. It yields the merged values in order. Whatever it
keeps must not grow with the tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from finetooth.merging.methods.stacked import Stacked

Value = bool | float | int | str
"""The value of a parameter once a tensor and a model are known."""

Values = Mapping[str, Any]
"""The values of a method's parameters for one tensor: those per model are lists in the order of the stack."""

Function = Callable[[Stacked, Values], Iterator[Tensor]]
BaseModel = Literal["required", "optional", "endpoint", "member", "unused"]
"""What a method does with `base_model`: it is subtracted (always, or where there is one), it is the first of the two
models between which the way goes, it is a model like any other, or there must be none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter that a method declares."""

    name: str
    default: Value | None = None
    """`None`: it has to be given."""
    per_model: bool = False
    """Whether every model has a value of its own."""
    low: float | None = None
    """The least value that makes sense."""
    high: float | None = None
    """The greatest value that makes sense."""
    choices: tuple[str, ...] = ()
    """The words that it takes; empty where it takes numbers."""
    is_idle: bool = False
    """Whether it is read for compatibility and changes nothing: it tells how to compute, not what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Method:
    """A way of merging."""

    name: str
    function: Function
    parameters: tuple[Parameter, ...]
    base: BaseModel
    min_models: int
    """The least number of models beside the base."""
    max_models: int | None
    """The greatest number of models beside the base; `None`: any."""
    is_random: bool
    """Whether it draws random numbers, from `Stacked.draws`."""
    check: Callable[[Values], str | None]
    """Returns what is wrong with values that are right one by one, `None` where nothing is."""
    on_cpu: bool = False
    """Whether it is computed by the CPU whatever device is asked for: it leans on numpy, which knows no other."""

    @property
    def documentation(self) -> str:
        """What the method does: formula, parameters, paper."""
        return (self.function.__doc__ or "").strip()

    def parameter(self, name: str) -> Parameter | None:
        """Return the parameter of a name, where the method has it."""
        return next((one for one in self.parameters if one.name == name), None)


METHODS: dict[str, Method] = {}
"""Every method by its name, in the order in which their files are imported."""


def merge_method(
    name: str,
    *,
    parameters: Sequence[Parameter] = (),
    base: BaseModel = "required",
    num_models: tuple[int, int | None] = (1, None),
    random: bool = False,
    check: Callable[[Values], str | None] = lambda values: None,
    on_cpu: bool = False,
) -> Callable[[Function], Function]:
    """Register a function as a method.

    Args:
        name: What `merge_method` in a configuration and `--method` call it.
        parameters: What it takes.
        base: What it does with `base_model`.
        num_models: The least and the greatest number of models beside the base.
        random: Whether it draws random numbers.
        check: Returns what is wrong with values that are right one by one, `None` where nothing is.
        on_cpu: Whether it computes on the CPU alone.
    """

    def register(function: Function) -> Function:
        METHODS[name] = Method(
            name=name,
            function=function,
            parameters=tuple(parameters),
            base=base,
            min_models=num_models[0],
            max_models=num_models[1],
            is_random=random,
            check=check,
            on_cpu=on_cpu,
        )
        return function

    return register


WEIGHT = Parameter(name="weight", per_model=True)
"""How much of a model is taken."""
DENSITY = Parameter(name="density", default=1.0, per_model=True, low=0.0, high=1.0)
"""The share of a task vector that is kept."""
NORMALIZE = Parameter(name="normalize", default=False)
"""Whether the result is divided by the sum of the weights that made it."""
LAMBDA = Parameter(name="lambda", default=1.0)
"""What the merged task vector is multiplied by before the base is added."""
INT8_MASK = Parameter(name="int8_mask", default=False, is_idle=True)
"""Whether masks are kept in eight bits elsewhere; here none is kept at all."""
RESCALE = Parameter(name="rescale", default=True)
"""Whether what is kept is scaled up for what was dropped."""
