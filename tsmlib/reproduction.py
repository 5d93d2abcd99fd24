"""Re-evaluate published weights, and verify records from their scores.

`python -m tsmlib.reproduction run ROW [--checkpoint published]` evaluates weights under every
protocol that the tables have a number for and says how far each is from it;
`verify [FOLDER ...]` recomputes the accuracies of records.
"""

import argparse
import logging
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from .configs import Config, candidate_protocols, changed_fields, get_config, load_config
from .data.annotations import DataError
from .data.check import check_data
from .downloads import file_sha256
from .evaluation import evaluate
from .paths import data_folder, results_folder, shown
from .results import (
    ResultsError,
    comparable,
    published_accuracy,
    read_record,
    read_scores,
    write_record,
)  # fmt: skip
from .scoring import accuracies

COVERAGE = 0.99  # share of the published list that must be evaluated
TOLERANCE = 0.3  # points of top-1 between a published number and ours from the same weights
K400_VIDEOS = 19_796  # of the published validation list (the published page's note 6)
RECOMPUTED = ("top1", "top5", "mean_class_accuracy", "within_pair", "num_videos")


def reproduce(
    cfg: Config, checkpoint: str = "published", data_root: str | Path | None = None, **options
) -> list[dict[str, Any]]:
    """Records of published (or other) weights under each protocol with a published number.

    The data are checked first. Each record gets `verdict`: `re-evaluated` (published weights, the
    row's protocol on at least 99 % of the list, within 0.3 points), or why not.

    Raises:
        DataError: the data are not ready.
        CheckpointError, DownloadError: weights that cannot be had or do not fit.
    """
    root = Path(data_root or cfg.data_root or data_folder())
    report = check_data(cfg, root, workers=options.get("workers"))
    if not report.ready:
        first = report.problems["problem"].iloc[0] if len(report.problems) else "no videos"
        raise DataError(
            f"the data of {cfg.name} in {root} are not ready ({len(report.problems)} problems, the "
            f"first: {first}); see: make check cfg={cfg.name}"
        )
    listed = _published_videos(cfg, report.summary)
    protocols = dict.fromkeys(("efficient", "published")) if _two(cfg) else candidate_protocols(cfg)
    records = []
    for protocol in protocols:
        record = evaluate(
            cfg, checkpoint, protocol, data="real", scale="full", data_root=root, **options
        )
        record["verdict"] = verdict(record, cfg, listed, checkpoint == "published")
        folder = Path(record["run_dir"])
        kept = {name: value for name, value in record.items() if name != "run_dir"}
        write_record(folder, load_config(folder / "config.json"), kept, [])
        records.append(record)
    return records


def _two(cfg: Config) -> bool:
    return "top1" in published_accuracy(cfg.name, "efficient")


def _published_videos(cfg: Config, summary: pd.DataFrame) -> int | None:
    """Videos of the validation split that the published numbers are of, if that can be known."""
    annotated = summary.set_index("split").loc["val", "annotated"]
    if cfg.dataset == "k400":
        return K400_VIDEOS
    return None if pd.isna(annotated) else int(annotated)


def verdict(
    record: dict[str, Any], cfg: Config, listed: int | None, published_weights: bool
) -> str:
    """What a record says of the published number beside it.

    Args:
        record: of an evaluation.
        cfg: the row.
        listed: videos of the published validation split; None: not known.
        published_weights: whether the weights are the row's published ones.
    """
    protocol = record["protocol"]
    beside = published_accuracy(cfg.name, "published" if protocol == "validation" else protocol)
    if not beside or not comparable(record, changed_fields(cfg)):
        return (
            "not comparable: it needs the row as it is, its data set, full scale, fp32 and every "
            "listed video"
        )
    if listed is None:
        return "not comparable: without the official annotations the list may be incomplete"
    if record["num_videos"] < COVERAGE * listed:
        return f"not comparable: {record['num_videos']} of the {listed} published videos"
    difference = record["top1"] - beside["top1"]
    if abs(difference) > TOLERANCE:
        return f"differs: {difference:+.2f} points from the published {beside['top1']:.2f}"
    return "re-evaluated" if published_weights else "agrees, with other weights"


# --- verification ---------------------------------------------------------------------------------


def verify(folder: str | Path) -> list[str]:
    """What in a run's folder disagrees with its scores, configuration or weights; empty if nothing.

    Raises:
        ResultsError: no record, or no scores beside it.
    """
    folder = Path(folder)
    record, cfg = read_record(folder), load_config(folder / "config.json")
    scores = next(
        (f for f in (folder / "scores.json", folder / "scores.json.gz") if f.is_file()), None
    )
    if scores is None:
        raise ResultsError(f"{shown(folder)} has no scores to verify its record with")
    paths, labels, values = read_scores(scores)
    found = accuracies(values, labels, record["data"], cfg) | {"num_videos": len(set(paths))}
    wrong = [
        f"{name} is {record[name]}, its scores say {found[name]:.4f}"
        for name in RECOMPUTED
        if name in record and abs(record[name] - found[name]) > 1e-3
    ]
    if cfg.hash != record["config_hash"]:
        wrong.append(f"config.json has hash {cfg.hash}, the record {record['config_hash']}")
    weights = folder / record.get("checkpoint", "none")
    if weights.is_file() and file_sha256(weights) != record["checkpoint_sha256"]:
        wrong.append(f"{weights.name} is not the file that was evaluated: its hash is another")
    return wrong


def verify_all(folders: list[str | Path] | None = None) -> int:
    """Print a line for each run that has scores; the number of runs that disagree with them."""
    root = results_folder()
    names = [Path(f) for f in folders] if folders else [
        file.parent for part in ("runs", "local") for file in root.glob(f"{part}/*/*/metrics.json")
    ]  # fmt: skip
    wrong = verified = 0
    for folder in sorted(names):
        try:
            differences = verify(folder)
        except ResultsError as error:
            if folders:
                raise
            logging.getLogger(__name__).info("%s", error)
            continue
        verified += 1
        wrong += bool(differences)
        for difference in differences:
            print(f"{shown(folder)}: {difference}")
    print(f"{verified} records recomputed from their scores, {wrong} of them wrong")
    return wrong


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tsmlib.reproduction", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="evaluate weights and compare with the tables")
    run.add_argument("row")
    run.add_argument("--checkpoint", default="published", help="published, or a file")
    run.add_argument("--data-root")
    commands.add_parser("verify", help="recompute records").add_argument("folders", nargs="*")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        if options.command == "verify":
            return 1 if verify_all(options.folders) else 0
        for record in reproduce(get_config(options.row), options.checkpoint, options.data_root):
            what = f"{record['top1']:.2f} % of {record['num_videos']} videos"
            print(f"{record['cfg']}, {record['protocol']}: {what}; {record['verdict']}")
            print(f"  record {shown(record['run_dir'])}")
        return 0
    except (RuntimeError, ValueError) as error:  # all errors of this package are one sentence
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
