"""A folder with one sub-folder for each class as a data set: its videos, checked and split.

    my_videos/walk/a.mp4   my_videos/walk/b.avi   my_videos/run/c/frame_0001.jpg ...

`train` and `val` (or `test`) folders of class folders are kept apart as they are.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import NamedTuple

from ...configs import Config, get_config
from ..annotations import DataError, VideoEntry, VideoList
from .check import probe_videos
from .find_videos import MediaFolder, is_utf8, name_others, name_problem, printable, walk_media
from .write_lists import count_frames

TRAIN_FOLDERS = ("train", "training")
VAL_FOLDERS = ("val", "valid", "validation", "test", "testing")
NUMBERED = re.compile(r"([^{}]*?)(\d+)(\.jpe?g)", re.IGNORECASE)  # a frame's name, no braces


class Clip(NamedTuple):
    """A video of a folder: its path below the folder, its class, and its split if it has one."""

    path: str
    label: str
    split: str | None
    num_frames: int | None = None  # None: a video file that is not probed yet
    pixels: int = 0  # of a frame


class LeftOut(NamedTuple):
    """A file or folder that is not used, and the reason."""

    path: str
    reason: str


@dataclass(frozen=True)
class VideoFolder:
    """The readable videos of a folder, how their frames are numbered, and all that is left out."""

    root: Path
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
    """Find and check the videos of a folder of class folders; nothing is written.

    Args:
        folder: one sub-folder for each class, with video files or folders of numbered JPEG frames
            at any depth; or `train` and `val` folders of such.
        workers: processes that open the videos; None: as many as cores, 0: none beside this one.

    Raises:
        DataError: no such folder, fewer than two classes with videos that can be read, or the same
            video in two classes or in both splits.
    """
    root = Path(folder).expanduser().resolve()
    if not root.is_dir():
        raise DataError(f"there is no folder {folder}; name one with a sub-folder for each class")
    if not is_utf8(str(root)):
        raise DataError(f"the name of the folder {ascii(str(root))} is not UTF-8; rename it")
    found, left_out = _find_clips(root)
    template, start = _guess_numbering(found)
    clips, problems = _list_clips(root, found, template, start)
    left_out += problems
    clips, problems = _probe(root, clips, template, start, workers)
    left_out += problems
    clips, problems = _drop_copies(root, clips)
    left_out += [*problems, *_classes_left_empty(found, clips), *_only_tested(clips)]
    trained = {clip.label for clip in clips if clip.split != "val"}
    clips = [clip for clip in clips if clip.label in trained]
    _check_classes(root, clips, left_out)
    return VideoFolder(root, tuple(clips), template, start, tuple(left_out))


# --- what there is --------------------------------------------------------------------------------


class _Found(NamedTuple):
    """A folder below a class folder, and that class and split."""

    media: MediaFolder
    label: str
    split: str | None


def _find_clips(root: Path) -> tuple[list[_Found], list[LeftOut]]:
    """List the folders of all classes, and what lies elsewhere."""
    groups, left_out = _class_folders(root)
    errors: list[OSError] = []
    found = []
    for split, folder in groups:
        label = " ".join(folder.name.split())
        found += [_Found(media, label, split) for media in walk_media(folder, errors.append)]
    for media, _, _ in found:
        others = name_others(media.path.relative_to(root), media.others)
        left_out += [LeftOut(*other) for other in others]
    left_out += [LeftOut(str(error.filename), error.strerror or "unreadable") for error in errors]
    return found, left_out


def _class_folders(root: Path) -> tuple[list[tuple[str | None, Path]], list[LeftOut]]:
    """List the class folders with the split that they are in, and the entries beside them."""
    folders, files = _visible(root)
    by_name = {folder.name.lower(): folder for folder in folders}
    train, val = (
        next((by_name[name] for name in names if name in by_name), None)
        for names in (TRAIN_FOLDERS, VAL_FOLDERS)
    )
    if train is None or val is None or not _visible(train)[0]:
        left_out = [LeftOut(file.name, "it lies in no class folder") for file in files]
        return [(None, folder) for folder in folders], left_out
    groups: list[tuple[str | None, Path]] = []
    beside = [path for path in (*folders, *files) if path not in (train, val)]
    for split, folder in (("train", train), ("val", val)):
        classes, inside = _visible(folder)
        groups += [(split, path) for path in classes]
        beside += inside
    reason = f"it lies in no class folder of {train.name} or {val.name}"
    return groups, [LeftOut(str(path.relative_to(root)), reason) for path in beside]


def _visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the folders and the files in a folder that are not hidden."""
    try:
        paths = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None
    return [p for p in paths if p.is_dir()], [p for p in paths if not p.is_dir()]


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
        below = media.path.relative_to(root)
        clips += [Clip(str(below / name), label, split) for name in media.videos]
        frames, numbered = count_frames(media.path, template, start)
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
    return [clip for clip in clips if clip not in odd], left_out


