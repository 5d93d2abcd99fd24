"""Intervals of accuracies, over videos and over seeds; in percent.

scipy and statsmodels are slow to import, so only the functions that use them do.
"""

import math

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
