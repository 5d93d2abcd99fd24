"""Every verdict from evidence made to measure, and the precedence between them."""

import itertools
import math
from dataclasses import replace
from typing import get_args

import pytest

from tsmlib.study import verdicts
from tsmlib.study.statistics import Comparison, holm, paired
from tsmlib.study.verdicts import VERDICTS, Verdict, judge_accuracy, judge_count, judge_difference

MISSING, NOT_CONVERGED = "not measured here", "not converged"
AGREES, CONTRADICTED = "agrees at convergence", "contradicted at convergence"
SAME, INSENSITIVE = "no difference >= m at convergence", "stand-in insensitive"


def ours(low: float, high: float) -> Comparison:
    """A comparison with this Holm interval; the unadjusted one is elsewhere on purpose."""
    middle = (low + high) / 2
    plain = Comparison(middle, -99, 99, 0.5, -99, 99, 1.0, 1.0, 10)
    return replace(plain, p_holm=0.5, low_holm=low, high_holm=high)


UP, DOWN, UNSURE = ours(0.5, 2), ours(-2, -0.5), ours(-1, 1.5)


def judge(expected, found, p=None, **changes) -> str:
    return judge_difference(expected, found, p, **{"converged": True, **changes})


def test_the_list_is_closed():
    listed = (
        "counted, misprint, arithmetic only, timed (CPU), replicated by others, "
        "not replicated by others, re-evaluated, re-trained, not reproduced, "
        "agrees at convergence, contradicted at convergence, no difference >= m at convergence, "
        "stand-in insensitive, by construction, not converged, not measured here"
    )
    assert VERDICTS == get_args(Verdict) == tuple(listed.split(", "))
    named = [
        value for name, value in vars(verdicts).items() if name.isupper() and value in VERDICTS
    ]
    assert tuple(named) == VERDICTS


# --- at convergence -------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [None, 0.01, 0.5])
@pytest.mark.parametrize(
    "expected, found, verdict",
    [(1, UP, AGREES), (1, DOWN, CONTRADICTED), (-1, DOWN, AGREES), (-1, UP, CONTRADICTED)],
)
def test_the_sign_of_an_interval_without_zero(expected, found, p, verdict):
    assert judge(expected, found, p) == verdict


@pytest.mark.parametrize("expected", [-1, 0, 1])
def test_an_interval_with_zero(expected):
    assert judge(expected, UNSURE) == judge(expected, UNSURE, 0.05) == INSENSITIVE
    assert judge(expected, UNSURE, 0.049) == SAME


@pytest.mark.parametrize("low, high", [(0, 1), (-1, 0), (0, 0)])
def test_an_interval_that_reaches_zero_includes_it(low, high):
    assert judge(1, ours(low, high)) == INSENSITIVE


@pytest.mark.parametrize("found", [UP, DOWN])
def test_a_difference_where_none_was_expected(found):
    assert judge(0, found) == judge(0, found, 0.3) == CONTRADICTED
    assert judge(0, found, 0.01) == SAME


EVIDENCE = list(itertools.product([-1, 0, 1], [UP, DOWN, UNSURE], [None, 0.01, 0.5]))


@pytest.mark.parametrize("expected, found, p", EVIDENCE)
def test_gates_come_first(expected, found, p):
    assert judge(expected, None, p, converged=False, by_construction=True) == MISSING
    assert judge(expected, found, p, converged=False, sensitive=False) == NOT_CONVERGED
    assert judge(expected, found, p, sensitive=False) == INSENSITIVE


@pytest.mark.parametrize("expected, found, p", EVIDENCE)
def test_what_is_seen_to_hold_by_construction_needs_no_gates(expected, found, p):
    plain = judge(expected, found, p)
    holds = plain == AGREES or (plain == SAME and expected == 0)
    built = judge(expected, found, p, by_construction=True)
    assert built == ("by construction" if holds else plain)
    early = judge(expected, found, p, by_construction=True, converged=False)
    assert early == ("by construction" if holds else NOT_CONVERGED)


