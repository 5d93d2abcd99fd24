"""Run records: small files that say what was run, on what, and what came out. Needs no torch."""

import datetime
import gzip
import importlib.metadata
import json
import logging
import platform
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from .configs import Config, changed_fields, get_config, list_configs, load_config, to_dict
from .metrics import wilson_interval
from .paths import HOME, IN_REPOSITORY, display_path, reference_file, results_folder, write_whole

log = logging.getLogger(__name__)

PREDICTIONS = "predictions.csv.gz"  # label and predicted label of each video, in the list's order
DECIMALS = 6  # of scores; accuracies are of what is kept, so that they can be recomputed
VERSIONS = ("torch", "torchvision", "lightning-fabric", "torchmetrics", "numpy", "av", "decord2")


class ResultsError(RuntimeError):
    """A record that cannot be read or written; the message names the file."""


# --- writing --------------------------------------------------------------------------------------


def write_atomic(path: Path, content: str | bytes | memoryview) -> None:
    """Write a file completely or not at all.

    Raises:
        ResultsError: the folder is read-only, full, or not there.
    """
    try:
        write_whole(path, content)
    except OSError as error:
        raise cannot_write(path, error) from None


def cannot_write(path: Path, error: OSError) -> ResultsError:
    """The sentence for a file that cannot be written."""
    return ResultsError(
        f"{path} cannot be written: {error.strerror or error}; free some space, or choose another "
        "results folder (TSM_RESULTS)"
    )


def write_record(folder: Path, cfg: Config, record: dict[str, Any], history: list[dict]) -> None:
    """`config.json`, `history.csv` and, last, `metrics.json` of a run; it becomes the newest."""
    write_atomic(folder / "config.json", json.dumps(to_dict(cfg), indent=1) + "\n")
    if history:
        write_atomic(folder / "history.csv", pd.DataFrame(history).to_csv(index=False))
    write_atomic(folder / "metrics.json", json.dumps(record, indent=1) + "\n")
    mark_latest(folder)


def mark_latest(folder: str | Path) -> None:
    """Make a run the newest one, which `last` prints."""
    pointer = json.dumps({"run": str(Path(folder).resolve())}) + "\n"
    try:
        write_atomic(results_folder() / "local" / "last.json", pointer)
    except ResultsError as error:  # the record itself is written
        log.warning("%s", error)


