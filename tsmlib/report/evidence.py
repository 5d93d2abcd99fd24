"""The three kinds of evidence for a claim, and one line a claim that shows them side by side."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from ..paths import published_file
from ..study.census import headline_trainings, read_census
from ..study.verdicts import (
    AGREES,
    BY_CONSTRUCTION,
    CONTRADICTED,
    INSENSITIVE,
    MISPRINT,
    NO_DIFFERENCE,
    NOT_CONVERGED,
    NOT_MEASURED,
    NOT_REPLICATED,
    REPLICATED,
    TIMED,
    judge_count,
)
from .computed_claims import CHECKS
from .replications import describe_pairs, summarise_census

COUNTED_HERE, BY_OTHERS, TRAINED_HERE = EVIDENCE = (
    "counted or timed here", "trained by others on the real data", "trained here",
)  # fmt: skip
WEIGHT = {  # of verdicts on trainings here: shown first is what decides, and first what contradicts
    CONTRADICTED: 0, NO_DIFFERENCE: 1, AGREES: 2, INSENSITIVE: 3, NOT_CONVERGED: 4,
    BY_CONSTRUCTION: 5,
}  # fmt: skip
EXPLORATORY = "exploratory"  # these begin the notes of trainings here
LONGER = "after twice the training"  # in studies with gates
SHOWN_PARTS = 3
Checks = Mapping[str, Callable[..., float]]
Row = dict[str, Any]


def read_computed(published: str, checks: Checks, arithmetic: bool, name: str, *arguments) -> Row:
    """Judge a figure that computation decides; `runs` then says which call."""
    measured = checks[name](*arguments)
    call = f"{CHECKS[name].__module__}.{name}({', '.join(map(repr, arguments))})"
    return {"measured": measured, "data": "computed", "runs": call,
            "verdict": judge_count(published, measured, arithmetic=arithmetic)}  # fmt: skip


def read_timed(ratio: str, unit: str) -> Row:
    """Read a ratio of times from the benchmarks: the median, its quartiles as the ends."""
    part = ratio.split("_")[0]  # streams and detectors have records of their own
    name = f"amd-epyc-2-cores-{part}" if part in ("online", "detector") else "amd-epyc-2-cores"
    file = published_file(f"benchmarks/{name}.json")
    record = json.loads(file.read_text())
    found = record["ratios"][ratio]
    values = {"measured": found["median"], "low": found["q25"], "high": found["q75"]}
    if unit == "%":  # added, where the ratio is of the whole
        values = {name: 100 * (value - 1) for name, value in values.items()}
    return {**values, "data": "timed",
            "runs": f"results/benchmarks/{file.name}: {ratio}", "verdict": TIMED,
            "note": f"on {record['device']}; quartiles"}  # fmt: skip


def read_pooled(factor: str, dataset: str) -> Row:
    """Read what others gained on a data set, pooled over comparable pairs."""
    pooled = summarise_census()
    (found,) = pooled[(pooled["factor"] == factor) & (pooled["dataset"] == dataset)].itertuples()
    row = {"data": "real", "scale": "full", "runs": "results/census/pairs.csv"}
    apart = f"all pairs {found.smallest:+.1f} to {found.largest:+.1f}"
    if not found.pairs:
        return {"note": f"no comparable pair; {apart}"}
    note = describe_pairs(found) + f"; {apart}" * bool(found.apart)
    return row | {"measured": found.mean, "low": found.low, "high": found.high,
                  "verdict": found.verdict, "note": note}  # fmt: skip


def read_reached(published: float, dataset: str, backbone: str, frames: str, views: str) -> Row:
    """Read whether half of the independent trainings lie within a point of a published accuracy."""
    table = headline_trainings(read_census("trainings"))
    keys = dict(zip(("dataset", "backbone", "frames", "views"), (dataset, backbone, frames, views),
                    strict=True), published=published)  # fmt: skip
    (found,) = table[(table[list(keys)] == list(keys.values())).all(axis=1)].itertuples()
    if not found.trainings:
        return {"note": "no independent training under such views"}
    return {"measured": found.median, "data": "real", "scale": "full",
            "runs": "results/census/trainings.csv",
            "verdict": REPLICATED if found.reached else NOT_REPLICATED,
            "note": f"the median; {found.within} of {found.trainings} trainings within a point of "
                    f"{published:g} %"}  # fmt: skip


def summarise_evidence(claims: pd.DataFrame, definitions: Mapping[str, Row]) -> pd.DataFrame:
    """Reduce the claims to one line each: a verdict of each kind, and the number that decides it.

    Cells are Markdown, see `describe_cell`.

    Args:
        claims: of claims.csv.
        definitions: by claim; `open` says what would change its verdicts.
    """
    rows = {}
    for claim, parts in claims[claims["statement"] != ""].groupby("claim", sort=False):
        cells = {kind: describe_cell(parts[parts["evidence"] == kind]) for kind in EVIDENCE}
        statement = parts["statement"].iloc[0]
        rows[claim] = {
            "the paper says": statement,
            **cells,
            "what would change it": definitions[claim]["open"],
        }
    return pd.DataFrame(rows).T.rename_axis("claim")


def describe_cell(parts: pd.DataFrame) -> str:
    """Say the verdict of one kind of evidence, with the numbers that decide it.

    The first part of claims.yaml decides, which states the claim itself; of trainings here the
    weightiest verdict, and of studies that asked the same the one that detects the smaller effect.
    Of trainings by others three parts with that verdict are shown.
    """
    parts = parts[parts["verdict"] != NOT_MEASURED]
    if parts.empty:
        return NOT_MEASURED
    weights = parts["verdict"].map(lambda verdict: WEIGHT.get(verdict, 0))
    first = parts.loc[weights.idxmin()]
    same = (parts["part"] == first["part"]) & (parts["verdict"] == first["verdict"])
    detectable = pd.to_numeric(parts["mde"]).where(same).dropna()
    first = first if detectable.empty else parts.loc[detectable.idxmin()]
    shown = parts.loc[[first.name]]
    if first["evidence"] == BY_OTHERS:
        shown = parts[parts["verdict"] == first["verdict"]][:SHOWN_PARTS]
    numbers = "; ".join(
        ", ".join(filter(None, (part["study"], part["part"]))) + f": {format_number(part)}"
        for _, part in shown.iterrows()  # the study, of trainings here, says on what clips
    )
    numbers += "".join(f", {text}" for text in first["note"].split("; ") if LONGER in text)
    if first["verdict"] == NOT_CONVERGED:  # of a fixed training: which network learns faster
        label = "not settled" if LONGER in first["note"] else "speed of learning"
        numbers = f"<sub>{label}, {numbers}</sub>"
    if first["note"].startswith(EXPLORATORY):
        numbers += f", {EXPLORATORY}"
    others = parts.drop(shown.index)
    counts = others["verdict"].value_counts(sort=False)
    more = ", ".join(f"{n} {name_verdict(v, first['margin'])}" for v, n in counts.items())
    for _, part in others[others["verdict"] == MISPRINT].iterrows():
        more += f"; {part['part']}: {format_number(part)}, printed as {part['published']}"
    text = f"**{name_verdict(first['verdict'], first['margin'])}**: {numbers}"
    return f"{text}; also {more}" if more else text


def describe_longer(answer: Row) -> str:
    """Say what a difference is after twice the training: `after twice ... +0.3 (3 seeds)`."""
    if not answer["n_twice"] > 0:  # NaN, too
        return f"{LONGER} not known"
    return f"{LONGER} {answer['twice_as_long']:+.1f} ({answer['n_twice']:.0f} seeds)"


def format_number(row: pd.Series) -> str:
    """Format `+28.0 points (+26.5 to +29.5)`, with the detectable effect where there is one."""
    sign, unit = "+" if row["unit"] == "points" else "", row["unit"].replace("%", " %").strip()
    digits = ".1f" if unit in ("points", "%") else ".4g"
    value, *ends = (f"{float(x):{sign}{digits}}" for x in row[["measured", "low", "high"]] if x)
    text = f"{value} {unit}".strip() + (f" ({ends[0]} to {ends[1]})" if ends else "")
    if row["evidence"] == BY_OTHERS:
        text += f" ({row['note']})"
    return f"{text}, detectable {float(row['mde']):.1f}" if row["mde"] else text


def name_verdict(verdict: str, margin: str) -> str:
    """Put the margin into the verdict that has one."""
    return verdict.replace(">= m", f"≥ {margin or 'm'}")
