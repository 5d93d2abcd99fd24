"""Reading and writing of frames: video files, folders of numbered JPEG files."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch import Tensor

from .list_lines import is_below
from .video_limits import Source, check_size, read_regular
from .video_packets import MAX_KEPT_BYTES, MISSING_FRAMES
from .video_readers import choose_reader, map_threads

JPEG_START = b"\xff\xd8"  # of every JPEG file


class VideoError(RuntimeError):
    """A video that cannot be read; the message names the file and the reason."""


class VideoFile:
    """A video file, opened for reading single frames.

    Frames are numbered in the order of display, turned and mirrored as the file says, and have the
    size of the first one, as with ffmpeg.

    Args:
        path: the file, or its place in a shard.
        listed_frames: number of frames in the list file, if it has one.
        decoder: `pyav` or `decord`; None: the environment variable TSM_DECODER, else `pyav`.
        max_kept: bytes of packets, and of frames decoded in order, that PyAV's reader keeps.

    Raises:
        VideoError: empty, not a video, damaged, or over 5 % (and a frame) shorter than stated.
        ConfigError: the decoder is unknown.
    """

    def __init__(
        self, path: Source | str, listed_frames: int | None = None, decoder: str | None = None,
        max_kept: int = MAX_KEPT_BYTES,
    ):  # fmt: skip
        path = Path(path) if isinstance(path, str) else path
        self.path, open_reader = path, choose_reader(decoder)
        with _as_video_error(f"{path}"):
            self._reader = open_reader(path, max_kept)
        present, expected = self._reader.present, listed_frames or self._reader.announced
        missing = expected - present  # decoders shorten videos silently
        if present < 1 or missing > max(1, MISSING_FRAMES * expected):  # headers are off by one
            raise VideoError(f"{path}: truncated: {present} of {expected} frames can be decoded")
        self.num_frames = self._reader.num_frames

    @property
    def method(self) -> str:
        """How frames are read: `seeking` or `sequential` (PyAV), or `decord`."""
        return self._reader.method

    def frames(self, indices: list[int]) -> Tensor:
        """Read uint8 `[T, H, W, 3]` RGB of 0-based frame numbers.

        Raises:
            VideoError: there is no such frame, or the packets that it needs are damaged.
        """
        with _as_video_error(f"{self.path}: frames {indices}"):
            return torch.from_numpy(self._reader.frames(indices))


class FrameFolder:
    """A folder of numbered JPEG files.

    `root`: links may lead to files in this folder alone; None: anywhere.
    """

    def __init__(
        self, path: Path, num_frames: int, template: str, start_index: int, root: Path | None = None
    ):
        self.path, self.num_frames, self._root = path, num_frames, root
        self._template, self._start = template, start_index

    def frames(self, indices: list[int]) -> Tensor:
        """Read uint8 `[T, H, W, 3]` RGB of 0-based frame numbers."""
        unique = sorted(set(indices))
        decoded = dict(zip(unique, map_threads(self._frame, unique), strict=True))
        if len(sizes := {picture.shape for picture in decoded.values()}) > 1:
            raise VideoError(f"{self.path}: frames differ in size: {sorted(sizes)}")
        return torch.from_numpy(np.stack([decoded[i] for i in indices]))

    def file(self, index: int) -> str:
        """Name the file of a 0-based frame number."""
        # no Path: making one takes as long as reading a small file
        return f"{self.path}/{self._template.format(self._start + index)}"

    def _read(self, index: int) -> bytes:
        return read_regular(self.file(index))

    def _frame(self, index: int) -> np.ndarray:
        file, data = self.file(index), b""
        if self._root and os.path.islink(file) and not is_below(file, self._root):  # noqa: PTH114
            raise VideoError(f"{file} leads out of {self._root}; set allow_outside=True to follow")
        try:
            data = self._read(index)
            height, width = simplejpeg.decode_jpeg_header(data)[:2]
            check_size(width, height)
            return simplejpeg.decode_jpeg(data, "RGB")
        except FileNotFoundError:
            listed = f"the list promises {self.num_frames} frames"
            raise VideoError(f"{file}: the frame is missing ({listed})") from None
        except (OSError, RuntimeError, ValueError, MemoryError) as error:
            reason = _sentence(error)
            if data and not data.startswith(JPEG_START):
                reason = "not a JPEG file, and frames must be JPEG"
            raise VideoError(f"{file}: {reason}") from None


def encode_frames(frames: Tensor, quality: int = 90) -> list[bytes]:
    """Encode uint8 `[T, H, W, 3]` as JPEG files."""
    return [simplejpeg.encode_jpeg(frame, quality, "RGB", "420") for frame in frames.numpy()]


def write_frames(folder: Path, jpegs: list[bytes], template: str, start_index: int) -> None:
    """Write encoded frames into an existing folder, numbered from `start_index`."""
    for i, jpeg in enumerate(jpegs):
        (folder / template.format(start_index + i)).write_bytes(jpeg)


def write_video(path: Path, frames: Tensor, fps: int = 12, gop: int = 1, qp: int = 22) -> None:
    """Write uint8 `[T, H, W, 3]` (even H and W) as H.264.

    With `gop=1` every frame is coded alone at a fixed quantiser, so that a clip and its reversal
    hold the same pictures: the first picture of a longer group is sharper and would tell direction.
    """
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        stream.options = {"qp": str(qp), "g": str(gop), "bf": "0", "preset": "ultrafast"}
        for frame in frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


@contextmanager
def _as_video_error(where: str) -> Iterator[None]:
    """Turn a decoder's error into a `VideoError` of one sentence."""
    try:
        yield
    except Exception as error:  # each decoder has errors of its own
        raise VideoError(f"{where}: {explain_error(error)}") from error


def explain_error(error: Exception) -> str:
    """Return the reason of an error of the system or of a decoder, in one line."""
    return getattr(error, "strerror", None) or _sentence(error)


def _sentence(error: Exception) -> str:
    """Cut a decoder's message to its first line, without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = next((line for line in lines if "Stack trace" not in line), type(error).__name__)
    return text[text.rfind("] ") + 2 if "] " in text else 0 :][:160]
