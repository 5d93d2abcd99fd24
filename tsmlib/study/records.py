"""Records of the runs that the plan asks for: which they are, and what they say. Trains nothing."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..configs import Config, mini, standin_config, validation_protocol
from ..paths import results_folder
from ..results import read_hits, read_runs, scores_of
from .arrow_of_time import own_data
from .frame_windows import recording_of
from .plan import Arm, Folds, Study


class Run(NamedTuple):
    """What identifies a run of a study: its final configuration, seed and test protocol."""

    config_hash: str
    seed: int
    protocol: str
    videos: str = ""  # hash of real videos


def run_of(study: Study, arm: Arm, seed: int) -> Run:
    """The identity of an arm's run, without generating or reading any clips."""
    if arm.folds:
        cfg = pooled(arm.cfg, arm.folds)
        return Run(cfg.hash, seed, validation_protocol(cfg), study.videos.id)
    cfg = _final(arm.cfg)
    if arm.test_of:  # the weights' configuration, tested otherwise
        asked = {name: getattr(cfg, name) for name in arm.cfg.explicit}
        cfg = _final(study.arms[arm.test_of].cfg)
        cfg = type(cfg)(**{**vars(cfg), **asked})
    return Run(cfg.hash, seed, arm.protocol or validation_protocol(cfg))


def pooled(cfg: Config, folds: Folds) -> Config:
    """The configuration of all folds together: without a fold's lists, or a place on a machine."""
    lists = f"{folds.folds} folds, window {folds.window}, min_motion {folds.min_motion:g}"
    lists = lists if folds.task == "arrow" else "one recording left out"
    names = cfg.class_names or tuple(map(str, range(cfg.num_classes)))
    return own_data(mini(cfg), folds.name, names, folds.resolution, None,
                    {"train_list": lists, "val_list": lists})  # fmt: skip


def _final(cfg: Config) -> Config:
    """A configuration as it runs on a stand-in at mini scale."""
    return mini(standin_config(cfg))


Records = dict[Run, dict[str, Any]]


def recorded(*places: str) -> Records:
    """Records of runs on stand-ins, or over folds of real videos, each with its `run_dir`.

    Args:
        places: `runs` (published), `local`; none: both, and what is local counts where both are.
    """
    found: Records = {}
    for place in places or ("runs", "local"):
        root = results_folder() / place
        table = read_runs(root)
        if table.empty:
            continue
        over_folds = table["kind"] == "cross-validation"
        for record in table[(table["data"] == "standin") | over_folds].to_dict("records"):
            videos = record["data_id"] if record["data"] == "real" else ""
            run = Run(record["config_hash"], record["seed"], record["protocol"], videos)
            found[run] = {**record, "run_dir": str(root / record["run"])}
    return found


def accuracies(study: Study, column: str = "top1", known: Records | None = None) -> pd.DataFrame:
    """An accuracy (%) of the runs that have a record: a line a seed, a column an arm.

    `known`: of `recorded`; None: all there are.
    """
    known = recorded() if known is None else known
    values = pd.DataFrame(index=pd.Index(study.seeds, name="seed"))
    for name, arm in study.arms.items():
        runs = [known.get(run_of(study, arm, seed), {}) for seed in study.seeds]
        values[name] = [run.get(column, np.nan) for run in runs]
    return values


def hits(study: Study, arm: str, seeds: list[int], known: Records) -> np.ndarray | None:
    """Whether each test clip was recognised, bool `[seeds, clips]`; None where that is not kept."""
    runs = [known.get(run_of(study, study.arms[arm], seed)) for seed in seeds]
    rows = [read_hits(run["run_dir"]) if run else None for run in runs]
    if any(row is None for row in rows) or len({len(row) for row in rows}) > 1:
        return None
    return np.stack(rows)


def recordings(study: Study, arm: str, known: Records) -> np.ndarray:
    """The recording of each test clip of an arm on real videos, `[clips]`, as in `hits`."""
    runs = (known.get(run_of(study, study.arms[arm], seed)) for seed in study.seeds)
    paths, _, _ = scores_of(next(run["run_dir"] for run in runs if run))
    return np.array([recording_of(path) for path in paths])
