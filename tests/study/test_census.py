"""The census: its rows have sources, its effects and means are what a slow reading gives."""

import math
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.optimize import brentq

from tsmlib.report.replications import (
    describe_gain,
    describe_headlines,
    summarise_census,
    tabulate_headlines,
    tabulate_replications,
)
from tsmlib.results import ResultsError
from tsmlib.study.census import (
    headline_trainings,
    paired_effects,
    pool_effects,
    random_effects,
    read_census,
    training_noise,
)

PAIR = {
    "factor": "TSM vs TSN", "dataset": "A", "measure": "", "a": "TSM 8f", "b": "TSN 8f",
    "top1_a": 50.0, "top1_b": 40.0, "views_a": "8f x center", "views_b": "8f x center",
    "views_equal": "yes", "also_differs": "", "num_validation_videos": "1000",
    "standard_error": 1.0, "source": "Somebody @1",
}  # fmt: skip


def pairs(*changes: dict) -> pd.DataFrame:
    return pd.DataFrame([PAIR | change for change in changes])


@pytest.mark.parametrize("name, rows", [("trainings", 398), ("pairs", 148), ("two_codes", 9)])
def test_every_row_is_there_with_its_source(name, rows):
    assert len(read_census(name)) == rows


def test_a_row_without_a_source_is_named(tmp_path):
    read_census("pairs").assign(source=" ").to_csv(tmp_path / "pairs.csv", index=False)
    with pytest.raises(ResultsError, match=r"pairs.csv, line 2: .* a source for every row"):
        read_census("pairs", tmp_path / "pairs.csv")


def test_noise_is_that_of_one_training():
    table = read_census("two_codes")
    squares = [(a - b) ** 2 for a, b in zip(table["top1"], table["top1_mit_code"], strict=True)]
    assert training_noise() == (pytest.approx(math.sqrt(sum(squares) / 9 / 2)), 9)


def test_one_checkpoint_under_two_views_is_one_training():
    two_views = pairs({}, {"views_a": "10 crops", "views_b": "10 crops", "top1_a": 52.0})
    (effect,) = paired_effects(two_views, noise=0.5).itertuples()
    assert effect.difference == 11.0
    assert effect.se == pytest.approx(math.sqrt(1 + 2 * 0.25))  # clips, and two trainings


def test_only_independent_comparable_pairs_are_averaged():
    effects = paired_effects(
        pairs({}, {"source": "MIT README @1", "top1_a": 90.0},
              {"source": "Other @1", "views_equal": "no", "top1_a": 90.0},
              {"source": "Third @1", "also_differs": "epochs", "top1_a": 45.0}), 0.0)  # fmt: skip
    (row,) = pool_effects(effects).itertuples()
    assert (row.mean, row.pairs, row.apart) == (10.0, 1, 2)
    assert (row.smallest, row.largest) == (5.0, 50.0)
    assert row.verdict == "replicated by others" and row.low == pytest.approx(10 - 1.96, abs=1e-4)
    (row,) = pool_effects(effects[~effects["comparable"]]).itertuples()
    assert row.verdict == "no comparable pair" and math.isnan(row.mean)


def test_a_pair_with_a_recipe_of_its_own_is_pooled_and_marked():
    marks = ["", "recipe: batch size", "unclear: resolution", "resolution of the data"]
    changes = [{"source": str(i), "top1_a": 50.0 + i, "also_differs": mark}
               for i, mark in enumerate(marks)]  # fmt: skip
    (row,) = pool_effects(paired_effects(pairs(*changes), 0.0)).itertuples()
    assert (row.pairs, row.marked, row.apart) == (3, 2, 1)


def test_pairs_that_share_a_training_count_once():
    """Three pairs over the same control, +1, +2, +6, are one effect of +3 beside two others."""
    shared = [{"a": f"TSM {i}", "top1_a": 40.0 + gain} for i, gain in enumerate((1, 2, 6))]
    others = [{"source": "Other @1", "top1_a": 45.0}, {"source": "Third @1", "top1_a": 47.0}]
    (row,) = pool_effects(paired_effects(pairs(*shared, *others), 0.0)).itertuples()
    assert (row.pairs, row.controls) == (5, 3)
    assert row.mean == pytest.approx(5.0)  # of 3, 5 and 7, not of 1, 2, 6, 5 and 7
    # their variance is 4, of which 1 is known: so it is 4 / 3 of the mean; t of 2 degrees: 4.3027
    assert row.high - row.mean == pytest.approx(4.3027 * math.sqrt(4 / 3), abs=1e-3)
    (alone,) = pool_effects(paired_effects(pairs(*shared), 0.0)).itertuples()
    assert alone.high - alone.mean == pytest.approx(1.96, abs=1e-4)  # not divided by sqrt(3)


@pytest.mark.parametrize("effects", [(10, 10.5, 9.5), (10, 20, 5, 12), (3, 4)])
def test_intervals_are_hartungs_and_knapps(effects):
    """The textbook: solve for Paule and Mandel's variance, then q, max(1, q) and t."""
    y, error = np.array(effects, dtype=float), np.linspace(0.8, 1.4, len(effects))

    def weigh(between):
        weights = 1 / (error**2 + between)
        mean = (weights * y).sum() / weights.sum()
        return weights, mean, (weights * (y - mean) ** 2).sum() / (len(y) - 1)

    between = brentq(lambda b: weigh(b)[2] - 1, 0, 1000) if weigh(0)[2] > 1 else 0.0
    weights, mean, q = weigh(between)
    half = stats.t.ppf(0.975, len(y) - 1) * math.sqrt(max(1, q) / weights.sum())
    ours, se, df = random_effects(y, error)
    assert (ours, df) == (pytest.approx(mean, abs=1e-3), len(y) - 1)
    assert stats.t.ppf(0.975, df) * se == pytest.approx(half, rel=1e-3)


