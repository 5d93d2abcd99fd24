"""Every verdict from evidence made to measure, and the precedence between them."""

import itertools
import math
from dataclasses import replace
from typing import get_args

import pytest

from tsmlib.study import verdicts
from tsmlib.study.statistics import Comparison, holm, paired
from tsmlib.study.uncertainty import Published
from tsmlib.study.verdicts import VERDICTS, Predicted, Verdict, accuracy, direction, exact

AGREES, DISAGREES = "direction agrees", "direction disagrees"
MISSING = "needs the data set"


def ours(low: float, high: float) -> Comparison:
    """A comparison with this Holm interval; the unadjusted one is elsewhere on purpose."""
    middle = (low + high) / 2
    plain = Comparison(middle, -99, 99, 0.5, -99, 99, 1.0, 1.0, 10)
    return replace(plain, p_holm=0.5, low_holm=low, high_holm=high)


UP, DOWN, UNSURE = ours(0.5, 2), ours(-2, -0.5), ours(-1, 1.5)
GAIN, LOSS = Published(3.0, 1.0), Published(-3.0, 1.0)
NOISE = Published(0.77, 0.66)


def test_the_list_is_closed():
    listed = (
        "exact, re-evaluated, re-trained, direction agrees, direction disagrees, equivalent, "
        "published effect not established, underpowered, agrees at convergence, "
        "contradicted at convergence, no difference at convergence, not converged, insensitive, "
        "mechanism shown, needs the data set, needs the hardware"
    )
    assert VERDICTS == get_args(Verdict) == tuple(listed.split(", "))
    named = [
        value for name, value in vars(verdicts).items() if name.isupper() and value in VERDICTS
    ]
    assert tuple(named) == VERDICTS


# --- direction ------------------------------------------------------------------------------------


@pytest.mark.parametrize("expected", [GAIN, Predicted(1)])
@pytest.mark.parametrize("found, verdict", [(UP, AGREES), (DOWN, DISAGREES)])
def test_sign_of_an_interval_without_zero(expected, found, verdict):
    assert direction(expected, found) == verdict
    assert direction(expected, found, 0.5) == verdict


@pytest.mark.parametrize("expected", [LOSS, Predicted(-1)])
def test_a_published_loss(expected):
    assert direction(expected, DOWN) == AGREES
    assert direction(expected, UP) == DISAGREES


@pytest.mark.parametrize("expected", [GAIN, LOSS, Predicted(1), Predicted(-1), Predicted(0)])
def test_an_interval_with_zero(expected):
    assert direction(expected, UNSURE) == "underpowered"
    assert direction(expected, UNSURE, 0.05) == "underpowered"
    assert direction(expected, UNSURE, 0.049) == "equivalent"


@pytest.mark.parametrize("low, high", [(0, 1), (-1, 0), (0, 0)])
def test_an_interval_that_reaches_zero_includes_it(low, high):
    assert direction(GAIN, ours(low, high)) == "underpowered"


def test_significant_and_within_the_margin():
    assert direction(GAIN, UP, 0.01) == AGREES
    assert direction(LOSS, UP, 0.01) == DISAGREES
    assert direction(Predicted(0), UP, 0.01) == "equivalent"


@pytest.mark.parametrize("found", [UP, DOWN])
def test_a_difference_where_none_was_predicted(found):
    assert direction(Predicted(0), found) == DISAGREES
    assert direction(Predicted(0), found, 0.3) == DISAGREES


@pytest.mark.parametrize("noise", [NOISE, Published(-0.77, 0.66), Published(0.0, 0.66)])
@pytest.mark.parametrize("found", [UP, DOWN, UNSURE, None])
def test_a_published_difference_within_its_error(noise, found):
    for options in ({}, {"exploratory": True}, {"by_construction": True}):
        assert direction(noise, found, 0.01, **options) == "published effect not established"


def test_the_error_is_1_96_standard_errors():
    assert direction(Published(1.97, 1.0), UP) == AGREES
    assert direction(Published(1.95, 1.0), UP) == "published effect not established"
    assert direction(Published(-1.97, 1.0), DOWN) == AGREES
    assert direction(Published(math.nan, 1.0), UP) == "published effect not established"


