"""Crops of decoded frames, which the network sees; still uint8.

Boxes and orders are those of MMAction2 pipelines/augmentations.py. Resizing is bilinear without
antialiasing, as OpenCV does it (within one grey level; tests/golden/preprocess).
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor

from ..configs import Config, ConfigError, views
from .randaugment import make_augmentation

SCALES = (1, 0.875, 0.75, 0.66)  # of the short side, in MultiScaleCrop
MAX_SCALE_GAP = 1  # between the indices of a box's width and height in SCALES
SNAP = 3  # a side less than this from the network's input becomes it
AREA, RATIO, ATTEMPTS = (0.08, 1.0), (3 / 4, 4 / 3), 10  # of RandomResizedCrop

Box = tuple[int, int, int, int]  # left, top, width, height


def preprocess(
    frames: np.ndarray | Tensor,
    cfg: Config,
    split: str,
    protocol: str | None = None,
    generator: Generator | None = None,
) -> Tensor:
    """Run the spatial pipeline of a split on one clip.

    Args:
        frames: uint8 `[T, H, W, 3]` RGB.
        cfg: the row.
        split: `train`, `val` or `test`.
        protocol: the test protocol; None: `published`.
        generator: source of random numbers in training.

    Returns:
        uint8 `[crops, T, 3, h, w]` before normalisation: 1, 3 or 10 crops, each of whole clips.

    Raises:
        ValueError: the split is unknown, or frames have another shape or type.
    """
    if split == "train":
        return augment_clip(frames, cfg, generator)[0][None]
    if split not in ("val", "test"):
        raise ValueError(f"split={split!r} is none of train, val, test")
    view = views(cfg, "validation" if split == "val" else protocol or "published")
    return fixed_crops(frames, cfg, view["crops"], view["size"])


def augment_clip(
    frames: np.ndarray | Tensor, cfg: Config, generator: Generator | None = None, seed: int = 0
) -> tuple[Tensor, bool]:
    """Crop, resize, flip and augment a clip at random: uint8 `[T, 3, crop_size, crop_size]`.

    Also tells whether it was flipped, which may change its label. `seed` decides the signs of
    imgaug's RandAugment, which a run draws once.
    """
    x = _to_tchw(frames)
    if cfg.train_crop == "random_resized":
        box = random_resized_box(x.shape[-2], x.shape[-1], generator)
    else:
        x = resize_short_side(x, cfg.short_side)
        boxes = multi_scale_boxes(x.shape[-2], x.shape[-1], cfg.crop_size)
        box = boxes[_integer(len(boxes), generator)]
    x = resize(crop(x, box), cfg.crop_size, cfg.crop_size)
    flipped = bool(torch.rand((), generator=generator) < cfg.flip)
    x = x.flip(-1) if flipped else x
    if cfg.augmentation:
        x = make_augmentation(cfg.augmentation, seed)(x, generator)
    return x, flipped


def fixed_crops(frames: np.ndarray | Tensor, cfg: Config, crops: int, size: int) -> Tensor:
    """Cut the fixed crops of a clip after the resize, uint8 `[crops, T, 3, size, size]`."""
    x = resize_short_side(_to_tchw(frames), cfg.short_side)
    height, width = x.shape[-2:]
    if min(height, width) < size:
        raise ConfigError(f"a crop of {size} does not fit into frames of {width}x{height}")
    if crops == 1:
        return crop(x, ((width - size) // 2, (height - size) // 2, size, size))[None]
    if crops == 3:
        return torch.stack([crop(x, box) for box in three_boxes(height, width, size)])
    return torch.stack([
        mirrored
        for box in five_boxes(height, width, size)
        for mirrored in (crop(x, box), crop(x, box).flip(-1))
    ])  # fmt: skip


# --- resize and crop ------------------------------------------------------------------------------


def resize(x: Tensor, height: int, width: int) -> Tensor:
    """Resize uint8 `[T, 3, H, W]` to `[T, 3, height, width]`, bilinear without antialiasing."""
    if tuple(x.shape[-2:]) == (height, width):
        return x
    return F.interpolate(x, size=(height, width), mode="bilinear", antialias=False)


def resize_short_side(x: Tensor, size: int) -> Tensor:
    """Resize the shorter side to `size`, the other to `int(side * scale + 0.5)` (mmcv)."""
    height, width = x.shape[-2:]
    scale = size / min(height, width)
    return resize(x, int(height * scale + 0.5), int(width * scale + 0.5))


def crop(x: Tensor, box: Box) -> Tensor:
    """Cut a box out of `[..., H, W]`."""
    left, top, width, height = box
    return x[..., top : top + height, left : left + width]


def multi_scale_boxes(height: int, width: int, input_size: int) -> list[Box]:
    """List the equally likely boxes of MultiScaleCrop: 10 sizes at 13 fixed positions each."""
    base = min(height, width)
    sides = [int(base * s) for s in SCALES]
    sides = [input_size if abs(side - input_size) < SNAP else side for side in sides]
    pairs = [
        (sides[i], sides[j])
        for i in range(len(sides))
        for j in range(len(sides))
        if abs(i - j) <= MAX_SCALE_GAP
    ]
    return [
        (i * ((width - w) // 4), j * ((height - h) // 4), w, h)
        for w, h in pairs
        for i, j in _THIRTEEN
    ]


# corners, centre, middles of the edges, quarter points: steps of a quarter of the free space
_THIRTEEN = (
    (0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 4), (2, 0),
    (1, 1), (3, 1), (1, 3), (3, 3),
)  # fmt: skip


def three_boxes(height: int, width: int, size: int) -> list[Box]:
    """List first, last, middle along the longer side (ThreeCrop); the other side must be `size`."""
    if size not in (height, width):
        raise ConfigError(f"three crops of {size} need a side of {size}, not {width}x{height}")
    dx, dy = (width - size) // 2, (height - size) // 2
    return [(i * dx, i * dy, size, size) for i in (0, 2, 1)]


def five_boxes(height: int, width: int, size: int) -> list[Box]:
    """List upper left, upper right, lower left, lower right, centre (TenCrop without mirrors)."""
    dx, dy = (width - size) // 4, (height - size) // 4
    return [(i * dx, j * dy, size, size) for i, j in _THIRTEEN[:5]]


def random_resized_box(height: int, width: int, generator: Generator | None) -> Box:
    """Draw the box of RandomResizedCrop; the central square if no draw fits."""
    for _ in range(ATTEMPTS):
        area = height * width * _uniform(*AREA, generator)
        ratio = math.exp(_uniform(math.log(RATIO[0]), math.log(RATIO[1]), generator))
        w, h = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if w <= width and h <= height:
            left, top = _integer(width - w + 1, generator), _integer(height - h + 1, generator)
            return left, top, w, h
    side = min(height, width)
    return (width - side) // 2, (height - side) // 2, side, side


def _uniform(low: float, high: float, generator: Generator | None) -> float:
    return low + (high - low) * float(torch.rand((), generator=generator, dtype=torch.float64))


def _integer(below: int, generator: Generator | None) -> int:
    return int(torch.randint(below, (), generator=generator))


def _to_tchw(frames: np.ndarray | Tensor) -> Tensor:
    """Permute `[T, H, W, 3]` to `[T, 3, H, W]`, channels last in memory."""
    x = torch.as_tensor(frames)
    if x.ndim != 4 or x.shape[-1] != 3 or x.dtype != torch.uint8:
        raise ValueError(f"frames must be uint8 [T, H, W, 3], not {x.dtype} {list(x.shape)}")
    return x.permute(0, 3, 1, 2)
