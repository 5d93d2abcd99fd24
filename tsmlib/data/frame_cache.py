"""Decoded frames on disk: what an epoch has decoded and resized, the next one only reads.

Of use where decoding is what training waits for and the disk has room: a frame of 340x256 takes
261 kB. The frames are the very same bytes, so results do not depend on it.
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

HEADER = 256  # bytes in front of the flags, one a frame, and the frames
Video = VideoFile | FrameFolder


class CachedVideo:
    """A video whose frames are kept, resized, in a file that grows as they are asked for.

    Several processes may share the file: a frame is written before the flag that says it is there.

    Args:
        folder: of the cache.
        path: the video file, or the folder of its frames; a change of it is noticed.
        key: what else the frames depend on.
        open_video: opens the video itself; not called where nothing needs to be decoded.
        short_side: frames are kept at this size; None: as they are.

    Raises:
        VideoError: the video cannot be read.
    """

    def __init__(
        self, folder: Path, path: Path, key: str, open_video: Callable[[], Video],
        short_side: int | None,
    ):  # fmt: skip
        stat = path.stat()
        parts = (path.resolve(), stat.st_mtime_ns, stat.st_size, key, short_side,
                 os.environ.get("TSM_DECODER"))  # fmt: skip
        name = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
        self._file, self._short_side = folder / name[:2] / f"{name}.frames", short_side
        self._open, self._video = open_video, None
        self._shape = self._read_header()
        if self._shape:
            self.num_frames = self._shape[0]
        else:
            self._video = open_video()
            self.num_frames = self._video.num_frames

    def frames(self, indices: list[int]) -> Tensor:
        """uint8 `[T, H, W, 3]` RGB of 0-based frame numbers, resized."""
        wanted = sorted(set(indices))
        found = self._stored(wanted) if self._shape else {}
        if missing := [i for i in wanted if i not in found]:
            self._video = self._video or self._open()
            fresh = self._resized(self._video.frames(missing))
            self._store(missing, fresh)
            found |= dict(zip(missing, fresh, strict=True))
        return torch.stack([found[i] for i in indices])

    def _resized(self, frames: Tensor) -> Tensor:
        if self._short_side is None:
            return frames
        small = resize_short_side(frames.permute(0, 3, 1, 2), self._short_side)
        return small.permute(0, 2, 3, 1).contiguous()

    def _read_header(self) -> tuple[int, int, int] | None:
        """Frames, height and width of the file; None: there is none, or it is damaged."""
        try:
            with self._file.open("rb") as file:
                shape = tuple(json.loads(file.read(HEADER)))
            whole = self._file.stat().st_size == HEADER + shape[0] * (1 + shape[1] * shape[2] * 3)
            return shape if whole else None
        except (OSError, ValueError, IndexError, TypeError):
            return None

    def _stored(self, wanted: list[int]) -> dict[int, Tensor]:
        count, height, width = self._shape
        size, found = height * width * 3, {}
        with self._file.open("rb", buffering=0) as file:
            flags = os.pread(file.fileno(), count, HEADER)
            for i in (i for i in wanted if i < count and flags[i]):
                data = os.pread(file.fileno(), size, HEADER + count + i * size)
                found[i] = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
        return {i: frame.view(height, width, 3) for i, frame in found.items()}

    def _store(self, numbers: list[int], frames: Tensor) -> None:
        """Keep frames; where the disk is full nothing more is kept, and nothing is lost."""
        try:
            if not self._shape:
                self._shape = (self.num_frames, *frames.shape[1:3])
                self._create()
            if frames.shape[1:3] != self._shape[1:]:
                return  # a folder of frames of several sizes, which is an error elsewhere
            count, size = self._shape[0], frames[0].numel()
            with self._file.open("r+b", buffering=0) as file:
                for i, frame in zip(numbers, frames, strict=True):
                    _write(file.fileno(), frame.numpy(), HEADER + count + i * size)
                    _write(file.fileno(), np.ones(1, np.uint8), HEADER + i)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            log.warning("%s: %s; frames are decoded again", self._file.parent, error.strerror)

    def _create(self) -> None:
        """An empty file, sparse: it takes the room of the frames that are in it."""
        if self._read_header():  # another process was faster
            return
        count, height, width = self._shape
        temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps(self._shape).encode().ljust(HEADER))
        os.truncate(temporary, HEADER + count * (1 + height * width * 3))
        temporary.replace(self._file)


def _write(descriptor: int, data: np.ndarray, offset: int) -> None:
    view = memoryview(data.data).cast("B")
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written
