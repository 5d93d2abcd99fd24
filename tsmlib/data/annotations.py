"""Read list files: the videos of a split, their lengths and their labels."""

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..configs import Config
from .list_lines import ALLOW, COLUMNS, VideoEntry, is_below, names_video, parse_line
from .video import VideoError, VideoFile

SHARD_INDEX = "shards-{}.csv"  # of a split, in a folder of shards (see shards.py)
MEDIA_FOLDERS = ("", "videos", "rawframes")  # where a list without a prefix may have its files
PROBED = 3  # so many video files are opened to see whether the second column is their length


class DataError(RuntimeError):
    """Data that are missing or damaged; the message names the file and what to do."""


class VideoEntries(Sequence[VideoEntry]):
    """The entries of a list, held in arrays that loader processes share.

    As Python objects they would be copied, page by page, in every process: counting references
    writes to them.
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
    confined: bool = False  # no entry may lead out of the folder, not even through a link

    def locate(self, entry: VideoEntry) -> Path:
        """Return the path of an entry's file or folder.

        Raises:
            VideoError: it is not in the folder of the list.
        """
        path = self.prefix / entry.path
        if self.confined and not is_below(path, self.prefix):
            raise VideoError(f"{path} leads out of {self.prefix}; {ALLOW}")
        return path

    def is_file(self, entry: VideoEntry) -> bool:
        """Tell whether an entry is a video file: a folder with a length holds frames."""
        if self.layout != "video":
            return False
        return entry.num_frames is None or not (self.prefix / entry.path).is_dir()


def read_list(
    file: Path, layout: str, num_classes: int, folders: Sequence[Path] = ()
) -> tuple[str, VideoEntries]:
    """Read the entries of a list file.

    Args:
        file: the list.
        layout: `rawframes`, `video`, or `auto` (video if any entry ends like a video file).
        num_classes: labels must be below.
        folders: absolute paths, and those with `..`, must lead into one of these; (): anywhere.

    Returns:
        The layout, and the entries in the order of the file.

    Raises:
        DataError: no such file, an empty one, or a line that cannot be read (with its number).
    """
    numbered = _numbered_lines(file)
    columns = f"`{COLUMNS.get(layout, COLUMNS['rawframes'])}`"
    if layout == "auto":
        layout = "video" if any(names_video(line) for _, line in numbered) else "rawframes"
        columns = f"`{COLUMNS[layout]}`"
        if layout == "rawframes":
            columns += f" (of video files, with `layout: video`: `{COLUMNS['video']}`)"
    entries = []
    for number, line in numbered:
        try:
            entries.append(parse_line(line, layout, num_classes, columns, folders))
        except ValueError as error:
            raise DataError(f"{file}, line {number}: {error}: {line[:120]!r}") from None
    return layout, VideoEntries(entries)


def _numbered_lines(file: Path) -> list[tuple[int, str]]:
    """List (number, text) of the lines of a list, without empty ones and surrounding blanks."""
    if not file.is_file():
        raise DataError(f"there is no list file {file}")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 text; save it as UTF-8") from None
    lines = text.split("\n")  # `splitlines` also splits at what a name may hold, such as U+2028
    numbered = [(i, text) for i, line in enumerate(lines, 1) if (text := line.strip(" \t"))]
    if not numbered:
        raise DataError(f"the list file {file} is empty")
    return numbered


def list_file(cfg: Config, split: str, data_root: Path) -> Path:
    """Return the path of a split's list: in the data root, or beside it, as a user's own may be.

    Raises:
        DataError: the configuration, a user's own, names no such list.
    """
    name = getattr(cfg, f"{split}_list")
    if not name:
        raise DataError(f"{cfg.name} names no {split}_list; add this line to its YAML file")
    beside = data_root.parent / name
    own = cfg.dataset == "custom" and not (data_root / name).is_file() and beside.is_file()
    return beside if own else data_root / name


def find_list(cfg: Config, split: str, data_root: Path) -> VideoList:
    """Read the list of a split (`train` or `val`), and find the folder of its media.

    Raises:
        DataError: see `read_list`; or none of the media is there, they are of another layout, or
            the columns hold something else, such as an offset or a second label.
    """
    file, prefix = list_file(cfg, split, data_root), getattr(cfg, f"{split}_prefix")
    candidates = [root / sub for root in (data_root, file.parent) for sub in MEDIA_FOLDERS]
    if prefix is not None:
        candidates = [data_root / prefix]
    candidates = list(dict.fromkeys(candidates))
    folders = () if cfg.allow_outside else candidates
    layout, entries = read_list(file, cfg.layout, cfg.num_classes, folders)
    folder, first = _find_first(entries, candidates, not cfg.allow_outside)
    if folder is None:
        _check_numbers_in_path(file, entries[0], candidates)
        tried = ", ".join(map(str, candidates))
        raise DataError(f"{file} lists {entries[0].path} and others, none of which is in {tried}")
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    sharded, confined = _has_shards(folder), not cfg.allow_outside
    videos = VideoList(file, digest, layout, folder, entries, sharded, confined)
    if not sharded:
        _check_layout(videos, first)
        _check_lengths(videos, first)
    return videos


def _find_first(
    entries: Sequence[VideoEntry], candidates: Sequence[Path], confined: bool
) -> tuple[Path | None, int]:
    """Return the folder with shards, else that of the first entry that is there; its position."""
    present = [folder for folder in candidates if folder.is_dir()]
    if sharded := [folder for folder in present if _has_shards(folder)]:
        return sharded[0], 0
    found = (
        (folder, i)
        for i, entry in enumerate(entries)
        for folder in present
        if (folder / entry.path).exists()
        and not (confined and entry.path[0] == "/" and not is_below(entry.path, folder))
    )
    return next(found, (None, 0))


# --- what the columns hold ------------------------------------------------------------------------


def _check_numbers_in_path(file: Path, entry: VideoEntry, candidates: Sequence[Path]) -> None:
    """Raise `DataError` if a path is there once the numbers at its end are taken off."""
    plain = re.sub(r"([ \t]+[0-9]+)+$", "", entry.path)
    if plain != entry.path and any((folder / plain).exists() for folder in candidates):
        number, line = _numbered_lines(file)[0]
        raise DataError(
            f"{file}, line {number}: expected `{COLUMNS['rawframes']}` or `{COLUMNS['video']}`, "
            f"found {plain!r} and more than two numbers, maybe an offset or several labels, which "
            f"a list cannot have: {line[:120]!r}"
        )


def _check_layout(videos: VideoList, position: int) -> None:
    """Raise `DataError` if an entry that is there is a file among frames, or the reverse."""
    entry, problem = videos.entries[position], ""
    path = videos.prefix / entry.path
    if videos.layout == "rawframes" and path.is_file():
        problem = "is a file, and the list is of folders of frames; set `layout: video`"
    elif videos.is_file(entry) and path.is_dir():
        problem = f"is a folder; list folders of frames as `{COLUMNS['rawframes']}`"
    if problem:
        number, _ = _numbered_lines(videos.file)[position]
        raise DataError(f"{videos.file}, line {number}: {path} {problem}")


def _check_lengths(videos: VideoList, first: int) -> None:
    """Raise `DataError` if most of the first videos are not half to twice as long as listed.

    The numbers are then no lengths, but maybe labels. Videos that cannot be read say nothing.
    """
    probed, differ = 0, []
    for position in range(first, min(first + PROBED, len(videos.entries))):
        entry = videos.entries[position]
        if entry.num_frames is None or not videos.is_file(entry):
            continue
        try:
            frames = VideoFile(videos.locate(entry)).num_frames
        except VideoError:
            continue
        probed += 1
        if not entry.num_frames / 2 <= frames <= 2 * entry.num_frames:
            differ.append((position, entry, frames))
    if 2 * len(differ) > probed:
        position, entry, frames = differ[0]
        number, line = _numbered_lines(videos.file)[position]
        raise DataError(
            f"{videos.file}, line {number}: expected `{COLUMNS['video']}`, but the video has "
            f"{frames} frames, not {entry.num_frames}; if the numbers are labels, leave one for "
            f"each video: {line[:120]!r}"
        )


def _has_shards(folder: Path) -> bool:
    return any(folder.glob(SHARD_INDEX.format("*")))
