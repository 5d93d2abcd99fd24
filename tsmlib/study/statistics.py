"""Test differences between runs. Arrays in, frozen dataclasses out; no torch.

Accuracies are in percent, their differences in percentage points. "Seeds" are training runs that
differ in their seed alone; both arms of a comparison use the same seeds and the same test clips.
"""

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from scipy import stats
from scipy.optimize import brentq
from statsmodels.stats.power import TTestPower

from ..intervals import by_group, t_interval

POWER = 0.8  # of a minimum detectable effect
ROUNDING = 1e-9  # points: closer differences are equal, they differ by floating point only


@dataclass(frozen=True)
class Comparison:
    """A difference over seeds, in percentage points (of a slope: points per unit of x).

    `low`, `high` and `p` are of a paired t test; `boot_low` and `boot_high` of a bootstrap;
    `mde` is the minimum detectable effect. The last four are None until `holm` sets them.
    """

    difference: float
    low: float
    high: float
    p: float
    boot_low: float
    boot_high: float
    mde: float
    deviation: float  # standard deviation over seeds, in points
    n_seeds: int
    p_holm: float | None = None
    low_holm: float | None = None
    high_holm: float | None = None
    mde_holm: float | None = None


# --- differences over seeds -----------------------------------------------------------------------


def paired(
    a, b, hits=(None, None), *, groups=None, least=0.0, alpha=0.05, draws=2000, seed=0
) -> Comparison:
    """Average a - b over seeds, with a t interval, a bootstrap and the detectable effect.

    The t test and interval (Student 1908) are over the paired differences, so they speak of the
    training procedure on this test set. The percentile bootstrap (Efron & Tibshirani 1993, chapter
    13) resamples the seeds and, where `hits` are given, the clips as well, independently of each
    other and alike for all seeds and both arms, as every network is tested on the same clips (the
    pigeonhole bootstrap, Owen 2007, which errs on the wide side). From few seeds alone a
    percentile interval is too narrow: it stands beside the t interval, never in its place.

    Differences without any variance leave nothing to estimate: the interval is the point itself,
    and p is 1 where it is 0, else 0.

    Args:
        a, b: `[S]` accuracies in percent, the same seeds in the same order.
        hits: a pair of `[S, N]` whether each clip was right, or 0 to 1 (0.5 for a tie); their means
            are `a` and `b`.
        groups: `[N]` the recording of each clip; recordings are then resampled, not clips.
        least: deviation of the differences, in points, that is assumed where less is seen.
        alpha: two-sided level; the intervals are at 1 - alpha.
        draws, seed: of the bootstrap.

    Raises:
        ValueError: fewer than 2 seeds, or arrays that do not belong together.
    """
    a, b = _arms(a, b)
    differences = (a - b)[:, None] / 100  # without hits a seed is a "clip" of its own
    if any(arm is not None for arm in hits):
        differences = _hits(hits[0], a, "a") - _hits(hits[1], b, "b")
    clips = differences.shape[1]
    groups = np.arange(clips) if groups is None else np.asarray(groups)
    if len(groups) != clips:
        raise ValueError(f"{len(groups)} groups for {clips} clips: each clip needs one")
    return _over_seeds(a - b, _bootstrap(differences, groups, draws, seed), alpha, least)


def slope(x, gains, *, alpha=0.05, draws=2000, seed=0) -> Comparison:
    """Average the slope of gains over levels, in points per unit of `x`, and test it against 0.

    Each seed has its own least-squares line; the slopes are then treated like paired differences
    (one summary measure per subject: Matthews et al. 1990), so levels of a seed need not be
    independent. The bootstrap resamples seeds.

    Args:
        x: `[L]` levels.
        gains: `[S, L]` gain of each seed at each level, in points.
        alpha, draws, seed: as in `paired`.

    Raises:
        ValueError: fewer than 2 seeds or 2 different levels, or shapes that do not fit.
    """
    x, gains = np.asarray(x, dtype=float), np.asarray(gains, dtype=float)
    if x.ndim != 1 or gains.ndim != 2 or gains.shape[1] != len(x):
        raise ValueError(f"gains {gains.shape} are not [seeds, levels] of {x.shape} levels")
    if len(np.unique(x)) < 2:
        raise ValueError("a slope needs at least 2 different levels")
    centred = x - x.mean()
    slopes, _ = _arms(gains @ centred / (centred @ centred), np.zeros(len(gains)))
    boot = _bootstrap(slopes[:, None] / 100, np.zeros(1), draws, seed)
    return _over_seeds(slopes, boot, alpha)


