"""Colour and geometry augmentations of the published rows, for a clip of uint8 frames.

`imgaug_randaugment` is MMAction2's `Imgaug(transforms="default")` (0.x, pipelines/augmentations.py)
with imgaug 0.4; `ptv_randaugment` and `ptv_augmix` are those of pytorchvideo 0.1.2 (transforms/
augmentations.py, rand_augment.py, augmix.py; the same in 0.1.5), to which MMAction2 hands uint8.
What is drawn holds for all frames; histograms and mean greys are each frame's own, as published.

Slips that are kept: imgaug's signs are drawn once a process, its equalize is not quite PIL's, its
shears squeeze (scikit-image before 0.19, as in March 2021); pytorchvideo's fill is for 0..1.

Not identical: the random numbers, hence the signs of a published run; one grey level here and there
(imgaug's warps are in fixed point; autocontrast, sharpness and saturation round in another order);
frames with a flat channel, which torchvision's autocontrast of 2021 left as they were.
"""

from collections.abc import Callable
from functools import cache
from typing import get_args

import torch
from torch import Generator, Tensor

from ..configs import ConfigError
from ..configs.fields import Augmentation
from .randaugment_ops import DOWN, EITHER, IMGAUG_OPS, PTV_AUGMIX, PTV_RANDAUGMENT, SIGNED, UP


@cache
def make_augmentation(kind: str, seed: int = 0) -> Callable[[Tensor, Generator | None], Tensor]:
    """Make the augmentation that a row names.

    Args:
        kind: `imgaug_randaugment`, `ptv_randaugment` or `ptv_augmix`.
        seed: draws the signs of `imgaug_randaugment`, once.

    Returns:
        A picklable callable: uint8 `[T, 3, H, W]` and a generator (None: torch's global one) to
        uint8 `[T, 3, H, W]`. It never writes into its input, but may return it.

    Raises:
        ConfigError: the kind is unknown.
    """
    if kind not in get_args(Augmentation):
        raise ConfigError(f"augmentation={kind!r} is none of {', '.join(get_args(Augmentation))}")
    if kind == "imgaug_randaugment":
        return ImgaugRandAugment(seed)
    return ptv_randaugment if kind == "ptv_randaugment" else ptv_augmix


class ImgaugRandAugment:
    """Applies two operations in the order of their table; the signs, -1 or 1, are drawn once."""

    def __init__(self, seed: int = 0, ops: dict[str, tuple] = IMGAUG_OPS):
        self.ops = ops
        bits = torch.randint(2, (len(SIGNED),), generator=Generator().manual_seed(seed))
        self.signs = dict(zip(SIGNED, (2 * bits - 1).tolist(), strict=True))

    def __call__(self, x: Tensor, generator: Generator | None = None) -> Tensor:
        _check(x)
        chosen = torch.randperm(len(self.ops), generator=generator)[:2].tolist()
        for name in [name for i, name in enumerate(self.ops) if i in chosen]:
            function, *values = self.ops[name]
            values = [value * self.signs.get(name, 1) for value in values]
            if name == "Cutout":
                values += torch.rand(2, generator=generator).tolist()
            x = function(x, *values)
        return x


def ptv_randaugment(
    x: Tensor, generator: Generator | None = None, ops: dict[str, tuple] = PTV_RANDAUGMENT
) -> Tensor:
    """Apply two different operations in random order, each with probability 0.5."""
    _check(x)
    for op in _choose(ops, 2, False, generator):
        if _random(generator) <= 0.5:
            level = torch.normal(9.0, 0.5, size=(1,), generator=generator).clamp(0, 10)
            x = apply_op(op, x, float(level), generator)
    return x


def augmix_chain(
    x: Tensor, generator: Generator | None, ops: dict[str, tuple] = PTV_AUGMIX
) -> Tensor:
    """Apply one to three operations, which may repeat, at levels uniform in 0.1..3."""
    length = int(torch.randint(1, 4, (1,), generator=generator))
    for op in _choose(ops, length, True, generator):
        x = apply_op(op, x, 0.1 + (3 - 0.1) * _random(generator), generator)
    return x


def ptv_augmix(
    x: Tensor, generator: Generator | None = None, chain: Callable = augmix_chain
) -> Tensor:
    """Mix a clip with three chains of operations; the cast to uint8 truncates."""
    _check(x)
    weights = torch.empty(3).exponential_(generator=generator)
    weights /= weights.sum()  # Dirichlet(1, 1, 1)
    share = _random(generator)  # Beta(1, 1)
    mixed = torch.zeros(x.shape)
    for weight in weights:
        mixed += weight * chain(x, generator)
    return (share * x + (1 - share) * mixed).to(torch.uint8)


def _choose(ops: dict, number: int, replacement: bool, generator: Generator | None) -> list[tuple]:
    chosen = torch.multinomial(torch.ones(len(ops)), number, replacement, generator=generator)
    return [list(ops.values())[i] for i in chosen.tolist()]


def apply_op(op: tuple, x: Tensor, level: float, generator: Generator | None) -> Tensor:
    """Apply an operation of pytorchvideo's tables at a level from 0 to 10."""
    function, *scale = op
    if not scale:
        return function(x)
    base, span, direction = scale
    if direction == EITHER:
        direction = UP if _random(generator) > 0.5 else DOWN
    return function(x, base + direction * (level / 10) * span)


def _random(generator: Generator | None) -> float:
    return float(torch.rand(1, generator=generator))


def _check(x: Tensor) -> None:
    if x.ndim != 4 or x.shape[1] != 3 or x.dtype != torch.uint8:
        raise ValueError(f"a clip must be uint8 [T, 3, H, W], not {x.dtype} {list(x.shape)}")
