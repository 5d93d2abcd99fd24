"""Extraction of raw frames from video files, in the layout and at the stored size of a row.

Does the work of denseflow in MMAction2's tools (0.x, tools/data/build_rawframes.py). Frames are
resized as the augmentation resizes them, bilinear without antialiasing (OpenCV's default as well).
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from filelock import FileLock, Timeout
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from ...configs import DATASETS, Config, ConfigError
from ...configs.datasets import SPLITS
from ...progress import track
from ..annotations import DataError
from ..augmentation import resize
from ..video import VideoFile, encode_frames, write_frames
from .official_annotations import annotations_folder, read_official
from .write_lists import index_videos, locate_videos, media_folder

CHUNK = 16  # frames decoded at a time: 100 MB at 1920x1080
PARTIAL = ".extracting"  # folder of incomplete videos, beside the complete ones
STORED = ".resolution"  # file with the stored size of the frames beside it


@dataclass(frozen=True)
class ExtractionReport:
    """Counts of videos: extracted now, there already, damaged, and not on disk."""

    done: int
    skipped: int
    failed: tuple[tuple[str, str], ...]  # video file, reason
    missing: int  # annotated, but not on disk


class _Job(NamedTuple):
    source: Path
    root: Path  # folder of all frames
    name: str  # path of this video's frames below it


class _Outcome(NamedTuple):
    status: str  # done, skipped, failed, or stop: the disk refuses more
    path: str
    reason: str = ""


def extract_frames(
    cfg: Config,
    data_root: str | Path,
    split: str | None = None,
    workers: int | None = None,
    quality: int = 95,
    write: Callable[[Path, list[bytes], str, int], None] = write_frames,
) -> ExtractionReport:
    """Extract the annotated videos of a row into folders of numbered JPEG files.

    Videos are read from `videos...` beside the row's `rawframes...`. A folder of frames appears
    when it is complete, and is then left alone: an interrupted extraction goes on where it was.

    Args:
        cfg: a row with raw frames; its folders, frame names and stored size are followed.
        data_root: folder that holds the data sets.
        split: `train` or `val`; None: both.
        workers: processes; None: as many as cores, 0: none beside this one.
        quality: quality of the JPEG files, 1 to 100.
        write: writes encoded frames into a folder (see `write_frames`).

    Raises:
        ConfigError: the stored size of the row cannot be read.
        DataError: the row reads video files, its videos or annotations are not there, the frames
            beside are of another size, another extraction writes there, or the disk is full.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality={quality} must lie between 1 and 100")
    stored_size(cfg.resolution, 1, 1)  # readable?
    jobs, missing = _plan_jobs(cfg, Path(data_root), SPLITS if split is None else (split,))
    with ExitStack() as stack:
        for root in sorted({job.root for job in jobs}):
            stack.enter_context(_own_folder(root, cfg))
        outcomes = _extract_all(_Extraction(cfg, jobs, quality, write), workers)
    for outcome in outcomes:
        if outcome.status == "stop":
            raise DataError(
                f"{outcome.path} cannot be written: {outcome.reason}; free some space and start "
                "again (complete folders are kept)"
            )
    failed = tuple(sorted((o.path, o.reason) for o in outcomes if o.status == "failed"))
    done = sum(outcome.status == "done" for outcome in outcomes)
    return ExtractionReport(done, len(outcomes) - done - len(failed), failed, missing)


def stored_size(resolution: str | None, height: int, width: int) -> tuple[int, int]:
    """Compute the stored (height, width) of a video of this size.

    `short-side 256` makes nothing larger (denseflow's --new-short); `height 100` and `340x256`
    (width x height) do. The side that follows is `int(side * scale + 0.5)`.

    Raises:
        ConfigError: another way to write it.
    """
    if resolution is None:
        return height, width
    size = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})|(short-side|height) ([0-9]{1,6})", resolution)
    if size is None:
        raise ConfigError(f"resolution={resolution!r} is none of short-side N, height N, WxH")
    if size[3] is None:
        return int(size[2]), int(size[1])
    scale = int(size[4]) / (height if size[3] == "height" else min(height, width))
    scale = min(scale, 1) if size[3] == "short-side" else scale
    return int(height * scale + 0.5), int(width * scale + 0.5)


# --- what is to be done ---------------------------------------------------------------------------


def videos_folder(cfg: Config, root: Path, split: str) -> Path:
    """Return the folder of the video files of a row with raw frames."""
    frames = media_folder(cfg, root, split)
    if cfg.layout == "video" or not frames.name.startswith("rawframes"):
        raise DataError(f"{cfg.name} reads what is in {frames}; there is nothing to extract")
    return frames.with_name(frames.name.replace("rawframes", "videos", 1))


