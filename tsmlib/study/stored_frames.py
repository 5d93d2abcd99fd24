"""Decode videos once, and keep them in the cache as folders of small JPEG frames."""

import glob
import hashlib
import json
import logging
import os
import re
import shutil
from functools import cache as remember
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch.nn.functional as F

from ..data.annotations import DataError
from ..data.list_lines import VIDEO_SUFFIXES
from ..data.prepare.extraction import CHUNK, stored_size
from ..data.video import VideoError, VideoFile, encode_frames, write_frames
from ..locks import lock_folder
from ..paths import cache_folder, write_whole
from ..progress import track

log = logging.getLogger(__name__)

FORMAT = 2  # of the files in the cache; another one is written beside the old
TEMPLATE, QUALITY = "img_{:05}.jpg", 95
BACKWARDS = "-backwards"  # ends the name of a folder with the same frames in opposite numbering


class StoredClip(NamedTuple):
    """The stored frames of a video, in the folder `path` below rawframes/: RECORDING/VIDEO."""

    path: str
    source: str  # video file, relative to the folder of videos
    frames: int

    @property
    def recording(self) -> str:
        return stored_recording(self.path)


class FrameStore(NamedTuple):
    """The data root of the stored frames, and its clips in the order of the videos."""

    root: Path
    clips: tuple[StoredClip, ...]


def recording_of(path: str | Path) -> str:
    """Name the recording that a video file comes from.

    A recording is a file, unless its name says that it was cut from one: a number of a frame or
    clip at the end (`_f01709`, `_c01`, Kinetics' `_000010_000020`) and the name of the folder in
    front (`walk/walk_...`) do not count. Equal names in several folders are one recording.
    """
    parts = PurePosixPath(Path(path).as_posix()).parts
    stem = re.sub(r"(_\d{6}_\d{6}|[_-][fc]\d+)$", "", PurePosixPath(parts[-1]).stem)
    folder = f"{parts[-2]}_" if len(parts) > 1 else ""
    return stem.removeprefix(folder) or stem


def stored_recording(path: str) -> str:
    """Name the recording of stored frames, as `recording_of` does of their video."""
    return path.partition("/")[0]


def videos_id(folder: str | Path) -> str:
    """Hash the contents of all video files in a folder, at any depth, to 8 hex digits.

    Raises:
        DataError: there are none.
    """
    contents = sorted(content for _, content in _sources(Path(folder).expanduser()))
    return hashlib.sha256(" ".join(contents).encode()).hexdigest()[:8]


def prepare_frames(videos: str | Path, cache: str | Path | None, resolution: str) -> FrameStore:
    """Store every video of a folder as small JPEG frames; each is decoded once.

    Stored clips are kept, so an interrupted call continues; other contents or sizes have folders of
    their own. Videos that cannot be read, or have the content of another one, are left out with a
    warning.

    Args:
        videos: folder of video files, at any depth.
        cache: folder of all caches; None: TSM_CACHE.
        resolution: of the stored frames, `WxH`, `height N` or `short-side N`.

    Raises:
        ConfigError: a resolution that cannot be read.
        DataError: no videos, none that can be read, or no space.
    """
    stored_size(resolution, 1, 1)  # readable?
    folder = Path(videos).expanduser()
    sources = _sources(folder)
    key = json.dumps([FORMAT, resolution, sources])
    root = cache_folder(cache) / "stored_frames" / hashlib.sha256(key.encode()).hexdigest()[:12]
    index = [root / "index" / f"{i:05}.json" for i in range(len(sources))]
    try:
        with lock_folder(root):  # another run may want the same frames
            todo = [i for i, file in enumerate(index) if not file.is_file()]
            for i in track(todo, "decoding", "videos", quiet=not todo):
                clip = _store(root / "rawframes", folder, sources, i, resolution)
                write_whole(index[i], json.dumps(clip))
            found = [json.loads(file.read_text()) for file in index]
    except OSError as error:
        raise DataError(
            f"{root} cannot be written: {error.strerror or error}; free some space, or set "
            "TSM_CACHE"
        ) from None
    if not any(found):
        raise DataError(f"none of the {len(sources)} videos in {folder} can be read")
    return FrameStore(root, tuple(StoredClip(*clip) for clip in found if clip))


def _sources(folder: Path) -> list[tuple[str, str]]:
    """List path and content hash of every video file; follows links, skips hidden files."""
    names = glob.iglob("**/*", root_dir=folder, recursive=True)  # noqa: PTH207
    files = [folder / name for name in sorted(names)]
    files = [file for file in files if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file()]
    if not files:
        raise DataError(
            f"there are no video files in {folder}; set data_root to a folder that holds some "
            f"({' '.join(VIDEO_SUFFIXES)})"
        )
    stats = [file.stat() for file in files]
    return [
        (file.relative_to(folder).as_posix(), _content(file, stat.st_size, stat.st_mtime_ns))
        for file, stat in zip(files, stats, strict=True)
    ]


@remember
def _content(file: Path, size: int, changed: int) -> str:
    """Hash a file (sha256); it is read again only when its size or time changes."""
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:  # a hash of its own: the file is left out later, when decoding fails
        return f"{file} of {size} bytes"


def _store(
    frames: Path, folder: Path, sources: list[tuple[str, str]], number: int, resolution: str
) -> StoredClip | None:
    """Write the frames of one video, all or none; None, with a warning, for a bad one."""
    source, content = sources[number]
    path = f"{recording_of(source)}/{number:05}_{PurePosixPath(source).stem}"
    target = frames / path
    partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        twin = next(name for name, other in sources if other == content)
        if twin != source:
            raise VideoError(f"{folder / source}: the same content as {twin}")
        count = _write_small(folder / source, resolution, partial)
        targets = {"forward": target, "back": target.with_name(f"{target.name}{BACKWARDS}")}
        for part, place in targets.items():
            shutil.rmtree(place, ignore_errors=True)  # of a run that was killed
            (partial / part).rename(place)
    except VideoError as error:
        log.warning("left out: %s", error)
        return None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return StoredClip(path, source, count)


def _write_small(file: Path, resolution: str, target: Path) -> int:
    """Write the frames of a video, resized with antialiasing, in both orders; returns their number.

    Raises:
        VideoError: the video cannot be read.
    """
    video, jpegs = VideoFile(file), []
    for start in range(0, video.num_frames, CHUNK):
        numbers = range(start, min(start + CHUNK, video.num_frames))
        frames = video.frames(list(numbers)).permute(0, 3, 1, 2)
        size = stored_size(resolution, *frames.shape[2:])
        small = F.interpolate(frames, size=size, mode="bilinear", antialias=True)
        jpegs += encode_frames(small.permute(0, 2, 3, 1).contiguous(), QUALITY)
    for name, step in (("forward", 1), ("back", -1)):
        (target / name).mkdir(parents=True)
        write_frames(target / name, jpegs[::step], TEMPLATE, 1)
    return len(jpegs)
