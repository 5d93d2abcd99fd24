"""On-disk cache of decoded, resized frames: later epochs read instead of decoding.

Useful if training waits for decoding and the disk has room: a frame of 340x256 takes 261 kB. The
frames are the same bytes, so results do not depend on the cache: a checksum of each frame, and of
what it was made of, is compared whenever it is read.
"""

import hashlib
import json
import logging
import os
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .augmentation import resize_short_side
from .video import FrameFolder, VideoFile

log = logging.getLogger(__name__)

HEADER = 256  # bytes before the checksums and the frames
CHECKSUM = 4  # bytes per frame; 0 stands for a frame that is not kept
Video = VideoFile | FrameFolder
Stamp = tuple[int, ...]


class CachedVideo:
    """A video whose resized frames are kept in a file, which grows as they are requested.

    Several processes may share the file: a frame is written before its checksum. A cache that
    cannot be written or read is no error: frames are decoded again.

    Args:
        folder: folder of the cache.
        path: the video file, or the folder of its frames; a change of it is noticed.
        key: anything else that the frames depend on.
        open_video: opens the video itself; only called to decode frames.
        short_side: size at which frames are kept; None: as they are.
        frame_file: names the file of a frame, which may change by itself; None: `path` holds it.
        pwrite: writes bytes at an offset (see `os.pwrite`).

    Raises:
        VideoError: the video cannot be read.
    """

    def __init__(
        self, folder: Path, path: Path, key: str, open_video: Callable[[], Video],
        short_side: int | None, frame_file: Callable[[int], str] | None = None,
        pwrite: Callable[[int, memoryview, int], int] = os.pwrite,
    ):  # fmt: skip
        parts = (path.resolve(), "" if frame_file else _stamp(path), key, short_side,
                 os.environ.get("TSM_DECODER"))  # fmt: skip
        name = hashlib.sha256(repr(parts).encode()).hexdigest()[:24]
        self.file, self._short_side = folder / name[:2] / f"{name}.frames", short_side
        self._open, self._video, self._pwrite = open_video, None, pwrite
        self._frame_file = frame_file
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
            stamps = [self._stamp_of(i) for i in missing]  # before the frames are read
            decoded = self._resize(self._video.frames(missing))
            self._store(missing, decoded, stamps)
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
                header = file.read(HEADER)
                size = os.fstat(file.fileno()).st_size
            shape = tuple(json.loads(header))
            numbers = all(type(n) is int and n > 0 for n in shape)
            return shape if numbers and size == _file_size(shape) else None
        except (OSError, ValueError, IndexError, TypeError):
            return None

    def _read_stored(self, numbers: list[int]) -> dict[int, Tensor]:
        """Read the frames that are in the file and undamaged, by their numbers."""
        count, height, width = self._shape
        size, frames = height * width * 3, {}
        try:
            with self.file.open("rb", buffering=0) as file:
                sums = np.frombuffer(os.pread(file.fileno(), CHECKSUM * count, HEADER), "<u4")
                for i in (i for i in numbers if i < len(sums) and sums[i]):
                    data = os.pread(file.fileno(), size, HEADER + CHECKSUM * count + i * size)
                    if sums[i] == self._checksum(i, data, self._stamp_of(i)):
                        frames[i] = torch.from_numpy(np.frombuffer(data, np.uint8).copy())
        except OSError as error:
            self._warn_once(error)
        return {i: frame.view(height, width, 3) for i, frame in frames.items()}

    def _stamp_of(self, number: int) -> Stamp:
        """Return the stamp of the file of a frame; the stamp of a video is in the cache's name."""
        return _stamp(Path(self._frame_file(number))) if self._frame_file else ()

    def _checksum(self, number: int, frame: bytes | memoryview, stamp: Stamp) -> int:
        """Compute the checksum of a frame, of its place and shape, and of what it was made of."""
        return zlib.crc32(frame, zlib.crc32(repr((number, self._shape, stamp)).encode()))

    def _store(self, numbers: list[int], frames: Tensor, stamps: list[Stamp]) -> None:
        """Keep frames in the file, if it can be written."""
        try:
            if not self._shape:
                self._shape = (self.num_frames, *frames.shape[1:3])
                self._create()
            if frames.shape[1:3] != self._shape[1:]:
                return  # frames of several sizes, an error that `FrameFolder` reports
            first, size = HEADER + CHECKSUM * self._shape[0], frames[0].numel()
            with self.file.open("r+b", buffering=0) as file:
                for i, frame, stamp in zip(numbers, frames, stamps, strict=True):
                    data = memoryview(frame.numpy().data).cast("B")
                    checksum = self._checksum(i, data, stamp).to_bytes(CHECKSUM, "little")
                    self._write(file.fileno(), data, first + i * size)
                    self._write(file.fileno(), memoryview(checksum), HEADER + CHECKSUM * i)
        except OSError as error:
            self._warn_once(error)

    def _warn_once(self, error: OSError) -> None:
        """Warn, once for each folder and reason, that a frame cannot be cached."""
        folder, reason = self.file.parent.parent, error.strerror or str(error)
        if (folder, reason) not in _WARNED:
            _WARNED.add((folder, reason))
            log.warning("the frame cache %s: %s; frames are decoded again", folder, reason)

    def _create(self) -> None:
        """Create an empty sparse file: it takes the room of the frames that are in it."""
        if self._read_header():  # another process was faster
            return
        temporary = self.file.with_suffix(f".{os.getpid()}.tmp")
        temporary.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(json.dumps(self._shape).encode().ljust(HEADER))
        os.truncate(temporary, _file_size(self._shape))
        temporary.replace(self.file)

    def _write(self, descriptor: int, data: memoryview, offset: int) -> None:
        while data:
            written = self._pwrite(descriptor, data, offset)
            data, offset = data[written:], offset + written


_WARNED: set[tuple[Path, str]] = set()  # caches and reasons that this process has told


def _stamp(path: Path) -> Stamp:
    """Return numbers that change when a file is written, even if its size and time are set back."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def _file_size(shape: tuple[int, int, int]) -> int:
    count, height, width = shape
    return HEADER + count * (CHECKSUM + height * width * 3)
