"""Intervals of accuracies over videos and over seeds, in percent, and of ratios over streams.

scipy and statsmodels are slow to import, so only the functions that use them do.
"""

import math
from collections.abc import Sequence

import numpy as np


def wilson_interval(accuracy: float, num_videos: int) -> tuple[float, float]:
    """Compute Wilson's 95 % interval of an accuracy in percent; sensible for few videos too."""
    from scipy import stats
    from statsmodels.stats.proportion import proportion_confint

    alpha = 2 * stats.norm.sf(1.96)  # standard errors, as in every normal interval here
    low, high = proportion_confint(accuracy / 100 * num_videos, num_videos, alpha, "wilson")
    return round(100 * float(low), 9), round(100 * float(high), 9)  # exactly 0 and 100


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


def beside_constant_answer(scores: np.ndarray, labels: np.ndarray, names: Sequence[str]) -> str:
    """Say how accurate scores are, beside chance and always answering the most frequent class.

    Args:
        scores, labels: `[N, K]` and `[N]`.
        names: of the K classes.
    """
    accuracy = 100 * float(np.mean(np.argmax(scores, axis=1) == labels))
    low, high = wilson_interval(accuracy, len(labels))
    counts = np.bincount(labels, minlength=len(names))
    chance, constant = 100 / len(names), 100 * float(counts.max()) / len(labels)
    text = (
        f"Top-1 is {accuracy:.1f} % of {len(labels)} videos (95 % interval {low:.1f} to "
        f"{high:.1f}). Chance is {chance:.1f} %, and always answering "
        f"{names[int(counts.argmax())]!r}, the most frequent class, gives {constant:.1f} %."
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
