"""Tar shards: many videos in few large files, for file systems that are slow at many small ones.

A shard is a plain tar in webdataset's layout: the members of a sample have a key in common, and
`KEY.json` says the path and label of the list. Videos are stored as they are, frames as JPEG files:

    000017.json  000017.mp4                                      # a video
    000018.json  000018.000000.jpg  000018.000001.jpg  ...       # a folder of frames

An index beside the shards says where each sample begins, so that reading a clip reads no other. The
folder of shards stands where the folder of media would; the list file is the same.
"""

import csv
import io
import json
import os
import tarfile
from bisect import bisect_left
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from .annotations import SHARD_INDEX, DataError, VideoEntry, VideoList
from .video import FrameFolder, VideoError, VideoFile
from .video_limits import Span, read_regular

BLOCK = 512  # bytes: every member of a tar has a header of one block, and is filled up to blocks
COLUMNS = ("path", "shard", "offset", "size", "frames")


class Sample(NamedTuple):
    """Where a sample is: the data of its video (frames 0), or of its json, before its frames."""

    shard: str
    offset: int
    size: int
    frames: int


class ShardIndex:
    """The samples of a folder of shards by their paths, in arrays that loader processes share."""

    def __init__(self, folder: Path):
        """Read the index files of a folder.

        Raises:
            DataError: an index that cannot be read.
        """
        self.folder, rows = folder, []
        for file in sorted(folder.glob(SHARD_INDEX.format("*"))):
            with file.open(newline="", encoding="utf-8") as lines:
                reader = csv.reader(lines)
                if tuple(next(reader, ())) != COLUMNS:
                    raise DataError(f"{file} is no index of shards: its header is not {COLUMNS}")
                rows += [tuple(row) for row in reader]
        rows.sort()
        try:
            paths, shards, *numbers = zip(*rows, strict=True)
            self._numbers = np.array(numbers, np.int64).T
        except ValueError:
            raise DataError(f"an index of shards in {folder} is damaged: write it again") from None
        self._paths = np.array(paths, np.dtypes.StringDType())
        self._shards = np.array(shards, np.dtypes.StringDType())

    def __contains__(self, path: str) -> bool:
        return self._position(path) is not None

    def __getitem__(self, path: str) -> Sample:
        """Return where a sample is.

        Raises:
            VideoError: there is none.
        """
        position = self._position(path)
        if position is None:
            raise VideoError(f"{self.folder / path}: it is in none of the shards")
        return Sample(str(self._shards[position]), *map(int, self._numbers[position]))

    def _position(self, path: str) -> int | None:
        position = bisect_left(self._paths, path)  # numpy 2.4's searchsorted fails on such strings
        found = position < len(self._paths) and self._paths[position] == path
        return position if found else None


class ShardFrames(FrameFolder):
    """The frames of a sample in a shard; the arguments are those of `FrameFolder`."""

    def __init__(self, shard: Path, sample: Sample, num_frames: int):
        super().__init__(shard, num_frames, "frame {}", 0)
        try:
            facts = json.loads(_read(shard, sample.offset, sample.size))
            sizes = [int(size) for size in facts["sizes"]]
        except (OSError, ValueError, KeyError, TypeError):
            raise VideoError(f"{shard} is damaged or cut off at byte {sample.offset}") from None
        taken = np.array([0, *(BLOCK + _blocks(size) for size in sizes)])
        self._starts = sample.offset + _blocks(sample.size) + BLOCK + taken.cumsum()
        self._sizes = sizes

    def _read(self, index: int) -> bytes:
        if not 0 <= index < len(self._sizes):
            raise FileNotFoundError
        return _read(self.path, int(self._starts[index]), self._sizes[index])


def open_sample(index: ShardIndex, entry: VideoEntry) -> VideoFile | FrameFolder:
    """Open the video of a list entry.

    Raises:
        VideoError: it is not in the shards, or cannot be read.
    """
    sample = index[entry.path]
    shard = index.folder / sample.shard
    if not sample.frames:
        return VideoFile(Span(shard, sample.offset, sample.size), entry.num_frames)
    if entry.num_frames and entry.num_frames > sample.frames:
        promised = f"the list promises {entry.num_frames}"
        raise VideoError(f"{index.folder / entry.path}: {sample.frames} frames, {promised}")
    return ShardFrames(shard, sample, entry.num_frames or sample.frames)


