"""Judge the evidence for each claim: a closed list of verdicts, computed and never typed."""

import math
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, get_args

from .statistics import Comparison
from .uncertainty import Published, Z

Verdict = Literal[
    "exact",  # the same number, to the digits that were printed
    "re-evaluated",  # published weights, published list: the published accuracy
    "re-trained",  # trained here at full scale: the published accuracy, within its error
    "direction agrees",
    "direction disagrees",  # also: measured in full, and not the published number
    "equivalent",  # within the plan's margin
    "published effect not established",  # the published difference is within its own error
    "underpowered",  # measured, and nothing can be said
    "agrees at convergence",
    "contradicted at convergence",  # also: a difference where none was expected
    "no difference at convergence",  # within the plan's margin
    "not converged",  # an arm did not pass the gates of convergence.py
    "insensitive",  # the control did not show, or the detectable effect exceeds the margin
    "mechanism shown",  # true by construction of the stand-in: no evidence for the paper
    "needs the data set",
    "needs the hardware",
]
(
    EXACT,
    RE_EVALUATED,
    RE_TRAINED,
    AGREES,
    DISAGREES,
    EQUIVALENT,
    NOT_ESTABLISHED,
    UNDERPOWERED,
    AGREES_CONVERGED,
    CONTRADICTED,
    NO_DIFFERENCE,
    NOT_CONVERGED,
    INSENSITIVE,
    MECHANISM,
    NEEDS_DATA,
    NEEDS_HARDWARE,
) = VERDICTS = get_args(Verdict)

ALPHA = 0.05
COVERAGE = 0.99  # share of the published list that must be evaluated
TOLERANCE = 0.3  # points between a published accuracy and ours from the same weights


@dataclass(frozen=True)
class Predicted:
    """A difference whose sign the paper predicts without a number: -1, 1, or 0 for none."""

    sign: int

    def __post_init__(self):
        if self.sign not in (-1, 0, 1):
            raise ValueError(f"a predicted sign is -1, 0 or 1, not {self.sign}")


def direction(
    published: Published | Predicted,
    ours: Comparison | None,
    equivalence_p: float | None = None,
    *,
    exploratory: bool = False,
    by_construction: bool = False,
    needs: Verdict = NEEDS_DATA,
) -> Verdict:
    """Judge a comparison beside a published, or predicted, difference. The first verdict applies:

    1. `published effect not established`: published within 1.96 of its own standard errors.
    2. `needs the data set` (or `needs`): nothing was measured.
    3. `mechanism shown`: holds by construction of the stand-in, and it is seen to hold: the Holm
       interval excludes 0 on the expected side, or "no difference" is equivalent. Not a statement
       about the paper, so exploratory studies may have it.
    4. `equivalent`: the two one-sided tests reject (p < 0.05; Schuirmann 1987), and either no
       difference was expected or the Holm interval does not exclude 0.
    5. `direction agrees` / `direction disagrees`: the Holm interval excludes 0; never in an
       exploratory study. A difference where none was expected, and not shown to be within the
       margin, disagrees.
    6. `underpowered`.

    A difference can be both surely not 0 and surely within the margin (Lakens 2017). Where a
    direction was claimed its sign then counts, as the claim is of a sign, and the size is reported
    beside it. Where "no difference" was claimed the margin counts, as it defines "no difference".

    Args:
        published: a difference with its error, or the sign that the paper predicts.
        ours: of the same order a - b, adjusted by `statistics.holm`; None: nothing measured.
        equivalence_p: of `statistics.equivalence` with the plan's margin; None: not tested.
        exploratory: a study with few seeds, which gives no direction verdict.
        by_construction: the stand-in is built so that the claim holds.
        needs: the verdict where nothing was measured.

    Raises:
        ValueError: a comparison that is not adjusted for its family, or another `needs`.
    """
    if isinstance(published, Published) and not (published.low > 0 or published.high < 0):
        return NOT_ESTABLISHED
    if ours is None:
        return _missing(needs)
    expected = published.sign if isinstance(published, Predicted) else _sign(published.difference)
    established = _established_sign(ours)
    within = equivalence_p is not None and equivalence_p < ALPHA
    if by_construction and (established == expected != 0 or (expected == 0 and within)):
        return MECHANISM
    if within and 0 in (expected, established):
        return EQUIVALENT
    if established == 0 or exploratory:
        return UNDERPOWERED
    return AGREES if established == expected else DISAGREES


