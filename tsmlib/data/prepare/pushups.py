"""Cut clips of the phases of push-ups from a checkout of their public source.

Where the clips lie is a table of facts, results/pushups/segments.csv; the README beside it says how
the phases were found. Only the order of frames tells the classes apart.
"""

import csv
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import av
import torch
from torch import Tensor

from ...paths import published_file, write_whole
from ...progress import track
from ..annotations import DataError
from ..augmentation import resize_short_side
from ..list_lines import VIDEO_SUFFIXES
from ..video import VideoError, VideoFile, write_video
from ..video_limits import Source, url_of

CLASSES = ("down", "up", "down_up", "up_down")
SHORT_SIDE = 160  # pixels of the clips
CHUNK = 16  # frames that are decoded at a time


class Segment(NamedTuple):
    """A clip: frames `first` to `last` of a source video, counted from 0."""

    clip: str  # path of the clip, CLASS/NAME.mp4
    label: str
    source: str  # name of the source video without suffix
    first: int
    last: int
    split: str  # train or val

    @property
    def frames(self) -> int:
        """Count the frames."""
        return self.last - self.first + 1


class CutReport(NamedTuple):
    """Counts of clips that were cut now and before, and the sources of which none could be."""

    done: int
    skipped: int
    failed: tuple[tuple[str, str], ...]  # source video, reason


def read_segments(file: Path | None = None) -> list[Segment]:
    """Read the table of segments; None: the project's own."""
    with (file or published_file("pushups/segments.csv")).open(encoding="utf-8") as table:
        return [
            Segment(
                row["clip"], row["label"], row["source_video"],
                int(row["first_frame"]), int(row["last_frame"]), row["split"],
            )
            for row in csv.DictReader(table)
        ]  # fmt: skip


def cut_pushups(source: str | Path, target: str | Path, file: Path | None = None) -> CutReport:
    """Cut all clips into `target/videos` and write the lists beside them.

    Clips that are there are left alone, so the same command goes on where it stopped. Clips whose
    source is missing or damaged are not in the lists.

    Args:
        source: folder with the source videos, at any depth.
        target: folder of the new data set.
        file: table of segments; None: the project's own.

    Raises:
        DataError: no source video is there, or the clips cannot be written.
    """
    source, target = Path(source).expanduser(), Path(target).expanduser()
    segments = sorted(read_segments(file), key=lambda segment: segment.source)
    paths = {p.stem: p for p in sorted(source.rglob("*")) if p.suffix.lower() in VIDEO_SUFFIXES}
    if not any(segment.source in paths for segment in segments):
        raise DataError(
            f"none of the source videos ({segments[0].source}.mp4 ...) is below {source}; name the "
            "folder of a checkout of the source (results/pushups/README.md)"
        )
    done, skipped, failed = 0, 0, []
    groups = [(name, list(group)) for name, group in groupby(segments, lambda s: s.source)]
    for name, group in track(groups, "cutting", "videos"):
        todo = [s for s in group if not (target / "videos" / s.clip).is_file()]
        skipped += len(group) - len(todo)
        try:
            if todo and name not in paths:
                raise VideoError(f"{name}: there is no such video below {source}")
            reader = VideoFile(paths[name]) if todo else None
            for segment in todo:
                _cut(reader, segment, target / "videos")
                done += 1
        except VideoError as error:
            failed.append((name, str(error)))
        except OSError as error:
            raise DataError(f"{target} cannot be written: {error.strerror or error}") from None
    _write_lists(target, segments)
    return CutReport(done, skipped, tuple(failed))


def _cut(reader: VideoFile, segment: Segment, videos: Path) -> None:
    """Write a clip, completely or not at all.

    Raises:
        VideoError: the source ends before the clip does, or cannot be read.
    """
    video = reader.path
    if segment.last >= reader.num_frames:
        raise VideoError(f"{video}: {segment.clip} needs frame {segment.last}, there are only "
                         f"{reader.num_frames}")  # fmt: skip
    numbers = list(range(segment.first, segment.last + 1))
    parts = [numbers[i : i + CHUNK] for i in range(0, len(numbers), CHUNK)]
    frames = torch.cat([_reduce(reader.frames(part)) for part in parts])
    clip = videos / segment.clip
    clip.parent.mkdir(parents=True, exist_ok=True)
    temporary = clip.with_suffix(".tmp")
    write_video(temporary, frames, fps=_frame_rate(video))
    temporary.replace(clip)


def _reduce(frames: Tensor) -> Tensor:
    """Resize uint8 `[T, H, W, 3]` to the stored size, with even sides as H.264 wants them."""
    small = resize_short_side(frames.permute(0, 3, 1, 2), SHORT_SIDE).permute(0, 2, 3, 1)
    return small[:, : small.shape[1] // 2 * 2, : small.shape[2] // 2 * 2].contiguous()


def _frame_rate(video: Source):
    """Read the frames a second of a video, as a fraction."""
    with av.open(url_of(video)) as container:
        return container.streams.video[0].average_rate or 30


def _write_lists(target: Path, segments: Iterable[Segment]) -> None:
    """Write lists and class names: of all four classes, and of `down` and `up` alone."""
    there = sorted(s for s in segments if (target / "videos" / s.clip).is_file())
    for suffix, classes in (("", CLASSES), ("_order2", CLASSES[:2])):
        write_whole(target / f"classes{suffix}.txt", "\n".join(classes) + "\n")
        for split in ("train", "val"):
            lines = [
                f"{s.clip} {s.frames} {classes.index(s.label)}\n"
                for s in there
                if s.split == split and s.label in classes
            ]
            write_whole(target / f"{split}{suffix}.txt", "".join(lines))
