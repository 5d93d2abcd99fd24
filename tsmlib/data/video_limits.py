"""What is read as a video or a frame at all: regular files, of known containers and sane sizes.

A file of a few bytes may claim any size, stand for a pipe that never ends, or name other files to
open. Each limit ends in a sentence before memory is asked for. And what a header promises is held
against what is there, with allowance for headers that are wrong.
"""

import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MAX_PIXELS = 2**25  # of a frame: 8192 x 4096, and 100 MB as RGB
MAX_ASPECT = 50  # longer by shorter side: the shorter one is resized to 256 pixels or so
MAX_FRAME_BYTES = 2**27  # of the file of one frame
MAX_PACKETS = 2**20  # of a video: 9 hours at 30 frames per second, listed in seconds

# FFmpeg's names of the containers and plain streams that hold the video itself. Others (playlists,
# concat scripts, SDP, numbered images) are texts or names that make it open other files.
VIDEO_FORMATS = (
    "mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "flv", "asf", "asf_o",
    "mpeg", "mpegts", "mpegtsraw", "mpegvideo", "ogg", "gif", "apng", "mxf", "nut", "wtv", "rm",
    "dv", "gxf", "swf", "ivf", "av1", "obu", "h261", "h263", "h264", "hevc", "vvc", "m4v", "mjpeg",
    "vc1", "dirac", "yuv4mpegpipe",
)  # fmt: skip

# FFmpeg's names of containers that state how long they are; of others it estimates that from what
# is there.
STATED_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv", "asf")
LAST_FRAME = 0.1  # seconds: a packet need not say how long its frame is shown
# GUID of the File Properties Object (ASF specification 1.20, section 3.2)
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


@dataclass(frozen=True)
class Span:
    """A file inside another one, a tar shard: where its bytes begin, and how many they are."""

    path: Path
    offset: int
    size: int

    def __str__(self) -> str:
        return f"{self.path} (from byte {self.offset})"


Source = Path | Span


def url_of(source: Source) -> str:
    """Return the name by which FFmpeg opens a file or a part of one."""
    if isinstance(source, Path):
        return f"file:{source}"
    end = source.offset + source.size
    return f"subfile,,start,{source.offset},end,{end},,:{source.path}"


def size_of(source: Source) -> int:
    """Return the bytes of a file, or of a part of one."""
    return source.stat().st_size if isinstance(source, Path) else source.size


def check_size(width: int, height: int) -> None:
    """Check the size of a frame, as its header states it.

    Raises:
        ValueError: more than MAX_PIXELS, or sides that differ more than MAX_ASPECT times.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(
            f"frames of {width}x{height} have more than {MAX_PIXELS} pixels, the most that is "
            "read: scale them down"
        )
    if max(width, height) > MAX_ASPECT * max(1, min(width, height)):
        raise ValueError(
            f"a side of {width}x{height} frames is over {MAX_ASPECT} times the other, the most "
            "that is read: crop them"
        )


def check_regular(source: Source) -> None:
    """Check that a source is an ordinary file with content: reading others may wait for ever.

    Raises:
        OSError: there is none, or it cannot be looked at.
        ValueError: it is empty, cut off, or a folder, pipe, socket or device.
    """
    status = (source if isinstance(source, Path) else source.path).stat()
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise ValueError(f"it is {kind}, not a file")
    if size_of(source) == 0:
        raise ValueError("the file is empty")
    if isinstance(source, Span) and source.offset + source.size > status.st_size:
        raise ValueError("the shard is cut off before its end")


def read_regular(file: str, max_bytes: int | None = MAX_FRAME_BYTES) -> bytes:
    """Read an ordinary file, by a name that needs no Path; see `check_regular` for others."""
    descriptor = os.open(file, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))  # a pipe would wait here
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("it is a folder, pipe, socket or device, not a file")
        if max_bytes is not None and status.st_size > max_bytes:
            raise ValueError(f"{status.st_size} bytes are too many for one frame")
        with os.fdopen(os.dup(descriptor), "rb", buffering=0) as opened:
            return opened.read()
    finally:
        os.close(descriptor)


def announced_frames(source: Source, container, stream, count: int, ends: float) -> int:
    """Tell how many frames a header promises; 0: it does not say.

    Args:
        source, container, stream: the open file.
        count: number of packets of the stream.
        ends: seconds at which the last packet of any stream ends.
    """
    if container.format.name == "avi":  # counts frames that were dropped: go by their times
        behind = stream.frames - round(ends / stream.time_base) if _is_cut_avi(source) else 0
        return count + max(0, behind)
    if stream.frames or container.format.name not in STATED_CONTAINERS:
        return stream.frames
    stated = (container.duration or 0) / 1e6
    if container.format.name == "asf":
        stated = _stated_asf_seconds(source)
    ends -= min(0, (container.start_time or 0) / 1e6)
    return round(count * stated / max(ends, LAST_FRAME))


def _is_cut_avi(source: Source) -> bool:
    """Tell whether an AVI file ends before a part that it announces (RIFF chunks, back to back).

    Its header counts dropped frames, and may count wrongly: it alone proves nothing.
    """
    size, position = size_of(source), 0
    with _open(source) as (file, start):
        while position + 8 <= size:
            file.seek(start + position)
            name, length = file.read(4), int.from_bytes(file.read(4), "little")
            if name != b"RIFF":
                break  # something that was appended
            position += 8 + length + length % 2
    return position > size + 1


def _stated_asf_seconds(source: Source) -> float:
    """Read the duration in the header of an ASF file; FFmpeg ignores it where the file was cut."""
    with _open(source) as (file, start):
        file.seek(start)
        header = file.read(2**16)
    found = header.find(ASF_FILE_PROPERTIES)
    if found < 0:
        return 0.0
    ticks, _, preroll = struct.unpack_from("<QQQ", header.ljust(found + 88), found + 64)
    return max(0.0, ticks / 1e7 - preroll / 1e3)


@contextmanager
def _open(source: Source) -> Iterator[tuple[BinaryIO, int]]:
    """Open the file of a source, and say where in it the source begins."""
    path, start = (source, 0) if isinstance(source, Path) else (source.path, source.offset)
    with path.open("rb") as file:
        yield file, start
