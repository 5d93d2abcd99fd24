"""Helpers that the tests of several rooms share."""

import dataclasses

import torch

from tsmlib.configs import DATASETS


def resize_standins(patch, renderings: dict[str, tuple[int, int]]) -> None:
    """Give stand-ins other numbers of renderings (training, validation) while `patch` lasts."""
    for name, numbers in renderings.items():
        standin = dataclasses.replace(DATASETS[name].standin, renderings=numbers)
        patch.setitem(DATASETS, name, dataclasses.replace(DATASETS[name], standin=standin))


def sliding(count: int, start: int = 0) -> torch.Tensor:
    """Draw uint8 `[T, 48, 64, 3]`: a bright bar moves to the right over still noise."""
    frames = torch.randint(0, 80, (1, 48, 64, 3), generator=torch.Generator().manual_seed(start))
    frames = frames.repeat(count, 1, 1, 1)
    for t in range(count):
        frames[t, :, (start + 2 * t) % 64 :][:, :8] = 250
    return frames.byte()
