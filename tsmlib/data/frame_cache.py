"""On-disk cache of decoded, resized frames: later epochs read instead of decoding.

Useful if training waits for decoding and the disk has room: a frame of 340x256 takes 261 kB. The
frames are the same bytes, so results do not depend on the cache.
"""

import errno
import hashlib
import json
import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .augmentation import resize_short_side
from .video import FrameFolder, VideoFile

log = logging.getLogger(__name__)

HEADER = 256  # bytes before the flags (one per frame) and the frames
Video = VideoFile | FrameFolder


class CachedVideo:
    """A video whose resized frames are kept in a file, which grows as they are requested.

    Several processes may share the file: a frame is written before its flag.

    Args:
        folder: folder of the cache.
        path: the video file, or the folder of its frames; a change of it is noticed.
        key: anything else that the frames depend on.
        open_video: opens the video itself; only called to decode frames.
        short_side: size at which frames are kept; None: as they are.
        pwrite: writes bytes at an offset (see `os.pwrite`).

    Raises:
        VideoError: the video cannot be read.
    """

    def __init__(
        self, folder: Path, path: Path, key: str, open_video: Callable[[], Video],
        short_side: int | None, pwrite: Callable[[int, memoryview, int], int] = os.pwrite,
    ):  # fmt: skip
        stat = path.stat()
        parts = (path.resolve(), stat.st_mtime_ns, stat.st_size, key, short_side,
                 os.environ.get("TSM_DECODER"))  # fmt: skip
        name = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
        self.file, self._short_side = folder / name[:2] / f"{name}.frames", short_side
        self._open, self._video, self._pwrite = open_video, None, pwrite
        self._shape = self._read_header()
        if self._shape:
            self.num_frames = self._shape[0]
        else:
            self._video = open_video()
            self.num_frames = self._video.num_frames

    def frames(self, indices: list[int]) -> Tensor:
        """Read uint8 `[T, H, W, 3]` RGB of 0-based frame numbers, resized."""
        numbers = sorted(set(indices))
        frames = self._read_stored(numbers) if self._shape else {}
        if missing := [i for i in numbers if i not in frames]:
            self._video = self._video or self._open()
            decoded = self._resize(self._video.frames(missing))
            self._store(missing, decoded)
            frames |= dict(zip(missing, decoded, strict=True))
        return torch.stack([frames[i] for i in indices])

    def _resize(self, frames: Tensor) -> Tensor:
        if self._short_side is None:
            return frames
        small = resize_short_side(frames.permute(0, 3, 1, 2), self._short_side)
        return small.permute(0, 2, 3, 1).contiguous()

    def _read_header(self) -> tuple[int, int, int] | None:
        """Read the number, height and width of the stored frames; None without a whole file."""
        try:
            with self.file.open("rb") as file:
                shape = tuple(json.loads(file.read(HEADER)))
            whole = self.file.stat().st_size == HEADER + shape[0] * (1 + shape[1] * shape[2] * 3)
            return shape if whole else None
        except (OSError, ValueError, IndexError, TypeError):
            return None

    def _read_stored(self, numbers: list[int]) -> dict[int, Tensor]:
        """Read the frames that are in the file, by their numbers."""
        count, height, width = self._shape
        size, frames = height * width * 3, {}
        with self.file.open("rb", buffering=0) as file:
            flags = os.pread(file.fileno(), count, HEADER)
            for i in (i for i in numbers if i < count and flags[i]):
                data = os.pread(file.fileno(), size, HEADER + count + i * size)
                frames[i] = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
        return {i: frame.view(height, width, 3) for i, frame in frames.items()}

    def _store(self, numbers: list[int], frames: Tensor) -> None:
        """Keep frames in the file; if the disk is full, they are decoded again later."""
        try:
            if not self._shape:
                self._shape = (self.num_frames, *frames.shape[1:3])
                self._create()
            if frames.shape[1:3] != self._shape[1:]:
                return  # frames of several sizes, an error that `FrameFolder` reports
            count, size = self._shape[0], frames[0].numel()
            with self.file.open("r+b", buffering=0) as file:
                for i, frame in zip(numbers, frames, strict=True):
                    self._write(file.fileno(), frame.numpy(), HEADER + count + i * size)
                    self._write(file.fileno(), np.ones(1, np.uint8), HEADER + i)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            log.warning("%s: %s; frames are decoded again", self.file.parent, error.strerror)

    def _create(self) -> None:
        """Create an empty sparse file: it takes the room of the frames that are in it."""
        if self._read_header():  # another process was faster
            return
        count, height, width = self._shape
        temporary = self.file.with_suffix(f".{os.getpid()}.tmp")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps(self._shape).encode().ljust(HEADER))
        os.truncate(temporary, HEADER + count * (1 + height * width * 3))
        temporary.replace(self.file)

    def _write(self, descriptor: int, data: np.ndarray, offset: int) -> None:
        view = memoryview(data.data).cast("B")
        while view:
            written = self._pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written
