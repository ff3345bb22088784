"""Random numbers by counting: each is a function of seed, tensor, model and place, and of nothing else.

So the numbers do not depend on threads, on chunks, or on where a resumed merge goes on. The function is a hash of the
element's index: multiplications and shifts as in the finalizer of MurmurHash3, with the constants of C. Wellons' search
for hashes of 32 bits, keyed twice so that two models never see shifted copies of one sequence.
"""

from __future__ import annotations

import hashlib
import threading
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
        """Return the numbers of the elements from `start`, spread evenly over [-2**30, 2**30).

        They are overwritten by the next numbers that the same thread asks for.
        """
        # Beyond 2**32 elements the counter begins anew under another key.
        high, low = divmod(start, 1 << 32)
        places, values, shifted = _memory.take(count)
        torch.add(places, _signed(low), out=values)
        values.bitwise_xor_(_signed(self.first_key + high * 0x9E3779B9)).mul_(0x7FEB352D).bitwise_xor_(self.second_key)
        # The shift of a signed integer draws its sign along, which is masked away. Two rounds are not enough: pairs of
        # neighbours then fall into a grid of 32 x 32 unevenly, by hundreds of standard deviations.
        torch.bitwise_right_shift(values, 15, out=shifted)
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


class _Memory(threading.local):
    """Memory for the numbers of one chunk, of each thread its own: asking for it anew costs as much as the numbers."""

    def __init__(self) -> None:
        self._places = self._values = self._shifted = torch.empty(0, dtype=torch.int32)

    def take(self, count: int) -> tuple[Tensor, Tensor, Tensor]:
        """Return the numbers 0 to count - 1, and twice as much room."""
        if len(self._places) < count:
            self._places = torch.arange(count, dtype=torch.int32)
            self._values, self._shifted = torch.empty_like(self._places), torch.empty_like(self._places)
        return self._places[:count], self._values[:count], self._shifted[:count]


_memory = _Memory()


def _signed(value: int) -> int:
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >= 1 << 31 else value
