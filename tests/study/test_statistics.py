"""Intervals, tests and power against formulas written out, exhaustive lists and simulations."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
from scipy import stats

from tsmlib.intervals import clustered_interval
from tsmlib.study.statistics import (
    Comparison,
    equivalence,
    holm,
    holm_p,
    minimum_detectable_effect,
    paired,
    slope,
)
from tsmlib.study.uncertainty import published_difference

A = [91.0, 92.5, 90.0, 93.5, 92.0]
B = [90.0, 90.5, 90.5, 91.0, 91.5]
T_4 = 2.7764451  # 97.5 % of the t distribution with 4 degrees of freedom, from a table


def runs(seeds=10, clips=200, gain=0.05, seed=0):
    """Hits of two arms on the same clips, some of which are easier than others."""
    random = np.random.default_rng(seed)
    easy = random.uniform(0.3, 0.9, clips)
    hits_a = random.random((seeds, clips)) < easy + gain
    hits_b = random.random((seeds, clips)) < easy
    return 100 * hits_a.mean(1), 100 * hits_b.mean(1), (hits_a, hits_b)


# --- paired ---------------------------------------------------------------------------------------


def test_t_interval_written_out():
    differences = [1.0, 2.0, -0.5, 2.5, 0.5]
    mean = sum(differences) / 5
    deviation = math.sqrt(sum((d - mean) ** 2 for d in differences) / 4)
    half = T_4 * deviation / math.sqrt(5)
    found = paired(A, B)
    assert found.difference == pytest.approx(mean) == pytest.approx(1.1)
    assert (found.low, found.high) == pytest.approx((mean - half, mean + half), abs=1e-6)
    assert found.deviation == pytest.approx(deviation) and found.n_seeds == 5
    assert found.p == pytest.approx(stats.ttest_rel(A, B).pvalue)
    assert (found.p_holm, found.low_holm, found.high_holm, found.mde_holm) == (None,) * 4
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.p = 0.0


def test_order_of_arms_mirrors():
    a, b, (hits_a, hits_b) = runs()
    one, other = paired(a, b, (hits_a, hits_b)), paired(b, a, (hits_b, hits_a))
    assert other.difference == pytest.approx(-one.difference)
    assert (other.low, other.high) == pytest.approx((-one.high, -one.low))
    assert (other.boot_low, other.boot_high) == pytest.approx((-one.boot_high, -one.boot_low))
    assert (other.p, other.mde) == pytest.approx((one.p, one.mde))


def test_interval_is_at_one_minus_alpha():
    wide, narrow = paired(A, B, alpha=0.01), paired(A, B, alpha=0.2)
    assert wide.low < narrow.low < narrow.high < wide.high
    assert wide.boot_low < narrow.boot_low < narrow.boot_high < wide.boot_high
    assert wide.mde > narrow.mde
    assert wide.p == narrow.p
    at_p = paired(A, B, alpha=narrow.p)  # where the interval just reaches 0
    assert at_p.low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("seeds", [3, 10])
def test_simulated_coverage(seeds):
    random = np.random.default_rng(1)
    covered = 0
    for _ in range(300):
        b = random.normal(80, 1, seeds)
        found = paired(b + random.normal(2, 1.5, seeds), b, draws=1)
        covered += found.low <= 2 <= found.high
    assert 0.93 < covered / 300 < 0.97


@pytest.mark.parametrize("difference, p", [(0.0, 1.0), (1.5, 0.0), (-100 / 4096, 0.0)])
def test_differences_without_variance(difference, p):
    b = np.array([50.1, 60.7, 70.3])
    found = paired(b + difference, b, draws=100)  # equal up to floating point
    assert found.p == p and found.mde == 0 and found.deviation == 0
    ends = [found.low, found.high, found.boot_low, found.boot_high]
    assert [found.difference, *ends] == pytest.approx([difference] * 5, abs=1e-9)
    adjusted = holm({"x": found})["x"]
    assert adjusted.p_holm == p and adjusted.mde_holm == 0
    assert (adjusted.low_holm > 0 or adjusted.high_holm < 0) == (p == 0)


def test_no_difference_at_all_is_exactly_zero():
    found = paired([0.1 + 0.2, 50], [0.3, 50])
    assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_smallest_real_difference_is_no_rounding():
    a = np.array([50, 50 + 100 / 1e6])  # one video in a million
    assert paired(a, [50, 50]).deviation > 0


@pytest.mark.parametrize(
    "a, b, message",
    [
        ([1.0, 2.0], [1.0], "same seeds"),
        ([[1.0, 2.0]], [[1.0, 2.0]], "same seeds"),
        ([1.0], [2.0], "at least 2"),
        ([], [], "at least 2"),
        ([1.0, math.nan], [1.0, 2.0], "finite"),
    ],
)
def test_arms_that_are_no_pair(a, b, message):
    with pytest.raises(ValueError, match=message):
        paired(a, b)
    with pytest.raises(ValueError, match=message):
        equivalence(a, b, 1.0)


def test_hits_that_are_not_of_these_runs():
    a, b, (hits_a, hits_b) = runs()
    for wrong in (None, hits_a[:4], hits_a[0], ~hits_a):
        with pytest.raises(ValueError, match="hits_a"):
            paired(a, b, (wrong, hits_b))
    with pytest.raises(ValueError, match="hits_b"):
        paired(a, b, (hits_a, None))
    with pytest.raises(ValueError, match="each clip needs one"):
        paired(a, b, (hits_a, hits_b), groups=np.zeros(3))


# --- bootstrap ------------------------------------------------------------------------------------


def exhaustive(hits_a, hits_b, groups=None) -> np.ndarray:
    """Every equally likely resample of seeds and groups, drawn one by one, in points."""
    seeds, clips = np.shape(hits_a)
    groups = range(clips) if groups is None else groups
    names = sorted(set(groups))
    found = []
    for drawn_seeds in itertools.product(range(seeds), repeat=seeds):
        for drawn in itertools.product(names, repeat=len(names)):
            picked = [c for name in drawn for c in range(clips) if groups[c] == name]
            pairs = itertools.product(drawn_seeds, picked)
            found.append(100 * np.mean([hits_a[s][c] - hits_b[s][c] for s, c in pairs]))
    return np.array(found)


CASES = [
    ([[1, 1, 0], [1, 0, 1]], [[0, 1, 0], [0, 1, 0]], None),
    ([[1, 1, 1], [1, 1, 0]], [[0, 0, 1], [1, 0, 1]], None),
    ([[1, 1, 0, 1], [1, 0.5, 1, 1]], [[0, 1, 0, 0], [0, 1, 1, 0]], ["a", "b", "a", "a"]),
]


@pytest.mark.parametrize("hits_a, hits_b, groups", CASES)
def test_bootstrap_is_the_exhaustive_one(hits_a, hits_b, groups):
    a, b = 100 * np.mean(hits_a, axis=1), 100 * np.mean(hits_b, axis=1)
    all_of_them = exhaustive(hits_a, hits_b, groups)
    for alpha in (0.05, 0.2, 0.4, 0.6, 0.9):
        found = paired(a, b, (hits_a, hits_b), groups=groups, alpha=alpha, draws=3000)
        # An end may fall on either side of a step of the distribution: within 2 % of the draws.
        for end, share in ((found.boot_low, alpha / 2), (found.boot_high, 1 - alpha / 2)):
            around = np.clip([share - 0.02, share + 0.02], 0, 1)
            low, high = np.quantile(all_of_them, around, method="inverted_cdf")
            assert low - 1e-9 <= end <= high + 1e-9


def test_bootstrap_without_hits_is_of_seeds():
    found = paired(A, B, draws=10_000)
    differences = np.subtract(A, B)
    means = [np.mean(d) for d in itertools.product(differences, repeat=5)]
    ends = np.quantile(means, [0.025, 0.975])
    assert (found.boot_low, found.boot_high) == pytest.approx(ends, abs=0.11)


def test_clips_add_to_the_uncertainty_and_are_shared():
    """Where clips alone vary, the width is the binomial one; where both arms share it, none."""
    hits_b = np.tile(np.arange(400) % 2, (5, 1))
    hits_a = hits_b.copy()
    hits_a[:, :100] = 1  # half of these were wrong: the same 50 clips, for every seed
    found = paired(100 * hits_a.mean(1), 100 * hits_b.mean(1), (hits_a, hits_b), draws=4000)
    error = 100 * math.sqrt(0.125 * 0.875 / 400)
    assert found.high - found.low == 0  # every seed says the same
    assert found.boot_high - found.boot_low == pytest.approx(2 * 1.96 * error, rel=0.06)
    same = paired(100 * hits_b.mean(1), 100 * hits_b.mean(1), (hits_b, hits_b))
    assert same.boot_low == same.boot_high == 0


def test_groups_of_alike_clips_widen():
    hits_b = np.zeros((4, 300))
    hits_a = np.repeat(np.arange(30) % 3 == 0, 10) * np.ones((4, 1))
    arms = 100 * hits_a.mean(1), 100 * hits_b.mean(1), (hits_a, hits_b)
    clips, recordings = paired(*arms), paired(*arms, groups=np.repeat(np.arange(30), 10))
    ratio = (recordings.boot_high - recordings.boot_low) / (clips.boot_high - clips.boot_low)
    assert ratio == pytest.approx(math.sqrt(10), rel=0.1)


def test_bootstrap_repeats_itself():
    arms = runs()
    assert paired(*arms) == paired(*arms)
    assert paired(*arms) != paired(*arms, seed=1)
    assert paired(*arms).boot_low == pytest.approx(paired(*arms, seed=1).boot_low, abs=0.5)


# --- power ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("seeds, alpha", [(3, 0.05), (10, 0.05), (5, 0.005)])
def test_simulated_power_is_80_percent(seeds, alpha):
    effect = minimum_detectable_effect(1.7, seeds, alpha)
    samples = np.random.default_rng(2).normal(effect, 1.7, (20_000, seeds))
    rejected = stats.ttest_1samp(samples, 0, axis=1).pvalue < alpha
    assert rejected.mean() == pytest.approx(0.8, abs=0.012)


def test_detectable_effects_of_the_textbook():
    # The usual examples, at 80 % and two-sided 5 %: d = 0.5 needs 34 pairs, d = 1 needs 10.
    assert minimum_detectable_effect(1, 34) == pytest.approx(0.5, abs=0.01)
    assert minimum_detectable_effect(1, 10) == pytest.approx(1.0, abs=0.01)
    assert minimum_detectable_effect(3, 10) == pytest.approx(3 * minimum_detectable_effect(1, 10))
    assert minimum_detectable_effect(0, 10) == 0
    assert paired(A, B).mde == minimum_detectable_effect(paired(A, B).deviation, 5)
    with pytest.raises(ValueError, match="at least 2"):
        minimum_detectable_effect(1, 1)


@pytest.mark.parametrize("alpha", [0.05, 0.0025, 1e-4])
def test_detectable_effect_is_found_for_any_number_of_seeds(alpha):
    effects = [minimum_detectable_effect(1, n, alpha) for n in (2, 3, 5, 10, 100, 1000)]
    assert effects == sorted(effects, reverse=True) and np.isfinite(effects).all()
    critical = stats.norm.isf(alpha / 2) + stats.norm.isf(0.2)  # of the normal approximation
    assert effects[-1] == pytest.approx(critical / math.sqrt(1000), rel=0.01)
    assert minimum_detectable_effect(1, 10, alpha, power=0.9) > effects[3]


# --- Holm -----------------------------------------------------------------------------------------


def family(random, m, seeds=6) -> dict[str, Comparison]:
    gains = random.choice([0.0, 0.8, 2.0, 6.0], m)
    arms = random.normal(0, 1, (m, seeds)) + gains[:, None]
    return {f"c{i}": paired(80 + d, np.full(seeds, 80.0), draws=1) for i, d in enumerate(arms)}


def holm_by_hand(p: list[float]) -> list[float]:
    adjusted, running = [0.0] * len(p), 0.0
    for step, i in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        running = max(running, min(1.0, (len(p) - step) * p[i]))
        adjusted[i] = running
    return adjusted


@pytest.mark.parametrize("m", [1, 2, 7])
def test_holm_by_hand(m):
    comparisons = family(np.random.default_rng(m), m)
    found = holm(comparisons)
    assert list(found) == list(comparisons)
    by_hand = holm_by_hand([c.p for c in comparisons.values()])
    assert [c.p_holm for c in found.values()] == pytest.approx(by_hand)
    for name, c in found.items():
        assert dataclasses.replace(c, **dict.fromkeys(EXTRAS)) == comparisons[name]
        assert c.mde_holm == minimum_detectable_effect(c.deviation, 6, 0.05 / m)


EXTRAS = ("p_holm", "low_holm", "high_holm", "mde_holm")


def test_holm_of_one_changes_nothing():
    only = holm({"x": paired(A, B)})["x"]
    assert only.p_holm == pytest.approx(only.p) and only.mde_holm == only.mde
    assert (only.low_holm, only.high_holm) == pytest.approx((only.low, only.high))
    assert holm({}) == {}


@pytest.mark.parametrize("alpha", [0.05, 0.2])
def test_interval_excludes_zero_exactly_where_holm_rejects(alpha):
    random = np.random.default_rng(3)
    rejected = stopped = 0
    for m in (2, 3, 10, 20, 30):
        for c in holm(family(random, m), alpha).values():
            assert (c.low_holm > 0 or c.high_holm < 0) == (c.p_holm < alpha)
            assert c.low_holm <= c.low or alpha > 0.05  # `low` is at 0.05
            rejected += c.p_holm < alpha
            stopped += c.p_holm >= alpha > c.p
    assert rejected > 20 and stopped > 3  # both kinds occurred


def with_p(p: float, seeds=5) -> Comparison:
    """A comparison with this p: the mean at the matching quantile of t, the deviation 1."""
    mean = stats.t.isf(p / 2, seeds - 1) / math.sqrt(seeds)
    return Comparison(mean, 0, 0, p, 0, 0, 0, 1.0, seeds)


def test_an_interval_after_the_procedure_stopped_includes_zero():
    """0.030 fails at 0.05 / 2, so 0.031 may not succeed at 0.05 / 1."""
    found = holm({"a": with_p(0.03), "b": with_p(0.031), "c": with_p(0.001)})
    assert [c.p_holm for c in found.values()] == pytest.approx([0.06, 0.06, 0.003])
    assert [c.low_holm > 0 for c in found.values()] == [False, False, True]


def test_levels_of_the_steps():
    found = holm({"a": with_p(0.6), "b": with_p(0.0001), "c": with_p(0.02)})
    for name, level in (("b", 0.05 / 3), ("c", 0.05 / 2), ("a", 0.05 * 0.6 / 0.6)):
        half = stats.t.isf(level / 2, 4) / math.sqrt(5)
        assert found[name].high_holm - found[name].difference == pytest.approx(half)
        assert found[name].difference - found[name].low_holm == pytest.approx(half)


def test_no_interval_is_narrower_than_its_step():
    found = holm({name: with_p(0.9) for name in "abcd"})  # p_holm is cut off at 1
    half = stats.t.isf(0.05 / 4 / 2, 4) / math.sqrt(5)
    assert all(c.p_holm == 1 for c in found.values())
    assert all(c.high_holm - c.difference == pytest.approx(half) for c in found.values())


def test_equal_p_are_treated_alike():
    found = holm({"a": with_p(0.02), "b": with_p(0.02), "c": with_p(0.02)})
    assert len({(c.p_holm, c.low_holm) for c in found.values()}) == 1


def test_certain_differences_in_a_family():
    certain = paired([51.0, 52.0], [50.0, 51.0])
    found = holm({"a": certain, "b": certain, "none": paired(A, A)})
    assert [c.p_holm for c in found.values()] == [0, 0, 1]
    assert found["a"].low_holm == pytest.approx(1) and found["none"].high_holm == 0


# --- equivalence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("margin", [0.5, 1.5, 3.0, 8.0])
def test_two_one_sided_tests_written_out(margin):
    differences = np.subtract(A, B)
    error = differences.std(ddof=1) / math.sqrt(5)
    above = stats.t.sf((differences.mean() + margin) / error, 4)
    below = stats.t.cdf((differences.mean() - margin) / error, 4)
    p = equivalence(A, B, margin)
    assert p == pytest.approx(max(above, below)) == pytest.approx(equivalence(B, A, margin))
    ninety = paired(A, B, alpha=0.1)
    assert (p < 0.05) == (-margin < ninety.low and ninety.high < margin)


@pytest.mark.parametrize("difference, p", [(0.0, 0), (0.9, 0), (-0.9, 0), (1.0, 1), (-1.2, 1)])
def test_equivalence_without_variance(difference, p):
    assert equivalence(np.array([50.0, 60]) + difference, [50, 60], 1.0) == p


@pytest.mark.parametrize("margin", [0, -1, math.nan])
def test_a_margin_is_positive(margin):
    with pytest.raises(ValueError, match="above 0"):
        equivalence(A, B, margin)


# --- slope ----------------------------------------------------------------------------------------


def test_slope_is_of_each_seed():
    x = [0, 0.25, 0.5, 0.75, 1]
    gains = np.random.default_rng(4).normal(0, 1, (10, 5)) + 30 * np.array(x)
    each = [np.polyfit(x, row, 1)[0] for row in gains]
    found, as_pairs = slope(x, gains), paired(each, np.zeros(10))
    for field in ("difference", "low", "high", "p", "mde", "deviation", "n_seeds"):
        assert getattr(found, field) == pytest.approx(getattr(as_pairs, field))
    means = np.random.default_rng(5).choice(each, (40_000, 10)).mean(1)
    ends = np.quantile(means, [0.025, 0.975])
    assert (found.boot_low, found.boot_high) == pytest.approx(ends, abs=0.1)
    assert slope(x, gains, alpha=0.5).high < found.high
    assert holm({"slope": found})["slope"].low_holm == pytest.approx(found.low)


def test_slope_has_the_units_of_x():
    gains = [[0, 10.0, 20], [1, 12, 23]]
    assert slope([0, 50, 100], gains).difference == pytest.approx(0.21)
    assert slope([0, 0.5, 1], gains).difference == pytest.approx(21)


@pytest.mark.parametrize(
    "x, gains, message",
    [
        ([0, 1], [[1.0, 2], [1, 2]], None),
        ([0, 1], [[1.0, 2]], "at least 2 are needed"),
        ([1, 1], [[1.0, 2], [1, 2]], "different levels"),
        ([0, 1, 2], [[1.0, 2], [1, 2]], "seeds, levels"),
        ([0, 1], [1.0, 2], "seeds, levels"),
    ],
)
def test_slopes_that_cannot_be(x, gains, message):
    if message is None:
        assert slope(x, gains).difference == 1
    else:
        with pytest.raises(ValueError, match=message):
            slope(x, gains)


# --- clustered ------------------------------------------------------------------------------------


def test_recordings_of_one_clip_are_a_binomial_interval():
    found = clustered_interval([1] * 30 + [0] * 10, np.arange(40))
    # The variance between recordings has 40 / 39 for the estimated mean, the binomial has not.
    exact = stats.binomtest(30, 40).proportion_ci(method="exact")
    assert (found.accuracy, found.n_clips, found.n_groups) == (75, 40, 40)
    assert (found.low, found.high) == pytest.approx((100 * exact.low, 100 * exact.high), abs=0.5)
    assert found.low <= 100 * exact.low and found.high >= 100 * exact.high


def test_alike_clips_count_once():
    """Every clip of a recording alike: as many observations as recordings."""
    found = clustered_interval(np.repeat([1] * 30 + [0] * 10, 8), np.repeat(np.arange(40), 8))
    single = clustered_interval([1] * 30 + [0] * 10, np.arange(40))
    assert found.accuracy == single.accuracy and (found.n_clips, found.n_groups) == (320, 40)
    assert (found.low, found.high) == pytest.approx((single.low, single.high), abs=0.6)


def test_effective_clips_by_hand():
    hits, groups = [1, 1, 1, 0, 1, 0, 0, 0, 1, 1], list("aaaabbbbcc")
    share, sums, sizes = 0.6, [3, 1, 2], [4, 4, 2]
    variance = 3 / 2 * sum((y - share * n) ** 2 for y, n in zip(sums, sizes, strict=True)) / 100
    design = variance / (share * (1 - share) / 10)
    assert design > 1
    few = stats.t.ppf(0.975, 9) / stats.t.ppf(0.975, 2)
    n = 10 / design * few**2
    low = stats.beta.ppf(0.025, n * share, n - n * share + 1)
    high = stats.beta.ppf(0.975, n * share + 1, n - n * share)
    found = clustered_interval(hits, groups)
    assert (found.low, found.high) == pytest.approx((100 * low, 100 * high))
    shuffled = np.random.default_rng(0).permutation(10)
    assert clustered_interval(np.array(hits)[shuffled], np.array(groups)[shuffled]) == found
    assert clustered_interval(hits, groups, alpha=0.5).low > found.low


def test_design_effect_is_at_least_one():
    """Recordings that happen to agree do not make the clips more than they are."""
    found = clustered_interval([1, 0] * 20, np.repeat(np.arange(20), 2))
    few = stats.t.isf(0.025, 39) / stats.t.isf(0.025, 19)
    n = 40 * few**2
    assert found.low == pytest.approx(100 * stats.beta.ppf(0.025, n / 2, n / 2 + 1))


@pytest.mark.parametrize("right, ends", [(1, (100 * 0.025**0.2, 100)), (0, (0, 100 - 47.8176))])
def test_all_alike_is_not_certain(right, ends):
    found = clustered_interval([right] * 50, np.repeat(np.arange(5), 10))
    assert found.accuracy == 100 * right
    assert (found.low, found.high) == pytest.approx(ends, abs=1e-3)


def test_one_recording_says_nothing():
    found = clustered_interval([1, 0, 1, 1], ["x"] * 4)
    assert (found.accuracy, found.low, found.high, found.n_groups) == (75, 0, 100, 1)


@pytest.mark.parametrize("recordings, clips", [(4, 20), (8, 10), (30, 10)])
def test_simulated_coverage_of_recordings(recordings, clips):
    random = np.random.default_rng(6)
    groups, covered = np.repeat(np.arange(recordings), clips), 0
    for _ in range(300):
        share = random.beta(4, 2, recordings)  # recordings differ: mean 2 / 3
        hits = random.random(len(groups)) < np.repeat(share, clips)
        found = clustered_interval(hits, groups)
        covered += found.low <= 200 / 3 <= found.high
    assert covered / 300 >= 0.93  # at least what it says; with few recordings more


@pytest.mark.parametrize(
    "hits, groups", [([], []), ([1, 0], [1]), ([[1], [0]], [[1], [2]]), ([2, 0], [1, 2])]
)
def test_hits_that_have_no_interval(hits, groups):
    with pytest.raises(ValueError, match="hit"):
        clustered_interval(hits, groups)


# --- published differences ------------------------------------------------------------------------


def test_mixup_is_within_its_error():
    """+0.77 on the 11,522 videos of Something-Something V1 is 1.2 standard errors."""
    mixup = published_difference(46.35, 45.58, 11_522, 0.3)
    videos = 100 * math.sqrt((0.4635 * 0.5365 + 0.4558 * 0.5442) / 11_522)
    by_hand = math.sqrt(videos**2 + 2 * 0.3**2)  # two trainings
    assert mixup.se == pytest.approx(by_hand) and videos == pytest.approx(0.66, abs=0.01)
    assert not mixup.established and published_difference(50, 45, 11_522, 0.3).established
    assert mixup.difference == pytest.approx(0.77)
    assert mixup.low == pytest.approx(0.77 - 1.96 * by_hand) and mixup.low < 0
    assert mixup.high == pytest.approx(0.77 + 1.96 * by_hand)


@pytest.mark.parametrize("arguments", [(101, 50, 10, 0), (50, -1, 10, 0), (math.nan, 50, 10, 0)])
def test_published_numbers_are_percent(arguments):
    with pytest.raises(ValueError, match="between 0 and 100"):
        published_difference(*arguments)


@pytest.mark.parametrize("arguments", [(50, 50, 0, 0), (50, 50, -1, 0)])
def test_published_numbers_are_of_videos(arguments):
    with pytest.raises(ValueError, match="at least one video"):
        published_difference(*arguments)


def test_early_looks_are_adjusted_for_all_planned_questions():
    one = {"a": paired(A, B)}
    assert holm(one, family=7)["a"].p_holm == pytest.approx(min(1, 7 * paired(A, B).p))
    alone, early = holm(one)["a"], holm(one, family=7)["a"]
    assert early.low_holm < alone.low_holm and early.high_holm > alone.high_holm
    assert holm_p(np.array([0.01, 0.02]), 4) == pytest.approx([0.04, 0.06])


def test_equivalence_is_the_larger_of_two_one_sided_tests():
    from statsmodels.stats.weightstats import ttost_paired

    a, b = np.array(A), np.array(B)
    for margin in (1.0, 2.0, 4.0):
        assert equivalence(A, B, margin) == pytest.approx(ttost_paired(a, b, -margin, margin)[0])
    assert equivalence(A, A, 2.0) == 0 and equivalence(A, A, 2.0, least=4.0) > 0.05
