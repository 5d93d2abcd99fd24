"""Every claim with its figure, what was measured here, and a verdict: results/claims.csv.

Lines are of four kinds: `C1` ... `C21`, the paper's claims (results/claims.yaml, and the questions
of results/plan.yaml that name one); `row`, the accuracies of the 36 published rows; `delta`, rows
that differ in one factor; `plan`, the other planned questions. Nothing here is typed but what was
published: verdicts are those of `verdicts.py`.
"""

from pathlib import Path
from typing import Any

import pandas as pd

from ..configs import ConfigError
from ..configs.one_factor_pairs import one_factor_pairs
from ..configs.rows import ROWS
from ..paths import published_file, results_folder, write_whole
from ..results import read_runs
from ..study.findings import findings
from ..study.plan import read_plan
from ..study.records import recorded
from .claim_lines import claim_lines, definitions, delta_lines, of_rows, question_line, row_lines

COLUMNS = (
    "claim", "statement", "part", "unit", "published", "published_low", "published_high", "source",
    "measured", "low", "high", "n_seeds", "mde", "p_holm", "margin", "data", "scale", "runs",
    "verdict", "study", "question", "note",
)  # fmt: skip


def claims(found: pd.DataFrame | None = None) -> pd.DataFrame:
    """All lines, in the order of `claims.yaml`; every cell a text, as in the file.

    Args:
        found: the findings of all studies; None: of the records in `runs/`.

    Raises:
        ConfigError: `claims.yaml` is not as it should be; the message names the claim.
    """
    found = all_findings() if found is None else found
    runs = read_runs(results_folder() / "runs")
    lines = []
    for claim, fields in definitions()["claims"].items():
        of_claim = claim_lines(claim, fields, runs, found)
        if not of_claim:
            raise ConfigError(f"claims.yaml: nothing is compared for {claim}")
        lines += of_claim
    lines += [line for row in ROWS for line in row_lines(row, runs)]
    lines += [line for pair in one_factor_pairs() for line in delta_lines(pair, runs, found)]
    others = found[(found["claim"] == "") & ~found["question"].isin(of_rows())]
    lines += [question_line("plan", f) for f in others.to_dict("records")]
    return as_text(pd.DataFrame(lines, columns=list(COLUMNS)))


def all_findings() -> pd.DataFrame:
    """The findings of every study but `quick`, from the published records alone."""
    studies = [s for name, s in read_plan().items() if s.questions and name != "quick"]
    known = recorded("runs")
    tables = [findings(study, known) for study in studies]
    return pd.concat([t.astype(object) for t in tables], ignore_index=True)


def write_claims(table: pd.DataFrame) -> Path:
    """Write `claims.csv` into the results folder."""
    file = results_folder() / "claims.csv"
    write_whole(file, table.to_csv(index=False))
    return file


def read_claims(folder: str | Path | None = None) -> pd.DataFrame:
    """The lines of a results folder, else of the repository's; every cell a text."""
    for file in (results_folder(folder) / "claims.csv", published_file("claims.csv")):
        if file.is_file():
            return pd.read_csv(file, dtype=str, keep_default_na=False)
    return pd.DataFrame(columns=list(COLUMNS), dtype=str)


def as_text(table: pd.DataFrame) -> pd.DataFrame:
    """Cells as they are written: numbers to 4 decimals at most, nothing where there is nothing."""
    return table.map(_cell)


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return ""
    if isinstance(value, str):
        return value
    rounded = round(float(value), 4)
    return str(int(rounded)) if rounded == int(rounded) else str(rounded)