def at_convergence(
    expected: int,
    ours: Comparison | None,
    equivalence_p: float | None,
    *,
    converged: bool,
    sensitive: bool,
    needs: Verdict = NEEDS_DATA,
) -> Verdict:
    """Judge a difference of arms that are to be trained to convergence. The first applies:

    1. `needs the data set` (or `needs`): nothing was measured.
    2. `not converged`: an arm failed its gates.
    3. `insensitive`: the study's control did not show.
    4. `no difference at convergence`: the two one-sided tests reject, and either no difference was
       expected or the Holm interval does not exclude 0.
    5. `agrees at convergence` / `contradicted at convergence`: the Holm interval excludes 0.
    6. `insensitive`: neither; the effect that could have been detected exceeds the margin.

    Args:
        expected: sign of the difference that the paper claims; 0: none.
        ours: adjusted by `statistics.holm`; None: nothing measured.
        equivalence_p: of `statistics.equivalence` with the plan's margin; None: not tested.
        converged: whether all arms passed the gates (convergence.py).
        sensitive: whether the study's control shows.
        needs: the verdict where nothing was measured.
    """
    if ours is None:
        return _missing(needs)
    if not converged:
        return NOT_CONVERGED
    if not sensitive:
        return INSENSITIVE
    established = _established_sign(ours)
    if equivalence_p is not None and equivalence_p < ALPHA and 0 in (expected, established):
        return NO_DIFFERENCE
    if established == 0:
        return INSENSITIVE
    return AGREES_CONVERGED if established == expected else CONTRADICTED


def accuracy(
    published: float,
    ours: float | None,
    published_se: float,
    ours_se: float,
    *,
    trained: bool,
    comparable: bool,
    coverage: float | None,
) -> Verdict:
    """Judge an accuracy beside the published one; both in percent.

    `needs the data set`: not measured, not comparable, or on less than 99 % of the published list.
    `re-evaluated` (published weights) and `re-trained`: within 1.96 combined standard errors of
    the published accuracy; of the same weights, which leave nothing to chance but the data at
    hand, within 0.3 points as well. Otherwise `direction disagrees`, above the published accuracy
    or below it: a full-scale run that misses is a finding, and this is the list's verdict for what
    was measured in full and is not as published.

    Args:
        published, ours: in percent; ours None or NaN: not measured.
        published_se, ours_se: standard errors in points: binomial over videos, and of a mean over
            seeds where ours is one. The same videos make the combined error an upper bound.
        trained: whether the weights were trained here, and are not the published ones.
        comparable: the row as it is, its protocol, real data, full scale.
        coverage: share of the published list that was evaluated, 0 to 1; None: not known.

    Raises:
        ValueError: a published accuracy or an error that is not a number.
    """
    if _absent(ours) or not comparable or _absent(coverage) or coverage < COVERAGE:
        return NEEDS_DATA
    allowed = Z * math.hypot(published_se, ours_se)
    if not math.isfinite(published + allowed):
        raise ValueError(f"{published} with an error of {published_se} or {ours_se} is no accuracy")
    if not trained:
        allowed = min(allowed, TOLERANCE)
    if round(abs(ours - published) - allowed, 9) > 0:  # 45.8 - 45.5 is a little more than 0.3
        return DISAGREES
    return RE_TRAINED if trained else RE_EVALUATED


def exact(published: float | str, ours: float | None, *, needs: Verdict = NEEDS_DATA) -> Verdict:
    """Judge a computed number: `exact` where it is the published one, else `direction disagrees`.

    A number must be equal. Text, such as "24.3" or "24,327,632", is a rounded figure: ours must
    round (half up) to it at the decimals that were printed. None or NaN is `needs`.

    Raises:
        ValueError: text that is not a number, or another `needs`.
    """
    if _absent(ours):
        return _missing(needs)
    if isinstance(published, str):
        published = _printed(published)
        ours = Decimal(str(ours)).quantize(published, ROUND_HALF_UP)
    return EXACT if ours == published else DISAGREES


def _printed(text: str) -> Decimal:
    try:
        number = Decimal(text.replace(",", ""))
    except ArithmeticError:
        number = Decimal("nan")
    if not number.is_finite():
        raise ValueError(f"{text!r} is not a published number")
    return number


def _absent(value: float | None) -> bool:
    return value is None or math.isnan(value)  # tables hold NaN where nothing was measured


def _missing(needs: Verdict) -> Verdict:
    if needs not in (NEEDS_DATA, NEEDS_HARDWARE):
        raise ValueError(f"needs={needs!r} must be {NEEDS_DATA!r} or {NEEDS_HARDWARE!r}")
    return needs


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)


def _established_sign(ours: Comparison) -> int:
    """Return the sign of a difference whose Holm interval excludes 0, else 0."""
    if ours.low_holm is None or ours.high_holm is None:
        raise ValueError("a verdict needs the interval of its family: adjust it with holm first")
    return (ours.low_holm > 0) - (ours.high_holm < 0)
