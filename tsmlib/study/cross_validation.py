"""Train over folds of real videos: arms of studies, and one's own; and on digits in motion.

Clips of one recording are alike, so no recording is on both sides of a fold, and intervals are over
recordings (uncertainty.py).
"""

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import Config, ConfigError, class_names, replace
from ..data.annotations import DataError
from ..data.prepare.folder_split import name_groups
from ..engine.options import RunOptions
from ..engine.test_loop import accuracies
from ..engine.train import train as train_once
from ..own_videos.training_set import fold_configs as own_fold_configs
from ..paths import results_folder
from ..results import read_run_scores, write_record, write_scores
from .annotated_videos import count_folds, fold_config
from .moving_digits import (
    digits_config,
    measure_digit_and_direction,
    prepare_digits,
    stills_config,
    with_run_seed,
)
from .plan import Digits, Folds
from .records import pooled_config
from .stored_frames import stored_recording, videos_id

COMMON_FIELDS = (  # equal in the records of all folds, and taken over from the first
    "data", "scale", "seed", "protocol", "views", "class_names", "device", "precision", "versions",
    "validated", "deterministic", "batch", "lr", "processes", "parameters", "date",
)  # fmt: skip


def cross_validate(
    cfg: Config,
    folds: Folds,
    options: RunOptions,
    train: Callable[..., dict[str, Any]] = train_once,
) -> dict[str, Any]:
    """Train a configuration on every fold, and pool the scores of the clips that were left out.

    Each fold is a run of its own, and only read where it is finished.

    Args:
        cfg: of the training; `pretrain` may be a file, relative to the folder of videos.
        folds: the task on the videos.
        options: of the training of all folds; `data_root` is the folder of videos and lists.
        train: trains a fold.

    Returns:
        A run record of all clips, with the numbers of `recordings` and `folds`, and `run_dir`.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: as `train`; also without a folder,
            and for class names that are not the folder's.
    """
    if not options.data_root:
        raise DataError("this arm is trained on real videos: name their folder (data_root=DIR)")
    root = Path(options.data_root).expanduser().resolve()
    of_folds = options.with_changes(data="real", scale="mini", data_root=None)
    whole, videos = pooled_config(cfg, folds), videos_id(root)
    runs = []
    for fold in fold_configs(cfg, folds, root, options.cache):
        if class_names(fold) != class_names(whole):
            names = ", ".join(class_names(fold))
            raise ConfigError(f"the classes in {root} are {names}; the arm names others")
        runs.append(train(fold, of_folds))
    about = {"videos": root.name, "data_id": videos, "folds": len(runs)}
    return write_pooled(whole, runs, options.training_seed, about)


