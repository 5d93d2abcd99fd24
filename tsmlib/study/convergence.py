"""Decide whether arms were trained long enough to be compared: the gates of the plan.

A difference between networks that still learn ranks them by how fast they learn. So an arm is
trained twice as long as well, with a few of its seeds, and only one that gains nothing by it gets a
verdict.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import pandas as pd

from .plan import SIGNS, Question, Study
from .verdicts import AGREES, NOT_CONVERGED, NOT_MEASURED, Verdict, judge_difference

LARGEST_CHANGE = 1.0  # points of the mean that twice the training may move an arm by
LARGEST_DEVIATION = 2.0  # points, standard deviation over seeds
FEWEST_SEEDS = 10
CEILING = 97.0  # top-1 (%) above which two arms leave no room for a difference


class Gate(NamedTuple):
    """What an arm did at its own length and at twice that length; accuracies in percent."""

    arm: str
    seeds: int
    mean: float
    deviation: float  # over seeds
    doubled_seeds: int
    change: float  # by twice the training, mean over the seeds that have both
    reason: str  # why the arm gets no verdict; empty if it passed

    @property
    def passed(self) -> bool:
        """Whether the arm may be compared."""
        return not self.reason


def check_gates(study: Study, values: pd.DataFrame) -> dict[str, Gate]:
    """Check every arm of a study that is not itself a longer training.

    Args:
        study: an arm that nothing trains twice as long does not pass.
        values: of `records.tabulate_accuracies`: one row per seed, one column per arm.
    """
    longer = {arm.half: name for name, arm in study.arms.items() if arm.half}
    return {
        name: _check(study, values[name].dropna(), _column(values, longer.get(name)))
        for name, arm in study.arms.items()
        if not arm.half
    }


def _column(values: pd.DataFrame, arm: str | None) -> pd.Series:
    return values[arm].dropna() if arm else pd.Series(dtype=float)


def _check(study: Study, once: pd.Series, twice: pd.Series) -> Gate:
    seeds = once.index.intersection(twice.index)
    change = float((twice[seeds] - once[seeds]).mean())
    mean, deviation = float(once.mean()), float(once.std(ddof=1))
    gate = Gate(str(once.name), len(once), mean, deviation, len(seeds), change, "")
    return gate._replace(reason=_find_fault(study, gate))


def _find_fault(study: Study, gate: Gate) -> str:
    """Say why an arm gets no verdict; an empty sentence if it does."""
    if not study.doubled_seeds:
        return "no arm of its study was trained twice as long"
    if len(study.seeds) < FEWEST_SEEDS:
        return f"{len(study.seeds)} seeds were planned, a verdict needs {FEWEST_SEEDS}"
    if gate.seeds < len(study.seeds):
        return f"{gate.seeds} of {len(study.seeds)} seeds were run"
    if gate.doubled_seeds < study.doubled_seeds:
        return f"{gate.doubled_seeds} of {study.doubled_seeds} longer trainings were run"
    if not abs(gate.change) < LARGEST_CHANGE:
        return f"twice the training changes it by {gate.change:+.1f} points"
    if not gate.deviation <= LARGEST_DEVIATION:
        return f"its seeds differ by {gate.deviation:.1f} points (standard deviation)"
    return ""


def judge_questions(
    study: Study, answers: Mapping[str, Any], values: Mapping[str, pd.DataFrame]
) -> dict[str, Verdict]:
    """Judge questions by the gates in top-1 and in what is measured, and by the study's controls.

    Where a control is not measured, or has not converged, the other questions are `not converged`;
    where it does not show, they are `stand-in insensitive`. A control only has to be seen: more
    training may still change it.

    Args:
        study: with questions, of which some may be controls.
        answers: by question, with `ours` (a comparison adjusted by Holm) and `equivalence_p`; None
            where nothing was measured.
        values: by measure, `top1` too, of `records.tabulate_accuracies`.
    """
    gates_of = {measure: check_gates(study, table) for measure, table in values.items()}

    def judge(
        asked: Question, shown: bool = True, settled: bool = True, seen: bool = False
    ) -> Verdict:
        needed = [gates_of[asked.measure]] + [gates_of["top1"]] * (not asked.measure_alone)
        gates = [needed[0][arm] for arm in asked.arms]
        ours, equivalence_p = (answers[asked.name] or (None, None))[:2]
        room = len(gates) < 2 or min(gate.mean for gate in gates) <= CEILING
        return judge_difference(
            SIGNS[asked.expected], ours, equivalence_p, sensitive=shown and room,
            converged=settled and all(one[arm].passed for one in needed for arm in asked.arms),
            unsettled=0.0 if seen else sum(abs(gate.change) for gate in gates),
            by_construction=asked.by_construction,
        )  # fmt: skip

    controls = {judge(asked, seen=True) for asked in study.questions if asked.control}
    shown, settled = controls <= {AGREES}, not {NOT_CONVERGED, NOT_MEASURED} & controls
    return {q.name: judge(q) if q.control else judge(q, shown, settled) for q in study.questions}
