"""Random numbers by counting: each is a function of seed, tensor, model and place, and of nothing else.

So the numbers do not depend on threads, on chunks, or on where a resumed merge goes on. The function is a hash of the
element's index: multiplications and shifts as in the finalizer of MurmurHash3, with the constants of C. Wellons' search
for hashes of 32 bits, keyed twice so that two models never see shifted copies of one sequence.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor

HALF = 1 << 30
"""Numbers lie in [-HALF, HALF): signed integers, the kind that torch computes with fast, and differences do not
overflow."""


@dataclass(frozen=True, slots=True)
class Draws:
    """The random numbers of one tensor of one model."""

    first_key: int
    second_key: int

    @classmethod
    def of(cls, seed: int, name: str, model_index: int) -> Draws:
        """Return the numbers of a seed, a tensor's name and a model's place among the models."""
        text = f"{seed}\0{name}\0{model_index}".encode()
        digest = hashlib.blake2b(text, digest_size=8).digest()
        return cls(int.from_bytes(digest[:4], "little", signed=True), int.from_bytes(digest[4:], "little", signed=True))

    def integers(self, start: int, count: int) -> Tensor:
        """Return the numbers of the elements from `start`, spread evenly over [-2**30, 2**30)."""
        # Beyond 2**32 elements the counter begins anew under another key.
        high, low = divmod(start, 1 << 32)
        values = torch.arange(count, dtype=torch.int32).add_(_signed(low))
        values.bitwise_xor_(_signed(self.first_key + high * 0x9E3779B9)).mul_(0x7FEB352D).bitwise_xor_(self.second_key)
        shifted = torch.bitwise_right_shift(values, 15)
        # The shift of a signed integer draws its sign along.
        values.bitwise_xor_(shifted.bitwise_and_((1 << 17) - 1)).mul_(_signed(0x846CA68B))
        torch.bitwise_right_shift(values, 16, out=shifted)
        values.bitwise_xor_(shifted.bitwise_and_((1 << 16) - 1)).mul_(0x2C1B3C6D)
        return values.bitwise_right_shift_(1)

    def keep(self, values_N: Tensor, start: int, probability: float) -> Tensor:
        """Set the values to zero whose number is not below a probability, in place."""
        threshold = round(probability * 2 * HALF) - HALF
        if threshold >= HALF:
            return values_N
        if threshold <= -HALF:
            return values_N.zero_()
        # The sign of the difference, drawn over all bits, is the mask: several times faster than one of booleans.
        mask_N = self.integers(start, values_N.numel()).sub_(threshold).bitwise_right_shift_(31)
        values_N.view(torch.int32).bitwise_and_(mask_N)
        return values_N


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value