def _over_seeds(
    values: np.ndarray, boot: np.ndarray, alpha: float, least: float = 0.0
) -> Comparison:
    """Compare `[S]` differences with 0; `boot` are bootstrapped means."""
    seeds, constant = len(values), np.ptp(values) < ROUNDING
    mean = round(float(values.mean()), 12) if constant else float(values.mean())
    deviation = max(least, 0.0 if constant else float(values.std(ddof=1)))
    p = float(mean == 0)
    if deviation:
        p = 2 * float(stats.t.sf(abs(mean) * math.sqrt(seeds) / deviation, seeds - 1))
    low, high = t_interval(mean, deviation, seeds, alpha)
    boot_low, boot_high = (float(v) for v in np.quantile(boot, [alpha / 2, 1 - alpha / 2]))
    mde = minimum_detectable_effect(deviation, seeds, alpha)
    return Comparison(mean, low, high, p, boot_low, boot_high, mde, deviation, seeds)


def _bootstrap(differences: np.ndarray, groups: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Draw `[draws]` mean differences in points: seeds and groups of `[S, N]` are resampled."""
    sums, sizes = by_group(differences, groups)
    times, chosen = _resamples(*sums.shape, draws, seed)
    each = times @ sums.T / (times @ sizes)[:, None]
    return 100 * np.take_along_axis(each, chosen, axis=1).mean(axis=1)


@lru_cache(maxsize=2)  # the questions of a study are about equally many seeds and clips
def _resamples(seeds: int, groups: int, draws: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw how often each group is taken, `[draws, groups]`, and which seeds, `[draws, seeds]`."""
    generator = np.random.default_rng(seed)
    times, chosen = np.empty((draws, groups)), np.empty((draws, seeds), dtype=int)
    for draw in range(draws):
        taken = generator.integers(groups, size=groups)
        times[draw] = np.bincount(taken, minlength=groups)
        chosen[draw] = generator.integers(seeds, size=seeds)
    return times, chosen


def _arms(a, b) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.ndim != 1 or a.shape != b.shape:
        raise ValueError(f"a pair needs the same seeds in both arms, not {a.shape} and {b.shape}")
    if len(a) < 2:
        raise ValueError(f"{len(a)} seed says nothing about others: at least 2 are needed")
    if not np.isfinite([a, b]).all():
        raise ValueError("accuracies must be finite numbers: a run without one is no seed")
    return a, b


def _hits(hits, accuracy: np.ndarray, arm: str) -> np.ndarray:
    """Convert `[S, N]` to numbers, after a check that they are the clips of the accuracies."""
    hits = np.asarray(np.nan if hits is None else hits, dtype=float)
    if hits.ndim != 2 or len(hits) != len(accuracy):
        raise ValueError(f"hits_{arm} {hits.shape} are not [{len(accuracy)} seeds, clips]")
    if not np.allclose(100 * hits.mean(axis=1), accuracy, rtol=0, atol=0.01):
        raise ValueError(f"hits_{arm} are of other runs: their means are not the accuracies")
    return hits


# --- what a test can and cannot say ---------------------------------------------------------------


def minimum_detectable_effect(
    deviation: float, n_seeds: int, alpha: float = 0.05, power: float = POWER
) -> float:
    """Compute the smallest true difference that a two-sided paired t test finds with this power.

    Cohen 1988, chapter 2, by statsmodels' TTestPower. `deviation`, the standard deviation of the
    differences, is in points, and so is the answer. It is taken as known: estimated from few seeds
    it is itself uncertain. "Finds" means with the right sign, which leaves out about 1e-6.

    Raises:
        ValueError: fewer than 2 seeds.
    """
    if n_seeds < 2:
        raise ValueError(f"{n_seeds} seed detects nothing: at least 2 are needed")
    return 0.0 if deviation == 0 else deviation * _effect_size(n_seeds, alpha, power)


@lru_cache
def _effect_size(seeds: int, alpha: float, power: float) -> float:
    # Not solve_power, which stops at 10 deviations and returns that; and the upper tail alone, as
    # the lower one of scipy's noncentral t is NaN where it should be next to nothing.
    def excess(size: float) -> float:
        return TTestPower().power(size, seeds, alpha / 2, alternative="larger") - power

    upper = 1.0
    while excess(upper) < 0:
        upper *= 2
    return float(brentq(excess, 0, upper, xtol=1e-10))


def holm(
    comparisons: dict[str, Comparison], alpha: float = 0.05, family: int | None = None
) -> dict[str, Comparison]:
    """Adjust the comparisons of one study: Holm's p, intervals and detectable effects.

    `family` is the number of planned comparisons, where some are not there yet: those count as if
    they showed nothing, so that what is looked at early is adjusted for all.

    `p_holm` is Holm's (1979). `low_holm` and `high_holm` are the t interval at the level of
    `holm_levels`, and exclude 0 exactly when p_holm < alpha. The interval is compatible with the
    tests; it is not a simultaneous confidence interval of all comparisons. `mde_holm` is at
    alpha / m, the level of the first step: it is found whatever the other comparisons show.
    """
    if not comparisons:
        return {}
    p = np.array([c.p for c in comparisons.values()])
    m = max(family or 0, len(p))
    adjusted, levels = holm_p(p, m), holm_levels(p, m, alpha)
    return {
        name: _adjusted(comparison, float(p_holm), float(level), alpha / m)
        for (name, comparison), p_holm, level in zip(
            comparisons.items(), adjusted, levels, strict=True
        )
    }


def holm_p(p: np.ndarray, family: int) -> np.ndarray:
    """Adjust p values by Holm (1979) as part of a family; those that are missing count as 1.

    By hand, as statsmodels' `multipletests` collects the garbage of the process at every call.
    """
    order, adjusted = np.argsort(p), np.empty(len(p))
    adjusted[order] = np.maximum.accumulate(p[order] * (family - np.arange(len(p))))
    return np.minimum(adjusted, 1)


def holm_levels(p: np.ndarray, family: int, alpha: float = 0.05) -> np.ndarray:
    """Find the level of each interval that excludes 0 exactly where Holm's p is below alpha.

    It is that of the comparison's step, alpha / (family - rank + 1), or alpha * p / p_holm where
    that is less: there an earlier step has stopped the procedure, and p_holm is the running
    maximum.
    """
    step = alpha / (family - stats.rankdata(p, method="min") + 1)
    stopped = alpha * np.divide(p, holm_p(p, family), out=np.full(len(p), np.inf), where=p > 0)
    return np.minimum(step, stopped)


def _adjusted(comparison: Comparison, p_holm: float, level: float, first: float) -> Comparison:
    mean, deviation, seeds = comparison.difference, comparison.deviation, comparison.n_seeds
    low, high = t_interval(mean, deviation, seeds, level)
    mde = minimum_detectable_effect(deviation, seeds, first)
    return replace(comparison, p_holm=p_holm, low_holm=low, high_holm=high, mde_holm=mde)


def equivalence(a, b, margin: float, least: float = 0.0) -> float:
    """Test for equivalence: p of "the mean difference is not within +-margin" (paired t tests).

    The larger p of two one-sided tests (Schuirmann 1987; Lakens 2017). Below 0.05 exactly where the
    90 % t interval lies within the margin. Without any variance it is 0 within the margin and 1
    elsewhere.

    Args:
        a, b: `[S]` accuracies in percent, as in `paired`.
        margin: in points, chosen before the runs.
        least: deviation of the differences, in points, that is assumed where less is seen.

    Raises:
        ValueError: a margin that is not above 0, fewer than 2 seeds, different lengths.
    """
    a, b = _arms(a, b)
    if not margin > 0:
        raise ValueError(f"an equivalence margin is above 0 points, not {margin}")
    mean, deviation = float(np.mean(a - b)), max(float(np.std(a - b, ddof=1)), least)
    if deviation < ROUNDING:
        return float(abs(mean) >= margin - ROUNDING)
    error = deviation / math.sqrt(len(a))
    return float(stats.t.sf((margin - abs(mean)) / error, len(a) - 1))