@pytest.mark.parametrize("expected", [GAIN, Predicted(0)])
def test_nothing_measured(expected):
    assert direction(expected, None) == MISSING
    assert direction(expected, None, exploratory=True, by_construction=True) == MISSING
    assert direction(expected, None, needs="needs the hardware") == "needs the hardware"
    with pytest.raises(ValueError, match="needs the hardware"):
        direction(expected, None, needs="exact")


EXPECTED = [GAIN, LOSS, NOISE, *map(Predicted, (-1, 0, 1))]
EVIDENCE = list(itertools.product(EXPECTED, [UP, DOWN, UNSURE, None], [None, 0.01, 0.5]))


@pytest.mark.parametrize("expected, found, p", EVIDENCE)
def test_an_exploratory_study_gives_no_direction(expected, found, p):
    plain = direction(expected, found, p)
    explored = direction(expected, found, p, exploratory=True)
    assert explored == ("underpowered" if plain in (AGREES, DISAGREES) else plain)


@pytest.mark.parametrize("expected, found, p", EVIDENCE)
def test_what_holds_by_construction_is_a_mechanism(expected, found, p):
    plain = direction(expected, found, p)
    holds = plain == AGREES or (plain == "equivalent" and expected == Predicted(0))
    built = direction(expected, found, p, by_construction=True)
    assert built == ("mechanism shown" if holds else plain)
    explored = direction(expected, found, p, by_construction=True, exploratory=True)
    assert (explored == "mechanism shown") == holds and explored not in (AGREES, DISAGREES)


def test_a_comparison_outside_its_family_is_refused():
    alone = paired([92.0, 93.1, 92.2], [90.0, 91.0, 90.5])
    with pytest.raises(ValueError, match="holm"):
        direction(GAIN, alone)
    assert direction(GAIN, holm({"alone": alone})["alone"]) == AGREES


@pytest.mark.parametrize("sign", [2, -2, 0.5, None])
def test_a_sign_is_a_sign(sign):
    with pytest.raises(ValueError, match="-1, 0 or 1"):
        Predicted(sign)


# --- accuracy -------------------------------------------------------------------------------------

FULL = {"comparable": True, "coverage": 1.0}


@pytest.mark.parametrize("found, met", [(45.5, True), (45.8, True), (45.2, True), (45.81, False)])
def test_re_evaluated_is_within_0_3_points(found, met):
    verdict = accuracy(45.5, found, 0.46, 0.46, trained=False, **FULL)
    assert verdict == ("re-evaluated" if met else DISAGREES)


@pytest.mark.parametrize("found", [70.54, 69.94])
def test_0_3_points_are_not_missed_by_rounding(found):
    assert accuracy(70.24, found, 0.3, 0.3, trained=False, **FULL) == "re-evaluated"


@pytest.mark.parametrize("off, met", [(0.97, True), (-0.97, True), (0.99, False), (-0.99, False)])
def test_re_trained_is_within_the_combined_error(off, met):
    verdict = accuracy(45.5, 45.5 + off, 0.3, 0.4, trained=True, **FULL)  # 1.96 * 0.5 = 0.98
    assert verdict == ("re-trained" if met else DISAGREES)


def test_re_evaluated_is_within_the_error_too():
    assert accuracy(97.0, 97.25, 0.1, 0.05, trained=False, **FULL) == DISAGREES
    assert accuracy(97.0, 97.2, 0.1, 0.05, trained=False, **FULL) == "re-evaluated"


@pytest.mark.parametrize("trained, verdict", [(True, "re-trained"), (False, "re-evaluated")])
def test_accuracies_that_say_nothing(trained, verdict):
    def of(found, comparable, coverage):
        return accuracy(45.5, found, 0.4, 0.4, trained=trained, comparable=comparable,
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
        accuracy(*numbers, trained=True, **FULL)


# --- exact ----------------------------------------------------------------------------------------


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
def test_exact_to_the_printed_digits(published, found, met):
    assert exact(published, found) == ("exact" if met else DISAGREES)


def test_exact_without_a_measurement():
    assert exact(33, None) == exact("33", math.nan) == MISSING
    assert exact("33", None, needs="needs the hardware") == "needs the hardware"
    with pytest.raises(ValueError, match="needs the data set"):
        exact(33, None, needs="underpowered")


@pytest.mark.parametrize("text", ["33 G", "", "nan", "about 1"])
def test_text_that_is_no_number(text):
    with pytest.raises(ValueError, match="not a published number"):
        exact(text, 33)
