"""From records to what readers see: the published records, their summary, the README's table.

`python -m tsmlib report last` prints the newest record; `publish FOLDER` copies a record from
 results/local/ to results/runs/; `summary` writes all that follows from the published records:
results/summary.csv, results/claims.csv, results/figures/, and the generated parts of the README.
"""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ..configs import load_config
from ..paths import HOME, display_path, results_folder
from ..results import (
    PREDICTIONS,
    ResultsError,
    of_studies,
    published_beside,
    read_predictions,
    read_record,
    read_runs,
    run_label,
    write_atomic,
)  # fmt: skip

SMALL = ("metrics.json", "config.json", "history.csv")  # what is published of a run
SMALL_SCORES = 64_000  # bytes of packed scores that are published too; else predictions alone
BEGIN = "<!-- results: written by `python -m tsmlib.report.publish summary` -->"
END = "<!-- end of results -->"


def publish(folder: str | Path) -> Path:
    """Copy the small record of a run into `runs/`; checkpoints and large scores stay behind."""
    return publish_all([folder])[0]


def publish_all(folders: Iterable[str | Path]) -> list[Path]:
    """As `publish`, for many runs."""
    targets = [_copied(Path(folder).resolve()) for folder in folders]
    summarize()
    return targets


def _copied(source: Path) -> Path:
    root = results_folder()
    record = read_record(source)
    target = root / "runs" / record["cfg"] / source.name
    for name in SMALL:
        if (source / name).is_file():
            write_atomic(target / name, (source / name).read_bytes())
    if (source / "scores.json").is_file():
        packed = gzip.compress((source / "scores.json").read_bytes(), mtime=0)
        if len(packed) <= SMALL_SCORES:
            write_atomic(target / "scores.json.gz", packed)
        else:
            labels, predicted = read_predictions(source)
            table = pd.DataFrame({"label": labels, "predicted": predicted})
            content = gzip.compress(table.to_csv(index=False).encode(), mtime=0)
            write_atomic(target / PREDICTIONS, content)
    return target


def summarize() -> Path:
    """Write `summary.csv`, one line a published record."""
    root = results_folder()
    columns = [
        "cfg", "run", "kind", "data", "scale", "seed", "protocol", "top1", "top1_se", "top5",
        "mean_class_accuracy", "num_videos", "device", "commit", "changes",
    ]  # fmt: skip
    runs = read_runs(root / "runs")
    if runs.empty:
        runs = pd.DataFrame(columns=columns)
    write_atomic(root / "summary.csv", runs[columns].to_csv(index=False))
    readme = HOME / "README.md"
    if root == HOME / "results" and readme.is_file():
        write_atomic(readme, with_results(readme.read_text(), runs))
    return root / "summary.csv"


def with_results(readme: str, runs: pd.DataFrame) -> str:
    """The README's text with its table of published stand-in runs written anew."""
    before, rest = readme.split(BEGIN)
    lines = [
        "| run | seeds | top-1 (%), each seed | top-1 within pairs (%) | videos | device |",
        "|---|---|---|---|---|---|",
    ]
    for label, group in _standin_groups(runs):
        seeds, top1, pairs = (
            ", ".join(f"{v:{form}}" for v in group[column])
            for column, form in (("seed", "d"), ("top1", ".1f"), ("within_pair", ".1f"))
        )
        videos, device = group.num_videos.iloc[0], group.device.iloc[0]
        lines.append(f"| {label} | {seeds} | {top1} | {pairs} | {videos} | {device} |")
    return f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}" + rest.split(END)[1]


def _standin_groups(runs: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    """Training runs of rows that were also trained without shift, by what was run."""
    if runs.empty:
        return []
    without = runs["explicit"].map(lambda fields: json.loads(fields).get("is_shift") is False)
    kept = (runs["data"] == "standin") & (runs["kind"] == "training") & ~of_studies(runs)
    chosen = runs[kept & runs["cfg"].isin(runs[without]["cfg"])].copy()
    chosen["label"] = [run_label(run) for run in chosen.to_dict("records")]
    return list(chosen.sort_values(["label", "seed"]).groupby("label"))


def describe(folder: Path, notebook: str | None = None) -> list[str]:
    """A few lines that say what came out of the run in a folder and what to do next."""
    record, cfg = read_record(folder), load_config(folder / "config.json")
    what = f"{record['cfg']}: {record['kind']} on {record['data']} data at {record['scale']} scale"
    error = f"{record['top1']:.2f} % (standard error {record['top1_se']:.2f}) of"
    lines = [
        f"{what}, seed {record['seed']}",
        f"  top-1    {error} {record['num_videos']} videos, protocol {record['protocol']}",
    ]
    published = published_beside(record, cfg)
    if published:
        lines.append(f"  beside   {published['top1']:.2f} % published")
    else:
        lines.append("  beside   nothing: not comparable with the published tables, which are of")
        lines.append("           the rows as they are, on the real data at full scale")
    lines.append(f"  record   {display_path(folder)}")
    if notebook:
        lines.append(f"  notebook {display_path(notebook)}")
    name = "YAML-FILE" if cfg.dataset == "custom" else record["cfg"]
    after = f"make evaluate cfg={name}" if record["kind"] == "training" else "make compare"
    lines.append(f"  next     {after}; or look at the notebook: make lab")
    return lines


def newest_run() -> Path:
    """Return the folder of the newest run.

    Raises:
        ResultsError: there is none.
    """
    pointer = results_folder() / "local" / "last.json"
    if not pointer.is_file():
        raise ResultsError(f"there is no run yet in {pointer.parent}; make train makes one")
    return Path(json.loads(pointer.read_text())["run"])


def write_all() -> list[Path]:
    """Write everything that follows from the published records, and return the files.

    Of another results folder than the repository's it is the summary alone.
    """
    files = [summarize()]
    if results_folder() == HOME / "results":
        from .readme import write_front  # needs torch, which the newest record does not

        files += write_front()
    return files
