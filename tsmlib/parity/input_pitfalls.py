"""Pitfalls between a video file and the network's input: decoders, pixels, frames, views."""

import io
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..data import augmentation, loader, video
from ..data.sampling import DENSE_WINDOW
from ..engine import test_loop
from .reference_decoders import PyAVFile, opencv_resize
from .toggles import Pitfall, Toggle, exchange

# --- decoders -------------------------------------------------------------------------------------


def _fast_jpeg(original: Callable, data: bytes, colorspace: str) -> np.ndarray:
    return original(data, colorspace, fastdct=True, fastupsample=True)


def _pil_jpeg(_, data: bytes, colorspace: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert(colorspace))


def _open_with(reader: Callable[[video.VideoFile], Any]) -> Toggle:
    """Make a toggle that opens video files with another reader."""

    def opened(original: Callable, dataset: loader.ClipDataset, entry):
        file = original(dataset, entry)
        return reader(file) if isinstance(file, video.VideoFile) else file

    return exchange(loader.ClipDataset, "open", opened)


def _pyav(**options) -> Toggle:
    return _open_with(lambda file: PyAVFile(file.path, file.num_frames, **options))


_decode_jpeg = partial(exchange, video.simplejpeg, "decode_jpeg")
DECODERS = {
    "rawframes": [
        Pitfall(
            "decoder",
            "JPEG by PIL",
            "as in MIT's code, another build of libjpeg",
            _decode_jpeg(_pil_jpeg),
        ),
        Pitfall(
            "decoder",
            "fast JPEG",
            "libjpeg's fast transform and colour upsampling",
            _decode_jpeg(_fast_jpeg),
        ),
    ],
    "video": [
        Pitfall(
            "decoder",
            "video by decord",
            "as published; it seeks by itself",
            _open_with(lambda file: video.VideoFile(file.path, decoder="decord")),
        ),
        Pitfall(
            "decoder",
            "key frames",
            "a seek that stops at the key frame before",
            _pyav(key_frames=True),
        ),
        Pitfall(
            "decoder",
            "colours of BT.709",
            "HD's matrix where the file does not say one",
            _pyav(src_colorspace="ITU709"),
        ),
        Pitfall(
            "decoder",
            "full range",
            "luma of 16 to 235 taken for 0 to 255",
            _pyav(src_color_range="JPEG"),
        ),
    ],
}


# --- pixels ---------------------------------------------------------------------------------------


def _opencv(_, x: Tensor, height: int, width: int) -> Tensor:
    return opencv_resize(x, height, width)


def _antialiased(_, x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", antialias=True)


def _pil(_, x: Tensor, height: int, width: int) -> Tensor:
    frames = [Image.fromarray(frame) for frame in x.permute(0, 2, 3, 1).contiguous().numpy()]
    resized = [np.array(f.resize((width, height), Image.Resampling.BILINEAR)) for f in frames]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def _truncated(_, x: Tensor, size: int) -> Tensor:
    height, width = x.shape[-2:]
    short = min(height, width)  # divided last, which keeps the short side exact
    return augmentation.resize(x, height * size // short, width * size // short)


def _squeezed(_, x: Tensor, size: int) -> Tensor:
    return augmentation.resize(x, size, size)


def _mirrored(original: Callable, frames) -> Tensor:
    return original(frames).flip(-1)


def _bgr(original: Callable, frames) -> Tensor:
    return original(frames).flip(1)


def _mit_normalize(_, clips: Tensor) -> Tensor:
    mean, std = (
        torch.tensor(v, device=clips.device).view(3, 1, 1)
        for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (clips.float() / 255 - mean) / std


def _unscaled(original: Callable, clips: Tensor) -> Tensor:
    return original(clips.float() / 255)


_resize = partial(exchange, augmentation, "resize")
_short_side = partial(exchange, augmentation, "resize_short_side")
_read = partial(exchange, augmentation, "_to_tchw")
_normalize = partial(exchange, test_loop, "normalize")
PIXELS = [
    Pitfall("pixels", "OpenCV's resize", "MMAction2's, in integers of 11 bits", _resize(_opencv)),
    Pitfall("pixels", "PIL's resize", "MIT's, which always antialiases", _resize(_pil)),
    Pitfall("pixels", "antialiased resize", "torchvision's default", _resize(_antialiased)),
    Pitfall("pixels", "sizes truncated", "int(x * scale) without + 0.5", _short_side(_truncated)),
    Pitfall(
        "pixels", "squeezed", "to a square instead of cut out of the middle", _short_side(_squeezed)
    ),
    Pitfall("pixels", "mirrored", "left and right exchanged, labels not", _read(_mirrored)),
    Pitfall("pixels", "BGR", "blue, green, red: OpenCV's order", _read(_bgr)),
    Pitfall(
        "pixels",
        "MIT's normalisation",
        "of pixels of 0 to 1: the same up to rounding",
        _normalize(_mit_normalize),
    ),
    Pitfall(
        "pixels",
        "pixels of 0 to 1",
        "with the mean and deviation of 0 to 255",
        _normalize(_unscaled),
    ),
]


# --- frames ---------------------------------------------------------------------------------------


def _one_earlier(original: Callable, *args, **options) -> Tensor:
    return (original(*args, **options) - 1).clamp(min=0)


def _without_tail(original, n: int, t: int, strategy: str = "uniform", **options) -> Tensor:
    """Segments of n // t frames; of dense clips the last start, which training leaves out."""
    if strategy == "dense":
        return original(n - (n > DENSE_WINDOW), t, strategy, **options)
    return original(n - n % t if n > t else n, t, strategy, **options)


def _starts_of_segments(original, n: int, t: int, *args, **options) -> Tensor:
    return (torch.arange(t) * n // t).expand_as(original(n, t, *args, **options))


def _reversed(original: Callable, *args, **options) -> Tensor:
    return original(*args, **options).flip(1)


_sample = partial(exchange, loader, "sample_indices")
STARTS = Pitfall(
    "frames",
    "starts of segments",
    "first frames instead of middle ones",
    _sample(_starts_of_segments),
)
FRAMES = [
    Pitfall("frames", "frames counted from 0", "every frame one too early", _sample(_one_earlier)),
    Pitfall(
        "frames",
        "tail left out",
        "segments of num_frames // T, as in training",
        _sample(_without_tail),
    ),
    STARTS,
    Pitfall("frames", "sequence reversed", "the last frame first", _sample(_reversed)),
]


# --- views ----------------------------------------------------------------------------------------


def _interleaved(original: Callable, *args) -> Tensor:
    clips = original(*args)  # [views, T, 3, h, w]
    return clips.transpose(0, 1).reshape(clips.shape)


VIEWS_INTERLEAVED = Pitfall(
    "views",
    "views interleaved",
    "frames ordered with the views fastest",
    exchange(loader.ClipDataset, "_test_clips", _interleaved),
    many_views=True,
)
