"""The census: its rows have sources, its effects and means are what a slow reading gives."""

import math

import numpy as np
import pandas as pd
import pytest

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
    read_census,
    training_noise,
)

PAIR = {
    "factor": "TSM vs TSN", "dataset": "A", "a": "TSM 8f", "b": "TSN 8f", "top1_a": 50.0,
    "top1_b": 40.0, "views_a": "8f x center", "views_b": "8f x center", "views_equal": "yes",
    "num_validation_videos": "1000", "standard_error": 1.0, "source": "Somebody @1",
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
    assert len(paired_effects(pairs({}, {"top1_a": 52.0}), 0.5)) == 2  # the same views: two


def test_only_independent_pairs_under_equal_views_are_averaged():
    effects = paired_effects(
        pairs({}, {"source": "MIT README @1", "top1_a": 90.0},
              {"source": "Other @1", "views_equal": "no", "top1_a": 90.0}), 0.0)  # fmt: skip
    (row,) = pool_effects(effects).itertuples()
    assert (row.mean, row.pairs, row.unequal, row.largest) == (10.0, 1, 1, 50.0)
    assert row.verdict == "replicated by others" and row.low == pytest.approx(10 - 1.96)
    (row,) = pool_effects(effects[~effects["equal"]]).itertuples()
    assert row.verdict == "no pair under equal views" and math.isnan(row.mean)


@pytest.mark.parametrize("tops", [(50, 50.5, 49.5), (50, 60, 45, 52)])
def test_the_mean_is_paule_and_mandels(tops):
    changes = [{"source": f"{i} @1", "top1_a": top} for i, top in enumerate(tops)]
    effects = paired_effects(pairs(*changes), 0.0)
    (row,) = pool_effects(effects).itertuples()
    differences, candidates = effects["difference"].to_numpy(), np.linspace(0, 60, 600_001)
    spread = differences - differences.mean()  # equal weights, as the errors are equal
    statistic = (spread**2).sum() / (1 + candidates)  # equals its degrees of freedom
    between = candidates[np.argmin(abs(statistic - (len(tops) - 1)))]
    half = 1.96 * math.sqrt((1 + between) / len(tops))
    assert row.mean == pytest.approx(differences.mean())
    assert [row.low, row.high] == pytest.approx([row.mean - half, row.mean + half], abs=1e-3)


def test_a_mean_that_may_be_zero_is_not_replicated():
    (row,) = pool_effects(paired_effects(pairs({"top1_a": 41.0}), 0.0)).itertuples()
    assert row.verdict == "not replicated by others"


def test_what_is_known_of_the_real_data():
    pooled = summarise_census().set_index(["factor", "dataset"])
    assert pooled.loc[("TSM over TSN", "Something-Something V1"), "mean"] == pytest.approx(27.99)
    assert pooled.loc[("TSM over TSN", "Something-Something V2"), "pairs"] == 0
    kinetics = pooled.loc[("TSM over TSN", "Kinetics-400")]
    assert kinetics["smallest"] == pytest.approx(-1.21) and 0 < kinetics["low"] < kinetics["high"]


def test_headline_accuracies_and_who_reached_them():
    table = headline_trainings(read_census("trainings"))
    row = table[(table["published"] == 63.4) & (table["frames"] == "16")].iloc[0]
    assert (row["within"], row["views"]) == (0, "one clip") and row["trainings"] == 9
    first = table[(table["published"] == 71.2)].iloc[0]
    assert first["within"] == first["trainings"] > 5


def test_tables_and_sentences_for_readers():
    pooled = summarise_census()
    table = tabulate_replications(pooled)
    assert (table["verdict"] == "nothing independent found").sum() == 4
    assert "TSN by 28.0 points" in describe_gain(pooled) and "63.4 %" in describe_headlines()
    assert not tabulate_headlines().isna().any(axis=None)
