"""Cut long recordings into windows that overlap; each frame is decoded once.

A window takes the T frames that a clip of its length would give: of uniform sampling those that are
shown in the middle of T equal parts, of dense sampling those 64 / T frames apart around its middle
(see `sampling.py`). They are chosen by time, so that each can be taken as it is decoded.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from ..configs import Config, ConfigError
from ..data.annotations import VideoEntry
from ..data.augmentation import fixed_crops
from ..data.sampling import DENSE_WINDOW
from ..data.video import FrameFolder, VideoError
from .video_stream import TimedFrame, Timing, stream_folder, stream_video

SLACK = 1e-6  # seconds by which times of frames are rounded


class Recording(NamedTuple):
    """A recording that is cut into windows."""

    entry: VideoEntry  # of its path; frame folders have a number of frames
    timing: Timing
    window: float  # seconds
    stride: float  # seconds from the start of a window to that of the next


class Window(NamedTuple):
    """A window of a recording, from `start` to `end` in seconds, with its frames."""

    start: float
    end: float
    frames: Tensor  # uint8 [T, h, w, 3]


class WindowDataset(IterableDataset):
    """The windows of recordings, in order; workers share the recordings.

    An item is `(number of the recording, window, "")`. A recording that breaks off ends with
    `(number, None, reason)`.
    """

    def __init__(self, recordings: Sequence[Recording], cfg: Config):
        self.recordings, self.cfg = recordings, cfg

    def __iter__(self) -> Iterator[tuple[int, Window | None, str]]:
        worker = get_worker_info()
        first, step = (worker.id, worker.num_workers) if worker else (0, 1)
        for number in range(first, len(self.recordings), step):
            try:
                for window in self._windows(self.recordings[number]):
                    yield number, window, ""
            except VideoError as error:
                yield number, None, str(error)

    def _windows(self, recording: Recording) -> Iterator[Window]:
        frames = open_frames(recording.entry, self.cfg, recording.timing.fps)
        offsets = sample_times(self.cfg, recording.window, recording.timing.fps)

        def prepare(frame: Tensor) -> Tensor:
            """Cut the centre crop `[h, w, 3]` of a validation."""
            return fixed_crops(frame[None], self.cfg, 1, self.cfg.val_crop_size)[0, 0].movedim(0, 2)

        return slide(frames, offsets, recording.window, recording.stride, prepare)


def open_frames(entry: VideoEntry, cfg: Config, fps: float) -> Iterator[TimedFrame]:
    """Yield the frames of a video file, or of a frame folder with so many frames a second."""
    path = Path(entry.path)
    if entry.num_frames is None:
        return stream_video(path)
    numbering = cfg.filename_tmpl, cfg.start_index
    return stream_folder(FrameFolder(path, entry.num_frames, *numbering), fps)


def sample_times(cfg: Config, window: float, fps: float) -> list[float]:
    """Return the times of the T frames of a window, in seconds from its start.

    Raises:
        ConfigError: a dense clip is longer than the window.
    """
    t = cfg.num_segments
    if cfg.eval_sampling == "uniform":
        return [(k + 0.5) * window / t for k in range(t)]
    spare = window - DENSE_WINDOW / fps
    if spare < -SLACK:
        raise ConfigError(
            f"window={window:g} s is shorter than a clip of {cfg.name}, which spans {DENSE_WINDOW} "
            f"frames ({DENSE_WINDOW / fps:.2f} s at {fps:g} frames a second)"
        )
    return [spare / 2 + k * (DENSE_WINDOW // t) / fps for k in range(t)]


def slide(
    frames: Iterable[TimedFrame],
    offsets: Sequence[float],
    window: float,
    stride: float,
    prepare: Callable[[Tensor], Tensor],
) -> Iterator[Window]:
    """Slide a window over frames: from 0 on, one every `stride` seconds, until the end is covered.

    The last window may reach beyond the end, where the last frame stays.

    Args:
        frames: in the order of their times; each is shown until the next one comes.
        offsets: of `sample_times`.
        window, stride: in seconds.
        prepare: from uint8 `[H, W, 3]` to uint8 `[h, w, 3]`. A frame is read and prepared once,
            and only if a window takes it.
    """
    begun: deque[_Begun] = deque()
    number, covered = 0, 0.0
    for shown, until in _with_ends(frames):
        while number * stride < until - SLACK:
            begun.append(_Begun(number * stride))
            number += 1
        takers = [own for own in begun if own.wants(offsets, until)]
        picture = prepare(shown.read()) if takers else None
        for own in takers:
            while own.wants(offsets, until):
                own.frames.append(picture)
        while begun and (begun[0].start + window <= until + SLACK):
            done = begun.popleft()
            covered = done.start + window
            yield Window(done.start, covered, torch.stack(done.frames))
    if begun and covered < until - SLACK:
        last = begun[0]
        rest = [prepare(shown.read())] * (len(offsets) - len(last.frames))
        yield Window(last.start, until, torch.stack(last.frames + rest))


@dataclass
class _Begun:
    """A window of which not all frames have come."""

    start: float
    frames: list[Tensor] = field(default_factory=list)

    def wants(self, offsets: Sequence[float], until: float) -> bool:
        """Tell whether the next frame of the window is shown before a time."""
        taken = len(self.frames)
        return taken < len(offsets) and self.start + offsets[taken] < until - SLACK


def _with_ends(frames: Iterable[TimedFrame]) -> Iterator[tuple[TimedFrame, float]]:
    """Yield each frame with the time of the next; the last one lasts as long as the shortest."""
    before, period = None, float("inf")
    for frame in frames:
        if before is not None:
            period = min(period, frame.time - before.time)
            yield before, frame.time
        before = frame
    if before is not None:
        yield before, before.time + min(period, 1.0)
