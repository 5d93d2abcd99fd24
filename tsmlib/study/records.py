"""Find the records of the runs that the plan asks for. Trains nothing."""

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..configs import Config, mini, standin_config, validation_protocol
from ..paths import display_path, results_folder
from ..records import ResultsError, read_record
from ..results import read_hits, read_run_scores, read_runs
from .annotated_videos import TASKS, custom_config
from .moving_digits import digits_config
from .plan import Arm, Folds, Study
from .publish import DETECTION
from .stored_frames import stored_recording

log = logging.getLogger(__name__)


class RunKey(NamedTuple):
    """What identifies a run of a study: its final configuration, seed and test protocol."""

    config_hash: str
    seed: int
    protocol: str
    videos: str = ""  # hash of real videos


Records = dict[RunKey, dict[str, Any]]


def identify_run(study: Study, arm: Arm, seed: int) -> RunKey:
    """Identify the run of an arm with a seed, without generating or reading any clips."""
    if arm.folds:
        cfg = pooled_config(arm.cfg, arm.folds)
        return RunKey(cfg.hash, seed, validation_protocol(cfg), study.videos.id)
    if arm.digits:
        cfg = digits_config(arm.cfg, arm.digits)
        return RunKey(cfg.hash, seed, validation_protocol(cfg))
    if arm.detects:
        from ..detection.data import standin_recipe  # which imports torch
        from ..detection.evaluate_detector import IN_ORDER

        return RunKey(standin_recipe(arm.cfg).hash, seed, arm.protocol or IN_ORDER)
    cfg = resolved_config(arm.cfg)
    if arm.test_of:  # the configuration of the weights, with the changes of the test
        changes = {name: getattr(cfg, name) for name in arm.cfg.explicit}
        cfg = resolved_config(study.arms[arm.test_of].cfg)
        cfg = type(cfg)(**{**vars(cfg), **changes})
    return RunKey(cfg.hash, seed, arm.protocol or validation_protocol(cfg))


def identify_runs(study: Study, arm: str, seeds: Iterable[int]) -> list[RunKey]:
    """Identify the runs of an arm, by name, with several seeds, in their order."""
    run = identify_run(study, study.arms[arm], 0)  # the configuration is the same for all seeds
    return [run._replace(seed=seed) for seed in seeds]


def pooled_config(cfg: Config, folds: Folds) -> Config:
    """Return the configuration of all folds together: without paths and the lists of a fold."""
    lists = "the split of its lists" if TASKS[folds.task].split else "one recording left out"
    if folds.tuning:
        lists = "groups of the training list"
    names = cfg.class_names or tuple(map(str, range(cfg.num_classes)))
    return custom_config(mini(cfg), folds.task, names, folds.resolution, None,
                         {"train_list": lists, "val_list": lists})  # fmt: skip


def resolved_config(cfg: Config) -> Config:
    """Return a configuration as it runs on a stand-in at mini scale."""
    return mini(standin_config(cfg))


def find_recorded_runs(*folders: str) -> Records:
    """Find records of runs on stand-ins, or over folds of real videos, each with its `run_dir`.

    Args:
        folders: `runs` (published), `local`; default: both, and a local record wins.
    """
    records: Records = {}
    for folder in folders or ("runs", "local"):
        root = results_folder() / folder
        records |= _find_detectors(root / DETECTION)
        table = read_runs(root)
        if table.empty:
            continue
        over_folds = table["kind"] == "cross-validation"
        for record in table[(table["data"] == "standin") | over_folds].to_dict("records"):
            videos = record["data_id"] if record["data"] == "real" else ""
            key = RunKey(record["config_hash"], record["seed"], record["protocol"], videos)
            records[key] = {**record, "run_dir": str(root / record["run"])}
    return records


def _find_detectors(root: Path) -> Records:
    """Find the records of detectors on the stand-in, in `root/RECIPE/RUN`."""
    records: Records = {}
    for file in sorted(root.glob("*/*/metrics.json")):
        try:
            record = read_record(file.parent)
        except ResultsError as error:
            log.warning("%s is left out: %s", display_path(file.parent), error)
            continue
        if record["data"] == "standin":
            key = RunKey(record["config_hash"], record["seed"], record["protocol"])
            records[key] = {**record, "run_dir": str(file.parent)}
    return records


def tabulate_accuracies(
    study: Study, measure: str = "top1", known: Records | None = None
) -> pd.DataFrame:
    """Tabulate an accuracy (%) of the recorded runs: one row per seed, one column per arm.

    Args:
        study: the runs' study.
        measure: a field of the records.
        known: of `find_recorded_runs`; None: all records there are.
    """
    known = find_recorded_runs() if known is None else known
    values = pd.DataFrame(index=pd.Index(study.seeds, name="seed"))
    for name in study.arms:
        seeds = study.seeds_of(name)
        runs = [known.get(run, {}) for run in identify_runs(study, name, seeds)]
        values[name] = pd.Series([run.get(measure, np.nan) for run in runs], seeds)
    return values


def read_arm_hits(study: Study, arm: str, seeds: list[int], known: Records) -> np.ndarray | None:
    """Read whether each test clip was recognised, bool `[seeds, clips]`; None without them."""
    runs = [known.get(run) for run in identify_runs(study, arm, seeds)]
    rows = [read_hits(run["run_dir"]) if run else None for run in runs]
    if any(row is None for row in rows) or len({len(row) for row in rows}) > 1:
        return None
    return np.stack(rows)


def read_clip_recordings(study: Study, arm: str, known: Records) -> np.ndarray:
    """Read the recording, or group of them, of each clip that `read_arm_hits` reads."""
    runs = (known.get(run) for run in identify_runs(study, arm, study.seeds))
    paths, _, _ = read_run_scores(next(run["run_dir"] for run in runs if run))
    group_of = study.arms[arm].folds.group_of
    return np.array([group_of(stored_recording(path)) for path in paths])
