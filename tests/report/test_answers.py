"""The README's answers: from records, as the records say."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsmlib.report.answers import (
    answer_questions,
    expect_accuracy,
    order_within_pairs,
    plot_order,
)
from tsmlib.report.claims import read_claims
from tsmlib.results import read_runs

RESULTS = Path(__file__).parents[2] / "results"


@pytest.fixture(scope="module")
def runs() -> pd.DataFrame:
    return read_runs(RESULTS / "runs")


def test_every_run_with_a_counterpart_is_drawn(runs):
    pairs = order_within_pairs(runs)
    assert (pairs.groupby("cfg")["shift"].nunique() == 2).all()
    points = np.concatenate([c.get_offsets() for c in plot_order(pairs).collections])
    assert len(points) == len(pairs) and (abs(points[:, 1] - points[:, 1].round()) < 0.2).all()
    assert sorted(points[:, 0]) == sorted(pairs["within_pair"])


def test_answers_follow_the_records(runs, monkeypatch):
    monkeypatch.setenv("TSM_RESULTS", str(RESULTS))
    peers = pd.read_csv(RESULTS / "parity.csv")
    claims = read_claims(RESULTS)
    answers = answer_questions(claims, runs, peers)["today's answer"]
    assert answers.iloc[0].startswith("Yes.") and "5 of 5" in answers.iloc[0]
    far = peers.assign(difference=[1.0, *peers["difference"][1:]])
    changed = answer_questions(claims, runs, far)["today's answer"]
    assert changed.iloc[0].startswith("Not everywhere.") and "4 of 5" in changed.iloc[0]
    assert list(changed[1:]) == list(answers[1:])


def test_the_expected_accuracy_is_an_interval_for_one_more_run(runs):
    seeds = runs[(runs["cfg"] == "sthv1") & (runs["kind"] == "training")]
    seeds = seeds[(seeds["explicit"] == "{}") & (seeds["scale"] == "mini")]["top1"]
    half = 4.302653 * seeds.std(ddof=1) * (1 + 1 / 3) ** 0.5  # Student's t, 2 degrees of freedom
    assert len(seeds) == 3
    ends = f"{seeds.mean() - half:.0f} to {seeds.mean() + half:.0f} %"
    assert ends in expect_accuracy(runs)
