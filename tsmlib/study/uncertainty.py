"""Estimate the error of single accuracies: ours over recordings, and published ones. No torch.

Accuracies are in percent, their differences in percentage points.
"""

import math
from dataclasses import dataclass

import numpy as np
from scipy import stats
from statsmodels.stats.proportion import proportion_confint

from ..metrics import standard_error

Z = 1.96  # standard errors of a 95 % normal interval


@dataclass(frozen=True)
class Clustered:
    """An accuracy and its interval over recordings, in percent."""

    accuracy: float
    low: float
    high: float
    n_clips: int
    n_groups: int


@dataclass(frozen=True)
class Published:
    """A difference of two published accuracies and its standard error, in percentage points."""

    difference: float
    se: float

    @property
    def low(self) -> float:
        """Lower end of the 95 % interval."""
        return self.difference - Z * self.se

    @property
    def high(self) -> float:
        """Upper end of the 95 % interval."""
        return self.difference + Z * self.se

    @property
    def established(self) -> bool:
        """Whether the interval excludes 0."""
        return self.low > 0 or self.high < 0


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
    clips, groups = sizes.sum(), len(sizes)
    if share in (0, 1):
        return float(groups)
    between = groups / (groups - 1) * np.sum((totals - share * sizes) ** 2)  # variance * clips ** 2
    design = max(1.0, between / (clips * share * (1 - share)))
    few = stats.t.isf(alpha / 2, clips - 1) / stats.t.isf(alpha / 2, groups - 1)
    return float(clips / design * few**2)


def over_recordings(hits, groups) -> np.ndarray:
    """Compute `[G]` values in points, one per recording, with the mean of all clips.

    They are linearised (Cochran 1977, chapter 11): the accuracy, plus the number of recordings
    times what a recording's hits exceed its share by, over all clips. So their standard error is
    that of the accuracy over recordings of unequal size, and differences of two arms are paired.

    Args:
        hits: `[N]` whether each clip was right; 0 to 1 for a mean over seeds.
        groups: `[N]` the recording of each clip.
    """
    hits = np.asarray(hits, dtype=float)
    (totals,), sizes = by_group(hits[None], np.asarray(groups))
    share = hits.mean()
    return 100 * (share + len(sizes) * (totals - share * sizes) / sizes.sum())


def least_deviation(hits, groups) -> float:
    """Return the deviation of `over_recordings`, in points, to assume without any variation.

    Where every clip is right, or every clip is wrong, it is the binomial deviation of the share
    with two more clips of either outcome (Agresti & Coull 1998). Elsewhere it is 0.
    """
    hits, count = np.asarray(hits, dtype=float), len(np.unique(groups))
    if hits.mean() not in (0, 1):
        return 0.0
    share = (hits.sum() + 2) / (len(hits) + 4)
    return 100 * math.sqrt(share * (1 - share) / (len(hits) + 4) * count)


def published_difference(
    top1_a: float, top1_b: float, num_videos: int, training: float
) -> Published:
    """Subtract two published accuracies, a - b, with the standard error of two unpaired trainings.

    Published tables give neither per-video results nor seeds. The error holds the sampling of
    validation videos, as if each network had its own (on shared videos the true one is smaller),
    and the noise of two trainings.

    Args:
        top1_a, top1_b: in percent.
        num_videos: of the validation set.
        training: deviation of one training in points, of `census.training_noise`.

    Raises:
        ValueError: an accuracy outside 0 to 100, or no videos.
    """
    errors = [published_error(top1, num_videos, training) for top1 in (top1_a, top1_b)]
    return Published(top1_a - top1_b, math.hypot(*errors))


def published_error(top1: float, num_videos: int, training: float) -> float:
    """Compute the standard error of a published accuracy in points: of its videos and training.

    Args, errors: see `published_difference`.
    """
    if not 0 <= top1 <= 100:
        raise ValueError(f"accuracies are between 0 and 100 percent, not {top1}")
    if num_videos < 1:
        raise ValueError("a published accuracy is of at least one video")
    return math.hypot(standard_error(top1, num_videos), training)


def by_group(values: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sum `[S, N]` values by group: `[S, G]`, and the sizes `[G]` of the groups."""
    _, index = np.unique(groups, return_inverse=True)
    sums = np.stack([np.bincount(index, row) for row in values])
    return sums, np.bincount(index).astype(float)
