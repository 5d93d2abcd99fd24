"""Frames for all tests of detectors."""

import pytest
import torch
from helpers import seeded


@pytest.fixture(scope="session")
def frames() -> torch.Tensor:
    """Twelve frames of noise, `[12, 3, 64, 80]`, from 0 to 1."""
    return seeded(torch.rand, 12, 3, 64, 80, seed=3)
