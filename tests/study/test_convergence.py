"""Gates of convergence on made-up accuracies: each kind of broken gate is found."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from tsmlib import get_config
from tsmlib.study.convergence import check_gates
from tsmlib.study.findings import findings
from tsmlib.study.plan import Arm, Question, Study, read_plan
from tsmlib.study.records import identify_run

SEEDS = tuple(range(10, 20))
NOISE = np.tile([-0.5, 0.5], 5)
LONGER = "{}, twice as long"
ONCE = {"none": 50, "shift": 90, "same": 90.1, "worse": 80}
GAIN = Question("gain", "more", of="shift", over="none", control=True)
EQUAL = Question("equal", "same", of="same", over="shift")
LESS = Question("less", "more", of="worse", over="shift")


def study_of(*questions: Question) -> Study:
    arms = {name: Arm(name, get_config("jester", lr=0.1 + i)) for i, name in enumerate(ONCE)}
    for i, name in enumerate(ONCE):
        cfg = get_config("jester", lr=0.1 + i, epochs=9)
        arms[LONGER.format(name)] = Arm(LONGER.format(name), cfg, half=name)
    return Study("small", "?", arms, questions, SEEDS, False, margin=2.0, doubled_seeds=4)


def accuracies_of(**changes) -> pd.DataFrame:
    """Return accuracies that pass all gates, but for columns that are given."""
    values = pd.DataFrame(index=pd.Index(SEEDS, name="seed"))
    for i, (name, mean) in enumerate(ONCE.items()):
        values[name] = mean + np.roll(NOISE, i // 2)
        values[LONGER.format(name)] = (values[name] + 0.3)[:4].reindex(values.index)
    for name, column in changes.items():
        values[name.replace("_longer", ", twice as long")] = column
    return values


def verdicts(values: pd.DataFrame, *questions: Question, **longer: float) -> dict[str, str]:
    """Judge questions; `longer` are points that a measure alone gains by twice the training."""
    study = study_of(*(questions or (GAIN, EQUAL, LESS)))
    known = {
        identify_run(study, study.arms[arm], seed): {"run_dir": "-"} | {
            measure: v + longer.get(measure, 0) * bool(study.arms[arm].half)
            for measure in ("top1", "within_pair")
        }
        for arm in values
        for seed, v in values[arm].dropna().items()
    }  # fmt: skip
    table = findings(study, known, resample_clips=False)
    return dict(zip(table["question"], table["verdict"], strict=True))


def test_converged_arms_get_a_verdict():
    assert verdicts(accuracies_of()) == {
        "gain": "agrees at convergence",
        "equal": "no difference >= m at convergence",
        "less": "contradicted at convergence",
    }


def test_gates_written_out():
    gate = check_gates(study_of(), accuracies_of())["shift"]
    assert (gate.seeds, gate.doubled_seeds, gate.mean) == (10, 4, 90)
    assert gate.change == pytest.approx(0.3) and gate.passed
    assert gate.deviation == pytest.approx(np.std(90 + NOISE, ddof=1))


@pytest.mark.parametrize(
    ("column", "reason"),
    [
        ({"worse": 80 + 6 * NOISE}, r"its seeds differ by 3\.2 points"),
        ({"worse_longer": 81.0 + NOISE}, r"twice the training changes it by \+1\.0 points"),
        ({"worse_longer": np.nan}, "0 of 4 longer trainings were run"),
        ({"worse": [80.0] * 9 + [np.nan]}, "9 of 10 seeds were run"),
    ],
)
def test_a_broken_gate_takes_the_verdict_of_its_questions_alone(column, reason):
    values = accuracies_of(**column)
    gate = check_gates(study_of(), values)["worse"]
    assert not gate.passed and pd.Series([gate.reason]).str.contains(reason).all()
    found = verdicts(values)
    assert found["less"] == "not converged" and found["gain"] == "agrees at convergence"


def test_gates_are_passed_in_top1_and_in_what_is_measured():
    gain, equal = (dataclasses.replace(q, measure="within_pair") for q in (GAIN, EQUAL))
    judged = [verdicts(accuracies_of(), gain, equal, **longer)["equal"]
              for longer in ({}, {"top1": 1.5}, {"within_pair": 1.5})]  # fmt: skip
    assert judged == ["no difference >= m at convergence", "not converged", "not converged"]
    judged = [verdicts(accuracies_of(), gain, EQUAL, **longer)["equal"]
              for longer in ({"top1": 1.5}, {})]  # fmt: skip
    assert judged == ["not converged", "no difference >= m at convergence"]


def test_an_arm_that_nothing_trains_longer_is_not_converged():
    ungated = dataclasses.replace(study_of(GAIN), doubled_seeds=0)
    ungated = dataclasses.replace(
        ungated, arms={k: v for k, v in ungated.arms.items() if not v.half}
    )
    reasons = {gate.reason for gate in check_gates(ungated, accuracies_of()).values()}
    assert reasons == {"no arm of its study was trained twice as long"}


def test_few_seeds_get_no_verdict():
    few = dataclasses.replace(study_of(GAIN), seeds=SEEDS[:5])
    reasons = {gate.reason for gate in check_gates(few, accuracies_of()[:5]).values()}
    assert reasons == {"5 seeds were planned, a verdict needs 10"}


def test_arms_at_the_ceiling_leave_no_room_for_a_difference():
    high = dict.fromkeys(("shift", "same"), 98 + NOISE)
    high |= {f"{name}_longer": 98 + NOISE for name in ("shift", "same")}
    found = verdicts(accuracies_of(**high))
    assert found["equal"] == "stand-in insensitive" and found["gain"] == "agrees at convergence"


def test_without_its_control_a_study_says_nothing():
    control = dataclasses.replace(GAIN, expected="less")
    assert verdicts(accuracies_of(), control, EQUAL) == {
        "gain": "contradicted at convergence", "equal": "stand-in insensitive",
    }  # fmt: skip


def test_a_control_without_a_run_or_that_still_learns_leaves_nothing_converged():
    for column in ({"none": np.nan}, {"none_longer": 52 + NOISE}):
        found = verdicts(accuracies_of(**column))
        assert found["gain"] in ("not measured here", "not converged")
        assert found["equal"] == found["less"] == "not converged"


def test_a_control_has_only_to_be_seen():
    """It loses 0.5 points, surely, although twice the training changes its arms by 0.6 in all."""
    loses = Question("loses", "less", of="worse", over="shift", control=True)
    small, found = NOISE / 9, {}
    for mean in (89.5, 90.0):
        values = accuracies_of(worse=mean + small, worse_longer=mean + 0.3 + small)
        values["shift"], values["shift, twice as long"] = 90 + small, 90.3 + small
        found[mean] = verdicts(values, GAIN, loses, EQUAL)
    assert found[89.5]["loses"] == "not converged"
    assert found[89.5]["equal"] == "no difference >= m at convergence"
    assert found[90.0]["equal"] == "stand-in insensitive"


def test_a_difference_is_told_after_twice_the_training_too():
    values = accuracies_of(worse_longer=85 + NOISE)
    study = study_of(GAIN, LESS)
    known = {
        identify_run(study, study.arms[arm], seed): {"run_dir": "-", "top1": value}
        for arm in values for seed, value in values[arm].dropna().items()
    }  # fmt: skip
    table = findings(study, known, resample_clips=False).set_index("question")
    both = values[["worse, twice as long", "shift, twice as long"]].dropna()
    expected = (both.iloc[:, 0] - both.iloc[:, 1]).mean()
    assert table.loc["less", "twice_as_long"] == pytest.approx(expected)
    assert list(table["n_twice"]) == [4, 4]


def test_a_direction_needs_more_than_twice_the_training_changes():
    """Both arms gain 0.3 points by it, so a surely negative difference of 0.6 is none yet."""
    wide = dataclasses.replace(study_of(GAIN, LESS), margin=0.1)
    for mean, verdict in ((89.41, "not converged"), (89.39, "contradicted at convergence")):
        values = accuracies_of(worse=mean + NOISE, worse_longer=mean + 0.3 + NOISE)
        values["shift"], values["shift, twice as long"] = 90 + NOISE, 90.3 + NOISE
        known = {
            identify_run(wide, wide.arms[arm], seed): {"run_dir": "-", "top1": value}
            for arm in values for seed, value in values[arm].dropna().items()
        }  # fmt: skip
        table = findings(wide, known, resample_clips=False).set_index("question")
        assert table.loc["less", "verdict"] == verdict
    assert verdicts(accuracies_of())["less"] == "contradicted at convergence"  # by 10 points


def test_a_question_may_need_the_gates_of_its_measure_alone():
    gain, equal = (dataclasses.replace(q, measure="within_pair") for q in (GAIN, EQUAL))
    alone = dataclasses.replace(equal, measure_alone=True)
    gain = dataclasses.replace(gain, measure_alone=True)
    judged = [verdicts(accuracies_of(), gain, asked, top1=1.5)["equal"] for asked in (equal, alone)]
    assert judged == ["not converged", "no difference >= m at convergence"]
    assert verdicts(accuracies_of(), gain, alone, within_pair=1.5)["equal"] == "not converged"


def test_a_difference_that_could_hide_is_no_verdict():
    lower = 88.8 + 3.6 * np.roll(NOISE, 1)
    noisy = accuracies_of(same=lower, same_longer=lower)
    assert verdicts(noisy)["equal"] == "stand-in insensitive"


PLAN = """
base: {cfg: jester, epochs: 6}
seeds: {confirmatory: [10, 11, 12]}
margin: 2.0
studies:
  small:
    asks: "?"
    doubled_seeds: 2
    arms: {a: {}, "a, shuffled": {test_of: a, shuffle_frames: test}}
"""


def test_the_plan_doubles_every_arm_of_such_a_study(tmp_path):
    (tmp_path / "plan.yaml").write_text(PLAN)
    study = read_plan(tmp_path / "plan.yaml")["small"]
    halves = {name: arm.half for name, arm in study.arms.items() if arm.half}
    assert halves == {"a, twice as long": "a", "a, shuffled, twice as long": "a, shuffled"}
    for name, half in halves.items():
        cfg = study.arms[name].cfg
        assert cfg.epochs == cfg.eval_interval == 12 == 2 * study.arms[half].cfg.epochs
        assert study.seeds_of(name) == (10, 11) and study.seeds_of(half) == (10, 11, 12)
    assert study.arms["a, shuffled, twice as long"].test_of == "a, twice as long"
