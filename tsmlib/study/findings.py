"""From the records of a study to its findings: difference, interval and verdict a question."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..configs import get_config
from ..results import published_accuracy
from . import statistics
from .plan import Question, Study, validation_videos
from .records import Records, accuracies, hits, recorded, recordings
from .statistics import Comparison
from .uncertainty import (
    Clustered,
    Published,
    clustered_interval,
    least_deviation,
    over_recordings,
    published_difference,
)
from .verdicts import Predicted, direction

SIGNS = {"more": 1, "less": -1, "same": 0}
COLUMNS = (
    "study", "question", "claim", "expected", "published", "published_low", "published_high",
    "source", "difference", "low", "high", "low_holm", "high_holm", "boot_low", "boot_high",
    "p_holm", "mde", "equivalence_p", "margin", "n_seeds", "n_recordings", "planned_seeds",
    "exploratory", "runs", "verdict",
)  # fmt: skip


def findings(study: Study, known: Records | None = None) -> pd.DataFrame:
    """The questions of a study, in points of the measure that each names.

    Differences are of the seeds that both arms have; a study that is not finished counts as
    exploratory. On real videos each clip is averaged over the seeds, and intervals are over
    recordings. `low_holm` and `high_holm` are adjusted over the questions that have an answer.
    `known`: of `records.recorded`; None: all records there are.

    Returns:
        A line a question; empty cells where nothing was measured.
    """
    known = recorded() if known is None else known
    tables = {m: accuracies(study, m, known) for m in {q.measure for q in study.questions}}
    answers = {q.name: _answer(study, q, tables[q.measure], known) for q in study.questions}
    adjusted = statistics.holm({name: a.ours for name, a in answers.items() if a})
    lines = []
    for asked in study.questions:
        answer = answers[asked.name]
        lines.append(_line(study, asked, answer and answer._replace(ours=adjusted[asked.name])))
    return pd.DataFrame(lines, columns=list(COLUMNS))


class Answer(NamedTuple):
    """What was found of a question."""

    ours: Comparison
    equivalence_p: float | None  # of the two one-sided tests
    n_seeds: int
    n_recordings: int | None = None  # of real videos: the interval is over them


def _answer(study: Study, asked: Question, values: pd.DataFrame, known: Records) -> Answer | None:
    """The comparison that answers a question; None: too few runs."""
    seeds = values[sorted(asked.arms)].dropna().index.tolist()
    if len(seeds) < 2:
        return None
    if study.videos:
        return _over_recordings(study, asked, seeds, known)
    values = values.loc[seeds]
    if asked.slope:
        gains = np.stack([values[of] - values[over] for of, over in asked.slope], axis=1)
        return Answer(statistics.slope(asked.at, gains), None, len(seeds))
    of = values[asked.of].to_numpy()
    if not isinstance(asked.over, str):
        over, right = np.full(len(seeds), float(asked.over)), (None, None)
    else:
        over = values[asked.over].to_numpy()
        right = [hits(study, arm, seeds, known) for arm in (asked.of, asked.over)]
        same = asked.measure == "top1" and all(r is not None for r in right)
        right = right if same and right[0].shape == right[1].shape else (None, None)
    equivalence_p = statistics.equivalence(of, over, study.margin)
    return Answer(statistics.paired(of, over, *right), equivalence_p, len(seeds))


def _over_recordings(study: Study, asked: Question, seeds: list[int], known: Records) -> Answer:
    """On real videos: each clip is averaged over the seeds, and recordings are what varies."""
    groups = recordings(study, asked.of, known)
    right = hits(study, asked.of, seeds, known).mean(axis=0)
    of, least = over_recordings(right, groups), 0.0
    if isinstance(asked.over, str):
        over = over_recordings(hits(study, asked.over, seeds, known).mean(axis=0), groups)
    else:
        over, least = np.full(len(of), float(asked.over)), least_deviation(right, groups)
    equivalence_p = statistics.equivalence(of, over, study.margin)
    return Answer(statistics.paired(of, over, least=least), equivalence_p, len(seeds), len(of))


def intervals(study: Study, known: Records | None = None) -> dict[str, Clustered]:
    """Accuracy (%) of each arm on real videos, with its interval over recordings."""
    known = recorded() if known is None else known
    found, values = {}, accuracies(study, known=known)
    for arm in values:
        if seeds := values[arm].dropna().index.tolist():
            mean = hits(study, arm, seeds, known).mean(axis=0)
            found[arm] = clustered_interval(mean, recordings(study, arm, known))
    return found


def _line(study: Study, asked: Question, answer: Answer | None) -> dict[str, Any]:
    """`answer`: adjusted by Holm; None: nothing was measured."""
    published = published_of(asked)
    ours, equivalence_p, seeds, groups = answer or (None, None, None, None)
    exploratory = study.exploratory or (answer is not None and seeds < len(study.seeds))
    verdict = direction(
        published, ours, equivalence_p,
        exploratory=exploratory, by_construction=asked.by_construction,
    )  # fmt: skip
    line = {
        "study": study.name, "question": asked.name, "claim": asked.claim or "",
        "expected": asked.expected, "source": source_of(asked), "margin": study.margin,
        "planned_seeds": len(study.seeds), "exploratory": exploratory, "verdict": verdict,
        "runs": f"{len(asked.arms)} arms: " + "; ".join(sorted(asked.arms)),
    }  # fmt: skip
    if isinstance(published, Published):
        line |= {"published": published.difference, "published_low": published.low,
                 "published_high": published.high}  # fmt: skip
    if ours:
        names = ("difference", "low", "high", "low_holm", "high_holm", "boot_low", "boot_high",
                 "p_holm")  # fmt: skip
        line |= {name: getattr(ours, name) for name in names}
        line |= {"mde": ours.mde_holm, "equivalence_p": equivalence_p, "n_seeds": seeds,
                 "n_recordings": groups}  # fmt: skip
    return line


def published_of(asked: Question) -> Published | Predicted:
    """The published difference that a question is about, else the direction that is expected."""
    given = asked.published or {}
    if "rows" in given:
        first, second = given["rows"]
        return row_difference(first, second, *given.get("protocols", ()))
    if "of" in given:
        videos = validation_videos()[given["data"]]
        return published_difference(given["of"], given["over"], videos)
    if "difference" in given:
        near, videos = given["near"], validation_videos()[given["data"]]
        return published_difference(near + given["difference"], near, videos)
    return Predicted(given.get("sign", SIGNS[asked.expected]))


def row_difference(
    first: str, second: str, protocol: str | None = None, other: str | None = None
) -> Published:
    """First minus second published row, top-1 in points, under the protocols that are named.

    Without a protocol it is the tables' first column: `efficient` where there are two.
    """
    videos = validation_videos()[get_config(first).dataset]
    values = []
    for row, chosen in ((first, protocol), (second, other)):
        found = published_accuracy(row, chosen or "efficient") or published_accuracy(
            row, "published"
        )
        values.append(found["top1"])
    return published_difference(*values, videos)


def source_of(asked: Question) -> str:
    """Where the published difference is from."""
    given = asked.published or {}
    if "rows" in given:
        return f"MMAction2's TSM page: {given['rows'][0]} minus {given['rows'][1]}"
    return given.get("source", "")
