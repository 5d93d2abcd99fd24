"""A short form of `make soak`; and it notices memory that grows."""

import os

import pytest
from soak import find_growth, soak


def test_all_kinds_of_work_are_done_in_turn():
    before = os.environ.get("TSM_RESULTS")
    counts = soak(seconds=1, say=lambda text: None)
    assert counts["rounds"] >= 2 and counts["trainings and evaluations"] == counts["rounds"]
    assert counts["steps of streams"] and counts["frames decoded"] and counts["most memory, MB"]
    assert os.environ.get("TSM_RESULTS") == before


def test_growth_is_above_the_most_of_the_first_quarter():
    rounds = [(0, 90), (10, 100), (20, 95), (60, 101), (90, 104)]
    assert find_growth(rounds, 100) == pytest.approx(0.04)
    assert find_growth([*rounds, (95, 110)], 100) == pytest.approx(0.1)
