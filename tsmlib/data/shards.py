"""Tar shards: many videos in few large files, for file systems that are slow at many small ones.

A shard is a plain tar in webdataset's layout: the members of a sample have a key in common, and
`KEY.json` says the path and label of the list. Videos are stored as they are, frames as JPEG files:

    000017.json  000017.mp4                                      # a video
    000018.json  000018.000000.jpg  000018.000001.jpg  ...       # a folder of frames

An index beside the shards says where each sample begins, so that reading a clip reads no other. The
folder of shards stands where the folder of media would; the list file is the same.
"""

import csv
import json
import os
from bisect import bisect_left
from pathlib import Path
from typing import NamedTuple

import numpy as np

from .annotations import SHARD_INDEX, DataError, VideoEntry
from .video import FrameFolder, VideoError, VideoFile
from .video_limits import Span

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
    """The frames of one sample of a shard, read from the tar at their offsets.

    Raises:
        VideoError: the sample's record is damaged or cut off.
    """

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
