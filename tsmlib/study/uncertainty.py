"""Estimate the error of single accuracies: ours over recordings, and published ones. No torch.

Accuracies are in percent, their differences in percentage points.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..intervals import by_group
from ..metrics import standard_error

Z = 1.96  # standard errors of a 95 % normal interval


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
