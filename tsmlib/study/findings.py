"""From records to findings: what they answer to planned questions, and beside published rows."""

import json
import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..configs import DATASETS, get_config
from ..intervals import Clustered, clustered_interval
from ..metrics import standard_error
from ..reference import published_accuracy
from . import statistics
from .census import training_noise
from .convergence import judge_questions
from .plan import Question, Study
from .records import Records, find_recorded_runs, read_arm_hits, tabulate_accuracies
from .sampled_units import compare_over_units, read_clips
from .statistics import Comparison
from .uncertainty import Published, published_difference

COLUMNS = (
    "study", "question", "claim", "expected", "published", "published_low", "published_high",
    "source", "difference", "low", "high", "low_holm", "high_holm", "boot_low", "boot_high",
    "p_holm", "mde", "equivalence_p", "margin", "n_seeds", "n_recordings", "planned_seeds",
    "exploratory", "twice_as_long", "n_twice", "runs", "verdict",
)  # fmt: skip


class Answer(NamedTuple):
    """The comparison that answers a planned question."""

    ours: Comparison
    equivalence_p: float | None  # of the two one-sided tests
    n_seeds: int
    n_recordings: int | None = None  # or images, that the interval is over; None: over seeds


def findings(
    study: Study, known: Records | None = None, resample_clips: bool = True
) -> pd.DataFrame:
    """Answer the questions of a study, in points of the measure that each names.

    Differences are of the seeds that both arms have; a study that is not finished counts as
    exploratory. On real videos and digits the wider of two intervals counts, see sampled_units.py.
    `low_holm` and `high_holm` are adjusted over the questions that have an answer.

    Args:
        study: with questions.
        known: of `find_recorded_runs`; None: all records there are.
        resample_clips: the bootstrap on stand-ins draws clips too (reads the scores of all runs).

    Returns:
        One row per question; cells are empty where nothing was measured.
    """
    known = find_recorded_runs() if known is None else known
    measures = {"top1", *(q.measure for q in study.questions)}
    tables = {m: tabulate_accuracies(study, m, known) for m in measures}
    answers = {
        q.name: _answer(study, q, tables[q.measure], known, resample_clips) for q in study.questions
    }
    answers = _adjust(answers)
    judged = judge_questions(study, answers, tables)
    rows = [
        _row(study, q, answers[q.name], judged[q.name])
        | _twice_as_long(study, q, tables[q.measure])
        for q in study.questions
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _answer(
    study: Study, asked: Question, values: pd.DataFrame, known: Records, resample_clips: bool
) -> Answer | None:
    """Compare the arms of a question; None: too few runs."""
    seeds = values[sorted(asked.arms)].dropna().index.tolist()
    if len(seeds) < 2:
        return None
    if not asked.slope and (found := compare_over_units(study, asked, seeds, known)):
        ours, equivalence_p, units = found
        return Answer(ours, equivalence_p, len(seeds), units)
    values = values.loc[seeds]
    if asked.slope:
        gains = np.stack([values[of] - values[over] for of, over in asked.slope], axis=1)
        return Answer(statistics.slope(asked.at, gains), None, len(seeds))
    of = values[asked.of].to_numpy()
    right: list[np.ndarray | None] = [None, None]
    if not isinstance(asked.over, str):
        over = np.full(len(seeds), float(asked.over))
    else:
        over = values[asked.over].to_numpy()
        if resample_clips and asked.measure == "top1":
            right = [read_arm_hits(study, arm, seeds, known) for arm in (asked.of, asked.over)]
        if any(r is None for r in right) or right[0].shape != right[1].shape:
            right = [None, None]
    equivalence_p = statistics.equivalence(of, over, study.margin)
    return Answer(statistics.paired(of, over, right), equivalence_p, len(seeds))


def _twice_as_long(study: Study, asked: Question, values: pd.DataFrame) -> dict[str, Any]:
    """Return the difference after twice the training, over the seeds that have it in both arms."""
    longer = {arm.half: values[name] for name, arm in study.arms.items() if arm.half}
    over = longer.get(asked.over) if isinstance(asked.over, str) else asked.over
    if asked.slope or longer.get(asked.of) is None or over is None:
        return {}
    differences = (longer[asked.of] - over).dropna()
    return {"twice_as_long": differences.mean(), "n_twice": len(differences)}


def _adjust(answers: dict[str, Answer | None]) -> dict[str, Answer | None]:
    """Adjust differences and tests of equivalence by Holm, each over all questions of a study."""
    ours = {name: a.ours for name, a in answers.items() if a}
    ours = statistics.holm(ours, family=len(answers))
    tested = [name for name, a in answers.items() if a and a.equivalence_p is not None]
    p = np.array([answers[name].equivalence_p for name in tested])
    within = dict(zip(tested, statistics.holm_p(p, len(answers)), strict=True))
    return {
        name: a and a._replace(ours=ours[name], equivalence_p=within.get(name))
        for name, a in answers.items()
    }


def intervals(
    study: Study, known: Records | None = None, measure: str = "top1"
) -> dict[str, Clustered]:
    """Compute each arm's accuracy (%) with its interval over recordings, or images of digits."""
    known = find_recorded_runs() if known is None else known
    ends, values = {}, tabulate_accuracies(study, measure, known)
    for arm in values:
        seeds = values[arm].dropna().index.tolist()
        if seeds and (clips := read_clips(study, arm, measure, seeds, known)):
            ends[arm] = clustered_interval(*clips.average())
    return ends


def _row(study: Study, asked: Question, answer: Answer | None, verdict: str) -> dict[str, Any]:
    """Format an answer that is adjusted by Holm; None: nothing was measured."""
    published = published_figure(asked)
    ours, equivalence_p, seeds, groups = answer or (None, None, None, None)
    exploratory = study.exploratory or (answer is not None and seeds < len(study.seeds))
    row = {
        "study": study.name, "question": asked.name, "claim": asked.claim or "",
        "expected": asked.expected, "source": published_source(asked), "margin": study.margin,
        "planned_seeds": len(study.seeds), "exploratory": exploratory, "verdict": verdict,
        "runs": f"{len(asked.arms)} arms: " + "; ".join(sorted(asked.arms)),
    }  # fmt: skip
    if published:
        row |= {"published": published.difference, "published_low": published.low,
                 "published_high": published.high}  # fmt: skip
    if ours:
        names = ("difference", "low", "high", "low_holm", "high_holm", "boot_low", "boot_high",
                 "p_holm")  # fmt: skip
        row |= {name: getattr(ours, name) for name in names}
        row |= {"mde": ours.mde_holm, "equivalence_p": equivalence_p, "n_seeds": seeds,
                 "n_recordings": groups}  # fmt: skip
    return row


def published_figure(asked: Question) -> Published | None:
    """Return the published difference that a question is about; None: only a sign was predicted."""
    figure = asked.published or {}
    if "rows" in figure:
        first, second = figure["rows"]
        return row_difference(first, second, *figure.get("protocols", ()))
    if "of" in figure:
        videos = DATASETS[figure["data"]].validation_videos
        return published_difference(figure["of"], figure["over"], videos, training_noise()[0])
    if "difference" in figure:
        near, videos = figure["near"], DATASETS[figure["data"]].validation_videos
        return published_difference(near + figure["difference"], near, videos, training_noise()[0])
    return None


def row_difference(
    first: str, second: str, protocol: str | None = None, other: str | None = None
) -> Published:
    """Subtract the top-1 of the second published row from the first one's, in points.

    Args:
        first, second: rows of one data set.
        protocol, other: their protocols; None: the tables' first column, `efficient` where there
            are two.
    """
    videos = DATASETS[get_config(first).dataset].validation_videos
    values = []
    for row, chosen in ((first, protocol), (second, other)):
        numbers = published_accuracy(row, chosen or "efficient")
        values.append((numbers or published_accuracy(row, "published"))["top1"])
    return published_difference(*values, videos, training_noise()[0])


def published_source(asked: Question) -> str:
    """Say where the published difference of a question is from."""
    figure = asked.published or {}
    if "rows" in figure:
        return f"MMAction2's TSM page: {figure['rows'][0]} minus {figure['rows'][1]}"
    return figure.get("source", "")


# --- full scale, beside published accuracies ------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """Hold an accuracy (%) or a difference (points) of ours; `value` None: there is none.

    `coverage` is the share of the published list that was evaluated, the smaller one of a
    difference; `seeds` is 0 where the weights were published ones.
    """

    value: float | None = None
    se: float = 0.0
    coverage: float | None = None
    seeds: int = 0
    trained: bool = True
    runs: list[str] = field(default_factory=list)

    def minus(self, other: "Measured") -> "Measured":
        """Subtract another one, with an unpaired standard error."""
        if self.value is None or other.value is None:
            return Measured()
        return Measured(
            self.value - other.value, math.hypot(self.se, other.se),
            min(self.coverage, other.coverage), min(self.seeds, other.seeds),
            self.trained or other.trained, self.runs + other.runs,
        )  # fmt: skip


def training_results(runs: pd.DataFrame, wanted: dict[str, Any]) -> Measured:
    """Average what was trained here over its seeds.

    Args:
        runs: of `results.read_runs`.
        wanted: `cfg`, the row; `protocol` (default: the row's published one); `changes`, the fields
            in which the runs differ from the row (default: none).
    """
    chosen = _matching(runs, wanted)
    if chosen.empty:
        return Measured()
    of_ours = chosen.get("checkpoint_of", pd.Series(None, chosen.index)).notna()
    chosen = chosen[(chosen["kind"] == "training") | of_ours]
    return _mean(chosen.drop_duplicates("seed"), trained=True)


def published_weight_results(runs: pd.DataFrame, wanted: dict[str, Any]) -> Measured:
    """Read what the row's published weights gave here; `wanted` as in `training_results`."""
    chosen = _matching(runs, wanted)
    published = chosen.get("published_weights", pd.Series(False, chosen.index))
    return _mean(chosen[published.eq(True)][:1], trained=False)


def _matching(runs: pd.DataFrame, wanted: dict[str, Any]) -> pd.DataFrame:
    """Select records in full, in fp32, on real data, of just this row, protocol and changes."""
    if runs.empty:
        return runs
    precision = runs.get("precision", pd.Series("32-true", runs.index)).fillna("32-true")
    plain = (runs["data"] == "real") & (runs["scale"] == "full") & (precision == "32-true")
    chosen = runs[plain & (runs["cfg"] == wanted["cfg"])]
    protocol = _protocol(wanted["cfg"], wanted.get("protocol", "published"))
    same = [
        _protocol(run.cfg, run.protocol) == protocol
        and json.loads(run.changes) == wanted.get("changes", {})
        for run in chosen.itertuples()
    ]
    return chosen[np.array(same, dtype=bool)]


@cache
def published_protocols(row: str) -> list[str]:
    """List the protocols that the tables have a number for, in the order of their columns."""
    both = published_accuracy(row, "efficient")
    return ["efficient", "accurate"] if both else ["published"]


def _protocol(row: str, name: str) -> str:
    """Name a row's own protocol `accurate` where there are two."""
    return "accurate" if name == "published" and "accurate" in published_protocols(row) else name


def _mean(chosen: pd.DataFrame, trained: bool) -> Measured:
    if chosen.empty:
        return Measured()
    top1, count = chosen["top1"].to_numpy(dtype=float), len(chosen)
    dataset = get_config(chosen["cfg"].iloc[0]).dataset
    listed = chosen["num_listed"].clip(lower=DATASETS[dataset].validation_videos)
    coverage = float((chosen["num_videos"] / listed).min())
    se = standard_error(float(top1.mean()), int(chosen["num_videos"].min()))
    if count > 1:  # the same videos under all seeds: their error does not shrink with them
        se = math.hypot(se, float(top1.std(ddof=1)) / math.sqrt(count))
    names = [f"results/runs/{run}" for run in chosen["run"]]
    return Measured(float(top1.mean()), se, coverage, count if trained else 0, trained, names)
