"""Random numbers with a place: each is a function of seed, tensor, model and index, and of nothing else.

So the numbers do not depend on threads, on chunks, or on where a resumed merge goes on. They are the raw words of
numpy's PCG64DXSM, whose stream numpy keeps as it is from version to version and which can go to any place at once.
"""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch
from torch import Tensor

FINE = 1 / 64
"""Shares nearer to nothing or to all than this are drawn by 32 bits; for others 16 miss them by 0.05% at most, and 8
are enough for those that are so many of 256, such as a half: it is the bits that take the time."""


class Draws:
    """The random numbers of one tensor of one model. For one thread at a time."""

    def __init__(self, entropy: int) -> None:
        self._words = np.random.PCG64DXSM(entropy)
        self._next = 0

    @classmethod
    def of(cls, seed: int, name: str, model_index: int) -> Draws:
        """Return the numbers of a seed, a tensor's name and a model's place among the models."""
        text = f"{seed}\0{name}\0{model_index}".encode()
        return cls(int.from_bytes(hashlib.blake2b(text, digest_size=16).digest(), "little"))

    def integers(self, start: int, count: int, bits: Literal[16, 32] = 32) -> Tensor:
        """Return the numbers of the elements from `start`, spread evenly over the signed integers of so many bits."""
        return torch.from_numpy(self._numbers(np.dtype(f"<u{bits // 8}"), start, count).view(f"<i{bits // 8}"))

    def kept(self, start: int, count: int, probability: float) -> np.ndarray:
        """Return for each element from `start` whether its number is below a probability."""
        if probability >= 1.0:
            return np.ones(count, np.bool_)
        kind = _kind(probability)
        threshold = min(round(probability * (1 << 8 * kind.itemsize)), np.iinfo(kind).max)
        below: np.ndarray = self._numbers(kind, start, count) < kind.type(threshold)
        return below

    def keep(self, values_N: Tensor, start: int, probability: float) -> Tensor:
        """Set the values to zero whose number is not below a probability, in place."""
        return values_N if probability >= 1.0 else keep(values_N, self.kept(start, values_N.numel(), probability))

    def _numbers(self, kind: np.dtype[np.unsignedinteger], start: int, count: int) -> np.ndarray:
        """Return numbers from a place on, as many of them cut out of each word of 64 bits as fit."""
        each = 8 // kind.itemsize
        first, last = start // each, -(-(start + count) // each)
        self._words.advance(first - self._next)
        self._next = last
        words = self._words.random_raw(last - first)
        return words.astype("<u8", copy=False).view(kind)[start - first * each :][:count]


def keep(values_N: Tensor, kept_N: np.ndarray) -> Tensor:
    """Set the values to zero that are not kept, in place."""
    if values_N.device.type != "cpu":
        return values_N.mul_(torch.from_numpy(kept_N).to(values_N.device))
    # numpy multiplies by booleans several times faster than torch does, and than either selects by them.
    array_N = values_N.numpy()
    with np.errstate(invalid="ignore"):  # infinity times nothing
        np.multiply(array_N, kept_N, out=array_N)
    return values_N


def _kind(probability: float) -> np.dtype[np.unsignedinteger]:
    """Return the smallest numbers by which so large a share can be drawn."""
    if (probability * 256).is_integer():
        return np.dtype("u1")
    return np.dtype("<u2" if FINE <= probability <= 1 - FINE else "<u4")
