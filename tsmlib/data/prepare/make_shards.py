"""Make a data root of shards: the lists of a row as they are, and its media in tars beside them.

`data/shards.py` says how a shard is laid out, and reads it.
"""

import csv
import io
import json
import shutil
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...configs import Config
from ..annotations import SHARD_INDEX, DataError, VideoEntry, VideoList, find_list
from ..shards import BLOCK, COLUMNS, Sample
from ..video import VideoError
from ..video_limits import read_regular


@dataclass(frozen=True)
class ShardReport:
    """What was written of a split: shards, samples, bytes, and which videos are missing and why."""

    folder: Path
    shards: int
    samples: int
    bytes: int
    missing: tuple[str, ...]


def make_shards(
    cfg: Config, data_root: Path, out: Path, splits: tuple[str, ...], max_bytes: int
) -> dict[str, ShardReport]:
    """Write the shards of some splits, and copy their lists; the hash of a list stays.

    A list whose path is absolute is copied to `out` under its own name.

    Args:
        cfg: the row.
        data_root: where its data are.
        out: the new data root.
        splits: `train`, `val` or both.
        max_bytes: about the size of a shard.

    Raises:
        DataError: a list that cannot be read, or a folder that cannot be written or holds shards.
    """
    out, reports = Path(out).expanduser().resolve(), {}
    if out == data_root:
        raise DataError(f"{out} is the data root itself: name another folder for the shards")
    lists = {split: find_list(cfg, split, data_root) for split in splits}  # all, before any work
    for split, videos in lists.items():
        if videos.sharded:
            raise DataError(f"{videos.prefix} holds shards already, and no single files")
        prefix = getattr(cfg, f"{split}_prefix")
        folder = out / (prefix if prefix is not None else "")
        numbering = cfg.filename_tmpl, cfg.start_index
        reports[split] = write_shards(videos, folder, split, *numbering, max_bytes)
        name = Path(getattr(cfg, f"{split}_list"))
        target = out / (name.name if name.is_absolute() else name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(videos.file, target)
    return reports


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
