"""Intervals of ratios over clusters: known cases, and a bootstrap written out."""

import numpy as np
import pytest

from tsmlib.intervals import ratio_interval


def test_a_ratio_of_sums_is_no_mean_of_ratios():
    ratio, low, high = ratio_interval([1, 8], [2, 32])
    assert ratio == 9 / 34 and low <= ratio <= high


def test_the_interval_is_near_that_of_resampled_clusters():
    rng = np.random.default_rng(0)
    wholes = rng.integers(20, 60, size=50)
    parts = rng.binomial(wholes, rng.uniform(0.4, 0.8, size=50))
    _, low, high = ratio_interval(parts, wholes)
    drawn = []
    for _ in range(4000):
        chosen = rng.integers(50, size=50)
        drawn.append(sum(parts[chosen]) / sum(wholes[chosen]))
    expected = np.quantile(drawn, [0.025, 0.975])
    np.testing.assert_allclose([low, high], expected, atol=0.1 * np.diff(expected)[0])


def test_clusters_of_nothing_do_not_count():
    assert ratio_interval([3, 0, 5], [4, 0, 9]) == ratio_interval([3, 5], [4, 9])


@pytest.mark.parametrize(("parts", "wholes"), [([2], [5]), ([0, 0], [4, 9]), ([4, 9], [4, 9])])
def test_clusters_that_are_alike_have_no_interval(parts, wholes):
    ratio, low, high = ratio_interval(parts, wholes)
    assert ratio == sum(parts) / sum(wholes) and np.isnan([low, high]).all()


def test_nothing_has_no_ratio():
    with pytest.raises(ValueError, match="nothing to divide by"):
        ratio_interval([0, 0], [0, 0])
