"""Re-evaluate published weights, and verify records from their scores."""

import gzip
import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..configs import DATASETS, Config, changed_fields, load_config, reversed_labels
from ..data.annotations import DataError
from ..data.prepare.check import check_data
from ..engine.evaluate import evaluate
from ..engine.test_loop import accuracies
from ..models.downloads import hash_in_name
from ..paths import data_folder, display_path, file_sha256, results_folder
from ..records import RECORD, ResultsError, read_record
from ..reference import candidate_protocols, comparable, published_accuracy, published_address
from ..results import PREDICTIONS, read_predictions, read_scores, write_record
from .moving_digits import DIGITS, measure_digit_and_direction
from .verdicts import COVERAGE, TOLERANCE

RECOMPUTED = ("top1", "top1_se", "top5", "mean_class_accuracy", "within_pair", "num_videos",
              "appearance", "order")  # fmt: skip

log = logging.getLogger(__name__)


class NoScores(ResultsError):
    """A record without scores or predictions from which it could be recomputed."""


def reproduce(
    cfg: Config, checkpoint: str = "published", data_root: str | Path | None = None, **options
) -> list[dict[str, Any]]:
    """Evaluate published (or other) weights under each protocol with a published number.

    The validation data are checked first.

    Returns:
        One record per protocol, with a `verdict`: `re-evaluated` (published weights, the row's
        protocol on at least 99 % of the list, within 0.3 points) or the reason why not. It follows
        from `published_videos` and `published_weights` (by the hash in their name).

    Raises:
        DataError: the data are not ready.
        CheckpointError, DownloadError: weights that cannot be had or do not fit.
    """
    root = Path(data_root or cfg.data_root or data_folder())
    listed = _published_videos(cfg, _check_validation(cfg, root, options.get("workers")))
    two = "top1" in published_accuracy(cfg.name, "efficient")
    protocols = ("efficient", "published") if two else candidate_protocols(cfg)
    records = []
    for protocol in protocols:
        record = evaluate(
            cfg, checkpoint, protocol, data="real", scale="full", data_root=root, **options
        )
        record["published_videos"] = listed
        record["published_weights"] = _are_published(record, cfg)
        folder = Path(record["run_dir"])
        resolved = load_config(folder / "config.json")
        record["verdict"] = judge_record(record, resolved, listed, record["published_weights"])
        content = {name: value for name, value in record.items() if name != "run_dir"}
        write_record(folder, resolved, content, [])
        records.append(record)
    return records


def _check_validation(cfg: Config, root: Path, workers: int | None) -> pd.DataFrame:
    """Return the summary of `check_data`; 1 % of the validation videos may be unreadable."""
    report = check_data(cfg, root, workers=workers, splits=("val",))
    summary = report.summary.set_index("split").loc["val"]
    problems = report.problems[report.problems["split"] == "val"]
    lines = [f"{p.path} {p.problem}".strip() for p in problems.itertuples()]
    what = f"{len(lines)} problems, the first: {lines[0]}" if lines else "no problems"
    what += f"; see: make check cfg={cfg.name}"
    readable = summary["present"] - summary["damaged"]
    if not readable or readable < COVERAGE * summary["listed"]:
        raise DataError(
            f"the validation data of {cfg.name} in {root} are not ready: {readable} of "
            f"{summary['listed']} listed videos can be read; {what}"
        )
    if lines:
        log.warning("%s: %s", root, what)
    return report.summary


def _are_published(record: dict[str, Any], cfg: Config) -> bool:
    """Tell whether a record's weights are the row's published ones, wherever they came from."""
    start = hash_in_name(published_address(cfg.name, "ckpt_url") or "")
    return bool(start) and record["checkpoint_sha256"].startswith(start)


def _published_videos(cfg: Config, summary: pd.DataFrame) -> int | None:
    """Return the size of the validation list of the published numbers; None: not known."""
    annotated = summary.set_index("split").loc["val", "annotated"]
    if cfg.dataset == "k400":
        return DATASETS["k400"].validation_videos
    return None if pd.isna(annotated) else int(annotated)


def judge_record(
    record: dict[str, Any], cfg: Config, listed: int | None, published_weights: bool
) -> str:
    """Judge a record beside the published number of its row and protocol.

    Args:
        record: of an evaluation.
        cfg: the row.
        listed: videos of the published validation split; None: not known.
        published_weights: whether the weights are the row's published ones.
    """
    protocol = record["protocol"]
    beside = published_accuracy(cfg.name, "published" if protocol == "validation" else protocol)
    some_unread = {**record, "num_listed": record["num_videos"]}  # up to 1 %: see below
    if not beside or not comparable(some_unread, changed_fields(cfg)):
        return "not comparable: it needs the row as it is, its data set, full scale and fp32"
    if listed is None:
        return "not comparable: without the official annotations the list may be incomplete"
    if record["num_videos"] < COVERAGE * max(listed, record["num_listed"]):
        return f"not comparable: {record['num_videos']} of the {listed} published videos"
    difference = record["top1"] - beside["top1"]
    if abs(difference) > TOLERANCE:
        return f"differs: {difference:+.2f} points from the published {beside['top1']:.2f}"
    return "re-evaluated" if published_weights else "agrees, with other weights"