def cross_validate_videos(
    cfg: Config,
    folds: int,
    options: RunOptions,
    first: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Train on every fold of a folder of one's own videos, and pool the clips that were left out.

    Each fold is a run of its own, and only read where it is finished.

    Args:
        cfg: of `configure_videos` with these folds.
        folds: their number.
        options: of all trainings.
        first: record of the first fold, where it is trained already.

    Returns:
        A run record of all clips, with the numbers of `recordings` (groups) and `folds`, and
        `run_dir`.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: as `train`; also of a configuration
            that has no such folds.
    """
    configs, elsewhere = own_fold_configs(cfg, folds), options.with_changes(work_dir=None)
    runs = [first or train_once(configs[0], options)]
    runs += [train_once(fold, elsewhere) for fold in configs[1:]]
    lists = " ".join(run["val_list_sha256"] for run in runs)
    paths = _concatenate(runs)["paths"]
    about = {
        "videos": Path(cfg.data_root).name,
        "data_id": hashlib.sha256(lists.encode()).hexdigest()[:8],
        "folds": folds,
        "recordings": len({*(name_groups(paths, cfg.group) or paths)}),
    }
    whole = replace(cfg, train_list=f"{folds} folds", val_list=f"{folds} folds")
    return write_pooled(whole, runs, options.training_seed, about)


def train_on_digits(
    cfg: Config,
    digits: Digits,
    options: RunOptions,
    train: Callable[..., dict[str, Any]] = train_once,
) -> dict[str, Any]:
    """Train a configuration on digits in motion, from a network that was trained on stills.

    Args:
        cfg: of the training; where `pretrain` is `stills` its 2-D network is trained on stills
            first, with the same seed, once for all arms.
        digits: which clips.
        options: of the trainings.
        train: trains a network, or reads its record where it is finished.

    Returns:
        A run record with `appearance` and `order`, the percentages of clips whose digit and whose
        direction are right, and `run_dir`.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: as `train`.
    """
    root = prepare_digits(with_run_seed(digits, options.training_seed), options.cache)
    options = options.with_changes(data="real", scale="mini", data_root=None)
    own = digits_config(cfg, digits, root)
    if cfg.pretrain == "stills":
        stills = train(stills_config(cfg, digits, root), options)
        own = replace(own, pretrain=str(Path(stills["run_dir"]) / "last.pth"))
    run = train(own, options)
    _, labels, scores = read_run_scores(run["run_dir"])
    apart = measure_digit_and_direction(scores, labels) | {"data": "standin", "kind": "training"}
    return write_pooled(digits_config(cfg, digits), [run], options.training_seed, apart)


def write_pooled(
    whole: Config, runs: list[dict[str, Any]], seed: int, about: dict[str, Any]
) -> dict[str, Any]:
    """Write the record of several runs whose test clips are counted together; returns it.

    Args:
        whole: the configuration that is recorded, without paths and the lists of one run.
        runs: their records, with `run_dir`.
        seed: of all of them.
        about: further fields of the record.
    """
    outcome = _concatenate(runs)
    record = _record(whole, runs, outcome) | about
    key = f"{whole.hash} {about.get('data_id', '')} {record['precision']}"
    digest = hashlib.sha256(key.encode()).hexdigest()
    name = f"{record['data']}-{record['scale']}-seed{seed}-{digest[:8]}"
    folder = results_folder() / "local" / whole.name / name
    write_scores(folder / "scores.json", outcome)
    write_record(folder, whole, record, [])
    return {**record, "run_dir": str(folder)}


def fold_configs(cfg: Config, folds: Folds, root: Path, cache: str | Path | None) -> list[Config]:
    """Configure each fold; decodes the videos where that is not done."""
    changes = {name: getattr(cfg, name) for name in cfg.explicit}
    if cfg.pretrain not in ("imagenet", "none"):
        changes["pretrain"] = str(root / cfg.pretrain)
    same = {"cache": cache, "base": cfg.name, **changes}
    count = count_folds(root, folds.task)
    return [fold_config(root, fold, folds, **same) for fold in range(count)]


def _concatenate(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Read paths, labels and scores of the validation clips of all folds: each clip once."""
    parts = [read_run_scores(run["run_dir"]) for run in runs]
    paths = [path for part in parts for path in part[0]]
    labels, scores = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    return {"paths": paths, "labels": labels, "scores": scores}


def _record(whole: Config, runs: list[dict[str, Any]], outcome: dict[str, Any]) -> dict[str, Any]:
    measured = accuracies(outcome["scores"], outcome["labels"])
    return {
        "cfg": whole.name,
        "kind": "cross-validation",
        **{name: runs[0][name] for name in COMMON_FIELDS},
        **{k: round(v, 4) if isinstance(v, float) else v for k, v in measured.items()},
        "recordings": len({stored_recording(path) for path in outcome["paths"]}),
        "num_listed": sum(run["num_listed"] for run in runs),
        "num_bad": sum(run["num_bad"] for run in runs),
        "training_seconds": round(sum(run["training_seconds"] for run in runs), 1),
        "evaluation_seconds": round(sum(run["evaluation_seconds"] for run in runs), 1),
        "config_hash": whole.hash,
        "commit": ", ".join(sorted({run["commit"] for run in runs})),
    }
