"""Operations of imgaug 0.4 and pytorchvideo 0.1.2 on a clip of uint8 frames, and their tables.

`IMGAUG_OPS`, `PTV_RANDAUGMENT` and `PTV_AUGMIX` list the operations that each policy draws from.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as v2

# --- ops of imgaug --------------------------------------------------------------------------------


def _warp(x: Tensor, matrix: list[list[float]], shift: tuple[float, float] = (0, 0)) -> Tensor:
    """Move the point p, (x, y) from the centre, to `matrix @ p + shift`; black around the frame.

    geometric.py Affine by OpenCV: bilinear, at positions rounded to 1/1024, then to 1/32 pixel.
    """
    height, width = x.shape[-2:]
    size = torch.tensor([width, height], dtype=torch.float64)
    inverse = torch.tensor(matrix, dtype=torch.float64).inverse()
    centre = (size - 1) / 2
    start = centre - inverse @ (centre + torch.tensor(shift, dtype=torch.float64))
    across = (1024 * torch.arange(width)[:, None] * inverse[:, 0]).round()  # [W, 2]
    down = (1024 * (torch.arange(height)[:, None] * inverse[:, 1] + start)).round()  # [H, 2]
    source = ((across + down[:, None] + 16) / 32).floor() / 32  # [H, W, 2]
    grid = ((2 * source + 1) / size - 1).float().expand(len(x), -1, -1, -1)
    return (F.grid_sample(x.float(), grid, align_corners=False) + 0.5).to(torch.uint8)


def _turn(x: Tensor, degrees: float, axes: str) -> Tensor:
    """Turn both axes clockwise, or one (the shear of scikit-image before 0.19)."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    (a, c), (b, d) = (cos, sin) if "x" in axes else (1, 0), (-sin, cos) if "y" in axes else (0, 1)
    return _warp(x, [[a, b], [c, d]])


def _translate(x: Tensor, share: float, axis: int) -> Tensor:
    shift = (0, share * x.shape[-2]) if axis else (share * x.shape[-1], 0)
    return _warp(x, [[1, 0], [0, 1]], shift)  # not rounded to whole pixels


def _enhance_color(x: Tensor, factor: float) -> Tensor:
    return _away_from(_grey(x).float(), x, factor)


def _enhance_contrast(x: Tensor, factor: float) -> Tensor:
    mean = _grey(x).double().mean((1, 2, 3), keepdim=True)
    return _away_from((mean + 0.5).floor().float(), x, factor)


def _grey(x: Tensor) -> Tensor:
    """Convert to grey `[T, 1, H, W]`, rounded to whole levels in 16 bits as PIL does."""
    red, green, blue = x.int().split(1, dim=1)
    return (19595 * red + 38470 * green + 7471 * blue + 0x8000) >> 16


def _away_from(plain: Tensor, x: Tensor, factor: float) -> Tensor:
    """Enhance as PIL does, cut off to whole levels (v2's functions start from another grey)."""
    return (plain + factor * (x.float() - plain)).clamp(0, 255).to(torch.uint8)


