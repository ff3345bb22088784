"""The ways of merging, one file each."""

from __future__ import annotations

from finetooth.merging.methods import (  # noqa: F401  (each registers itself)
    breadcrumbs,
    chat_vector,
    dare,
    della,
    karcher,
    linear,
    model_stock,
    multislerp,
    nearswap,
    nuslerp,
    passthrough,
    sce,
    slerp,
    task_arithmetic,
    ties,
)
from finetooth.merging.methods.method import METHODS, Method, Parameter, Value, Values, merge_method

__all__ = ["METHODS", "Method", "Parameter", "Value", "Values", "merge_method"]
