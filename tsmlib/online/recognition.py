"""Recognise the actions of an untrimmed stream: frame by frame, or by a window that slides.

How often frames enter: a network that was trained on T frames, taken evenly from an action of n,
has seen frames n / T apart. So every (n / T)-th frame of a stream enters (`entry_step`). If more
do, all motion looks too slow, and a window of T frames holds only a part of an action.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import numpy as np
import torch
from scipy.special import softmax
from torch import Tensor

from ..configs import Config
from ..data.annotations import DataError
from ..data.augmentation import preprocess
from ..data.sampling import DENSE_WINDOW
from ..models.recognizer import normalize

WINDOWS = 16  # that go through a network at once


class OnlineNetwork(Protocol):
    """What recognises a stream: `OnlineTSM`, or anything else with these two methods."""

    def reset(self) -> None: ...

    def step(self, frame: Tensor) -> Tensor: ...


@dataclass(frozen=True, eq=False)
class Answers:
    """What a network answered to the frames of a stream that entered it.

    Attributes:
        logits: `[A, K]`, one row per frame that entered.
        runs: numbers of the frames that entered; each range begins where the network was reset.
        num_frames: length of the stream.
    """

    logits: np.ndarray
    runs: tuple[range, ...]
    num_frames: int

    def probabilities(self, mean_of: int | None = 1) -> np.ndarray:
        """Compute `[num_frames, K]`: an answer stands until the next frame enters.

        Args:
            mean_of: the logits of so many last answers are averaged, as the consensus of a clip
                averages those of its frames; None: of all answers since the last reset.
        """
        if mean_of is not None and mean_of < 1:
            raise ValueError(f"mean_of={mean_of}: the mean is over at least one answer")
        ends = np.cumsum([len(run) for run in self.runs])
        parts = np.split(self.logits, ends[:-1])
        means = np.concatenate([_running_mean(part, mean_of or len(part)) for part in parts])
        entered = np.concatenate(self.runs)
        standing = np.searchsorted(entered, np.arange(self.num_frames), side="right") - 1
        return softmax(means, axis=1)[standing]


def entry_step(cfg: Config, clip_frames: float) -> int:
    """Compute k where every k-th frame of a stream enters a network.

    Args:
        cfg: the row that the network was trained as.
        clip_frames: usual length of its training clips. It does not count for dense sampling,
            whose clips span a fixed number of frames.
    """
    span = DENSE_WINDOW if cfg.sampling == "dense" else clip_frames
    return max(1, round(span / cfg.num_segments))


def answer_online(
    network: OnlineNetwork, frames: Tensor, cfg: Config, step: int = 1, resets: Collection[int] = ()
) -> Answers:
    """Let a stream's frames enter a network one by one.

    Args:
        network: `OnlineTSM` or the like; it is reset at the beginning.
        frames: uint8 `[num_frames, H, W, 3]` RGB.
        cfg: the row that the network was trained as; each frame is resized and cropped (one centre
            crop) as its validation does.
        step: every `step`-th frame enters, see `entry_step`.
        resets: frames at which the stream begins anew, as someone says that an action begins there.
            Such a frame enters, whatever `step` is.

    Raises:
        DataError: no frames, or a reset beyond them.
    """
    logits, runs = [], _plan_runs(len(frames), step, resets)
    for run in runs:
        network.reset()
        logits += [network.step(_prepare(frames[t : t + 1], cfg)) for t in run]
    return Answers(_to_array(logits), runs, len(frames))


def answer_by_window(
    model: Callable[[Tensor], Tensor],
    frames: Tensor,
    cfg: Config,
    step: int = 1,
    resets: Collection[int] = (),
) -> Answers:
    """Let the last T frames that entered go through a network of clips, at each one that enters.

    The window ends at the present frame. Until T frames have entered, the first one is repeated in
    front of them.

    Args:
        model: maps float `[N, T, 3, H, W]` to logits `[N, K]`, in eval mode.
        frames, cfg, step, resets: see `answer_online`; T is the row's `num_segments`. No window
            reaches back over a reset.

    Raises:
        DataError: no frames, or a reset beyond them.
    """
    logits, runs = [], _plan_runs(len(frames), step, resets)
    for run in runs:
        x = _prepare(frames[run.start : run.stop : step], cfg)
        x = torch.cat((x[:1].expand(cfg.num_segments - 1, -1, -1, -1), x))
        windows = x.unfold(0, cfg.num_segments, 1).movedim(-1, 1)  # [A, T, 3, h, w], a view
        with torch.no_grad():
            logits += [model(part) for part in windows.split(WINDOWS)]
    return Answers(_to_array(logits), runs, len(frames))


def answer_both_ways(
    network: OnlineNetwork,
    model: Callable[[Tensor], Tensor],
    frames: Tensor,
    cfg: Config,
    step: int = 1,
    resets: Collection[int] = (),
) -> dict[str, Answers]:
    """Answer a stream `online` and by a `sliding window`; see the two functions above."""
    return {
        "online": answer_online(network, frames, cfg, step, resets),
        "sliding window": answer_by_window(model, frames, cfg, step, resets),
    }


def _plan_runs(num_frames: int, step: int, resets: Collection[int]) -> tuple[range, ...]:
    """Return the frames that enter, from each reset to the next."""
    if num_frames < 1:
        raise DataError("the stream has no frames, so there is nothing to recognise")
    if step < 1:
        raise ValueError(f"step={step}: every step-th frame enters, so it is at least 1")
    beginnings = sorted({0, *resets})
    if beginnings[0] < 0 or beginnings[-1] >= num_frames:
        wrong = beginnings[0] if beginnings[0] < 0 else beginnings[-1]
        raise DataError(f"a reset at frame {wrong} is outside the stream of {num_frames} frames")
    return tuple(range(a, b, step) for a, b in pairwise((*beginnings, num_frames)))


def _prepare(frames: Tensor, cfg: Config) -> Tensor:
    """Resize, crop and normalise uint8 `[T, H, W, 3]` to float `[T, 3, h, w]`."""
    return normalize(preprocess(frames, cfg, "val")[0])


def _to_array(logits: list[Tensor]) -> np.ndarray:
    return torch.cat([torch.as_tensor(row) for row in logits]).double().cpu().numpy()


def _running_mean(values: np.ndarray, count: int) -> np.ndarray:
    """Average each row of `[A, K]` with those before it, `count` in all or as many as there are."""
    sums = np.concatenate((np.zeros_like(values[:1]), values.cumsum(0)))
    last = np.arange(1, len(sums))
    first = np.maximum(last - count, 0)
    return (sums[last] - sums[first]) / (last - first)[:, None]