def _equalize(x: Tensor) -> Tensor:
    """Equalize as imgaug: its step leaves out level 255, PIL's the highest level in use."""
    if x[0].numel() < 64 * 64:  # values; pillike.py hands PIL smaller frames
        return v2.equalize(x)
    levels = x.flatten(2).long()  # [T, 3, H*W]
    count = levels.new_zeros(len(x), 3, 256).scatter_add_(2, levels, torch.ones_like(levels))
    step = count[..., :-1].sum(-1, keepdim=True) // 255
    below = count.cumsum(-1) - count
    table = ((below + step // 2) // step.clamp(min=1)).clamp(max=255)
    same = (step == 0) | (count.count_nonzero(-1) < 2)[..., None]
    table = torch.where(same, torch.arange(256), table)
    return table.to(torch.uint8).gather(-1, levels).view(x.shape)


def _cutout(x: Tensor, size: float, centre_x: float, centre_y: float) -> Tensor:
    """Fill a square with 128: its side a share of the height, its centre anywhere in the frame."""
    height, width = x.shape[-2:]
    half = size * height / 2
    left, right = (max(0, int(centre_x * width + edge)) for edge in (-half, half))
    top, bottom = (max(0, int(centre_y * height + edge)) for edge in (-half, half))
    x = x.clone()
    x[..., top:bottom, left:right] = 128  # imgaug's default
    return x


LEVEL = 0.9  # 9 of 10
ENHANCE = 1.8 * LEVEL + 0.1  # always stronger
SIGNED = ("ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate")
IMGAUG_OPS = {  # op -> function and its value
    "ShearX": (partial(_turn, axes="y"), 17.19 * LEVEL),
    "ShearY": (partial(_turn, axes="x"), 17.19 * LEVEL),
    "TranslateX": (partial(_translate, axis=0), 0.2 * LEVEL),
    "TranslateY": (partial(_translate, axis=1), 0.2 * LEVEL),
    "Rotate": (partial(_turn, axes="xy"), 30 * LEVEL),
    "Posterize": (v2.posterize, int(4 * LEVEL)),
    "Solarize": (v2.solarize, int(256 * LEVEL)),  # imgaug's table begins at a whole number
    "EnhanceColor": (_enhance_color, ENHANCE),
    "EnhanceContrast": (_enhance_contrast, ENHANCE),
    "EnhanceBrightness": (v2.adjust_brightness, ENHANCE),
    "EnhanceSharpness": (v2.adjust_sharpness, ENHANCE),
    "Autocontrast": (v2.autocontrast,), "Equalize": (_equalize,), "Invert": (v2.invert,),
    "Cutout": (_cutout, 0.2 * LEVEL),
}  # fmt: skip

# --- ops of pytorchvideo --------------------------------------------------------------------------


def _ptv_posterize(x: Tensor, bits: float) -> Tensor:
    return v2.posterize(x, math.ceil(bits))  # 4 - int(4 * level / 10): 1 at level 9, 0 at level 10


def _ptv_solarize(x: Tensor, threshold: float) -> Tensor:
    return v2.solarize(x, int(255 * threshold))  # at level 9 all but the darkest: 25


def _ptv_rotate(x: Tensor, degrees: float) -> Tensor:
    return _ptv_affine(x, angle=-degrees)  # v2.affine turns clockwise


def _ptv_shear(x: Tensor, slope: float, axis: int) -> Tensor:
    """Shear about the upper or left edge: pytorchvideo adds half of the largest shift."""
    degrees = math.degrees(math.atan(slope))
    return _ptv_affine(x, shear=[0.0, degrees] if axis else [degrees, 0.0], center=[0.0, 0.0])


def _ptv_translate(x: Tensor, share: float, axis: int) -> Tensor:
    shift = [0.0, -share * x.shape[-2]] if axis else [-share * x.shape[-1], 0.0]
    return _ptv_affine(x, translate=shift)  # positive shares: to the left, or up


def _ptv_affine(x: Tensor, **values: float | list[float]) -> Tensor:
    still = {"angle": 0.0, "translate": [0.0, 0.0], "scale": 1.0, "shear": [0.0, 0.0]}
    fill = [0.5] * 3  # grey for values in 0..1; on uint8 it is rounded to 0
    return v2.affine(x, interpolation=InterpolationMode.BILINEAR, fill=fill, **(still | values))


UP, DOWN, EITHER = 1, -1, 0  # which way a level moves a value; either: drawn at each call
_PTV_OPS = {  # op -> function, value at level 0, change at level 10, direction
    "Rotate": (_ptv_rotate, 0, 30, EITHER),
    "Posterize": (_ptv_posterize, 4, 4, DOWN),
    "Solarize": (_ptv_solarize, 1, 1, DOWN),
    "ShearX": (partial(_ptv_shear, axis=0), 0, 0.3, EITHER),
    "ShearY": (partial(_ptv_shear, axis=1), 0, 0.3, EITHER),
}
PTV_RANDAUGMENT = {
    "AdjustBrightness": (v2.adjust_brightness, 1, 0.9, EITHER),
    "AdjustContrast": (v2.adjust_contrast, 1, 0.9, EITHER),
    "AdjustSaturation": (v2.adjust_saturation, 1, 0.9, EITHER),
    "AdjustSharpness": (v2.adjust_sharpness, 1, 0.9, EITHER),
    "AutoContrast": (v2.autocontrast,), "Equalize": (v2.equalize,), "Invert": (v2.invert,),
    **_PTV_OPS,
    "TranslateX": (partial(_ptv_translate, axis=0), 0, 0.45, EITHER),
    "TranslateY": (partial(_ptv_translate, axis=1), 0, 0.45, EITHER),
}  # fmt: skip
PTV_AUGMIX = {
    "AutoContrast": (v2.autocontrast,), "Equalize": (v2.equalize,),
    **_PTV_OPS,
    "TranslateX": (partial(_ptv_translate, axis=0), 0, 1 / 3, EITHER),
    "TranslateY": (partial(_ptv_translate, axis=1), 0, 1 / 3, EITHER),
    "AdjustSaturation": (v2.adjust_saturation, 0.1, 1.8, UP),
    "AdjustContrast": (v2.adjust_contrast, 0.1, 1.8, UP),
    "AdjustBrightness": (v2.adjust_brightness, 0.1, 1.8, UP),
    "AdjustSharpness": (v2.adjust_sharpness, 0.1, 1.8, UP),
}  # fmt: skip
