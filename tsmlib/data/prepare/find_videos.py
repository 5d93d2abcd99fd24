"""Find video files, and folders of numbered JPEG frames, below folders."""

import logging
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ...configs import Config
from ...configs.validation import OTHER_PICTURES
from ...text import to_terminal
from ..list_lines import VIDEO_SUFFIXES, VideoEntry
from .write_lists import count_frames

log = logging.getLogger(__name__)

FEW = 3  # so many files of a kind are named one by one
JPEG_SUFFIXES = (".jpg", ".jpeg")


class MediaFolder(NamedTuple):
    """A folder and the names of its files by kind; hidden files that are no videos are left out."""

    path: Path
    videos: list[str]
    jpegs: list[str]
    others: list[str]


def walk_media(top: Path, onerror: Callable[[OSError], object]) -> Iterator[MediaFolder]:
    """Yield a folder and all below it in the order of their names; links are followed once.

    Args:
        top: where to start.
        onerror: takes the error of each folder that cannot be read.
    """
    seen: set[str] = set()
    for folder, subfolders, files in os.walk(top, onerror=onerror, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        kinds: tuple[list[str], list[str], list[str]] = ([], [], [])
        for name in sorted(files):
            kind = 0 if name.lower().endswith(VIDEO_SUFFIXES) else 2
            kinds[1 if name.lower().endswith(JPEG_SUFFIXES) else kind].append(name)
        visible = [name for name in kinds[2] if not name.startswith(".")]
        yield MediaFolder(Path(folder), kinds[0], kinds[1], visible)


def name_others(folder: Path, names: Sequence[str]) -> list[tuple[str, str]]:
    """Name the files of a folder that are no videos, and why; many of a kind at once."""
    kinds: dict[str, list[str]] = {}
    for name in names:
        kinds.setdefault(Path(name).suffix.lower(), []).append(name)
    named = []
    for suffix, alike in kinds.items():
        reason = "it is no video" + "; frames must be JPEG" * (suffix in OTHER_PICTURES)
        paths = [printable(str(folder / name)) for name in alike]
        if len(paths) > FEW:
            paths = [f"{paths[0]} and {len(paths) - 1} more like it"]
        named += [(path, reason) for path in paths]
    return named


def is_utf8(path: str) -> bool:
    """Tell whether a path is text; no decoder takes another one."""
    return path.encode(errors="ignore").decode() == path


def name_problem(path: str) -> str:
    """Return why a list cannot hold a path, or ''."""
    if not is_utf8(path):
        return "the name is not UTF-8"
    plain = path.strip(" \t") == path and not {"\n", "\r"} & {*path}
    return "" if plain else "the name holds a line break, or starts or ends with a blank"


def scan_paths(paths: Sequence[str | Path], cfg: Config) -> tuple[list[VideoEntry], list[str]]:
    """List the videos at and below paths, each once, and a sentence for each path without any.

    Frame folders have a number of frames, video files have none; labels are 0. Files that are
    neither are logged.
    """
    entries: dict[str, VideoEntry] = {}
    bad: list[str] = []
    for path in (Path(path).expanduser() for path in paths):
        if path.is_dir():
            inside, problems = _in_folder(path, cfg)
        elif path.exists():
            inside, problems = [VideoEntry(str(path), None, 0)], []
        else:
            inside, problems = [], [f"{path}: there is no such file or folder"]
        entries |= {entry.path: entry for entry in inside}
        bad += problems
    for name in [path for path in entries if not is_utf8(path)]:
        bad.append(f"{ascii(name)}: the name is not UTF-8")
        del entries[name]
    return list(entries.values()), bad


def _in_folder(top: Path, cfg: Config) -> tuple[list[VideoEntry], list[str]]:
    """List the videos and frame folders in a folder and below, and what is wrong with some."""
    entries: list[VideoEntry] = []
    errors: list[OSError] = []
    bad: list[str] = []
    first = cfg.filename_tmpl.format(cfg.start_index)
    for folder, videos, jpegs, others in walk_media(top, errors.append):
        entries += [VideoEntry(str(folder / name), None, 0) for name in videos]
        frames, numbered = count_frames(folder, cfg.filename_tmpl, cfg.start_index)
        if frames:
            entries.append(VideoEntry(str(folder), frames, 0))
        elif numbered:
            bad.append(f"{folder}: the first of its frames, {first}, is missing")
        elif jpegs and (videos or folder != top):
            bad.append(f"{folder}: none of its {len(jpegs)} JPEG files is named like {first}")
        if 0 < frames < numbered:
            log.warning("%s: only the %d frames before a gap are used", folder, frames)
        for path, reason in name_others(folder, others):
            log.warning("left out: %s: %s", path, reason)
    bad += [f"{error.filename}: {error.strerror}" for error in errors]
    if not entries and not bad:
        bad = [f"{top}: it holds no video, and no frame {first}"]
    return entries, bad


def printable(path: str) -> str:
    """Return a path that can be printed."""
    return ascii(path) if name_problem(path) else to_terminal(path)
