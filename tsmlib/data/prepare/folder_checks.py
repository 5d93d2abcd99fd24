"""Checks of the videos of a folder: each is opened, and none is there twice."""

import hashlib
from pathlib import Path
from typing import NamedTuple

from ...configs import Config, get_config
from ..annotations import DataError, VideoEntry, VideoList
from .folder_sources import LeftOut
from .probe import probe_videos


class Clip(NamedTuple):
    """A video of a folder: its path below the folder, its class, and its split if it has one."""

    path: str
    label: str
    split: str | None
    num_frames: int | None = None  # None: a video file that is not probed yet
    pixels: int = 0  # of a frame


def probe_clips(
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


def drop_copies(root: Path, clips: list[Clip]) -> tuple[list[Clip], list[LeftOut]]:
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
