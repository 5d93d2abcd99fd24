"""Write all that follows from the published records: summary, claims, figures, README, docs."""

from pathlib import Path

import pandas as pd

from ..outputs import to_small_png
from ..parity.compare import compare_with_published
from ..paths import HOME, results_folder
from ..results import read_runs, write_atomic
from ..study.plan import get_study
from ..study.records import find_recorded_runs
from .answers import answer_questions, expect_accuracy
from .claims import all_findings, judge_claims, read_definitions
from .costs import core_hours
from .evidence import summarise_evidence
from .figures import draw_figures
from .replications import summarise_census, tabulate_headlines, tabulate_replications
from .tables import arms_and_gates, markdown_table, shift_comparison

SUMMARY = [
    "cfg", "run", "kind", "data", "scale", "seed", "protocol", "top1", "top1_se", "top5",
    "mean_class_accuracy", "num_videos", "device", "commit", "changes",
]  # fmt: skip
FIGURE = "![Gain in accuracy of TSM over TSN in trainings by others on the real data sets]"


def write_report() -> list[Path]:
    """Write summary.csv; in the repository also claims.csv, the figures, README and docs.

    Returns:
        The files that were written.

    Raises:
        ResultsError: a file cannot be written.
    """
    root, readme, page = results_folder(), HOME / "README.md", HOME / "docs" / "claims.md"
    runs = read_runs(root / "runs")
    files = {root / "summary.csv": summarise_runs(runs)}
    if root == HOME / "results" and readme.is_file():
        claims, peers = judge_claims(all_findings(), runs), compare_with_published()
        files[root / "claims.csv"] = claims.to_csv(index=False)
        files[root / "parity.csv"] = peers.to_csv(index=False, float_format="%.3g")
        for name, (figure, shows) in draw_figures(runs).items():
            files[root / "figures" / f"{name}.png"] = to_small_png(figure, dpi=110, shows=shows)
        files[readme] = update_readme(readme.read_text(), claims, runs, peers)
        files[page] = update_claims_page(page.read_text(), claims, runs)
    for file, content in files.items():
        write_atomic(file, content)
    return list(files)


def summarise_runs(runs: pd.DataFrame) -> str:
    """Return the text of `summary.csv`: one row per published record."""
    runs = pd.DataFrame(columns=SUMMARY) if runs.empty else runs
    return runs[SUMMARY].to_csv(index=False)


def update_readme(
    readme: str, claims: pd.DataFrame, runs: pd.DataFrame, peers: pd.DataFrame
) -> str:
    """Return the README's text with its figure and its answers written anew."""
    figure = f"{FIGURE}(results/figures/replications.png)\n\n"
    table = markdown_table(answer_questions(claims, runs, peers))
    return _fill(readme, "answers", f"{figure}{table}\n\n{expect_accuracy(runs)}")


def update_claims_page(page: str, claims: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Return the text of docs/claims.md with its tables written anew."""
    known = find_recorded_runs("runs")
    tables = {
        "replications": tabulate_replications(summarise_census()),
        "headlines": tabulate_headlines(),
        "pushups": arms_and_gates(get_study("pushups"), known),
        "digits": arms_and_gates(get_study("digits"), known),
        "streams": arms_and_gates(get_study("streams"), known),
        "cost": core_hours(runs),
        "claims": summarise_evidence(claims, read_definitions()["claims"]),
        "results": shift_comparison(runs),
    }
    for name, table in tables.items():
        text = markdown_table(table) if len(table) else "No run has been reported yet."
        page = _fill(page, name, text)
    return page


def _fill(page: str, name: str, text: str) -> str:
    """Replace what stands between the two marks of a generated part."""
    begin = f"<!-- {name}: written by `python -m tsmlib report summary` -->\n"
    end = f"<!-- end of {name} -->"
    before, rest = page.split(begin)
    return f"{before}{begin}{text}\n{end}{rest.split(end)[1]}"
