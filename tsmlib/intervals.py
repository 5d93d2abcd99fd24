"""Intervals of accuracies over videos and over seeds, in percent, and of ratios over streams.

scipy and statsmodels are slow to import, so only the functions that use them do.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .metrics import mean_class_accuracy


@dataclass(frozen=True)
class Clustered:
    """An accuracy and its interval over recordings, in percent."""

    accuracy: float
    low: float
    high: float
    n_clips: int
    n_groups: int


def wilson_interval(accuracy: float, num_videos: int) -> tuple[float, float]:
    """Compute Wilson's 95 % interval of an accuracy in percent; sensible for few videos too."""
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    alpha = 2 * stats.norm.sf(1.96)  # standard errors, as in every normal interval here
    low, high = proportion_confint(accuracy / 100 * num_videos, num_videos, alpha, "wilson")
    return round(100 * float(low), 9), round(100 * float(high), 9)  # exactly 0 and 100


def clustered_interval(hits, groups, alpha: float = 0.05) -> Clustered:
    """Compute an accuracy in percent with an interval over recordings, whose clips are alike.

    Clopper and Pearson's interval with the effective number of clips (Korn & Graubard 1998):
    N / design effect, from the linearised variance between recordings (Cochran 1977, chapter 11),
    the design effect at least 1, times (t of N - 1 / t of G - 1 degrees of freedom) squared, for
    few recordings. Not a bootstrap over recordings, which is too narrow for fewer than about 20 of
    them and has no width at all where every clip is right. There, and where every clip is wrong,
    each recording counts as a single clip. One recording says nothing about others: 0 to 100.

    Args:
        hits: `[N]` whether each clip was right, or 0 to 1 (0.5 for a tie, or a mean over seeds).
        groups: `[N]` the recording of each clip.
        alpha: the interval is at 1 - alpha.

    Raises:
        ValueError: no clips, or arrays that do not belong together.
    """
    from statsmodels.stats.proportion import proportion_confint

    hits, groups = np.asarray(hits, dtype=float), np.asarray(groups)
    if hits.ndim != 1 or hits.shape != groups.shape or not hits.size:
        raise ValueError(
            f"hits {hits.shape} and groups {groups.shape} are not one of each per clip"
        )
    if not ((hits >= 0) & (hits <= 1)).all():
        raise ValueError("a hit is between 0 (wrong) and 1 (right)")
    (totals,), sizes = by_group(hits[None], groups)
    share, low, high = float(hits.mean()), 0.0, 1.0
    if len(sizes) > 1:
        clips = _effective_clips(share, totals, sizes, alpha)
        low, high = proportion_confint(share * clips, clips, alpha, method="beta")
    return Clustered(100 * share, 100 * float(low), 100 * float(high), len(hits), len(sizes))


def _effective_clips(share: float, totals: np.ndarray, sizes: np.ndarray, alpha: float) -> float:
    """Compute the number of independent clips that would tell as much as these recordings."""
    from scipy import stats

    clips, groups = sizes.sum(), len(sizes)
    if share in (0, 1):
        return float(groups)
    between = groups / (groups - 1) * np.sum((totals - share * sizes) ** 2)  # variance * clips ** 2
    design = max(1.0, between / (clips * share * (1 - share)))
    few = stats.t.isf(alpha / 2, clips - 1) / stats.t.isf(alpha / 2, groups - 1)
    return float(clips / design * few**2)


def by_group(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum `[S, N]` values by group: `[S, G]`, and the sizes `[G]` of the groups."""
    _, index = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(index, row) for row in values])
    return sums, np.bincount(index).astype(float)


def mean_interval(values, alpha: float = 0.05) -> tuple[float, float, float]:
    """Average over seeds `[S]`, with the ends of a t interval, which are NaN for a single seed."""
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, math.nan, math.nan
    return mean, *t_interval(mean, float(values.std(ddof=1)), len(values), alpha)


def t_interval(mean: float, deviation: float, seeds: int, alpha: float) -> tuple[float, float]:
    """Compute the t interval of a mean at 1 - alpha; `deviation` is of a single seed."""
    from scipy import stats

    half = float(stats.t.isf(alpha / 2, seeds - 1)) * deviation / math.sqrt(seeds)
    return mean - half, mean + half


def ratio_interval(parts, wholes, alpha: float = 0.05) -> tuple[float, float, float]:
    """Divide sums over clusters `[S]`, with the ends of a bootstrap interval at 1 - alpha.

    Clusters are drawn anew, as what is within one is alike (Efron 1987: bias-corrected and
    accelerated). Clusters that are all the same, or a single one, tell nothing about others: then
    the ends are NaN.

    Args:
        parts: of each cluster, for example the right answers of a stream.
        wholes: of each cluster, for example its answers; at least one is above 0.
    """
    from scipy import stats

    wholes = np.asarray(wholes, dtype=float)
    counted = wholes > 0
    parts, wholes = np.asarray(parts, dtype=float)[counted], wholes[counted]
    if not len(parts):
        raise ValueError("there is nothing to divide by: all wholes are 0")
    ratio = float(parts.sum() / wholes.sum())
    if np.allclose(parts, ratio * wholes):
        return ratio, math.nan, math.nan

    def divide(parts, wholes, axis):
        return parts.sum(axis) / wholes.sum(axis)

    found = stats.bootstrap(
        (parts, wholes), divide, paired=True, confidence_level=1 - alpha, random_state=0
    )
    return ratio, *map(float, found.confidence_interval)


def beside_constant_answer(
    scores: np.ndarray, labels: np.ndarray, names: Sequence[str],
    groups: Sequence[str] | None = None,
) -> str:  # fmt: skip
    """Say how accurate scores are, beside chance and always answering the most frequent class.

    Args:
        scores, labels: `[N, K]` and `[N]`.
        names: of the K classes.
        groups: `[N]` the recording or person of each video, which the interval is over; None: each
            video is one of its own.
    """
    hits = np.argmax(scores, axis=1) == labels
    accuracy, over = 100 * float(np.mean(hits)), ""
    low, high = wilson_interval(accuracy, len(labels))
    if groups is not None:
        found = clustered_interval(hits, groups)
        low, high, over = found.low, found.high, f" over {found.n_groups} groups"
    counts = np.bincount(labels, minlength=len(names))
    chance, constant = 100 / len(names), 100 * float(counts.max()) / len(labels)
    text = (
        f"Top-1 is {accuracy:.1f} % of {len(labels)} videos (95 % interval{over} {low:.1f} to "
        f"{high:.1f}). "
    )
    if len({*counts}) > 1:
        text += f"The mean of the classes is {mean_class_accuracy(scores, labels):.1f} %. "
    text += (
        f"Chance is {chance:.1f} %, and always answering {names[int(counts.argmax())]!r}, the most "
        f"frequent class, gives {constant:.1f} %."
    )
    if low > max(chance, constant):
        return text
    return (
        f"{text} THIS IS NO BETTER than such an answer, as far as {len(labels)} videos can tell: "
        "the network has not learned the classes, or there are too few videos to show it."
    )


def prediction_interval(values) -> tuple[float, float]:
    """Compute the 95 % interval in which one more run lies, from those of `values` `[S]`, S > 1.

    Its half width is that of the mean's t interval, times the root of S + 1.
    """
    mean, low, high = mean_interval(values)
    half = (high - low) / 2 * math.sqrt(len(values) + 1)
    return mean - half, mean + half