# --- writing --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ShardReport:
    """What was written of a split: shards, samples, bytes, and which videos are missing and why."""

    folder: Path
    shards: int
    samples: int
    bytes: int
    missing: tuple[str, ...]


def write_shards(
    videos: VideoList, folder: Path, split: str, template: str, start_index: int, max_bytes: int
) -> ShardReport:
    """Write the videos of a list as shards of about `max_bytes`, in the order of the list.

    The index comes last: without it there are no shards. `template` and `start_index` name frames.

    Raises:
        DataError: the folder holds shards of this split, or cannot be written.
    """
    index = folder / SHARD_INDEX.format(split)
    if index.exists():
        raise DataError(f"there are shards already ({index}): remove them, or name another folder")
    rows: list[tuple] = []
    missing: list[str] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writer = _ShardWriter(folder, split, max_bytes)
        for number, entry in enumerate(videos.entries):
            try:
                rows.append((entry.path, *writer.add(number, entry, *_media(
                    videos, entry, template, start_index))))  # fmt: skip
            except VideoError as error:
                missing.append(str(error))
        writer.close()
        text = io.StringIO(newline="")
        csv.writer(text).writerows([COLUMNS, *rows])
        index.write_text(text.getvalue(), encoding="utf-8", newline="")
    except OSError as error:
        raise DataError(f"{folder} cannot be written: {error.strerror or error}") from None
    return ShardReport(folder, writer.count, len(rows), writer.written, tuple(missing))


class _ShardWriter:
    """Writes samples into tars, and begins the next one when one is full."""

    def __init__(self, folder: Path, split: str, max_bytes: int):
        self._folder, self._split, self._max_bytes = folder, split, max_bytes
        self.count, self.written = 0, 0
        self._tar: Any = None

    def add(self, number: int, entry: VideoEntry, suffix: str, media: list[bytes]) -> Sample:
        """Write a sample: a video file, or (`suffix` is '') the JPEG files of its frames."""
        if self._tar is None or self._tar.offset >= self._max_bytes:
            self._begin()
        key, frames = f"{number:09d}", 0 if suffix else len(media)
        facts = {"path": entry.path, "label": entry.label, "sizes": [len(data) for data in media]}
        offset, size = self._write(f"{key}.json", json.dumps(facts).encode())
        for i, data in enumerate(media):
            at = self._write(f"{key}{suffix}" if suffix else f"{key}.{i:06d}.jpg", data)
            offset, size = at if suffix else (offset, size)
        return Sample(Path(self._tar.name).name, offset, size, frames)

    def close(self) -> None:
        """Complete the shard that is open."""
        if self._tar is not None:
            self.written += self._tar.offset
            self._tar.close()

    def _begin(self) -> None:
        self.close()
        name = self._folder / f"{self._split}-{self.count:06d}.tar"
        self._tar = tarfile.open(name, "w", format=tarfile.USTAR_FORMAT)  # noqa: SIM115
        self.count += 1

    def _write(self, name: str, data: bytes) -> tuple[int, int]:
        """Write a member, and return where its data begin and how many bytes they are."""
        member = tarfile.TarInfo(name)
        member.size, begin = len(data), self._tar.offset + BLOCK
        self._tar.addfile(member, io.BytesIO(data))
        return begin, len(data)


def _media(
    videos: VideoList, entry: VideoEntry, template: str, start_index: int
) -> tuple[str, list[bytes]]:
    """Read what a list entry names: the suffix and bytes of a video, or '' and those of frames."""
    path = videos.prefix / entry.path
    if videos.is_file(entry):
        return path.suffix.lower(), [_read_media(path)]
    files = (path / template.format(start_index + i) for i in range(entry.num_frames))
    return "", [_read_media(file) for file in files]


def _read_media(file: Path) -> bytes:
    try:
        return read_regular(str(file), max_bytes=None)
    except (OSError, ValueError) as error:
        raise VideoError(f"{file}: {getattr(error, 'strerror', None) or error}") from None


def _blocks(size: int) -> int:
    """Return the bytes that a member takes: whole blocks."""
    return -(-size // BLOCK) * BLOCK


def _read(shard: Path, offset: int, size: int) -> bytes:
    descriptor = os.open(shard, os.O_RDONLY)
    try:
        data = os.pread(descriptor, size, offset)
    finally:
        os.close(descriptor)
    if len(data) < size:
        raise ValueError(f"{shard} ends before byte {offset + size}")
    return data