def test_a_comparison_outside_its_family_is_refused():
    alone = paired([92.0, 93.1, 92.2], [90.0, 91.0, 90.5])
    with pytest.raises(ValueError, match="holm"):
        judge(1, alone)
    assert judge(1, holm({"alone": alone})["alone"]) == AGREES


@pytest.mark.parametrize("sign", [2, -2, 0.5, None])
def test_a_sign_is_a_sign(sign):
    with pytest.raises(ValueError, match="-1, 0 or 1"):
        judge(sign, UP)


# --- accuracy -------------------------------------------------------------------------------------

FULL = {"comparable": True, "coverage": 1.0}


@pytest.mark.parametrize("found, met", [(45.5, True), (45.8, True), (45.2, True), (45.81, False)])
def test_re_evaluated_is_within_0_3_points(found, met):
    verdict = judge_accuracy(45.5, found, 0.46, 0.46, trained=False, **FULL)
    assert verdict == ("re-evaluated" if met else "not reproduced")


@pytest.mark.parametrize("found", [70.54, 69.94])
def test_0_3_points_are_not_missed_by_rounding(found):
    assert judge_accuracy(70.24, found, 0.3, 0.3, trained=False, **FULL) == "re-evaluated"


@pytest.mark.parametrize("off, met", [(0.97, True), (-0.97, True), (0.99, False), (-0.99, False)])
def test_re_trained_is_within_the_combined_error(off, met):
    verdict = judge_accuracy(45.5, 45.5 + off, 0.3, 0.4, trained=True, **FULL)  # 1.96 * 0.5 = 0.98
    assert verdict == ("re-trained" if met else "not reproduced")


@pytest.mark.parametrize("trained, verdict", [(True, "re-trained"), (False, "re-evaluated")])
def test_accuracies_that_say_nothing(trained, verdict):
    def of(found, comparable, coverage):
        return judge_accuracy(45.5, found, 0.4, 0.4, trained=trained, comparable=comparable,
                        coverage=coverage)  # fmt: skip

    assert of(45.5, True, 0.99) == verdict
    for evidence in (
        (None, True, 1.0),
        (math.nan, True, 1.0),
        (45.5, False, 1.0),
        (45.5, True, 0.9899),
        (45.5, True, None),
        (45.5, True, math.nan),
        (10.0, True, 0.5),
        (10.0, False, 1.0),
    ):
        assert of(*evidence) == MISSING


@pytest.mark.parametrize("numbers", [(math.nan, 45.5, 0.4, 0.4), (45.5, 45.5, math.nan, 0.4)])
def test_a_published_accuracy_is_a_number(numbers):
    with pytest.raises(ValueError, match="no accuracy"):
        judge_accuracy(*numbers, trained=True, **FULL)


# --- counted --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "published, found, met",
    [
        (24_327_632, 24_327_632, True),
        (24_327_632, 24_327_633, False),
        (True, True, True),
        (True, False, False),
        ("24.3", 24.327632, True),
        ("24.30", 24.327632, False),
        ("24,327,632", 24_327_632, True),
        ("33", 32.97, True),
        ("33", 32.5, True),
        ("33", 32.49, False),
        ("0.9", 2.81, False),
        ("-2.6", -2.6, True),
    ],
)
def test_counted_to_the_printed_digits(published, found, met):
    assert judge_count(published, found) == ("counted" if met else "misprint")
    assert judge_count(published, found, arithmetic=True) == (
        "arithmetic only" if met else "misprint"
    )


def test_counted_without_a_measurement():
    assert judge_count(33, None) == judge_count("33", math.nan) == MISSING


@pytest.mark.parametrize("text", ["33 G", "", "nan", "about 1"])
def test_text_that_is_no_number(text):
    with pytest.raises(ValueError, match="not a published number"):
        judge_count(text, 33)
