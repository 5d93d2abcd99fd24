"""Write all that follows from the published records: summary, claims, figures, README."""

from pathlib import Path

import pandas as pd

from ..paths import HOME, results_folder
from ..results import read_runs, write_atomic
from .claims import all_findings, judge_claims
from .figures import draw_figures, to_small_png
from .tables import markdown_table, shift_comparison, summarise_claims

SUMMARY = [
    "cfg", "run", "kind", "data", "scale", "seed", "protocol", "top1", "top1_se", "top5",
    "mean_class_accuracy", "num_videos", "device", "commit", "changes",
]  # fmt: skip
FIGURE = "![Accuracy of TSN and TSM, and the gain, over the share of order]"


def write_report() -> list[Path]:
    """Write summary.csv; in the repository also claims.csv, the figures and the README's parts.

    Returns:
        The files that were written.

    Raises:
        ResultsError: a file cannot be written.
    """
    root, readme = results_folder(), HOME / "README.md"
    runs = read_runs(root / "runs")
    files = {root / "summary.csv": summarise_runs(runs)}
    if root == HOME / "results" and readme.is_file():
        claims = judge_claims(all_findings(), runs)
        files[root / "claims.csv"] = claims.to_csv(index=False)
        for name, (figure, shows) in draw_figures(claims).items():
            files[root / "figures" / f"{name}.png"] = to_small_png(figure, dpi=110, shows=shows)
        files[readme] = update_readme(readme.read_text(), claims, runs)
    for file, content in files.items():
        write_atomic(file, content)
    return list(files)


def summarise_runs(runs: pd.DataFrame) -> str:
    """Return the text of `summary.csv`: one row per published record."""
    runs = pd.DataFrame(columns=SUMMARY) if runs.empty else runs
    return runs[SUMMARY].to_csv(index=False)


def update_readme(readme: str, claims: pd.DataFrame, runs: pd.DataFrame) -> str:
    """Return the README's text with its figure and its two tables written anew."""
    figure = f"{FIGURE}(results/figures/temporality.png)\n\n"
    parts = {
        "claims": figure + markdown_table(summarise_claims(claims)),
        "results": markdown_table(shift_comparison(runs)),
    }
    for name, text in parts.items():
        begin = f"<!-- {name}: written by `python -m tsmlib report summary` -->\n"
        end = f"\n<!-- end of {name} -->"
        before, rest = readme.split(begin)
        readme = before + begin + text + end + rest.split(end)[1]
    return readme
