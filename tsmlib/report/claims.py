"""Every claim with its figure, what was measured here, and a verdict: results/claims.csv.

Its rows are of four kinds: `C1` ... `C21`, the paper's claims (results/claims.yaml, and the
questions of results/plan.yaml that name one); `row`, the accuracies of the 36 published rows;
`delta`, rows that differ in one factor; `plan`, the other planned questions. Nothing here is typed
but what was published: the verdicts are those of `study/verdicts.py`.
"""

from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from ..configs import DATASETS, ConfigError, get_config
from ..configs.rows import ROWS
from ..paths import published_file, results_folder
from ..reference import published_accuracy
from ..study.census import training_noise
from ..study.findings import (
    Measured,
    findings,
    published_protocols,
    published_weight_results,
    row_difference,
    training_results,
)
from ..study.plan import Question, Study, read_plan
from ..study.records import find_recorded_runs, identify_run
from ..study.uncertainty import Published, Z, published_difference, published_error
from ..study.verdicts import NOT_MEASURED, judge_accuracy
from .computed_claims import CHECKS
from .evidence import (
    BY_OTHERS,
    COUNTED_HERE,
    TRAINED_HERE,
    Checks,
    Row,
    describe_longer,
    read_computed,
    read_pooled,
    read_reached,
    read_timed,
)
from .one_factor_pairs import Pair, one_factor_pairs

COLUMNS = (
    "claim", "statement", "evidence", "part", "unit", "published", "published_low",
    "published_high", "source", "measured", "low", "high", "n_seeds", "mde", "p_holm", "margin",
    "data", "scale", "runs", "verdict", "study", "question", "note",
)  # fmt: skip
OURS = (*COLUMNS[COLUMNS.index("measured") :],)  # columns that say what was measured here
PART_FIELDS = {"what", "published", "unit", "source", "data", "check", "arithmetic", "timed",
               "others", "reached", "runs", "needs", "note"}  # fmt: skip
NOT_ESTABLISHED = "the published difference is within 1.96 of its own standard errors"
MMACTION2 = "MMAction2's TSM page"


@cache
def read_definitions() -> dict[str, Any]:
    """Read `claims.yaml`: `claims`, and notes on the published rows."""
    return yaml.safe_load(published_file("claims.yaml").read_text())


def judge_claims(answers: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Judge all claims, in the order of `claims.yaml`; every cell is a text, as in the file.

    Args:
        answers: of `all_findings`.
        runs: the published records, of `results.read_runs`.

    Raises:
        ConfigError: `claims.yaml` is not as it should be; the message names the claim.
    """
    rows = []
    for claim, fields in read_definitions()["claims"].items():
        parts = claim_rows(claim, fields, runs, answers)
        if not parts:
            raise ConfigError(f"claims.yaml: nothing is compared for {claim}")
        rows += parts
    rows += [row for name in ROWS for row in published_row_rows(name, runs)]
    rows += [row for pair in one_factor_pairs() for row in pair_rows(pair, runs, answers)]
    unnamed = answers[(answers["claim"] == "") & ~answers["question"].isin(row_questions())]
    rows += [question_row("plan", answer) for answer in unnamed.to_dict("records")]
    return as_text(rows)


def all_findings() -> pd.DataFrame:
    """Collect the findings of every study but `quick`, from the published records alone.

    Claims show nothing of the bootstrap, which therefore draws no clips.
    """
    studies = [s for name, s in read_plan().items() if s.questions and name != "quick"]
    known = find_recorded_runs("runs")
    tables = (findings(study, known, resample_clips=False) for study in studies)
    return pd.concat([t.astype(object) for t in tables], ignore_index=True)


def read_claims(folder: str | Path | None = None) -> pd.DataFrame:
    """Read the claims of a results folder, else the repository's; every cell is a text."""
    for file in (results_folder(folder) / "claims.csv", published_file("claims.csv")):
        if file.is_file():
            return pd.read_csv(file, dtype=str, keep_default_na=False)
    return pd.DataFrame(columns=list(COLUMNS), dtype=str)


def as_text(rows: list[Row]) -> pd.DataFrame:
    """Format rows as in the file: numbers to 4 decimals at most, nothing for a missing value."""
    return pd.DataFrame(rows, columns=list(COLUMNS)).map(_cell)


def _cell(value: Any) -> str:
    if isinstance(value, str) or value is None or pd.isna(value):
        return value if isinstance(value, str) else ""
    rounded = round(float(value), 4)
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)


