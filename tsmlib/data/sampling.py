"""Sampling of the frames of a clip (TSM, section 5.1; MMAction2 pipelines/loading.py)."""

from typing import Literal

import torch
from torch import Generator, Tensor

DENSE_WINDOW = 64  # frames that a dense clip spans (MMAction2 DenseSampleFrames, MIT dense_sample)


def sample_indices(
    num_frames: int,
    num_segments: int,
    strategy: Literal["uniform", "dense"] = "uniform",
    train: bool = False,
    clips: int = 1,
    twice_sample: bool = False,
    generator: Generator | None = None,
    *,
    keep_tail: bool = False,
    last_start: bool = False,
    wrap: bool = True,
) -> Tensor:
    """Sample the frame numbers of the clips of one video.

    The defaults are MMAction2's published behaviour, slips included: uniform training never sees
    the last `num_frames % num_segments` frames, a training video shorter than the clip may end on
    frame 0 again, and dense training never takes the last start. The keyword options mend these.

    Args:
        num_frames: length of the video.
        num_segments: T, frames per clip.
        strategy: `uniform`, one frame of each of T equal segments (a random one in training, the
            middle one otherwise); `dense`, T frames evenly over a window of 64.
        train: draw at random.
        clips: clips per video. Dense: starts spread evenly over the video; uniform test: 1, or 2 as
            `twice_sample`; training: independent draws.
        twice_sample: uniform test only, 2 clips: the middles, then the starts of the segments.
        generator: source of random numbers in training.
        keep_tail: uniform training draws from segments that cover the whole video.
        last_start: dense training may take the last start.
        wrap: a number past the end continues at frame 0; False: it stays on the last frame.

    Returns:
        `[clips, num_segments]`, int64, 0-based.

    Raises:
        ValueError: an empty video or options that exclude each other.
    """
    if num_frames < 1 or num_segments < 1 or clips < 1:
        raise ValueError(f"no clip of {num_segments} frames can be taken from {num_frames} frames")
    if strategy not in ("uniform", "dense"):
        raise ValueError(f"strategy={strategy!r} is neither uniform nor dense")
    if twice_sample and (train or strategy == "dense" or clips > 2):
        raise ValueError("twice_sample is for uniform sampling in the test, and gives 2 clips")
    if train:
        draw = _dense_train if strategy == "dense" else _uniform_train
        option = last_start if strategy == "dense" else keep_tail
        rows = [draw(num_frames, num_segments, option, generator) for _ in range(clips)]
        index = torch.stack(rows)
    elif strategy == "dense":
        index = _dense_test(num_frames, num_segments, clips)
    else:
        index = _uniform_test(num_frames, num_segments, 2 if twice_sample else clips)
    return index % num_frames if wrap else index.clamp(max=num_frames - 1)


def _uniform_train(n: int, segments: int, keep_tail: bool, generator: Generator | None) -> Tensor:
    k = torch.arange(segments)
    random = torch.rand(segments, generator=generator, dtype=torch.float64)
    if keep_tail:
        return ((k + random) * n / segments).floor().long()
    length = n // segments
    if length == 0:  # spread and repeat; torch rounds half to even, as numpy does
        return (k * (n / segments)).round().long()
    return k * length + (random * length).long()


def _uniform_test(n: int, segments: int, clips: int) -> Tensor:
    if clips > 2:
        raise ValueError(f"uniform sampling in the test gives 1 or 2 clips, not {clips}")
    length = n / segments
    starts = [k * length for k in range(segments)]
    middles = [start + length / 2 for start in starts]
    return torch.tensor([[int(position) for position in row] for row in (middles, starts)[:clips]])


def _dense_train(n: int, segments: int, last_start: bool, generator: Generator | None) -> Tensor:
    positions = max(1, 1 + n - DENSE_WINDOW)
    choices = positions if last_start else max(1, positions - 1)
    start = int(torch.randint(choices, (1,), generator=generator))
    return start + torch.arange(segments) * (DENSE_WINDOW // segments)


def _dense_test(n: int, segments: int, clips: int) -> Tensor:
    positions = max(1, 1 + n - DENSE_WINDOW)
    starts = torch.linspace(0, positions - 1, clips, dtype=torch.float64).long()
    return starts[:, None] + torch.arange(segments) * (DENSE_WINDOW // segments)
