"""Write and read run records: small files that say what was run, and what came out. No torch."""

import datetime
import gzip
import importlib.metadata
import itertools
import json
import logging
import platform
import subprocess
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .configs import Config, changed_fields, to_dict
from .paths import HOME, IN_REPOSITORY, display_path, results_folder, sweep_leftovers, write_whole
from .records import (
    CONFIG,
    RECORD,
    SUMS,
    ResultsError,
    read_checked,
    read_record,  # noqa: F401  for those who look for it here
    write_sums,
)
from .text import csv_cell

log = logging.getLogger(__name__)

PREDICTIONS = "predictions.csv.gz"  # label and predicted label of each video, in the list's order
DECIMALS = 6  # of scores; accuracies are of what is kept, so that they can be recomputed
VERSIONS = ("torch", "torchvision", "lightning-fabric", "torchmetrics", "numpy", "av", "decord2")


# --- writing --------------------------------------------------------------------------------------


def write_atomic(
    path: Path, content: str | bytes | memoryview, previous: Path | None = None
) -> None:
    """Write a file completely or not at all; what was there is then named `previous`, if given.

    Raises:
        ResultsError: the folder is read-only, full, or not there.
    """
    try:
        write_whole(path, content, previous)
    except OSError as error:
        raise cannot_write(path, error) from None


def make_folder(folder: Path) -> None:
    """Make a folder where there is none.

    Raises:
        ResultsError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise cannot_write(folder, error) from None


def write_json(path: Path, content: Any, indent: int | None = 1) -> None:
    """Write a JSON file completely or not at all.

    Raises:
        ResultsError: as of `write_atomic`; or the content holds NaN or infinity, which no JSON has.
    """
    try:
        text = json.dumps(content, indent=indent, allow_nan=False)
    except ValueError as error:
        raise ResultsError(f"{path} is not written, as it would hold NaN: {error}") from None
    write_atomic(path, text + "\n")


def cannot_write(path: Path, error: OSError) -> ResultsError:
    """Return the error for a file that cannot be written; its sentence says what to do."""
    return ResultsError(
        f"{path} cannot be written: {error.strerror or error}; free some space, or choose another "
        "results folder (TSM_RESULTS)"
    )


def write_record(folder: Path, cfg: Config, record: dict[str, Any], history: list[dict]) -> None:
    """Write `config.json`, `history.csv`, `metrics.json` and, last, the checksums.

    The run becomes the newest one.
    """
    with suppress(OSError):  # which the next line meets as well
        (folder / SUMS).unlink()  # a process that dies here leaves none that is wrong
    write_json(folder / CONFIG, to_dict(cfg))
    if history:
        write_atomic(folder / "history.csv", pd.DataFrame(history).to_csv(index=False))
    write_json(folder / RECORD, record)
    try:
        write_sums(folder)
    except OSError as error:
        raise cannot_write(folder / SUMS, error) from None
    mark_latest(folder)


def mark_latest(folder: str | Path) -> None:
    """Make a run the newest one of this machine, which `newest_run` returns."""
    pointer = json.dumps({"run": str(Path(folder).resolve())}) + "\n"
    file = results_folder() / "local" / "last.json"
    try:
        sweep_leftovers(file.parent, of_the_dead=True)  # others may write it now
        write_atomic(file, pointer)
    except ResultsError as error:  # the record itself is written
        log.warning("%s", error)


def newest_run() -> Path:
    """Return the folder of the newest run of this machine.

    Raises:
        ResultsError: there is none yet, or the file that names it is damaged.
    """
    pointer = results_folder() / "local" / "last.json"
    if not pointer.is_file():
        raise ResultsError(f"there is no run yet in {pointer.parent}; make train makes one")
    try:
        return Path(json.loads(pointer.read_text())["run"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{pointer} is damaged ({error}): remove it") from None


def environment() -> dict[str, Any]:
    """Return the commit, the versions and the time, which a record keeps of the code."""
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    return {
        "commit": commit(),
        "versions": {"python": platform.python_version(), **versions},
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def commit() -> str:
    """Return the commit of the checkout, with `-dirty` if its code has changed; else `unknown`."""

    def git(*args: str) -> str:
        done = subprocess.run(["git", *args], cwd=HOME, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    if not IN_REPOSITORY:  # a repository around the current folder would be another one
        return "unknown"
    try:
        changed = git("status", "--porcelain", "--", "tsmlib", "notebooks")
        return git("rev-parse", "--short=12", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def write_scores(path: Path, outcome: dict[str, Any]) -> None:
    """Write path, label and averaged scores of each video; they give all accuracies again."""
    rows = [
        {"path": p, "label": int(label), "scores": [round(float(v), DECIMALS) for v in row]}
        for p, label, row in zip(
            outcome["paths"], outcome["labels"], outcome["scores"], strict=True
        )
    ]
    write_json(path, rows, indent=None)


def write_predictions(table: pd.DataFrame, videos: str | Path, out: Path | None = None) -> Path:
    """Write a table of predictions, and return its file.

    Args:
        table: of `predict`.
        videos: what the predictions are of, which gives a new file its name.
        out: the file, .csv or .json (a list of rows); None: a new csv in results/local/predictions,
            which overwrites nothing.
    """
    if out is None:
        folder, stem = results_folder() / "local" / "predictions", Path(videos).resolve().stem
        numbered = (folder / f"{stem}-{number}.csv" for number in itertools.count(1))
        out = next(file for file in numbered if not file.exists())
    if out.suffix.lower() == ".json":
        text = table.to_json(orient="records", double_precision=6, indent=1, force_ascii=False)
        text = text.replace("\\/", "/")  # pandas escapes slashes
    else:
        cells = table.assign(**{name: table[name].map(csv_cell) for name in ("path", "name")})
        text = cells.to_csv(index=False, float_format="%.6f")
    write_atomic(out, text)
    return out


def write_segments(segments: pd.DataFrame, predictions: str | Path) -> Path:
    """Write the segments of recordings beside the file of their predictions; return the file."""
    file = Path(predictions).with_stem(f"{Path(predictions).stem}-segments")
    return write_predictions(segments, file, file)


# --- reading --------------------------------------------------------------------------------------


def read_scores(path: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Read paths, labels `[N]` and scores `[N, K]` from a file that `write_scores` wrote."""
    content = Path(path).read_bytes()
    rows = json.loads(gzip.decompress(content) if str(path).endswith(".gz") else content)
    labels = np.array([row["label"] for row in rows])
    return [row["path"] for row in rows], labels, np.array([row["scores"] for row in rows])


