"""Merges computed on a GPU give what the CPU gives."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import finetooth
from finetooth.errors import ConfigError
from finetooth.merging.methods import METHODS
from finetooth.merging.working import Pace, refuse_device
from tests.merging.test_merge import settings
from tests.merging.toys import read_weights

SUMMED = {"karcher", "model_stock", "multislerp", "nuslerp", "sce", "slerp"}
"""Methods whose weights follow from sums over a tensor, which a GPU makes in another order."""


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU")
@pytest.mark.parametrize("method", sorted(METHODS))
def test_a_gpu_gives_the_same(method: str, models: Path, tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        finetooth.merge(settings(models, method), tmp_path / device, pace=Pace(device=device), seed=5)
    one, two = read_weights(tmp_path / "cpu"), read_weights(tmp_path / "cuda")
    assert one.keys() == two.keys()
    for name in one:
        if method in SUMMED:
            torch.testing.assert_close(two[name], one[name], rtol=1e-6, atol=1e-7)
        else:
            assert torch.equal(two[name], one[name]), name


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="no CUDA device"):
        refuse_device("cuda")
