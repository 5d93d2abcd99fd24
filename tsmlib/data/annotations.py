"""Read list files: the videos of a split, their lengths and their labels.

Raw frames: `directory num_frames label`. Videos: `path label` or `path num_frames label`.
One entry a line, separated by blanks (MMAction2 rawframe_dataset.py, video_dataset.py).
"""

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ..configs import Config

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".webm", ".mkv", ".mov", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp",
    ".ts", ".mts", ".m2ts", ".ogv", ".gif",
)  # fmt: skip
SHARD_INDEX = "shards-{}.csv"  # of a split, in a folder of shards (see shards.py)
MEDIA_FOLDERS = ("", "videos", "rawframes")  # where a list without a prefix may have its files


class DataError(RuntimeError):
    """Data that are missing or damaged; the message names the file and what to do."""


class VideoEntry(NamedTuple):
    """One line of a list: a path relative to the prefix, frames if listed, label from 0."""

    path: str
    num_frames: int | None
    label: int


class VideoEntries(Sequence[VideoEntry]):
    """The entries of a list, held in arrays that loader processes share.

    Many small objects would be copied page by page, as counting references writes to them.
    """

    def __init__(self, entries: Iterable[VideoEntry]):
        paths, frames, labels = [], [], []
        for path, num_frames, label in entries:
            paths.append(path)
            frames.append(num_frames or 0)  # 0: not listed
            labels.append(label)
        self._paths = np.array(paths, np.dtypes.StringDType())
        self._frames, self._labels = np.array(frames), np.array(labels)

    def __len__(self) -> int:
        return len(self._labels)

    def __getitem__(self, index):
        frames = int(self._frames[index]) or None
        return VideoEntry(self._paths[index], frames, int(self._labels[index]))


@dataclass(frozen=True)
class VideoList:
    """A list file as read: its path and hash, the layout and folder of its media, its entries."""

    file: Path
    sha256: str
    layout: str
    prefix: Path
    entries: VideoEntries | Sequence[VideoEntry]
    sharded: bool = False  # the folder holds the media in shards

    def is_file(self, entry: VideoEntry) -> bool:
        """Tell whether an entry is a video file: a folder with a length holds frames."""
        if self.layout != "video":
            return False
        return entry.num_frames is None or not (self.prefix / entry.path).is_dir()


def read_list(file: Path, layout: str, num_classes: int) -> tuple[str, VideoEntries]:
    """Read the entries of a list file.

    Args:
        file: the list.
        layout: `rawframes`, `video`, or `auto` (video if the first entry ends like a video file).
        num_classes: labels must be below.

    Returns:
        The layout, and the entries in the order of the file.

    Raises:
        DataError: no such file, an empty one, or a line that cannot be read (with its number).
    """
    if not file.is_file():
        raise DataError(f"there is no list file {file}")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 text; save it as UTF-8") from None
    numbered = [(i, line) for i, line in enumerate(map(str.strip, lines), 1) if line]
    if not numbered:
        raise DataError(f"the list file {file} is empty")
    if layout == "auto":
        layout = "video" if _names_video(numbered[0][1]) else "rawframes"
    return layout, VideoEntries(_parse(file, i, line, layout, num_classes) for i, line in numbered)


def list_file(cfg: Config, split: str, data_root: Path) -> Path:
    """Return the path of a split's list: in the data root, or beside it, as a user's own may be."""
    name = getattr(cfg, f"{split}_list")
    beside = data_root.parent / name
    own = cfg.dataset == "custom" and not (data_root / name).is_file() and beside.is_file()
    return beside if own else data_root / name


def find_list(cfg: Config, split: str, data_root: Path) -> VideoList:
    """Read the list of a split (`train` or `val`), and find the folder of its media."""
    file, prefix = list_file(cfg, split, data_root), getattr(cfg, f"{split}_prefix")
    layout, entries = read_list(file, cfg.layout, cfg.num_classes)
    candidates = [root / sub for root in (data_root, file.parent) for sub in MEDIA_FOLDERS]
    if prefix is not None:
        candidates = [data_root / prefix]
    folder = _folder_of(entries, candidates)
    if folder is None:
        tried = ", ".join(dict.fromkeys(str(c) for c in candidates))
        raise DataError(f"{file} lists {entries[0].path} and others, none of which is in {tried}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return VideoList(file, digest, layout, folder, entries, _has_shards(folder))


def _folder_of(entries: Sequence[VideoEntry], candidates: list[Path]) -> Path | None:
    """Return the first folder that holds shards or an entry; single files may be missing."""
    present = [folder for folder in dict.fromkeys(candidates) if folder.is_dir()]
    if sharded := [folder for folder in present if _has_shards(folder)]:
        return sharded[0]
    found = (f for entry in entries for f in present if (f / entry.path).exists())
    return next(found, None)


def _has_shards(folder: Path) -> bool:
    return any(folder.glob(SHARD_INDEX.format("*")))


def _names_video(line: str) -> bool:
    words = line.split()
    return any(w.lower().endswith(VIDEO_SUFFIXES) for w in words[:-1])


def _parse(file: Path, number: int, line: str, layout: str, num_classes: int) -> VideoEntry:
    words = line.rsplit(maxsplit=2)  # blanks in the path stay
    frames_listed = len(words) == 3 and words[1].isdigit()
    if layout == "video" and not frames_listed:
        words = line.rsplit(maxsplit=1)
    where = file, number, line
    if len(words) < 2 or (layout == "rawframes" and not frames_listed):
        wanted = "path [num_frames] label" if layout == "video" else "directory num_frames label"
        raise _bad_line(*where, f"expected `{wanted}`")
    if not words[-1].isdigit():
        raise _bad_line(*where, f"the label {words[-1]!r} is not a number from 0 on")
    label, frames = int(words[-1]), int(words[1]) if frames_listed else None
    if label >= num_classes:
        largest = num_classes - 1
        raise _bad_line(
            *where, f"label {label} is out of range for {num_classes} classes (0 to {largest})"
        )
    if frames == 0:
        raise _bad_line(*where, "the video has 0 frames")
    return VideoEntry(words[0], frames, label)


def _bad_line(file: Path, number: int, line: str, why: str) -> DataError:
    return DataError(f"{file}, line {number}: {why}: {line[:120]!r}")
