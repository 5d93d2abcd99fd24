"""Lines of results/claims.csv: one a part of a claim, a published row, or a planned question."""

from functools import cache
from typing import Any

import pandas as pd
import yaml

from ..configs import ConfigError, get_config
from ..configs.one_factor_pairs import Pair
from ..paths import published_file
from ..results import published_accuracy
from ..study.findings import row_difference
from ..study.full_scale import (
    Measured,
    published_protocols,
    standard_error_of,
    trainings,
    weights_of,
)
from ..study.plan import Question, read_plan, validation_videos
from ..study.records import run_of
from ..study.uncertainty import Published, Z, published_difference
from ..study.verdicts import NEEDS_DATA, NEEDS_HARDWARE, Verdict, accuracy, direction
from ..study.verdicts import exact as exact_verdict
from .computed_claims import CHECKS

PART = {"what", "published", "unit", "source", "data", "check", "runs", "needs", "note"}
MMACTION2 = "MMAction2's TSM page"
NEEDS: dict[str, Verdict] = {"data": NEEDS_DATA, "hardware": NEEDS_HARDWARE}
NOT_RUN = "not run yet"
OURS = ("measured", "low", "high", "n_seeds", "mde", "p_holm", "margin", "data", "scale", "runs",
        "verdict", "study", "question", "note")  # fmt: skip


@cache
def definitions() -> dict[str, Any]:
    """What `claims.yaml` says: `claims`, and notes on the published rows."""
    return yaml.safe_load(published_file("claims.yaml").read_text())


# --- the paper's claims ---------------------------------------------------------------------------


def claim_lines(
    claim: str, fields: dict[str, Any], runs: pd.DataFrame, found: pd.DataFrame
) -> list[dict[str, Any]]:
    """The lines of one claim: its parts, and the planned questions that name it."""
    lines = []
    for part in fields.get("parts", ()):
        if unknown := set(part) - PART:
            raise ConfigError(f"claims.yaml, {claim}: {', '.join(sorted(unknown))} is unknown")
        lines.append(part_line(part, runs))
    asked = found[found["claim"] == claim]
    lines += [question_line(claim, finding) for finding in asked.to_dict("records")]
    for number, line in enumerate(lines):
        line |= {"claim": claim, "statement": fields["statement"]}
        if number == 0 and "note" in fields:
            line["note"] = joined(" ".join(fields["note"].split()), line.get("note"))
    return lines


def part_line(part: dict[str, Any], runs: pd.DataFrame) -> dict[str, Any]:
    """A part of a claim: computed, or of runs at full scale, or out of reach."""
    line = {"part": part["what"], "published": part["published"], "unit": part.get("unit", ""),
            "source": part["source"], "note": " ".join(part.get("note", "").split())}  # fmt: skip
    if "check" in part:
        return line | checked(part["published"], *part["check"])
    if "runs" in part:
        return line | compared(part["published"], part["runs"], runs)
    needs, given = NEEDS[part["needs"]], part["published"]
    if isinstance(given, dict):
        published = _published(given)
        return line | interval(published) | {"verdict": direction(published, None, needs=needs)}
    if "data" in part:
        line |= interval(Published(given, standard_error_of(given, part["data"])))
        line["published"] = given
    return line | {"verdict": needs}


def checked(published: str, name: str, *arguments) -> dict[str, Any]:
    """Cells of a claim that computation decides."""
    measured = CHECKS[name](*arguments)
    call = f"{CHECKS[name].__module__}.{name}({', '.join(map(repr, arguments))})"
    return {"measured": measured, "data": "computed", "runs": call,
            "verdict": exact_verdict(published, measured)}  # fmt: skip


def compared(
    given: float | dict[str, Any], asked: dict[str, Any], runs: pd.DataFrame
) -> dict[str, Any]:
    """Cells of a published accuracy, or a difference of two, beside trainings at full scale."""
    if isinstance(given, dict):
        published = _published(given)
        ours = trainings(runs, asked["of"]).minus(trainings(runs, asked["over"]))
    else:
        dataset = get_config(asked["cfg"]).dataset
        published = Published(given, standard_error_of(given, dataset))
        ours = trainings(runs, asked)
    return _beside(published, ours) | ({"published": given} if not isinstance(given, dict) else {})


def _beside(published: Published, ours: Measured) -> dict[str, Any]:
    verdict = accuracy(
        published.difference, ours.value, published.se, ours.se,
        trained=ours.trained, comparable=True, coverage=ours.coverage,
    )  # fmt: skip
    cells = interval(published) | {"verdict": verdict}
    if ours.value is not None:
        cells |= {"measured": ours.value, "low": ours.value - Z * ours.se,
                  "high": ours.value + Z * ours.se, "n_seeds": ours.seeds or None,
                  "data": "real", "scale": "full", "runs": "; ".join(ours.runs)}  # fmt: skip
    return cells


