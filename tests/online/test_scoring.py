"""Scores of recognised streams: slow versions, perfect and constant recognizers, and chance."""

import re

import numpy as np
import pytest

from tsmlib import DataError
from tsmlib.online.scoring import (
    SHARES,
    decide,
    find_false_alarms,
    measure_delays,
    recognise_early,
    score_early,
    score_streams,
    score_thresholds,
)
from tsmlib.online.truth import NO_CLASS, Action, StreamTruth

CLASSES = 4


def random_truth(seed: int, actions: int = 6) -> StreamTruth:
    rng = np.random.default_rng(seed)
    position, drawn = int(rng.integers(0, 20)), []
    for label in rng.integers(CLASSES, size=actions):
        end = position + int(rng.integers(1, 30))
        drawn.append(Action(position, end, int(label)))
        position = end + int(rng.integers(0, 20))
    return StreamTruth(tuple(drawn), position + 10, tuple("abcd"), fps=12)


def random_decisions(truth: StreamTruth, seed: int, right: float = 0.5) -> np.ndarray:
    """The truth at a share of the frames, anything at the others."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(NO_CLASS, CLASSES, truth.num_frames)
    return np.where(rng.random(truth.num_frames) < right, truth.labels, noise)


TRUTHS = [random_truth(seed) for seed in range(20)]
PERFECT = [truth.labels for truth in TRUTHS]
NOISY = [random_decisions(truth, seed) for seed, truth in enumerate(TRUTHS)]


# --- slow versions --------------------------------------------------------------------------------


@pytest.mark.parametrize("i", range(5))
def test_delays_and_early_answers_are_those_of_a_walk_through_the_frames(i):
    decisions, truth = NOISY[i], TRUTHS[i]
    delays = measure_delays(decisions, truth)
    early = recognise_early(decisions, truth)
    for (start, end, label), delay, hits in zip(truth.actions, delays, early, strict=True):
        waited = 0
        while start + waited < end and decisions[start + waited] != label:
            waited += 1
        assert np.isnan(delay) if start + waited == end else delay == waited
        for share, hit in zip(SHARES, hits, strict=True):
            seen = next(n for n in range(1, end - start + 1) if 10 * n >= round(10 * share) * (
                end - start))  # fmt: skip
            assert hit == (decisions[start + seen - 1] == label)


@pytest.mark.parametrize("i", range(5))
def test_false_alarms_are_those_of_a_walk_through_the_frames(i):
    decisions, truth = NOISY[i], TRUTHS[i]
    alarms, alarm = [], None  # the class of the alarm that stands
    for t, announced in enumerate(decisions):
        going_on = [a.label for a in truth.actions if a.start <= t < a.end]
        if announced == NO_CLASS or announced in going_on:
            alarm = None
        elif announced != alarm:
            alarms.append(t)
            alarm = announced
    assert find_false_alarms(decisions, truth).tolist() == alarms


def test_the_table_sums_over_streams():
    table = score_streams(NOISY, TRUTHS)
    delays = np.concatenate([measure_delays(d, t) for d, t in zip(NOISY, TRUTHS, strict=True)])
    inside = np.concatenate(PERFECT) != NO_CLASS
    right = np.concatenate(NOISY)[inside] == np.concatenate(PERFECT)[inside]
    alarms = [len(find_false_alarms(d, t)) for d, t in zip(NOISY, TRUTHS, strict=True)]
    expected = {
        "frame accuracy": 100 * right.mean(),
        "recognised": 100 * np.mean(~np.isnan(delays)),
        "delay": np.nanmean(delays),
        "false alarms": sum(alarms) / (sum(t.num_frames for t in TRUTHS) / 12 / 60),
    }
    assert table["value"].to_dict() == pytest.approx(expected)
    assert (table["low"] < table["value"]).all() and (table["value"] < table["high"]).all()


# --- recognizers whose scores are known -----------------------------------------------------------


def test_a_perfect_recognizer_waits_for_nothing_and_gives_no_false_alarm():
    values = score_streams(PERFECT, TRUTHS)["value"]
    assert values.tolist() == [100, 100, 0, 0]
    assert (score_early(PERFECT, TRUTHS)["accuracy"] == 100).all()


def test_one_that_says_nothing_gives_no_false_alarm_and_has_no_delay():
    silent = [np.full_like(labels, NO_CLASS) for labels in PERFECT]
    values = score_streams(silent, TRUTHS)["value"]
    assert values[["frame accuracy", "recognised", "false alarms"]].tolist() == [0, 0, 0]
    assert np.isnan(values["delay"])


def test_one_that_always_says_a_class_recognises_that_class_at_once():
    for truth in TRUTHS:
        constant = np.full(truth.num_frames, 2)
        own = [action.label == 2 for action in truth.actions]
        assert (np.nan_to_num(measure_delays(constant, truth), nan=-1) == np.array(own) - 1).all()
        other = truth.labels != 2  # one alarm for each stretch without such an action
        begins = np.flatnonzero(other & ~np.concatenate(([False], other[:-1])))
        assert find_false_alarms(constant, truth).tolist() == begins.tolist()


def test_one_that_is_late_by_n_frames_has_a_delay_of_n():
    truth = StreamTruth((Action(10, 30, 1), Action(40, 60, 0)), 90, tuple("abcd"), 12)
    for late in (0, 1, 7, 9):
        decisions = np.roll(truth.labels, late)
        assert measure_delays(decisions, truth).tolist() == [late, late]
        outlived = [30, 60] if late else []
        assert find_false_alarms(decisions, truth).tolist() == outlived
        assert not len(find_false_alarms(decisions, truth.extend(late)))
    missed = np.roll(truth.labels, 22)
    assert np.isnan(measure_delays(missed, truth)).all()
    assert find_false_alarms(missed, truth).tolist() == [32, 62]
    values = score_streams([missed], [truth], grace=5)["value"]
    alarms = 2 * 60 * 12 / 90  # after the grace they stand on: 35 and 65 are too late
    assert values.tolist() == [0, 100, 22, alarms]


def test_shuffled_answers_are_right_by_chance():
    rng = np.random.default_rng(0)
    shuffled = [rng.permutation(CLASSES)[labels] for labels in PERFECT]
    shuffled = [rng.integers(CLASSES, size=len(labels)) for labels in shuffled]
    row = score_streams(shuffled, TRUTHS).loc["frame accuracy"]
    assert row["low"] < 100 / CLASSES < row["high"]


def test_early_accuracy_rises_where_answers_improve():
    truth = StreamTruth((Action(0, 10, 1), Action(10, 30, 2)), 30, tuple("abcd"), 12)
    decisions = np.where(np.arange(30) >= 20, 2, 1)  # the second action from its half on
    accuracy = score_early([decisions], [truth], (0.1, 0.5, 0.55, 1.0))["accuracy"]
    assert accuracy.tolist() == [50, 50, 100, 100]


# --- decisions ------------------------------------------------------------------------------------


def test_only_what_is_probable_enough_is_announced():
    p = np.array([[0.5, 0.3, 0.2], [0.2, 0.2, 0.6], [0.4, 0.35, 0.25]])
    assert decide(p, 0.5).tolist() == [0, 2, NO_CLASS]
    assert decide(p, 0).tolist() == [0, 2, 0]


# --- intervals and thresholds ---------------------------------------------------------------------


def test_a_single_stream_has_no_interval():
    table = score_streams(NOISY[:1], TRUTHS[:1])
    assert table[["low", "high"]].isna().all(axis=None) and table["value"].notna().all()


def test_fewer_streams_give_wider_intervals():
    few, many = (score_streams(NOISY[:n], TRUTHS[:n]) for n in (5, 20))
    width = [(t["high"] - t["low"])["frame accuracy"] for t in (few, many)]
    assert width[0] > width[1]


def test_a_higher_threshold_announces_less():
    rng = np.random.default_rng(1)
    probabilities = [rng.dirichlet(np.ones(CLASSES), t.num_frames) for t in TRUTHS]
    table = score_thresholds(probabilities, TRUTHS, [0, 0.5, 0.7, 0.9])
    assert table["threshold"].tolist() == [0, 0.5, 0.7, 0.9]
    assert (table["recognised"].diff().dropna() < 0).all()
    at_half = score_streams([decide(p, 0.5) for p in probabilities], TRUTHS)["value"]
    assert table.iloc[1][at_half.index].to_dict() == pytest.approx(at_half.to_dict())


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("score", [measure_delays, find_false_alarms, recognise_early])
def test_decisions_of_another_length_are_refused(score):
    truth = TRUTHS[0]
    sentence = f"decisions [7] are not one for each of the {truth.num_frames} frames"
    with pytest.raises(DataError, match=re.escape(sentence)):
        score(np.zeros(7, int), truth)


def test_probabilities_are_no_decisions():
    with pytest.raises(DataError, match="are not one for each"):
        measure_delays(np.zeros((TRUTHS[0].num_frames, CLASSES)), TRUTHS[0])


@pytest.mark.parametrize("score", [score_streams, score_early])
def test_streams_without_any_action_are_refused(score):
    pause = StreamTruth((), 50, tuple("abcd"), 12)
    with pytest.raises(DataError, match="none of the 1 streams has an action"):
        score([pause.labels], [pause])
    with pytest.raises(DataError, match="none of the 0 streams"):
        score([], [])


def test_a_stream_without_actions_counts_for_false_alarms():
    pause = StreamTruth((), 720, tuple("abcd"), 12)  # a minute
    alarm = np.where(np.arange(720) > 100, 3, NO_CLASS)
    truth = StreamTruth((Action(0, 720, 1),), 720, tuple("abcd"), 12)
    assert score_streams([alarm, truth.labels], [pause, truth])["value"]["false alarms"] == 0.5


def test_as_many_decisions_as_truths():
    with pytest.raises(DataError, match="decisions of 19 streams, truths of 20"):
        score_streams(NOISY[1:], TRUTHS)


@pytest.mark.parametrize("share", [0, 1.1])
def test_a_share_is_within_the_action(share):
    with pytest.raises(ValueError, match="above 0 and at most 1"):
        recognise_early(NOISY[0], TRUTHS[0], [share])
