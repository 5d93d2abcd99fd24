"""Choose which recordings are long, and read all videos as clips: whole ones, and windows.

A recording is long if it lasts more than `LONG` times as long as the clips of the training usually
do. It has no single answer then, but one for each window. Of published data sets that length is
in `configs/datasets.py`; of one's own it is the median over some videos of the training list, where
that is there.

A window is as long as such a clip, of densely sampled rows as 64 frames, and the next one begins
half a window later. With `window` set, all recordings that last longer are cut.
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader

from ..configs import DATASETS, Config, ConfigError, views
from ..data.annotations import DataError, VideoEntry, find_list
from ..data.loader import make_loader
from ..data.sampling import DENSE_WINDOW
from ..data.video_readers import map_threads
from ..paths import data_folder, display_path
from ..progress import Progress, announce, track
from .clips import dataset_of
from .prediction_options import PredictionOptions
from .video_stream import Timing, video_timing
from .window_clips import Recording, WindowDataset, sample_times

log = logging.getLogger(__name__)

LONG = 3  # times a usual clip of the training
UNKNOWN_CLIP = 10.0  # seconds of a usual clip where nothing is known of it: those of Kinetics
PROBED = 9  # videos of a training list that are opened to learn their length
NAMED = 5  # long recordings that are announced one by one


class Span(NamedTuple):
    """A part of a video that has an answer, in seconds; `end` is nan where no length is known."""

    path: str
    start: float
    end: float


class Plan(NamedTuple):
    """Videos that are one clip each with the seconds that they last, and recordings to be cut."""

    usual: float | None  # seconds of a clip of the training, if they are known
    whole: list[VideoEntry]
    seconds: list[float]
    long: list[Recording]


def plan_windows(entries: Sequence[VideoEntry], cfg: Config, options: PredictionOptions) -> Plan:
    """Decide which videos are cut into windows.

    Raises:
        ConfigError: a stride longer than the window, or a window too short for a dense clip.
    """
    usual = usual_clip_seconds(cfg)
    timings = map_threads(lambda entry: _timing(entry, options.fps), list(entries))
    plan = Plan(usual, [], [], [])
    for entry, timing in zip(entries, timings, strict=True):
        limit = options.window or LONG * (usual or UNKNOWN_CLIP)
        if timing is None or timing.seconds <= limit:
            plan.whole.append(entry)
            plan.seconds.append(timing.seconds if timing else float("nan"))
            continue
        window = options.window or usual or UNKNOWN_CLIP
        if cfg.eval_sampling == "dense" and options.window is None:
            window = DENSE_WINDOW / timing.fps
        stride = options.stride or window / 2
        if stride > window:
            raise ConfigError(
                f"stride={stride:g} is longer than the window of {window:g} s: what lies between "
                "two windows would be left out; set window too"
            )
        sample_times(cfg, window, timing.fps)  # an impossible window fails before any work
        plan.long.append(Recording(entry, timing, window, stride))
    return plan


def usual_clip_seconds(cfg: Config) -> float | None:
    """Return how long the clips that a configuration trains on usually last; None: not known."""
    if published := DATASETS[cfg.dataset].clip_seconds:
        return published
    try:
        videos = find_list(cfg, "train", Path(cfg.data_root or data_folder()).expanduser())
    except DataError:
        return None
    count = len(videos.entries)
    some = [videos.entries[i] for i in range(0, count, -(-count // PROBED))]
    timings = [video_timing(videos.prefix / e.path) for e in some if videos.is_file(e)]
    known = [timing.seconds for timing in timings if timing]
    return median(known) if known else None


def _timing(entry: VideoEntry, fps: float) -> Timing | None:
    if entry.num_frames is not None:
        return Timing(entry.num_frames / fps, fps)
    return video_timing(Path(entry.path))


def announce_windows(plan: Plan, asked: bool) -> None:
    """Say which recordings are cut; `asked`: the user has set how."""
    for entry, timing, window, stride in plan.long[:NAMED]:
        length = f"{display_path(entry.path)}: {timing.seconds:.0f} s"
        announce(log, f"{length}, cut into windows of {window:.3g} s, one every {stride:.3g} s")
    if len(plan.long) > NAMED:
        announce(log, f"and {len(plan.long) - NAMED} more recordings likewise")
    if plan.long and not asked and plan.usual is None:
        log.warning(
            "how long the clips of the training were is not known; %g s are assumed; set window to "
            "their length", UNKNOWN_CLIP,
        )  # fmt: skip


# --- reading --------------------------------------------------------------------------------------


def read_clips(
    entries: Sequence[VideoEntry],
    cfg: Config,
    protocol: str,
    options: PredictionOptions,
    bad: list[str],
    quiet: bool = False,
) -> Iterator[tuple[list[Span], Tensor]]:
    """Yield batches of clips, uint8 `[N, views, T, h, w, 3]`, with the spans that they are of.

    Whole videos have the views of the protocol, windows one: the centre crop of a validation.

    Args:
        entries: of `scan_paths`.
        bad: reasons why videos are left out, or end early, are logged and appended to it.
        quiet: do not say which recordings are cut.
    """
    plan = plan_windows(entries, cfg, options)
    if not quiet:
        announce_windows(plan, options.window is not None)

    def leave_out(reason: str) -> None:
        log.warning("not read: %s", reason)
        bad.append(reason)

    if plan.whole:
        num_views = views(cfg, protocol)
        batch = max(1, cfg.videos_per_device // (num_views["clips"] * num_views["crops"]))
        workers = options.loader_workers if len(plan.whole) > batch else 0
        loader = make_loader(dataset_of(plan.whole, cfg, protocol), batch, workers)
        for item in track(loader, "reading videos", "batches"):
            for _, reason in item.bad:
                leave_out(reason)
            if len(item.index):
                numbers = item.index.tolist()
                spans = [Span(plan.whole[i].path, 0.0, plan.seconds[i]) for i in numbers]
                yield spans, item.clips
    if plan.long:
        for spans, clips, reasons in _read_windows(plan.long, cfg, options):
            for reason in reasons:
                leave_out(reason)
            if spans:
                yield spans, clips


def _read_windows(
    recordings: Sequence[Recording], cfg: Config, options: PredictionOptions
) -> Iterator[tuple[list[Span], Tensor | None, list[str]]]:
    """Yield batches of windows, and reasons why recordings end early; processes read ahead."""
    loader = DataLoader(
        WindowDataset(recordings, cfg),
        batch_size=cfg.videos_per_device,
        num_workers=min(options.loader_workers, len(recordings)),
        collate_fn=list,
        generator=Generator(),
    )
    total = sum(recording.timing.seconds for recording in recordings)
    with Progress("reading windows", total, "s") as progress:
        for items in loader:
            windows = [(recordings[i].entry.path, w) for i, w, _ in items if w is not None]
            spans = [Span(path, w.start, w.end) for path, w in windows]
            clips = torch.stack([w.frames for _, w in windows])[:, None] if windows else None
            yield spans, clips, [reason for _, _, reason in items if reason]
            progress.advance(sum(recordings[i].stride for i, w, _ in items if w is not None))