def interval(published: Published) -> dict[str, Any]:
    """A published number with the ends of its 95 % interval."""
    ends = {"published_low": published.low, "published_high": published.high}
    return {"published": f"{published.difference:.2f}", **ends}


def _published(given: dict[str, Any]) -> Published:
    return published_difference(given["of"], given["over"], validation_videos()[given["data"]])


# --- published rows -------------------------------------------------------------------------------


def row_lines(row: str, runs: pd.DataFrame) -> list[dict[str, Any]]:
    """A published row's accuracies beside ours: of its own weights, and of trainings."""
    lines, dataset = [], get_config(row).dataset
    for protocol in published_protocols(row):
        top1 = published_accuracy(row, protocol)["top1"]
        published = Published(top1, standard_error_of(top1, dataset))
        asked = {"cfg": row, "protocol": protocol}
        both = [m for m in (weights_of(runs, asked), trainings(runs, asked)) if m.value is not None]
        for ours in both or [Measured()]:
            line = {"claim": "row", "part": f"{row}, {protocol}", "unit": "%", "source": MMACTION2}
            note = definitions()["row_notes"].get(row, "")
            lines.append(line | _beside(published, ours) | {"note": note})
    return lines


def delta_lines(pair: Pair, runs: pd.DataFrame, found: pd.DataFrame) -> list[dict[str, Any]]:
    """The difference of two published rows, with the study's question that asks the same."""
    asked = of_rows()
    rows = [pair.second, pair.first]
    question = next((n for n, of in asked.items() if of in (rows, rows[::-1])), None)
    rows = asked.get(question, rows)
    also = f"also different: {', '.join(pair.along)}" if pair.along else ""
    lines = []
    for protocol in published_protocols(rows[0]):
        published = row_difference(*rows, protocol, protocol)
        ours = [trainings(runs, {"cfg": row, "protocol": protocol}) for row in rows]
        line = {"claim": "delta", "part": f"{pair.factor}: {rows[0]} minus {rows[1]}, {protocol}",
                "unit": "points", "source": MMACTION2}  # fmt: skip
        line |= _beside(published, ours[0].minus(ours[1]))
        if line["verdict"] == NEEDS_DATA:
            line["verdict"] = direction(published, None)
            if question and protocol != "accurate":  # studies test as the tables' first column
                finding = found[found["question"] == question].iloc[0].to_dict()
                line |= {k: v for k, v in question_line("delta", finding).items() if k in OURS}
        lines.append(line | {"note": joined(line.get("note"), also)})
    return lines


def of_rows() -> dict[str, list[str]]:
    """Questions of the plan that ask what two published rows differ in."""
    asked = [q for study in read_plan().values() for q in study.questions if q.published]
    return {q.name: q.published["rows"] for q in asked
            if "rows" in q.published and "protocols" not in q.published}  # fmt: skip


# --- planned questions ----------------------------------------------------------------------------


def question_line(claim: str, finding: dict[str, Any]) -> dict[str, Any]:
    """A question of the plan with its finding; intervals are Holm-adjusted within the study."""
    line = {"claim": claim, "part": finding["question"], "unit": "points",
            "published": finding["expected"]}  # fmt: skip
    line |= {k: finding[k] for k in ("study", "question", "source", "margin", "verdict")}
    if pd.notna(finding["published"]):
        ends = {k: finding[k] for k in ("published_low", "published_high")}
        line |= {"published": f"{finding['published']:.2f}", **ends}
    if pd.isna(finding["difference"]):
        return line | {"note": NOT_RUN}
    names = {"measured": "difference", "low": "low_holm", "high": "high_holm", "mde": "mde",
             "p_holm": "p_holm", "n_seeds": "n_seeds"}  # fmt: skip
    runs = _runs_of(finding["study"], finding["question"])
    note, videos = (
        "exploratory" if finding["exploratory"] else "",
        read_plan()[line["study"]].videos,
    )
    if videos:
        note = joined(
            f"{videos.name}: interval over {finding['n_recordings']:.0f} recordings", note
        )
    data = "real" if videos else "standin"
    measured = {"data": data, "scale": "mini", "runs": runs, "note": note}
    return line | {ours: finding[theirs] for ours, theirs in names.items()} | measured


def _runs_of(study: str, question: str) -> str:
    """`residual 1/8 (config_hash 0123abcd); ...`: how its records are found."""
    chosen = read_plan()[study]
    asked: Question = next(q for q in chosen.questions if q.name == question)
    arms = [chosen.arms[name] for name in sorted(asked.arms)]
    seed = chosen.seeds[0]
    return "; ".join(f"{a.name} (config_hash {run_of(chosen, a, seed).config_hash})" for a in arms)


def joined(*notes: str | None) -> str:
    """Notes in a line."""
    return "; ".join(note for note in notes if note)