def environment() -> dict[str, Any]:
    """Commit, versions and time: what a record says of the code that made it."""
    versions = {name: importlib.metadata.version(name) for name in VERSIONS}
    return {
        "commit": commit(),
        "versions": {"python": platform.python_version(), **versions},
        "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    }


def commit() -> str:
    """The commit of the checkout, with `-dirty` if its code was changed since; else `unknown`."""

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
    """Per video path, label and averaged scores: all accuracies can be recomputed from it."""
    rows = [
        {"path": p, "label": int(label), "scores": [round(float(v), DECIMALS) for v in row]}
        for p, label, row in zip(
            outcome["paths"], outcome["labels"], outcome["scores"], strict=True
        )
    ]
    write_atomic(path, json.dumps(rows) + "\n")


# --- reading --------------------------------------------------------------------------------------


def read_scores(path: str | Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Paths, labels `[N]` and scores `[N, K]` of a file that `write_scores` wrote."""
    content = Path(path).read_bytes()
    rows = json.loads(gzip.decompress(content) if str(path).endswith(".gz") else content)
    labels = np.array([row["label"] for row in rows])
    return [row["path"] for row in rows], labels, np.array([row["scores"] for row in rows])


def scores_of(folder: str | Path) -> tuple[list[str], np.ndarray, np.ndarray] | None:
    """As `read_scores`, of a run; None if they are not kept."""
    for name in ("scores.json", "scores.json.gz"):
        if (Path(folder) / name).is_file():
            return read_scores(Path(folder) / name)
    return None


def read_predictions(folder: str | Path) -> tuple[np.ndarray, np.ndarray] | None:
    """Labels and predictions `[N]` of a run, in the order of its list; None if they are not kept.

    They follow from the scores, which are published of small lists alone.
    """
    if found := scores_of(folder):
        return found[1], found[2].argmax(1)
    if (Path(folder) / PREDICTIONS).is_file():
        table = pd.read_csv(Path(folder) / PREDICTIONS)
        return table["label"].to_numpy(copy=True), table["predicted"].to_numpy(copy=True)
    return None


def read_hits(folder: str | Path) -> np.ndarray | None:
    """Whether each video of a run's list was recognised, bool `[N]`; None if it is not kept."""
    found = read_predictions(folder)
    return None if found is None else found[0] == found[1]


def read_record(folder: str | Path) -> dict[str, Any]:
    """The `metrics.json` of a run's folder."""
    file = Path(folder) / "metrics.json"
    try:
        return json.loads(file.read_text())
    except FileNotFoundError:
        raise ResultsError(f"{folder} holds no record (metrics.json)") from None
    except ValueError as error:
        raise ResultsError(f"{file} is damaged: {error}") from None


def read_runs(folder: Path) -> pd.DataFrame:
    """All records below a folder, one a row, with the columns `run` and `changes`."""
    rows = []
    for file in sorted(folder.glob("*/*/metrics.json")):
        try:
            cfg, record = load_config(file.parent / "config.json"), read_record(file.parent)
        except (OSError, ValueError, ResultsError) as error:
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


def of_studies(runs: pd.DataFrame) -> pd.Series:
    """Which records belong to a study (plan.yaml): their stand-ins have a size of their own."""
    return runs["explicit"].map(lambda fields: "standin_clips" in json.loads(fields)).astype(bool)


def read_reference() -> pd.DataFrame:
    """The 36 published rows (numbers of MMAction2's TSM page), with the short name as `cfg`."""
    table = pd.read_csv(reference_file())
    by_id = {get_config(name).row_id: name for name in list_configs()}
    table.insert(0, "cfg", table["row_id"].map(by_id))
    return table


def read_log(file: str | Path) -> pd.DataFrame:
    """Published training log (mmcv's JSON lines): `epoch`, mean training `loss`, `top1` (%).

    Raises:
        ResultsError: the file holds no such lines.
    """
    try:
        lines = [json.loads(line) for line in Path(file).read_text().splitlines() if line.strip()]
        table = pd.DataFrame([line for line in lines if "mode" in line and "epoch" in line])
        train, val = (table[table["mode"] == mode] for mode in ("train", "val"))
        curve = train.groupby("epoch")["loss"].mean().to_frame()
        curve["top1"] = 100 * val.groupby("epoch")["top1_acc"].last()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{file} is no training log of MMAction2: {error}") from None
    return curve.reset_index()


def published_accuracy(cfg: str, protocol: str) -> dict[str, float]:
    """Published top1 and top5 of a row under a protocol, in percent; those that exist.

    The tables' first columns are the `efficient` protocol on Something-Something and Jester, whose
    own test pipeline is the `accurate` one; elsewhere there is one protocol (the page's note 4).
    """
    table = read_reference().set_index("cfg")
    if cfg not in table.index:
        return {}
    row = table.loc[cfg]
    if pd.notna(row["top1_accurate"]):
        suffix = {"efficient": "", "published": "_accurate", "accurate": "_accurate"}.get(protocol)
    else:
        suffix = "" if protocol == "published" else None
    if suffix is None:
        return {}
    found = {k: row[f"{k}{suffix}"] for k in ("top1", "top5")}
    return {k: float(v) for k, v in found.items() if pd.notna(v)}


def comparable(record: dict[str, Any], changes: dict[str, Any]) -> bool:
    """Whether a record may stand beside a published accuracy.

    Real data at full scale in fp32, the row unchanged, every listed validation video evaluated.
    """
    whole = record["num_videos"] == record["num_listed"]
    plain = (record["data"], record["scale"], record.get("precision", "32-true"))
    return plain == ("real", "full", "32-true") and not changes and whole


def published_beside(record: dict[str, Any], cfg: Config) -> dict[str, float]:
    """Published accuracies that a record may stand beside: none where it is not comparable."""
    if not comparable(record, changed_fields(cfg)):
        return {}
    return published_accuracy(record["cfg"], record["protocol"])


def beside_published(runs: pd.DataFrame) -> pd.DataFrame:
    """The published rows, with our accuracy where a comparable run exists and empty elsewhere."""
    table = read_reference()
    keep = ["cfg", "config", "resolution", "backbone", "frames", "top1", "top1_accurate"]
    table = table[keep].copy()
    for column in ("ours_top1", "ours_top1_accurate"):
        table[column] = np.nan
    for run in runs.to_dict("records"):
        target = published_accuracy(run["cfg"], run["protocol"])
        if target and comparable(run, json.loads(run["changes"])):
            row = table.index[table["cfg"] == run["cfg"]][0]
            accurate = target["top1"] == table.loc[row, "top1_accurate"]
            table.loc[row, "ours_top1_accurate" if accurate else "ours_top1"] = run["top1"]
    return table


def accuracy_table(records: dict[str, dict[str, Any]], published: dict[str, float]) -> pd.DataFrame:
    """Accuracies of records by their names; `published` stands beside the first, where it may."""
    columns = ["top1", "top5", "mean_class_accuracy", "within_pair", "num_videos", "protocol"]
    table = pd.DataFrame(records).T
    ends = [wilson_interval(r["top1"], r["num_videos"]) for r in records.values()]
    table["95 % interval"] = [f"{low:.1f} to {high:.1f}" for low, high in ends]
    table["published top1"] = "not comparable"
    if published:
        table.loc[table.index[0], "published top1"] = published["top1"]
    columns.insert(1, "95 % interval")
    return table[[c for c in [*columns, "published top1"] if c in table]]


def run_label(run: dict[str, Any]) -> str:
    """`sthv1, is_shift=False, efficient`: what distinguishes a run besides its seed."""
    known = run["cfg"] in list_configs()
    changes = [f"{k}={v}" for k, v in json.loads(run["explicit"]).items()] if known else []
    scale = [f"{run['scale']} scale"] if run["scale"] != "mini" else []
    return ", ".join([run["cfg"], *changes, run["protocol"], *scale])