# --- the paper's claims ---------------------------------------------------------------------------


def claim_rows(
    claim: str, fields: Row, runs: pd.DataFrame, answers: pd.DataFrame, checks: Checks = CHECKS
) -> list[Row]:
    """Judge one claim: its parts, and the planned questions that name it."""
    rows = []
    for part in fields.get("parts", ()):
        if unknown := set(part) - PART_FIELDS:
            raise ConfigError(f"claims.yaml, {claim}: {', '.join(sorted(unknown))} is unknown")
        rows.append(part_row(part, runs, checks))
    planned = answers[answers["claim"] == claim]
    rows += [question_row(claim, answer) for answer in planned.to_dict("records")]
    for number, row in enumerate(rows):
        row |= {"claim": claim, "statement": fields["statement"]}
        if number == 0 and "note" in fields:
            row["note"] = _join(" ".join(fields["note"].split()), row.get("note"))
    return rows


def part_row(part: Row, runs: pd.DataFrame, checks: Checks = CHECKS) -> Row:
    """Judge a part of a claim: counted, timed, trained by others, or trained here at full scale."""
    figure = part.get("published", "")
    row = {"part": part["what"], "published": figure, "unit": part.get("unit", ""),
           "source": part["source"], "note": " ".join(part.get("note", "").split()),
           "evidence": COUNTED_HERE, "verdict": NOT_MEASURED}  # fmt: skip
    if "check" in part:
        return row | read_computed(figure, checks, part.get("arithmetic", False), *part["check"])
    if "timed" in part:
        return row | read_timed(part["timed"], row["unit"])
    if "others" in part:
        return row | {"evidence": BY_OTHERS} | read_pooled(*part["others"])
    if "reached" in part:
        return row | {"evidence": BY_OTHERS} | read_reached(figure, *part["reached"])
    if part.get("needs") == "hardware":
        return row
    row["evidence"] = TRAINED_HERE
    if "runs" in part:
        compared = _compare_runs(figure, part["runs"], runs)
        return row | compared | {"note": _join(row["note"], compared.get("note"))}
    if isinstance(figure, dict):
        published = _published_difference(figure)
        return row | _ends(published) | {"note": _join(row["note"], _doubt(published))}
    if "data" in part:
        row |= _ends(_published_accuracy(figure, part["data"])) | {"published": figure}
    return row


def _compare_runs(figure: float | Row, wanted: Row, runs: pd.DataFrame) -> Row:
    """Judge a published accuracy, or a difference of two, by trainings at full scale."""
    if isinstance(figure, dict):
        ours = training_results(runs, wanted["of"]).minus(training_results(runs, wanted["over"]))
        return _compare(_published_difference(figure), ours)
    published = _published_accuracy(figure, get_config(wanted["cfg"]).dataset)
    return _compare(published, training_results(runs, wanted)) | {"published": figure}


def _published_accuracy(top1: float, dataset: str) -> Published:
    videos = DATASETS[dataset].validation_videos
    return Published(top1, published_error(top1, videos, training_noise()[0]))


def _compare(published: Published, ours: Measured) -> Row:
    verdict = judge_accuracy(
        published.difference, ours.value, published.se, ours.se,
        trained=ours.trained, comparable=True, coverage=ours.coverage,
    )  # fmt: skip
    row = _ends(published) | {"verdict": verdict, "evidence": TRAINED_HERE}
    if ours.value is not None:
        row |= {"measured": ours.value, "low": ours.value - Z * ours.se,
                "high": ours.value + Z * ours.se, "n_seeds": ours.seeds or None,
                "data": "real", "scale": "full", "runs": "; ".join(ours.runs)}  # fmt: skip
    return row


def _ends(published: Published) -> Row:
    """Give a published number with the ends of its 95 % interval."""
    ends = {"published_low": published.low, "published_high": published.high}
    return {"published": f"{published.difference:.2f}", **ends}


def _published_difference(figure: Row) -> Published:
    return published_difference(
        figure["of"],
        figure["over"],
        DATASETS[figure["data"]].validation_videos,
        training_noise()[0],
    )


def _doubt(published: Published) -> str:
    return "" if published.established else NOT_ESTABLISHED


# --- published rows -------------------------------------------------------------------------------


