"""Make untrimmed streams whose truth is known: actions one after the other, with pauses.

Networks are trained on trimmed clips, which hold one action from its first to its last frame. A
stream is what a camera sees. Its actions come from the same source as the clips, so what differs
is only that nobody says when they begin.

Every frame is the central square of its clip, at one size: clips of all shapes can follow each
other, and a test's centre crop sees of each what it sees of the clip alone.
"""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..configs import DATASETS, Config, class_names, standin_names
from ..data.annotations import DataError, VideoEntry, VideoList
from ..data.augmentation import crop, resize_short_side
from ..data.loader import ClipDataset
from ..data.standin.plan import LENGTHS
from ..data.standin.scenes import draw_clip, make_rng
from ..data.video import write_video
from .truth import NO_CLASS, Action, StreamTruth

PAUSE_FRAMES = (12, 36)  # shortest and longest pause: 1 to 3 seconds
FPS = 12  # of Something-Something and Jester, and of the stand-ins
# the stand-in has no rendering of such a number, so no stream shows a clip of its lists
FIRST_OF_STREAMS = 1_000_000
GREY = 124  # close to ImageNet's mean colour


class Stream(NamedTuple):
    """The frames of a stream, uint8 `[num_frames, H, W, 3]` RGB, and what happens in them."""

    frames: Tensor
    truth: StreamTruth


def draw_standin_stream(
    cfg: Config, seed: int, actions: int | None = None, size: int | None = None
) -> Stream:
    """Draw a stream of actions of a row's stand-in by the code that draws its clips.

    Actions have the stand-in's lengths. In a pause nothing of any class happens: an object is at
    rest, the background drifts a little, and sometimes a smaller object passes by, as in every
    clip. A pause is a scene of its own, for the first frame of an action gives away where it goes.

    Args:
        cfg: a row; its data set and `standin_seed` are used.
        seed: another stream for each seed, none with a clip of the stand-in itself.
        actions: how many; their order is random, each class once before any comes again. None:
            each class once.
        size: height and width of the frames; None: the row's `short_side`.

    Raises:
        ConfigError: the data set has no stand-in.
    """
    names, standin = standin_names(cfg.dataset), DATASETS[cfg.dataset].standin
    turns = [standin.get_turn(turn) for turn in range(standin.turns)]
    scenes = {name: (kind, i) for kind, members in turns for i, name in enumerate(members)}
    number, size = FIRST_OF_STREAMS * (seed + 1), size or cfg.short_side
    rng = make_rng(cfg.standin_seed, number, 0)

    def draw(kind: str, num_frames: int) -> Tensor:
        nonlocal number
        number += 1
        clip = draw_clip(kind, num_frames, cfg.standin_seed, number, least_motion=cfg.least_motion)
        return _square(clip, size)

    parts = [(draw("at rest", _pause_length(rng)), NO_CLASS)]
    for label in _draw_order(len(names), actions or len(names), rng):
        kind, backwards = scenes[names[label]]
        frames = draw(kind, int(rng.choice(LENGTHS[standin.family])))
        parts.append((frames.flip(0) if backwards else frames, label))
        parts.append((draw("at rest", _pause_length(rng)), NO_CLASS))
    return _concatenate(parts, names, FPS)


def join_clips(
    videos: VideoList,
    cfg: Config,
    seed: int = 0,
    actions: int | None = None,
    size: int | None = None,
    fps: float = FPS,
    grey: bool = False,
) -> Stream:
    """Join whole clips of a list, in random order, to a stream.

        setup = tsmlib.prepare(tsmlib.resolve("jester"), splits=("val",))
        frames, truth = join_clips(setup.val_list, setup.cfg, actions=20)

    A folder of videos has such lists too: `tsmlib.configure_videos` makes a row of it.

    Args:
        videos: the list, of `prepare` or `find_list`.
        cfg: its row, which says how frames are stored.
        seed: of the order and of the lengths of the pauses.
        actions: how many clips; None: all.
        size: height and width of the frames; None: the row's `short_side`.
        fps: of the clips.
        grey: pauses are grey; False: they hold the frame before them, the first one the frame after
            it. Choose grey where a single frame tells the class.

    Raises:
        DataError: fewer clips in the list.
        VideoError: a clip cannot be read.
    """
    count = len(videos.entries) if actions is None else actions
    if not 0 < count <= len(videos.entries):
        raise DataError(f"{videos.file} lists {len(videos.entries)} clips, not actions={actions}")
    rng, dataset = np.random.default_rng(seed), ClipDataset(videos, cfg, "published")
    entries = [videos.entries[int(i)] for i in rng.permutation(len(videos.entries))[:count]]
    clips = [_square(_read_all(dataset, entry), size or cfg.short_side) for entry in entries]
    stills = [clips[0][0], *(clip[-1] for clip in clips)]
    pauses = [
        (torch.full_like(still, GREY) if grey else still).expand(_pause_length(rng), -1, -1, -1)
        for still in stills
    ]
    parts = [(pauses[0], NO_CLASS)]
    for clip, entry, pause in zip(clips, entries, pauses[1:], strict=True):
        parts += [(clip, entry.label), (pause, NO_CLASS)]
    return _concatenate(parts, class_names(cfg), fps)


def write_stream(file: str | Path, stream: Stream) -> Path:
    """Write a stream as a video file, and its truth as a CSV of the same name; return that one.

    Raises:
        DataError: they cannot be written, or H.264 cannot hold the frames' size.
    """
    file, (frames, truth) = Path(file), stream
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        height, width = frames.shape[1:3]
        raise DataError(f"H.264 needs an even height and width, not {height}x{width} ({file})")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        write_video(file, frames, Fraction(truth.fps).limit_denominator(1001))
        truth.write(file.with_suffix(".csv"))
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror}") from None
    return file.with_suffix(".csv")


def _draw_order(num_classes: int, count: int, rng) -> list[int]:
    """Draw `count` labels: all classes in random order, again and again."""
    rounds = [rng.permutation(num_classes) for _ in range(-(-count // num_classes))]
    return np.concatenate(rounds)[:count].tolist()


def _pause_length(rng) -> int:
    shortest, longest = PAUSE_FRAMES
    return int(rng.integers(shortest, longest + 1))


def _read_all(dataset: ClipDataset, entry: VideoEntry) -> Tensor:
    """Read all frames of an entry, uint8 `[T, H, W, 3]`."""
    video = dataset.open(entry)
    return video.frames(list(range(video.num_frames)))


def _square(frames: Tensor, size: int) -> Tensor:
    """Cut the central square of uint8 `[T, H, W, 3]`, at the chosen size."""
    x = resize_short_side(frames.permute(0, 3, 1, 2), size)
    top, left = (x.shape[-2] - size) // 2, (x.shape[-1] - size) // 2
    return crop(x, (left, top, size, size)).permute(0, 2, 3, 1)


def _concatenate(parts: Sequence[tuple[Tensor, int]], names: tuple[str, ...], fps: float) -> Stream:
    """Join parts, uint8 `[T, H, W, 3]` with a label or `NO_CLASS`, and note where actions lie."""
    actions, position = [], 0
    for part, label in parts:
        if label != NO_CLASS:
            actions.append(Action(position, position + len(part), label))
        position += len(part)
    frames = torch.cat([part for part, _ in parts])
    return Stream(frames, StreamTruth(tuple(actions), position, names, fps))
