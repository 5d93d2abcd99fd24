"""From records to findings: each question of a study, by hand on made-up accuracies."""

import dataclasses
import math

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tsmlib import get_config
from tsmlib.study.census import training_noise
from tsmlib.study.findings import findings, published_figure, row_difference
from tsmlib.study.plan import Arm, Question, Study, read_plan
from tsmlib.study.records import identify_run

SEEDS = (10, 11, 12, 13)
TOP1 = pd.DataFrame(
    {"none": [50.0, 52, 51, 49], "shift": [90.0, 91, 89, 92], "same": [50.1, 51.8, 51.2, 49.0],
     "half": [70.0, 71, np.nan, np.nan], "missing": [np.nan] * 4},
    index=pd.Index(SEEDS, name="seed"),
)  # fmt: skip


def study_of(*questions: Question, exploratory: bool = False) -> Study:
    arms = {name: Arm(name, get_config("jester", lr=0.1 + i)) for i, name in enumerate(TOP1)}
    return Study("small", "?", arms, questions, SEEDS, exploratory, margin=2.0)


def answer(*questions: Question, **fields) -> pd.DataFrame:
    """Return the findings on made-up records, which have no scores."""
    study = study_of(*questions, **fields)
    known = {
        identify_run(study, study.arms[arm], seed): {"top1": v, "within_pair": v, "run_dir": "-"}
        for arm, column in TOP1.items()
        for seed, v in column.dropna().items()
    }
    return findings(study, known).set_index("question")


GAIN = Question("gain", "more", of="shift", over="none")


def test_a_difference_and_its_interval_written_out():
    line = answer(GAIN).loc["gain"]
    d = TOP1["shift"] - TOP1["none"]
    half = stats.t.ppf(0.975, 3) * d.std(ddof=1) / 2
    assert line["difference"] == pytest.approx(d.mean())
    assert (line["low"], line["high"]) == pytest.approx((d.mean() - half, d.mean() + half))
    assert (line["low_holm"], line["high_holm"]) == pytest.approx((line["low"], line["high"]))
    assert line["n_seeds"] == 4 and line["verdict"] == "not converged" and line["mde"] > 0


def test_intervals_are_adjusted_over_the_questions_of_a_study():
    table = answer(GAIN, Question("none", "same", of="same", over="none"))
    assert table.loc["gain", "high_holm"] > table.loc["gain", "high"]
    assert table.loc["none", "equivalence_p"] < 0.05


def test_what_no_gate_has_passed_is_not_converged_at_most():
    assert answer(GAIN).loc["gain", "verdict"] == "not converged"  # no arm was trained longer
    built = dataclasses.replace(GAIN, by_construction=True)
    assert answer(built).loc["gain", "verdict"] == "by construction"
    against = dataclasses.replace(built, expected="less")
    assert answer(against).loc["gain", "verdict"] == "not converged"


def test_unfinished_and_missing_runs():
    line = answer(dataclasses.replace(GAIN, of="half")).loc["gain"]
    assert line["n_seeds"] == 2 and line["planned_seeds"] == 4 and line["exploratory"]
    assert line["verdict"] == "not converged"
    line = answer(dataclasses.replace(GAIN, of="missing")).loc["gain"]
    assert line["verdict"] == "not measured here" and pd.isna(line["difference"])


def test_against_chance_and_slopes():
    chance = Question("chance", "same", of="same", over=50, measure="within_pair")
    line = answer(chance).loc["chance"]
    assert line["difference"] == pytest.approx(TOP1["same"].mean() - 50)
    steps = Question("slope", "more", slope=(("same", "none"), ("shift", "none")), at=(0, 2))
    line = answer(steps).loc["slope"]
    expected = ((TOP1["shift"] - TOP1["none"]) - (TOP1["same"] - TOP1["none"])).mean() / 2
    assert line["difference"] == pytest.approx(expected) and pd.isna(line["equivalence_p"])


def test_published_differences_of_the_tables():
    mixup = row_difference("sthv1_mixup", "sthv1")
    assert mixup.difference == pytest.approx(0.77)
    assert mixup.se == pytest.approx(math.hypot(0.66, 2**0.5 * training_noise()[0]), abs=0.01)
    assert row_difference("sthv1", "sthv1", "accurate", "efficient").difference == pytest.approx(
        47.7 - 45.58
    )
    asked = Question("q", "less", published={"difference": -2.6, "near": 70.6, "data": "k400"})
    assert published_figure(asked).difference == pytest.approx(-2.6)
    assert published_figure(Question("q", "less")) is None
    assert published_figure(Question("q", "more", published={"source": "a chart"})) is None


def test_every_planned_question_has_a_finding():
    """Also of studies without any run."""
    for study in read_plan().values():
        table = findings(study, known={})
        assert list(table["question"]) == [q.name for q in study.questions]
        assert set(table["verdict"]) <= {"not measured here"}