def published_row_rows(name: str, runs: pd.DataFrame) -> list[Row]:
    """Judge a published row's accuracies by its own weights, and by trainings."""
    rows, dataset = [], get_config(name).dataset
    for protocol in published_protocols(name):
        top1 = published_accuracy(name, protocol)["top1"]
        published = _published_accuracy(top1, dataset)
        wanted = {"cfg": name, "protocol": protocol}
        results = published_weight_results(runs, wanted), training_results(runs, wanted)
        for ours in [m for m in results if m.value is not None] or [Measured()]:
            row = {"claim": "row", "part": f"{name}, {protocol}", "unit": "%", "source": MMACTION2}
            note = read_definitions()["row_notes"].get(name, "")
            rows.append(row | _compare(published, ours) | {"note": note})
    return rows


def pair_rows(pair: Pair, runs: pd.DataFrame, answers: pd.DataFrame) -> list[Row]:
    """Judge the difference of two published rows; a study's answer counts where no run does."""
    asked, names = row_questions(), [pair.second, pair.first]
    question = next((q for q, of in asked.items() if of in (names, names[::-1])), None)
    names = asked.get(question, names)
    also = f"also different: {', '.join(pair.along)}" if pair.along else ""
    rows = []
    for protocol in published_protocols(names[0]):
        published = row_difference(*names, protocol, protocol)
        ours = [training_results(runs, {"cfg": name, "protocol": protocol}) for name in names]
        row = {"claim": "delta", "part": f"{pair.factor}: {names[0]} minus {names[1]}, {protocol}",
               "unit": "points", "source": MMACTION2}  # fmt: skip
        row |= _compare(published, ours[0].minus(ours[1]))
        if row["verdict"] == NOT_MEASURED:
            row["note"] = _doubt(published)
            if question and protocol != "accurate":  # studies test as the tables' first column
                answer = answers[answers["question"] == question].iloc[0].to_dict()
                row |= {k: v for k, v in question_row("delta", answer).items() if k in OURS}
        rows.append(row | {"note": _join(row.get("note"), also)})
    return rows


def row_questions() -> dict[str, list[str]]:
    """Find the plan's questions on the difference of two published rows: names to rows."""
    asked = [q for study in read_plan().values() for q in study.questions if q.published]
    return {q.name: q.published["rows"] for q in asked
            if "rows" in q.published and "protocols" not in q.published}  # fmt: skip


# --- planned questions ----------------------------------------------------------------------------


def question_row(claim: str, answer: Row) -> Row:
    """Format the answer to a planned question; intervals are Holm-adjusted within the study."""
    row = {"claim": claim, "evidence": TRAINED_HERE, "part": answer["question"], "unit": "points",
           "published": answer["expected"]}  # fmt: skip
    row |= {k: answer[k] for k in ("study", "question", "source", "margin", "verdict")}
    if pd.notna(answer["published"]):
        ends = {k: answer[k] for k in ("published_low", "published_high")}
        row |= {"published": f"{answer['published']:.2f}", **ends}
    if pd.isna(answer["difference"]):
        return row | {"note": "not run yet"}
    names = {"measured": "difference", "low": "low_holm", "high": "high_holm", "mde": "mde",
             "p_holm": "p_holm", "n_seeds": "n_seeds"}  # fmt: skip
    doubtful = pd.notna(answer["published"]) and row["published_low"] <= 0 <= row["published_high"]
    planned = read_plan()[answer["study"]]
    note = _join("exploratory" * bool(answer["exploratory"]),
                 describe_longer(answer) * bool(planned.doubled_seeds),
                 NOT_ESTABLISHED * bool(doubtful))  # fmt: skip
    if videos := planned.videos:
        row["part"] = f"{answer['question']} ({videos.name})"
        over = "seeds" if pd.isna(n := answer["n_recordings"]) else f"{n:.0f} groups of recordings"
        note = _join(f"{videos.name}: interval over {over}", note)
    measured = {"data": "real" if videos else "standin", "scale": "mini", "note": note,
                "runs": _runs_of(planned, answer["question"])}  # fmt: skip
    return row | {ours: answer[name] for ours, name in names.items()} | measured


def _runs_of(planned: Study, question: str) -> str:
    """Say how its records are found: `residual 1/8 (config_hash 0123abcd); ...`."""
    asked: Question = next(q for q in planned.questions if q.name == question)
    hashes = {name: identify_run(planned, planned.arms[name], planned.seeds[0]).config_hash
              for name in sorted(asked.arms)}  # fmt: skip
    return "; ".join(f"{name} (config_hash {digest})" for name, digest in hashes.items())


def _join(*notes: str | None) -> str:
    return "; ".join(note for note in notes if note)
