"""Store videos as folders of small JPEG frames: whole, or in windows forward and reversed.

Every video is decoded once; the frames are kept in the cache.
"""

import glob
import hashlib
import json
import logging
import os
import re
import shutil
from collections.abc import Iterator
from functools import cache as remember
from pathlib import Path, PurePosixPath
from typing import NamedTuple

import torch
import torch.nn.functional as F
from filelock import FileLock
from torch import Tensor

from ..data.annotations import VIDEO_SUFFIXES, DataError
from ..data.prepare.extraction import CHUNK, stored_size
from ..data.video import VideoError, VideoFile, encode_frames, write_frames
from ..paths import cache_folder, display_path, write_whole
from ..progress import track, wait_for

log = logging.getLogger(__name__)

FORMAT = 1  # of the files in the cache; another one is written beside the old
DIRECTIONS = ("forward", "reversed")  # folders of a clip's frames
TEMPLATE, QUALITY = "img_{:05}.jpg", 95


class FrameWindow(NamedTuple):
    """A stored window of a video, or a whole video.

    `path` holds its frames in the folder `forward`, those of a window also in `reversed`.
    """

    path: str  # below rawframes/: RECORDING/VIDEO/FIRST FRAME
    source: str  # video file, relative to the folder of videos
    frames: int
    motion: float  # mean absolute difference of successive frames, grey levels of 255

    @property
    def recording(self) -> str:
        return self.path.partition("/")[0]


class FrameStore(NamedTuple):
    """The data root of the stored frames, and its windows in the order of the videos."""

    root: Path
    clips: tuple[FrameWindow, ...]


def recording_of(path: str | Path) -> str:
    """Name the recording that a video file, or a line of a list of stored frames, comes from.

    A recording is a file, unless its name says that it was cut from one: a number of a frame or
    clip at the end (`_f01709`, `_c01`, Kinetics' `_000010_000020`) and the name of the folder in
    front (`walk/walk_...`) do not count. Equal names in several folders are one recording.
    """
    parts = PurePosixPath(Path(path).as_posix()).parts
    if parts[-1] in DIRECTIONS:
        return parts[0]
    stem = re.sub(r"(_\d{6}_\d{6}|[_-][fc]\d+)$", "", PurePosixPath(parts[-1]).stem)
    folder = f"{parts[-2]}_" if len(parts) > 1 else ""
    return stem.removeprefix(folder) or stem


def videos_id(folder: str | Path) -> str:
    """Hash the contents of all video files in a folder, at any depth, to 8 hex digits.

    Raises:
        DataError: there are none.
    """
    contents = sorted(content for _, content in _sources(Path(folder).expanduser()))
    return hashlib.sha256(" ".join(contents).encode()).hexdigest()[:8]


def prepare_frames(
    videos: str | Path, cache: str | Path | None, window: int | None, resolution: str
) -> FrameStore:
    """Store every video of a folder as clips of small JPEG frames; each is decoded once.

    Stored clips are kept, so an interrupted call continues; other contents, windows or sizes have
    folders of their own. Videos that cannot be read, are shorter than a window or have the content
    of another one are left out, with a warning.

    Args:
        videos: folder of video files, at any depth.
        cache: folder of all caches; None: TSM_CACHE.
        window: frames per window, without overlap; None: whole videos, forward only.
        resolution: of the stored frames, `WxH`, `height N` or `short-side N`.

    Raises:
        ConfigError: a resolution that cannot be read.
        DataError: no videos, none that can be read, or no space.
    """
    stored_size(resolution, 1, 1)  # readable?
    folder = Path(videos).expanduser()
    sources = _sources(folder)
    key = json.dumps([FORMAT, window, resolution, sources])
    root = cache_folder(cache) / "arrow" / hashlib.sha256(key.encode()).hexdigest()[:12]
    index = [root / "index" / f"{i:05}.json" for i in range(len(sources))]
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = FileLock(root / "lock")  # another run may want the same frames
        with wait_for(lock, display_path(root)):
            todo = [i for i, file in enumerate(index) if not file.is_file()]
            for i in track(todo, "decoding", "videos", quiet=not todo):
                clips = _store(root / "rawframes", folder, sources, i, window, resolution)
                write_whole(index[i], json.dumps(clips))
            stored = [FrameWindow(*clip) for file in index for clip in json.loads(file.read_text())]
    except OSError as error:
        raise DataError(
            f"{root} cannot be written: {error.strerror or error}; free some space, or set "
            "TSM_CACHE"
        ) from None
    if not stored:
        raise DataError(f"no clip could be cut from the {len(sources)} videos in {folder}")
    return FrameStore(root, tuple(stored))


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
    frames: Path, folder: Path, sources: list[tuple[str, str]], number: int, window: int | None,
    resolution: str,
) -> list[FrameWindow]:  # fmt: skip
    """Write the clips of one video, all or none; a bad one gives a warning and no clips."""
    source, content = sources[number]
    path = f"{recording_of(source)}/{number:05}_{PurePosixPath(source).stem}"
    target, clips = frames / path, []
    partial = target.with_name(f"{target.name}.{os.getpid()}.tmp")
    try:
        twin = next(name for name, other in sources if other == content)
        if twin != source:
            raise VideoError(f"{folder / source}: the same content as {twin}")
        for first, jpegs, motion in _cut(folder / source, window, resolution):
            _write(partial / first, jpegs, both=window is not None)
            clips.append(FrameWindow(f"{path}/{first}", source, len(jpegs), round(motion, 3)))
        shutil.rmtree(target, ignore_errors=True)  # of a run that was killed
        partial.rename(target)
    except VideoError as error:
        log.warning("left out: %s", error)
        return []
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return clips


def _cut(
    file: Path, window: int | None, resolution: str
) -> Iterator[tuple[str, list[bytes], float]]:
    """Cut a video into windows: first frame, JPEG files and motion; drops frames at the end.

    Raises:
        VideoError: the video cannot be read, or is shorter than a window.
    """
    video = VideoFile(file)
    count = window or video.num_frames
    if video.num_frames < count:
        raise VideoError(f"{file}: {video.num_frames} frames, a window has {count}")
    for first in range(0, video.num_frames - count + 1, count):
        jpegs, motion, last = [], 0.0, torch.empty(0)
        for start in range(first, first + count, CHUNK):
            numbers = range(start, min(start + CHUNK, first + count))
            frames = _reduce(video.frames(list(numbers)), resolution)
            jpegs += encode_frames(frames, QUALITY)
            joined = torch.cat((last, frames.float())) if last.numel() else frames.float()
            motion += float(joined.diff(dim=0).abs().mean((1, 2, 3)).sum())
            last = joined[-1:]
        yield f"{first:06}", jpegs, motion / max(count - 1, 1)


def _reduce(frames: Tensor, resolution: str) -> Tensor:
    """Resize uint8 `[T, H, W, 3]` to the stored size, with antialiasing."""
    size = stored_size(resolution, *frames.shape[1:3])
    x = F.interpolate(frames.permute(0, 3, 1, 2), size=size, mode="bilinear", antialias=True)
    return x.permute(0, 2, 3, 1).contiguous()


def _write(folder: Path, jpegs: list[bytes], both: bool) -> None:
    """Write the same files in both numberings."""
    for name, step in zip(DIRECTIONS, (1, -1), strict=True):
        if name == DIRECTIONS[0] or both:
            (folder / name).mkdir(parents=True)
            write_frames(folder / name, jpegs[::step], TEMPLATE, 1)
