"""Parse the lines of list files.

Raw frames: `directory num_frames label`. Videos: `path label` or `path num_frames label`.
One entry a line, separated by blanks (MMAction2 rawframe_dataset.py, video_dataset.py).
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from ..text import parse_number

VIDEO_SUFFIXES = (
    ".mp4", ".avi", ".webm", ".mkv", ".mov", ".mpg", ".mpeg", ".m4v", ".wmv", ".flv", ".3gp",
    ".ts", ".mts", ".m2ts", ".ogv", ".gif", ".3g2", ".asf", ".divx", ".dv", ".f4v", ".m2t", ".m2v",
    ".mxf", ".ogg", ".qt", ".vob",
)  # fmt: skip
COLUMNS = {"rawframes": "directory num_frames label", "video": "path [num_frames] label"}
ALLOW = "set allow_outside=True if that is wanted"
MAX_FRAMES = 2**31 - 1  # number of frames
LONGEST_NAME = 255  # bytes, on most file systems
LONGEST_PATH = 3000  # bytes, below the 4096 of Linux with a folder in front
VIDEO_AND_NUMBERS = re.compile(
    rf".*(?:{'|'.join(map(re.escape, VIDEO_SUFFIXES))})([ \t]+[0-9]+)+", re.IGNORECASE
)


class VideoEntry(NamedTuple):
    """One line of a list: a path relative to the prefix, frames if listed, label from 0."""

    path: str
    num_frames: int | None
    label: int


def names_video(line: str) -> bool:
    """Tell whether a word of a line, but the last one, ends like a video file."""
    words = re.split(r"[ \t,;\"']", line) if "." in line else ()
    return any(word.lower().endswith(VIDEO_SUFFIXES) for word in words[:-1])


def _split(line: str) -> list[str]:
    """Split off the last two words, at blanks and tabs: other separators belong to a name."""
    if line.isprintable():  # the only separator in it is the blank
        return line.rsplit(maxsplit=2)
    words: list[str] = []
    while line and len(words) < 2:
        end = max(line.rfind(" "), line.rfind("\t")) + 1
        line, words = line[:end].rstrip(" \t"), [line[end:], *words]
    return [line, *words] if line else words


def parse_line(
    line: str, layout: str, num_classes: int, columns: str, folders: Sequence[Path] = ()
) -> VideoEntry:
    """Parse a line of a list; `columns` says in an error what it should hold.

    Absolute paths, and those with `..`, must lead into one of `folders`, if there are any.

    Raises:
        ValueError: with the reason.
    """
    *words, last = _split(line)
    frames, label = parse_number(words[1]) if len(words) == 2 else None, parse_number(last)
    if frames is not None:
        path = words[0]
    else:
        path = "" if layout == "rawframes" else line[: -len(last)].rstrip(" \t")
    end = path.rsplit(maxsplit=1)
    if not path or label is None or path[-1] in ",;\"'" or (len(end) == 2 and end[1].isdigit()):
        _check_columns(line, path, last, columns)
    if 4 * len(path) > LONGEST_NAME:  # a character has up to 4 bytes
        _check_length(path.encode())
    if label >= num_classes:
        raise ValueError(
            f"label {label} is out of range for {num_classes} classes (0 to {num_classes - 1})"
        )
    if frames == 0:
        raise ValueError("the video has 0 frames")
    if frames is not None and frames > MAX_FRAMES:
        raise ValueError(f"the video cannot have more than {MAX_FRAMES} frames")
    if folders and (".." in path or path[0] == "/"):
        _check_inside(path, folders)
    return VideoEntry(path, frames, label)


def is_below(path: str | Path, folder: str | Path) -> bool:
    """Tell whether a path lies in a folder, after all links are followed."""
    real = os.path.realpath(path)
    return real == (top := os.path.realpath(folder)) or real.startswith(top.rstrip("/") + "/")


def _check_inside(path: str, folders: Sequence[Path]) -> None:
    """Raise `ValueError` for a path that leads into none of the folders."""
    if not any(is_below(folder / path, folder) for folder in folders):
        raise ValueError(f"the path leads out of {folders[0]}; {ALLOW}")


def _check_length(path: bytes) -> None:
    """Raise `ValueError` for a path that no file can have."""
    if len(path) > LONGEST_PATH or max(map(len, path.split(b"/"))) > LONGEST_NAME:
        raise ValueError(f"names of files have at most {LONGEST_NAME} bytes, paths {LONGEST_PATH}")


def _check_columns(line: str, path: str, label: str, columns: str) -> None:
    """Raise `ValueError` for columns that are too few, too many, quoted or separated otherwise."""
    if separator := re.search(r"([,;])[ \t]*[0-9]+$", line):
        raise ValueError(f"expected {columns}, separated by blanks, not by {separator[1]!r}")
    if re.fullmatch(r"""(["'])((?!\1).)+\1([ \t]+[0-9]+)+""", line):
        raise ValueError(f"expected {columns}; write the path without quotes, blanks may be in it")
    if not path:
        raise ValueError(f"expected {columns}")
    if parse_number(label) is None:
        raise ValueError(f"the label {label[:40]!r} is not a whole number of 0 or more")
    if VIDEO_AND_NUMBERS.fullmatch(path):
        more = "a list has neither an offset nor several labels for a video"
        raise ValueError(f"expected {columns}, found more than two numbers; {more}")
