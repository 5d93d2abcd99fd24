"""A folder with one sub-folder for each class as a data set: its videos, found and checked.

    my_videos/walk/a.mp4   my_videos/walk/b.avi   my_videos/run/c/frame_0001.jpg ...

`train` and `val` (or `test`) folders of class folders are kept apart as they are. A csv of paths
and labels takes the place of class folders.
"""

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ...configs import get_config
from ..annotations import DataError
from .find_videos import MediaFolder, is_utf8, name_others, name_problem, printable, walk_media
from .folder_checks import Clip, drop_copies, probe_clips
from .folder_sources import LeftOut, Source, list_class_folders, read_labels
from .write_lists import count_frames

NUMBERED = re.compile(r"([^{}]*?)(\d+)(\.jpe?g)", re.IGNORECASE)  # a frame's name, no braces


@dataclass(frozen=True)
class VideoFolder:
    """The readable videos of a folder, how their frames are numbered, and all that is left out."""

    root: Path
    name: str  # of the data set
    clips: tuple[Clip, ...]
    filename_tmpl: str
    start_index: int
    left_out: tuple[LeftOut, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes, in the order of their labels."""
        return tuple(sorted({clip.label for clip in self.clips}))

    @property
    def frames(self) -> float:
        """Return the median number of frames of a video."""
        return median(clip.num_frames for clip in self.clips)

    @property
    def pixels(self) -> float:
        """Return the median number of pixels of a frame."""
        return median(clip.pixels for clip in self.clips)


def read_folder(folder: str | Path, workers: int | None = None) -> VideoFolder:
    """Find and check the videos of a folder of class folders, or of a csv; nothing is written.

    Args:
        folder: one sub-folder for each class, with video files or folders of numbered JPEG frames
            at any depth; or `train` and `val` folders of such; or a csv, see `read_labels`.
        workers: processes that open the videos; None: as many as cores, 0: none beside this one.

    Raises:
        DataError: no such folder, fewer than two classes with videos that can be read, or the same
            video in two classes or in both splits.
    """
    path = Path(folder).expanduser().resolve()
    if not is_utf8(str(path)):
        raise DataError(f"the name of the folder {ascii(str(path))} is not UTF-8; rename it")
    if path.is_file() and path.suffix.lower() == ".csv":
        root, name, (sources, left_out) = path.parent, _csv_name(path), read_labels(path)
    elif path.is_dir():
        root, name, (sources, left_out) = path, path.name, list_class_folders(path)
    else:
        raise DataError(
            f"there is no folder {folder}; name one with a sub-folder for each class, or a csv "
            "with the columns path and label"
        )
    found, problems = _find_clips(root, sources)
    left_out += problems
    template, start = _guess_numbering(found)
    clips, problems = _list_clips(root, found, template, start)
    left_out += problems
    clips, problems = probe_clips(root, clips, template, start, workers)
    left_out += problems
    clips, problems = drop_copies(root, clips)
    left_out += [*problems, *_classes_left_empty(found, clips), *_only_tested(clips)]
    trained = {clip.label for clip in clips if clip.split != "val"}
    clips = [clip for clip in clips if clip.label in trained]
    _check_classes(path, clips, left_out)
    return VideoFolder(root, name, tuple(clips), template, start, tuple(left_out))


def _csv_name(file: Path) -> str:
    """Name the data set of a csv: several may lie in one folder."""
    return f"{file.parent.name}-{file.stem}".lstrip("-")


# --- what there is --------------------------------------------------------------------------------


class _Found(NamedTuple):
    """A folder at or below a source, and the class and split of that."""

    media: MediaFolder
    label: str
    split: str | None


def _find_clips(root: Path, sources: Sequence[Source]) -> tuple[list[_Found], list[LeftOut]]:
    """List the folders of all sources, and what in them is no video."""
    errors: list[OSError] = []
    found, left_out = [], []
    for split, label, path in sources:
        single = [MediaFolder(path.parent, [path.name], [], [])]
        inside = walk_media(path, errors.append) if path.is_dir() else single
        found += [_Found(media, label, split) for media in inside]
    for media, _, _ in found:
        others = name_others(_below(media.path, root), media.others)
        left_out += [LeftOut(*other) for other in others]
    left_out += [LeftOut(str(error.filename), error.strerror or "unreadable") for error in errors]
    return found, left_out


def _below(path: Path, root: Path) -> Path:
    """Return a path relative to the folder, above which a csv may name videos."""
    return Path(os.path.relpath(path, root))


def _guess_numbering(found: Sequence[_Found]) -> tuple[str, int]:
    """Guess how frames are numbered: the template and first number of most frame folders."""
    named: Counter[tuple[str, str]] = Counter()
    digits: dict[tuple[str, str], set[str]] = {}
    firsts: dict[tuple[str, str], list[int]] = {}
    for media in (entry.media for entry in found if not entry.media.videos):
        numbers: dict[tuple[str, str], list[str]] = {}
        for name in media.jpegs:
            if match := NUMBERED.fullmatch(name):
                numbers.setdefault((match[1], match[3]), []).append(match[2])
        for key, values in numbers.items():
            named[key] += len(values)
            digits.setdefault(key, set()).update(values)
            firsts.setdefault(key, []).append(min(map(int, values)))
    if not named:
        cfg = get_config("k400")
        return cfg.filename_tmpl, cfg.start_index
    key = before, after = named.most_common(1)[0][0]
    width = min(map(len, digits[key]))
    padded = width > 1 and (len({*map(len, digits[key])}) == 1 or
                            any(d.startswith("0") for d in digits[key]))  # fmt: skip
    start = Counter(firsts[key]).most_common(1)[0][0]
    return f"{before}{{:0{width}}}{after}" if padded else f"{before}{{}}{after}", start


def _list_clips(
    root: Path, found: Sequence[_Found], template: str, start: int
) -> tuple[list[Clip], list[LeftOut]]:
    """List the video files and frame folders, and what cannot be one."""
    clips, left_out = [], []
    first = template.format(start)
    for media, label, split in found:
        below = _below(media.path, root)
        clips += [Clip(str(below / name), label, split) for name in media.videos]
        frames, numbered = count_frames(media.path, template, start) if media.jpegs else (0, 0)
        if frames and not media.videos:
            clips.append(Clip(str(below), label, split, frames))
            if frames < numbered:
                reason = (
                    f"its frames after {template.format(start + frames - 1)}, as one is missing"
                )
                left_out.append(LeftOut(str(below), reason))
        elif media.jpegs:
            reason = "its JPEG files lie beside videos"
            if not media.videos:
                reason = f"none of its {len(media.jpegs)} JPEG files is the first frame, {first}"
            left_out.append(LeftOut(str(below), reason))  # fmt: skip
    odd = [clip for clip in clips if name_problem(clip.path)]
    left_out += [LeftOut(clip.path, name_problem(clip.path)) for clip in odd]
    once = dict.fromkeys(clips)  # a csv may name a video twice, or also the folder that it is in
    return [clip for clip in once if clip not in odd], left_out


# --- classes --------------------------------------------------------------------------------------


def _classes_left_empty(found: Sequence[_Found], clips: Sequence[Clip]) -> Iterable[LeftOut]:
    """Name the class folders that hold no video that can be read."""
    covered = {clip.label for clip in clips}
    empty = sorted({entry.label for entry in found} - covered)
    return [LeftOut(name, "this class has no video that can be read") for name in empty]


def _only_tested(clips: Sequence[Clip]) -> Iterable[LeftOut]:
    """Name the videos of classes that have none to train on."""
    trained = {clip.label for clip in clips if clip.split != "val"}
    reason = "its class has no video to train on"
    return [LeftOut(clip.path, reason) for clip in clips if clip.label not in trained]


def _check_classes(path: Path, clips: Sequence[Clip], left_out: Sequence[LeftOut]) -> None:
    """Raise `DataError` for fewer than two classes."""
    classes = sorted({clip.label for clip in clips})
    if len(classes) > 1:
        return
    needed = (
        f"a sub-folder for each class, such as {path.name}/walk/a.mp4 and {path.name}/run/b.mp4"
    )
    if path.is_file():
        needed = "lines `path,label` of two classes or more"
    count = f"only one class with videos, {classes[0]}" if classes else "no class with videos"
    why = left_out[0] if left_out else None
    reason = f"; left out is {printable(why.path)}: {why.reason}" if why else ""
    raise DataError(f"{path} holds {count}; it needs {needed}{reason}")
