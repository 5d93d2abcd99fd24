"""Judge the evidence for each claim: a closed list of verdicts, computed and never typed."""

import math
from decimal import ROUND_HALF_UP, Decimal
from typing import Literal, get_args

from .statistics import Comparison
from .uncertainty import Z

Verdict = Literal[
    # counted or timed here
    "counted",  # the same number, to the digits that were printed
    "misprint",  # counted, and another number than the printed one
    "arithmetic only",  # follows from printed figures, of which ours is counted
    "timed (CPU)",  # measured, on other hardware than the paper's
    # trained by others on the real data sets
    "replicated by others",
    "not replicated by others",
    # trained here
    "re-evaluated",  # published weights, published list: the published accuracy
    "re-trained",  # at full scale on the real data: the published accuracy, within its error
    "not reproduced",  # measured in full, and not the published number
    "agrees at convergence",
    "contradicted at convergence",  # also: a difference where none was expected
    "no difference >= m at convergence",  # m: the plan's margin
    "stand-in insensitive",  # neither a difference nor its absence shows, or there is no room
    "by construction",  # true of any clips that are made like the stand-in: says nothing of TSM
    "not converged",  # an arm did not pass the gates of convergence.py, or there were none
    "not measured here",
]
(
    COUNTED,
    MISPRINT,
    ARITHMETIC,
    TIMED,
    REPLICATED,
    NOT_REPLICATED,
    RE_EVALUATED,
    RE_TRAINED,
    NOT_REPRODUCED,
    AGREES,
    CONTRADICTED,
    NO_DIFFERENCE,
    INSENSITIVE,
    BY_CONSTRUCTION,
    NOT_CONVERGED,
    NOT_MEASURED,
) = VERDICTS = get_args(Verdict)

ALPHA = 0.05
COVERAGE = 0.99  # share of the published list that must be evaluated
TOLERANCE = 0.3  # points between a published accuracy and ours from the same weights


def judge_difference(
    expected: int,
    ours: Comparison | None,
    equivalence_p: float | None,
    *,
    converged: bool,
    sensitive: bool = True,
    unsettled: float = 0.0,
    by_construction: bool = False,
) -> Verdict:
    """Judge a difference of arms that are to be trained to convergence. The first applies:

    1. `not measured here`.
    2. `by construction`: the Holm interval excludes 0 on the expected side, or "no difference" is
       equivalent, and the clips are made so that it holds. Says nothing of the paper, so it needs
       no gates.
    3. `not converged`: an arm failed its gates.
    4. `stand-in insensitive`: the study's control did not show, or the arms are at the ceiling.
    5. `no difference >= m at convergence`: the two one-sided tests reject (Schuirmann 1987), and
       either no difference was expected or the Holm interval does not exclude 0.
    6. `not converged`: the Holm interval excludes 0, but the difference is no larger than what more
       training may change.
    7. `agrees at convergence` / `contradicted at convergence`: the Holm interval excludes 0.
    8. `stand-in insensitive`: neither a difference nor its absence is shown.

    A difference can be both surely not 0 and surely within the margin (Lakens 2017). Where a
    direction was claimed its sign then counts, and the size is reported beside it. Where "no
    difference" was claimed the margin counts, as it defines "no difference".

    Args:
        expected: sign of the difference that the paper claims; 0: none.
        ours: adjusted by `statistics.holm`; None: nothing measured.
        equivalence_p: of `statistics.equivalence`, adjusted as well; None: not tested.
        converged: whether all arms passed the gates (convergence.py).
        sensitive: whether the study's control shows, and there is room for a difference.
        unsettled: points that twice the training changed the arms by, added up.
        by_construction: the stand-in is built so that the claim holds.

    Raises:
        ValueError: a sign that is none, or a comparison that is not adjusted for its family.
    """
    if expected not in (-1, 0, 1):
        raise ValueError(f"an expected sign is -1, 0 or 1, not {expected}")
    if ours is None:
        return NOT_MEASURED
    established = _established_sign(ours)
    within = equivalence_p is not None and equivalence_p < ALPHA
    if by_construction and (established == expected != 0 or (expected == 0 and within)):
        return BY_CONSTRUCTION
    if not converged:
        return NOT_CONVERGED
    if not sensitive:
        return INSENSITIVE
    if within and 0 in (expected, established):
        return NO_DIFFERENCE
    if established == 0:
        return INSENSITIVE
    if abs(ours.difference) <= unsettled:
        return NOT_CONVERGED
    return AGREES if established == expected else CONTRADICTED


def judge_accuracy(
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

    `not measured here`: also where it is not comparable, or on less than 99 % of the published
    list. `re-evaluated`: published weights within 0.3 points, as they leave nothing to chance but
    the data at hand. `re-trained`: within 1.96 combined standard errors. Otherwise `not
    reproduced`, above the published accuracy or below it.

    Args:
        published, ours: in percent; ours None or NaN: not measured.
        published_se, ours_se: standard errors in points, of videos and of trainings. The same
            videos make the combined error an upper bound.
        trained: whether the weights were trained here, and are not the published ones.
        comparable: the row as it is, its protocol, real data, full scale.
        coverage: share of the published list that was evaluated, 0 to 1; None: not known.

    Raises:
        ValueError: a published accuracy or an error that is not a number.
    """
    if _absent(ours) or not comparable or _absent(coverage) or coverage < COVERAGE:
        return NOT_MEASURED
    allowed = Z * math.hypot(published_se, ours_se) if trained else TOLERANCE
    if not math.isfinite(published + allowed):
        raise ValueError(f"{published} with an error of {published_se} or {ours_se} is no accuracy")
    if round(abs(ours - published) - allowed, 9) > 0:  # 45.8 - 45.5 is a little more than 0.3
        return NOT_REPRODUCED
    return RE_TRAINED if trained else RE_EVALUATED


def judge_count(published: float | str, ours: float | None, *, arithmetic: bool = False) -> Verdict:
    """Judge a computed number: `counted` where it is the published one, else `misprint`.

    A number must be equal. Text, such as "24.3" or "24,327,632", is a rounded figure: ours must
    round (half up) to it at the decimals that were printed. None or NaN is `not measured here`.

    Args:
        published: the number, or the text that was printed.
        ours: what was counted.
        arithmetic: the number follows from printed figures that nothing here measures.

    Raises:
        ValueError: text that is not a number.
    """
    if _absent(ours):
        return NOT_MEASURED
    if isinstance(published, str):
        published = _printed(published)
        ours = Decimal(str(ours)).quantize(published, ROUND_HALF_UP)
    if ours != published:
        return MISPRINT
    return ARITHMETIC if arithmetic else COUNTED


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


def _established_sign(ours: Comparison) -> int:
    """Return the sign of a difference whose Holm interval excludes 0, else 0."""
    if ours.low_holm is None or ours.high_holm is None:
        raise ValueError("a verdict needs the interval of its family: adjust it with holm first")
    return (ours.low_holm > 0) - (ours.high_holm < 0)
