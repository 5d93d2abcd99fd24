"""Decode and resize as other implementations do: for comparison, never for training."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ..data.video import VideoError

OPENCV_BITS = 11  # of a weight (OpenCV modules/imgproc/src/resize.cpp, INTER_RESIZE_COEF_BITS)


class PyAVFile:
    """A video file that PyAV decodes from its beginning.

    Args:
        path: the file.
        num_frames: number of frames for sampling; None: as many as PyAV decodes.
        key_frames: return the last key frame before each frame, as a careless seek does.
        colours: options of PyAV's conversion to RGB (`src_colorspace`, `src_color_range`).
    """

    def __init__(self, path: Path, num_frames: int | None, key_frames: bool = False, **colours):
        self.path, self.num_frames = path, num_frames or _count_frames(path)
        self._key_frames, self._colours = key_frames, colours

    def frames(self, indices: list[int]) -> Tensor:
        """Decode uint8 `[T, H, W, 3]` RGB of 0-based frame numbers; past the end, the last frame.

        Raises:
            VideoError: PyAV cannot decode the file.
        """
        frames, key, last = {}, None, None
        for i, frame in enumerate(_decode(self.path)):
            key = frame if frame.key_frame or key is None else key
            last = key if self._key_frames else frame
            if i in indices:
                frames[i] = self._rgb(last)
            if i >= max(indices):
                break
        if last is None:
            raise VideoError(f"{self.path}: PyAV decodes no frame")
        return torch.stack([frames[i] if i in frames else self._rgb(last) for i in indices])

    def _rgb(self, frame) -> Tensor:
        return torch.from_numpy(frame.reformat(format="rgb24", **self._colours).to_ndarray())


def _decode(path: Path) -> Iterator:
    import av  # here: a decoder beside the one of data/video_readers.py, for comparison alone

    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield from container.decode(video=0)
    except (av.FFmpegError, IndexError) as error:
        raise VideoError(f"{path}: {error}") from None


@cache
def _count_frames(path: Path) -> int:
    return sum(1 for _ in _decode(path))


def opencv_resize(x: Tensor, height: int, width: int) -> Tensor:
    """Resize uint8 `[..., H, W]` as `cv2.resize` does (INTER_LINEAR), bit for bit.

    Weights have 11 bits. Rows are summed exactly; columns drop 4 bits, then 16 of each product,
    and the last 2 are rounded (OpenCV modules/imgproc/src/resize.cpp, VResizeLinear).
    """
    pixels = x.numpy().astype(np.int32)
    (left, right), (u, v) = _opencv_taps(pixels.shape[-1], width)
    rows = pixels[..., left] * u + pixels[..., right] * v
    (top, bottom), (u, v) = _opencv_taps(pixels.shape[-2], height)
    upper, lower = rows[..., top, :] >> 4, rows[..., bottom, :] >> 4
    pixels = (((u[:, None] * upper) >> 16) + ((v[:, None] * lower) >> 16) + 2) >> 2
    return torch.from_numpy(pixels.clip(0, 255).astype(np.uint8))


def _opencv_taps(length: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Compute two positions and their integer weights, both `[2, size]`, in OpenCV's precision.

    Beyond the edge both positions are the same pixel, which has all the weight.
    """
    where = ((np.arange(size) + 0.5) * (1 / (size / length)) - 0.5).astype(np.float32)
    first = np.floor(where).astype(int)
    part = where - first.astype(np.float32)
    weights = np.rint(np.stack((1 - part, part)) * 2**OPENCV_BITS).astype(np.int32)
    return np.clip((first, first + 1), 0, length - 1), weights
