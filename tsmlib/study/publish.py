"""Copy the small record of a run from `local/` to `runs/`, and say what a run gave. No torch."""

import gzip
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import pandas as pd

from ..configs import is_row
from ..intervals import wilson_interval
from ..paths import display_path, file_name, results_folder, sweep_leftovers
from ..records import SUMS, read_checked, read_record, write_sums
from ..reference import published_beside
from ..results import PREDICTIONS, cannot_write, read_predictions, write_atomic

SMALL = ("metrics.json", "config.json", "history.csv")  # files that are copied as they are
DETECTION = "detection"  # folder of the records of detectors, in `runs` and `local`
DETECTIONS = "detections.csv.gz"
SCORES = "scores.json.gz"
MAX_SCORES = 64_000  # bytes of packed scores up to which they are copied; above, predictions are


def publish(folder: str | Path, max_scores: int = MAX_SCORES) -> Path:
    """Copy the small record of a run into `runs/`; checkpoints and large scores stay behind.

    Raises:
        ResultsError: the folder holds no record, or a damaged one, or `runs/` cannot be written.
    """
    source = Path(folder).resolve()
    small, runs = SMALL, results_folder() / "runs"
    if (source / DETECTIONS).is_file():
        record, small, runs = read_record(source), (*SMALL, DETECTIONS), runs / DETECTION
    else:
        record, _ = read_checked(source)
    target = runs / file_name(record["cfg"]) / source.name
    with suppress(OSError):  # which the next lines meet as well
        (target / SUMS).unlink(missing_ok=True)  # else it would be wrong for a moment
    sweep_leftovers(target)
    for name in small:
        if (source / name).is_file():
            write_atomic(target / name, (source / name).read_bytes())
    if (source / "scores.json").is_file():
        _publish_scores(source, target, max_scores)
    try:
        write_sums(target)
    except OSError as error:
        raise cannot_write(target / SUMS, error) from None
    return target


def _publish_scores(source: Path, target: Path, max_scores: int) -> None:
    """Pack the scores of a run, or, where they are too large, its predictions."""
    packed = gzip.compress((source / "scores.json").read_bytes(), mtime=0)
    if len(packed) <= max_scores:
        write_atomic(target / SCORES, packed)
        (target / PREDICTIONS).unlink(missing_ok=True)  # of a run that was published before
        return
    labels, predicted = read_predictions(source)
    table = pd.DataFrame({"label": labels, "predicted": predicted})
    content = gzip.compress(table.to_csv(index=False).encode(), mtime=0)
    write_atomic(target / PREDICTIONS, content)
    (target / SCORES).unlink(missing_ok=True)


def publish_all(folders: Iterable[str | Path]) -> list[Path]:
    """Publish many runs; the summary and the README are written by `report.readme`."""
    return [publish(folder) for folder in folders]


def describe_run(folder: Path) -> list[str]:
    """Say what a run gave, with an interval, how it compares, and where its record is."""
    record, cfg = read_checked(folder)
    data = {"standin": "generated clips"}.get(record["data"], f"{record['data']} data")
    run = f"{record['kind']} on {data} at {record['scale']} scale, seed {record['seed']}"
    low, high = wilson_interval(record["top1"], record["num_videos"])
    if not is_row(record["cfg"]):
        beside = ""  # of one's own data
    elif published := published_beside(record, cfg):
        beside = f"published: {published['top1']:.2f} %"
    elif (record["data"], record["scale"]) != ("real", "full"):
        beside = f"no published accuracy beside it: this is a {record['scale']} run on {data}"
    else:
        beside = (
            "no published accuracy beside it: the row, its protocol, the precision or the list "
            "differs"
        )
    lines = [
        f"{record['cfg']}: top-1 {record['top1']:.2f} % of {record['num_videos']} videos "
        f"(95 % interval {low:.1f} to {high:.1f}); {run}, protocol {record['protocol']}",
        beside,
        f"record    {display_path(folder)}",
    ]
    return [line for line in lines if line]
