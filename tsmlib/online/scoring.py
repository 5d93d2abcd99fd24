"""Score the recognition of untrimmed streams: arrays in, numbers out. No torch.

`decisions` hold a label or `NO_CLASS` for each frame of a stream, as `decide` makes them. What is
measured:

- Accuracy of frames, of those inside actions. Online action detection scores frames (De Geest et
  al., ECCV 2016), but by average precision, without a decision.
- Delay, from the start of an action to its recognition. Detection of action starts (Shou et al.,
  ECCV 2018) is scored by such offsets as well; there a detection later than a tolerance is wrong.
- False alarms a minute. Delay against false alarms at all thresholds is the activity monitoring
  operating characteristic (Fawcett & Provost, KDD 1999; Hoai & De la Torre, CVPR 2012).
- Early recognition: accuracy against the share of the action that was seen (Ryoo, ICCV 2011; TSM,
  section 5.5).

What exactly counts as a recognition and as a false alarm is defined here, in the functions.
Intervals are at 95 %, by a bootstrap over streams (`intervals.ratio_interval`).
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ..data.annotations import DataError
from ..intervals import ratio_interval
from .truth import NO_CLASS, StreamTruth

# Chosen on stand-in streams 100 to 109, for the mean of 4 answers of a one-way network (sthv1, mini
# scale, 24 epochs): 96 % of the actions are recognised, after 9 frames, with 19 false alarms a
# minute. On streams 0 to 19 it is 89 %, 10 frames and 22 false alarms.
THRESHOLD = 0.9
SHARES = tuple(round(0.1 * tenth, 1) for tenth in range(1, 11))


def decide(probabilities: np.ndarray, threshold: float = THRESHOLD) -> np.ndarray:
    """Announce the most probable class at each frame where it is probable enough.

    Args:
        probabilities: `[num_frames, K]`.
        threshold: least probability; 0: a class is announced at every frame. A network that knows
            no class for "nothing happens" is sure of itself in pauses too: compare recognizers at
            equal false alarms (`score_thresholds`), not at one threshold.

    Returns:
        int64 `[num_frames]`: a label, or `NO_CLASS`.
    """
    best = probabilities.argmax(1)
    return np.where(probabilities.max(1) >= threshold, best, NO_CLASS)


def measure_delays(decisions: np.ndarray, truth: StreamTruth) -> np.ndarray:
    """Measure the frames from the start of each action to the first that announces its class.

    Returns:
        float `[actions]`: 0 if it is announced at its first frame (or was already before), NaN if
        it is never announced while it lasts.
    """
    _check(decisions, truth)
    delays = np.full(len(truth.actions), np.nan)
    for i, (start, end, label) in enumerate(truth.actions):
        hits = np.flatnonzero(decisions[start:end] == label)
        if len(hits):
            delays[i] = hits[0]
    return delays


def find_false_alarms(decisions: np.ndarray, truth: StreamTruth) -> np.ndarray:
    """Find the frames at which a class begins to be announced without such an action going on.

    It is a single alarm for as long as it stands. What was right becomes an alarm where it outlives
    its action (`StreamTruth.extend` gives it some frames).
    """
    _check(decisions, truth)
    wrong = (decisions != NO_CLASS) & (decisions != truth.labels)
    stands = np.concatenate(([False], wrong[:-1] & (decisions[1:] == decisions[:-1])))
    return np.flatnonzero(wrong & ~stands)


def recognise_early(
    decisions: np.ndarray, truth: StreamTruth, shares: Sequence[float] = SHARES
) -> np.ndarray:
    """Tell whether each action's class is announced when a share of the action has been seen.

    Returns:
        bool `[actions, shares]`, of the frame with which the share is reached.
    """
    _check(decisions, truth)
    for share in shares:
        if not 0 < share <= 1:
            raise ValueError(f"a share of an action is above 0 and at most 1, not {share}")
    rows = [
        decisions[[start + _frames_of(share, end - start) - 1 for share in shares]] == label
        for start, end, label in truth.actions
    ]
    return np.array(rows, dtype=bool).reshape(len(rows), len(shares))


def score_streams(
    decisions: Sequence[np.ndarray], truths: Sequence[StreamTruth], grace: int = 0
) -> pd.DataFrame:
    """Score the decisions of several streams.

    Args:
        decisions: of each stream, int `[num_frames]`.
        truths: of each stream.
        grace: frames after an action's end in which its class may still be announced. They count
            for the delay and as no false alarm, not for the accuracy of frames.

    Returns:
        One row per measure, with the columns `value`, `low`, `high` (the interval; NaN where all
        streams are alike, or there is only one) and `unit`. The rows are `frame accuracy`,
        `recognised` (share of the actions), `delay` (mean over those that are recognised),
        `false alarms`. A delay is NaN if nothing is recognised. Read it beside the share: a
        recognizer that gives up the slow ones looks fast.

    Raises:
        DataError: there is no action in any stream, or not one decision for each frame.
    """
    _check_streams(decisions, truths)
    pairs = list(zip(decisions, truths, strict=True))
    inside = [truth.labels != NO_CLASS for truth in truths]
    right = [np.sum((d == t.labels)[i]) for (d, t), i in zip(pairs, inside, strict=True)]
    delays = [measure_delays(d, truth.extend(grace)) for d, truth in pairs]
    recognised = [np.sum(~np.isnan(d)) for d in delays]
    waited = [np.nansum(d) for d in delays]
    alarms = [len(find_false_alarms(d, truth.extend(grace))) for d, truth in pairs]
    actions, minutes = [len(t.actions) for t in truths], [t.minutes for t in truths]
    nothing = (np.nan, np.nan, np.nan)
    rows = {
        "frame accuracy": (*_percent(right, [i.sum() for i in inside]), "%"),
        "recognised": (*_percent(recognised, actions), "% of actions"),
        "delay": (*(ratio_interval(waited, recognised) if any(recognised) else nothing), "frames"),
        "false alarms": (*ratio_interval(alarms, minutes), "per minute"),
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=["value", "low", "high", "unit"])


def score_early(
    decisions: Sequence[np.ndarray],
    truths: Sequence[StreamTruth],
    shares: Sequence[float] = SHARES,
) -> pd.DataFrame:
    """Compute the accuracy of early recognition, in percent of the actions of several streams.

    Returns:
        One row per share, with the columns `share`, `accuracy`, `low` and `high`.

    Raises:
        DataError: there is no action in any stream, or not one decision for each frame.
    """
    _check_streams(decisions, truths)
    actions = [len(truth.actions) for truth in truths]
    hits = np.array([
        recognise_early(d, t, shares).sum(0) for d, t in zip(decisions, truths, strict=True)
    ])  # fmt: skip
    rows = [(s, *_percent(column, actions)) for s, column in zip(shares, hits.T, strict=True)]
    return pd.DataFrame(rows, columns=["share", "accuracy", "low", "high"])


def score_thresholds(
    probabilities: Sequence[np.ndarray],
    truths: Sequence[StreamTruth],
    thresholds: Sequence[float],
    grace: int = 0,
) -> pd.DataFrame:
    """Score decisions at several thresholds, so that recognizers compare at equal false alarms.

    Args:
        probabilities: of each stream, `[num_frames, K]`.
        truths, grace: see `score_streams`.
        thresholds: see `decide`.

    Returns:
        One row per threshold, with the column `threshold` and the value of each measure of
        `score_streams`.
    """
    rows = []
    for threshold in thresholds:
        decisions = [decide(p, threshold) for p in probabilities]
        rows.append(score_streams(decisions, truths, grace)["value"].rename(None))
    table = pd.DataFrame(rows).reset_index(drop=True)
    table.insert(0, "threshold", list(thresholds))
    return table


def _frames_of(share: float, frames: int) -> int:
    """Return how many frames show at least a share of an action."""
    return int(np.ceil(round(share * frames, 9)))  # 0.3 * 10 is 3, not a little more


def _percent(parts, wholes) -> tuple[float, float, float]:
    ratio, low, high = ratio_interval(parts, wholes)
    return 100 * ratio, 100 * low, 100 * high


def _check(decisions: np.ndarray, truth: StreamTruth) -> None:
    if np.shape(decisions) != (truth.num_frames,):
        raise DataError(
            f"decisions {list(np.shape(decisions))} are not one for each of the "
            f"{truth.num_frames} frames of the stream"
        )


def _check_streams(decisions: Sequence[np.ndarray], truths: Sequence[StreamTruth]) -> None:
    if len(decisions) != len(truths):
        raise DataError(f"there are decisions of {len(decisions)} streams, truths of {len(truths)}")
    if not any(truth.actions for truth in truths):
        raise DataError(f"none of the {len(truths)} streams has an action that could be recognised")