def test_measures_of_one_training_are_adjusted_by_holm():
    """Of z = 10, 2.2 and 2.1 only the first stays: 0.028 * 2 and 0.036 are above 0.05."""
    changes = [{"measure": str(z), "top1_a": 40.0 + z} for z in (10, 2.2, 2.1)]
    first, second, third = pool_effects(paired_effects(pairs(*changes), 0.0)).itertuples()
    level = NormalDist().inv_cdf(1 - 0.05 / 3 / 2)
    assert first.low == pytest.approx(10 - level) and first.verdict == "replicated by others"
    level = NormalDist().inv_cdf(1 - 0.05 / 2 / 2)
    assert second.low == pytest.approx(2.2 - level) and second.low < 0
    assert third.low < 0 and third.verdict == "not replicated by others"
    changes = [change | {"dataset": change["measure"]} for change in changes]  # other trainings
    alone = pool_effects(paired_effects(pairs(*changes), 0.0))
    assert set(alone["verdict"]) == {"replicated by others"}


def test_no_training_is_in_two_of_the_effects_that_are_pooled():
    """By the numbers: within a factor and a data set no test view has the same top-1 twice."""
    table = read_census("pairs")
    effects = paired_effects(table, 0.0)
    pooled = effects[effects["comparable"] & effects["independent"]].drop(columns="factor")
    rows = pooled.merge(table, on=["dataset", "measure", "source", "a", "b"])
    assert not rows.duplicated(["factor", "dataset", "measure", "views_a", "top1_a"]).any()
    cells = ["factor", "dataset", "measure", "views_b", "top1_b"]
    assert (rows.groupby(cells)[["source", "b"]].nunique() == 1).all(axis=None)
    labels = ["factor", "dataset", "measure", "source", "a", "b", "views_a", "views_b"]
    measured = table[table["top1_a"].notna()]
    assert not measured.duplicated(labels).any()  # one label is one training


def test_a_mean_that_may_be_zero_is_not_replicated():
    (row,) = pool_effects(paired_effects(pairs({"top1_a": 41.0}), 0.0)).itertuples()
    assert row.verdict == "not replicated by others"


def test_what_is_known_of_the_real_data():
    pooled = summarise_census().set_index(["factor", "dataset", "measure"]).sort_index()
    gains = pooled.loc["TSM over TSN"]
    assert gains.loc[("Something-Something V1", ""), "mean"] == pytest.approx(27.99)
    assert gains.loc[("Something-Something V2", ""), "pairs"] == 0
    assert gains.loc[("Diving48 (V2 annotations)", ""), "apart"] == 2  # TSN was trained longer
    kinetics = gains.loc[("Kinetics-400", "")]  # +2.13, +3.47, +1.00; all have a like error
    assert kinetics["mean"] == pytest.approx((2.13 + 3.47 + 1.00) / 3, abs=0.01)
    half = 4.3027 * np.std([2.13, 3.47, 1.00], ddof=1) / math.sqrt(3)
    assert kinetics["mean"] - kinetics["low"] == pytest.approx(half, abs=0.01)
    assert kinetics["smallest"] == pytest.approx(-1.21) and kinetics["low"] < 0
    nonlocal_ = pooled.loc[("non-local over none", "Kinetics-400", "")]
    assert (nonlocal_["pairs"], nonlocal_["controls"]) == (7, 3)
    unseen = gains.loc[("EPIC-KITCHENS-55, RGB", "action, test unseen")]
    assert unseen["mean"] - 1.96 * 1.044 > 0 > unseen["low"]  # one of six measures


def test_headline_accuracies_and_who_reached_them():
    table = headline_trainings(read_census("trainings"))
    row = table[(table["published"] == 63.4) & (table["frames"] == "16")].iloc[0]
    assert (row["within"], row["views"]) == (0, "one clip") and row["trainings"] == 9
    assert not row["reached"]
    first = table[(table["published"] == 71.2)].iloc[0]
    assert first["within"] == first["trainings"] > 5 and first["reached"]
    assert (first["best"], first["median"]) == (71.06, 70.43)  # 71.9 took 100 epochs, not 50
    third = table[(table["published"] == 63.1)].iloc[0]  # 60.98, 62.04 and 63.19
    assert (third["within"], third["trainings"], third["median"]) == (1, 3, 62.04)
    assert not third["reached"]  # one of three


def test_tables_and_sentences_for_readers():
    pooled = summarise_census()
    table = tabulate_replications(pooled)
    assert (table["verdict"] == "nothing independent found").sum() == 4
    assert "7 pairs, of 3 controls, 4 marked" in set(table["comparable pairs"])
    gain = describe_gain(pooled)
    assert (
        "TSM over TSN: +28.0 points" in gain
        and "1 pair of 5 with equal test views" in gain
        and "3 pairs of 11)" in gain
    )
    assert gain.endswith(", which could be zero.")
    assert "of 16 accuracies" in describe_headlines() and "63.4 %" in describe_headlines()
    assert describe_headlines().endswith(" Exceeded: 73.7 % on Kinetics-400.")
    assert not tabulate_headlines().isna().any(axis=None)
