"""Blending of a batch of clips by MixUp and CutMix (MMAction2 datasets/blending_utils.py)."""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..configs import Config


def blend(
    clips: Tensor, labels: Tensor, cfg: Config, generator: Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Mix every clip of a batch with another one: one weight and one permutation for all.

    The weight is drawn from Beta(alpha, alpha). `mixup` (Zhang et al., 2018) adds whole clips,
    `cutmix` (Yun et al., 2019) pastes the same box into all frames; its weight is then the share of
    the picture that stays, as the box is cut off at the borders.

    Args:
        clips: float `[N, T, C, H, W]`, normalised; never written to.
        labels: int64 `[N]`.
        cfg: `blending`, `blending_alpha` and `num_classes` are used.
        generator: source of random numbers, on the CPU.

    Returns:
        The clips, and soft labels `[N, num_classes]` (one-hot without blending).

    Raises:
        ValueError: clips are not float `[N, T, C, H, W]`, or labels not as many.
    """
    if clips.ndim != 5 or not clips.is_floating_point() or len(clips) != len(labels):
        raise ValueError(
            "blend takes float clips [N, T, C, H, W] and N labels, not "
            f"{clips.dtype} {list(clips.shape)} and {len(labels)} labels"
        )
    soft = F.one_hot(labels, cfg.num_classes).to(clips.dtype)
    if cfg.blending is None:
        return clips, soft
    weight = _beta(cfg.blending_alpha, generator)
    other = torch.randperm(len(clips), generator=generator).to(clips.device)
    if cfg.blending == "mixup":
        clips = weight * clips + (1 - weight) * clips[other]
    else:
        left, top, width, height = cutmix_box(clips.shape[-1], clips.shape[-2], weight, generator)
        rows, columns = slice(top, top + height), slice(left, left + width)
        pasted = clips[other, :, :, rows, columns]
        clips = clips.clone()
        clips[:, :, :, rows, columns] = pasted
        weight = 1 - width * height / (clips.shape[-1] * clips.shape[-2])
    return clips, weight * soft + (1 - weight) * soft[other]


def _beta(alpha: float, generator: Generator | None) -> float:
    """Draw from Beta(alpha, alpha), for which torch takes no generator."""
    seed = int(torch.randint(2**62, (), generator=generator))
    return float(np.random.default_rng(seed).beta(alpha, alpha))


def cutmix_box(
    width: int, height: int, weight: float, generator: Generator | None
) -> tuple[int, int, int, int]:
    """Draw the (left, top, width, height) of CutMix's box.

    Its area is the share `1 - weight` of the picture, as far as it is not cut off at the borders.
    """
    ratio = math.sqrt(1 - weight)
    x, y = (int(torch.randint(side, (), generator=generator)) for side in (width, height))
    ends = []
    for center, side in ((x, width), (y, height)):
        half = int(side * ratio) // 2
        ends.append((max(0, center - half), min(side, center + half)))
    (left, right), (top, bottom) = ends
    return left, top, right - left, bottom - top
