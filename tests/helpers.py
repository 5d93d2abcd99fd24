"""Helpers that the tests of several rooms share."""

import torch


def sliding(count: int, start: int = 0) -> torch.Tensor:
    """Draw uint8 `[T, 48, 64, 3]`: a bright bar moves to the right over still noise."""
    frames = torch.randint(0, 80, (1, 48, 64, 3), generator=torch.Generator().manual_seed(start))
    frames = frames.repeat(count, 1, 1, 1)
    for t in range(count):
        frames[t, :, (start + 2 * t) % 64 :][:, :8] = 250
    return frames.byte()