def _plan_jobs(cfg: Config, root: Path, splits: tuple[str, ...]) -> tuple[list[_Job], int]:
    """List the videos to extract, and count those that are not on disk."""
    jobs, missing = [], 0
    for split in splits:
        folder, frames = videos_folder(cfg, root, split), media_folder(cfg, root, split)
        if not folder.is_dir():
            as_frames = f" (its site has frames: put them into {frames})"
            hint = as_frames if DATASETS[cfg.dataset].as_frames else ""
            raise DataError(f"there is no folder {folder} with videos of {cfg.dataset}{hint}")
        items = read_official(cfg.dataset, annotations_folder(cfg.dataset, root), split).items
        found = locate_videos(index_videos(folder), items)
        jobs += [_Job(folder / path, frames, item.path) for item, path in found]
        missing += len(items) - len(found)
    if not jobs:
        raise DataError(f"none of the {missing} annotated videos of {cfg.dataset} is in {folder}")
    return jobs, missing


@contextmanager
def _own_folder(root: Path, cfg: Config) -> Iterator[None]:
    """Hold the lock of a folder of frames, and remove incomplete videos before and after."""
    lock = FileLock(root / f"{PARTIAL}.lock", timeout=0)
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise DataError(f"another extraction is writing to {root}; wait for it") from None
    except OSError as error:
        raise DataError(f"{root} cannot be written: {error.strerror or error}") from None
    try:
        _note_size(root, cfg)
        shutil.rmtree(root / PARTIAL, ignore_errors=True)  # of an extraction that was killed
        yield
    finally:
        shutil.rmtree(root / PARTIAL, ignore_errors=True)
        lock.release()


def _note_size(root: Path, cfg: Config) -> None:
    """Write down the stored size, as rows of several sizes may have the same folders."""
    note, row_size = root / STORED, cfg.resolution or "as the videos"
    try:
        if not note.is_file():
            note.write_text(f"{row_size}\n")
        stored = note.read_text().strip()
    except OSError as error:
        raise DataError(f"{note} cannot be written: {error.strerror or error}") from None
    if stored != row_size:
        raise DataError(
            f"{root} holds frames stored at {stored}, {cfg.name} wants {row_size}; move them away, "
            "or extract below another data root"
        )


# --- doing it -------------------------------------------------------------------------------------


def _extract_all(videos: "_Extraction", workers: int | None) -> list[_Outcome]:
    """Extract all videos, or those until the disk is full; no worker is left when it returns."""
    workers = min(os.cpu_count() or 1 if workers is None else workers, len(videos))
    loader = DataLoader(
        videos, batch_size=None, num_workers=workers, in_order=False, generator=Generator()
    )
    outcomes = []
    for outcome in track(loader, "extracting", "videos", len(videos)):
        outcomes.append(outcome)
        if outcome.status == "stop":
            break
    return outcomes


class _Extraction(Dataset):
    """Extracts one video per item (a data set, so that workers share it)."""

    def __init__(self, cfg: Config, jobs: list[_Job], quality: int, write: Callable):
        self.cfg, self.jobs, self.quality, self.write = cfg, jobs, quality, write

    def __len__(self) -> int:
        return len(self.jobs)

    def __getitem__(self, i: int) -> _Outcome:
        job, first = self.jobs[i], self.cfg.filename_tmpl.format(self.cfg.start_index)
        target, partial = job.root / job.name, job.root / PARTIAL / str(i)
        if (target / first).is_file():
            return _Outcome("skipped", str(target))
        try:
            if target.is_dir() and any(target.iterdir()):
                raise ValueError(f"{target} is not empty and has no {first}; move it away")
            partial.mkdir(parents=True)
            self._extract(job.source, partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            partial.rename(target)
        except OSError as error:
            shutil.rmtree(partial, ignore_errors=True)
            return _Outcome("stop", str(target), error.strerror or str(error))
        except (RuntimeError, ValueError) as error:  # VideoError, or what a codec says
            shutil.rmtree(partial, ignore_errors=True)
            reason = str(error).replace(f"{job.source}: ", "")
            return _Outcome("failed", str(job.source), reason)
        return _Outcome("done", str(target))

    def _extract(self, source: Path, folder: Path) -> None:
        first = self.cfg.start_index
        for frames in _chunks(VideoFile(source)):
            size = stored_size(self.cfg.resolution, *frames.shape[1:3])
            frames = resize(frames.permute(0, 3, 1, 2), *size).permute(0, 2, 3, 1).contiguous()
            jpegs = encode_frames(frames, self.quality)
            self.write(folder, jpegs, self.cfg.filename_tmpl, first)
            first += len(jpegs)


def _chunks(video: VideoFile) -> Iterator[Tensor]:
    """Yield uint8 `[CHUNK, H, W, 3]` one after the other; the last may be shorter."""
    for first in range(0, video.num_frames, CHUNK):
        yield video.frames(list(range(first, min(first + CHUNK, video.num_frames))))