def read_run_scores(folder: str | Path) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """Read the scores of a run as `read_scores` does; None if the folder has none."""
    for name in ("scores.json", "scores.json.gz"):
        if (Path(folder) / name).is_file():
            return read_scores(Path(folder) / name)
    return None


def read_predictions(folder: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Read labels and predictions `[N]` of a run, in the order of its list; None without any.

    Runs on large lists are published with their predictions, without the scores.
    """
    if (scores := read_run_scores(folder)) is not None:
        return scores[1], scores[2].argmax(1)
    if (Path(folder) / PREDICTIONS).is_file():
        table = pd.read_csv(Path(folder) / PREDICTIONS)
        return table["label"].to_numpy(copy=True), table["predicted"].to_numpy(copy=True)
    return None


def read_hits(folder: str | Path) -> np.ndarray | None:
    """Read whether each video of a run was recognised, bool `[N]`; None without predictions."""
    predictions = read_predictions(folder)
    return None if predictions is None else predictions[0] == predictions[1]


def read_runs(folder: Path) -> pd.DataFrame:
    """Read all records below a folder: one row per run, with `run`, `changes` and `explicit`.

    What is no record, or was changed since it was written, is left out, and a warning names it.
    """
    rows = []
    for file in sorted(folder.glob("*/*/metrics.json")):
        try:
            record, cfg = read_checked(file.parent)
        except ResultsError as error:
            log.warning("%s is left out: %s", display_path(file.parent), error)
            continue
        changes = {"dataset": "custom"} if cfg.dataset == "custom" else changed_fields(cfg)
        extra = {
            "run": str(file.parent.relative_to(folder)),
            "changes": json.dumps(changes),
            "explicit": json.dumps({name: getattr(cfg, name) for name in cfg.explicit}),
        }
        rows.append({**record, **extra})
    table = pd.DataFrame(rows)
    return table.astype({"seed": "Int64"}) if len(table) else table  # converted weights have none


def belong_to_studies(runs: pd.DataFrame) -> pd.Series:
    """Tell which records belong to a study of the plan: their stand-ins have sizes of their own."""
    return runs["explicit"].map(lambda fields: "standin_clips" in json.loads(fields)).astype(bool)