# --- verification ---------------------------------------------------------------------------------


def verify(folder: str | Path) -> list[str]:
    """Compare a run's record with its scores, configuration and weights.

    Returns:
        A sentence on each disagreement.

    Raises:
        ResultsError: no record, or no scores beside it.
    """
    folder = Path(folder)
    record, scores = read_record(folder), _scores_file(folder)
    try:
        cfg = load_config(folder / "config.json")
        found = _recomputed(record, cfg, scores)
    except (OSError, ValueError, KeyError, TypeError, IndexError, EOFError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ResultsError(f"{display_path(folder)} is damaged ({reason})") from None
    wrong = [
        f"{name} is {record[name]}, its scores say {found[name]:.4f}"
        for name in RECOMPUTED
        if name in record and name in found and not _equal(record[name], found[name])
    ]
    if cfg.hash != record.get("config_hash"):
        wrong.append(f"config.json has hash {cfg.hash}, the record {record.get('config_hash')}")
    wrong += _check_hashes(folder, record, scores)
    if "verdict" in record:
        listed, published = record.get("published_videos"), _are_published(record, cfg)
        if (says := judge_record(record, cfg, listed, published)) != record["verdict"]:
            wrong.append(f"verdict is {record['verdict']!r}, recomputed it is {says!r}")
    return wrong


def _recomputed(record: dict[str, Any], cfg: Config, scores: Path) -> dict[str, float]:
    """Recompute accuracies from scores; predictions alone give no `top5` and `within_pair`."""
    of_digits = cfg.name == DIGITS
    standin = record["data"] == "standin" and not of_digits
    pairs = reversed_labels(cfg.dataset) if standin else None
    if scores.name != PREDICTIONS:
        paths, labels, values = read_scores(scores)
        found = accuracies(values, labels, pairs) | {"num_videos": len(set(paths))}
        return found | (measure_digit_and_direction(values, labels) if of_digits else {})
    labels, predicted = read_predictions(scores.parent)
    answers = np.eye(cfg.num_classes)[predicted]
    found = accuracies(answers, labels, pairs)
    found |= measure_digit_and_direction(answers, labels) if of_digits else {}
    return {name: value for name, value in found.items() if name not in ("top5", "within_pair")}


def _equal(recorded: Any, found: float) -> bool:
    """Tell whether a recorded number (rounded to 4 places) is the one that the scores give."""
    return isinstance(recorded, int | float) and abs(recorded - found) <= 1e-3


def _scores_file(folder: Path) -> Path:
    for name in ("scores.json", "scores.json.gz", PREDICTIONS):
        if (folder / name).is_file():
            return folder / name
    raise NoScores(f"{display_path(folder)} has no scores to verify its record with")


def _check_hashes(folder: Path, record: dict[str, Any], scores: Path) -> list[str]:
    """Find scores and weights whose hashes are not those of the record."""
    wrong = []
    content = scores.read_bytes()
    content = gzip.decompress(content) if scores.suffix == ".gz" else content
    digest = hashlib.sha256(content).hexdigest()
    known = scores.name != PREDICTIONS and "scores_sha256" in record  # of evaluations
    if known and record["scores_sha256"] != digest:
        wrong.append(f"{scores.name} is not what the evaluation wrote: its SHA-256 differs")
    weights = folder / (record.get("checkpoint") or "none")
    if weights.is_file() and file_sha256(weights) != record.get("checkpoint_sha256"):
        wrong.append(f"{weights.name} is not the file that was evaluated: its SHA-256 differs")
    return wrong


def verify_all(folders: Sequence[str | Path] | None = None) -> tuple[list[str], int]:
    """Verify many runs.

    Args:
        folders: of runs; None: all of recognition, published and local, which may have no scores.

    Returns:
        Lines to print, and the number of runs that do not agree with their scores. Runs that are
        named and have no scores count, too.

    Raises:
        ResultsError: a named folder holds no record.
    """
    root = results_folder()
    names = [Path(f) for f in folders] if folders else [
        file.parent for part in ("runs", "local") for file in root.glob(f"{part}/*/*/metrics.json")
    ]  # fmt: skip
    for folder in names:
        if not (folder / RECORD).is_file():
            raise ResultsError(f"{folder} holds no record ({RECORD})")
    wrong, unscored = {}, []
    for folder in sorted(names):
        try:
            wrong[folder] = verify(folder)
        except NoScores as error:
            unscored.append(str(error))
        except ResultsError as error:
            wrong[folder] = [str(error)]
    count = sum(map(bool, wrong.values()))
    lines = [f"{display_path(folder)}: {text}" for folder, texts in wrong.items() for text in texts]
    records = "1 record" if len(wrong) == 1 else f"{len(wrong)} records"
    result = f"{records} recomputed from scores, {count} wrong"
    lines += [*unscored, result + f"; {len(unscored)} have no scores" * bool(unscored)]
    return lines, count + (len(unscored) if folders else 0)  # named runs have to be verified