# --- checks ---------------------------------------------------------------------------------------


def _probe(
    root: Path, clips: list[Clip], template: str, start: int, workers: int | None
) -> tuple[list[Clip], list[LeftOut]]:
    """Open every video, and return those that can be read with their lengths and sizes."""
    if not clips:
        return [], []
    cfg: Config = get_config("k400", filename_tmpl=template, start_index=start)
    entries = [VideoEntry(clip.path, clip.num_frames, 0) for clip in clips]
    videos = VideoList(root, "", "video", root, entries)
    good, left_out = [], []
    for clip, result in zip(clips, probe_videos(cfg, videos, False, workers), strict=True):
        if result.num_frames:
            pixels = result.height * result.width
            good.append(clip._replace(num_frames=result.num_frames, pixels=pixels))
        else:
            left_out.append(LeftOut(clip.path, result.problem.removeprefix("damaged: ")))
    return good, left_out


def _drop_copies(root: Path, clips: list[Clip]) -> tuple[list[Clip], list[LeftOut]]:
    """Drop further copies of a video within a class.

    Raises:
        DataError: the copies are in two classes, or in both splits.
    """
    alike: dict[tuple, list[Clip]] = {}
    for clip in clips:
        alike.setdefault((clip.num_frames, clip.pixels, _size(root / clip.path)), []).append(clip)
    first: dict[str, Clip] = {}
    copies = {}
    for clip in (clip for group in alike.values() if len(group) > 1 for clip in group):
        same = first.setdefault(_content_hash(root / clip.path), clip)
        if same is clip:
            continue
        for kind, one, two in (("classes", same.label, clip.label),
                               ("splits", same.split, clip.split)):  # fmt: skip
            if one != two:
                raise DataError(
                    f"{same.path} and {clip.path} in {root} are the same video in two {kind}, "
                    f"{one} and {two}; remove one of them"
                )
        copies[clip] = LeftOut(clip.path, f"it is a copy of {same.path}")
    return [clip for clip in clips if clip not in copies], [*copies.values()]


def _files(path: Path) -> list[Path]:
    return sorted(p for p in path.iterdir() if p.is_file()) if path.is_dir() else [path]


def _size(path: Path) -> int:
    return sum(file.stat().st_size for file in _files(path))


def _content_hash(path: Path) -> str:
    digest = hashlib.sha256()
    for file in _files(path):
        digest.update(file.read_bytes())
    return digest.hexdigest()


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


def _check_classes(root: Path, clips: Sequence[Clip], left_out: Sequence[LeftOut]) -> None:
    """Raise `DataError` for fewer than two classes."""
    classes = sorted({clip.label for clip in clips})
    if len(classes) > 1:
        return
    example = f"such as {root.name}/walk/a.mp4 and {root.name}/run/b.mp4"
    count = f"only one class with videos, {classes[0]}" if classes else "no class with videos"
    why = left_out[0] if left_out else None
    reason = f"; left out is {printable(why.path)}: {why.reason}" if why else ""
    raise DataError(
        f"{root} holds {count}; it needs a sub-folder for each class, {example}{reason}"
    )
