"""Cross-validate over the recordings of real videos: the folds of an arm make one record.

Clips of one recording are alike, so no recording is on both sides of a fold, and intervals are over
recordings (uncertainty.py).
"""

import dataclasses
import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import Config, ConfigError, class_names, mini
from ..data.annotations import DataError, find_list
from ..data.loader import ClipDataset
from ..engine.options import RunOptions
from ..engine.test_loop import accuracies
from ..engine.train import train as train_fold
from ..models.checkpoints import load_checkpoint
from ..models.recognizer import build_model, normalize
from ..paths import results_folder
from ..results import read_run_scores, write_record, write_scores
from .arrow_of_time import arrow_fold, check_symmetry, count_folds, loro_fold
from .frame_windows import recording_of, videos_id
from .plan import Folds
from .records import pooled_config

COMMON_FIELDS = (  # equal in the records of all folds, and taken over from the first
    "data", "scale", "seed", "protocol", "views", "class_names", "device", "precision", "versions",
    "validated", "deterministic", "batch", "lr", "processes", "parameters", "date",
)  # fmt: skip


def cross_validate(
    cfg: Config,
    folds: Folds,
    options: RunOptions,
    train: Callable[..., dict[str, Any]] = train_fold,
) -> dict[str, Any]:
    """Train a configuration on every fold, and pool the scores of the clips that were left out.

    Each fold is a run of its own, and only read where it is finished.

    Args:
        cfg: of the training; `pretrain` may be a file, relative to the folder of videos.
        folds: the task on the videos, and how they are cut and dealt.
        options: of the training of all folds; `data_root` is the folder of videos, for `order3`
            and `actions8` with their lists.
        train: trains a fold.

    Returns:
        A run record of all clips, with the numbers of `recordings` and `folds`, and `run_dir`. For
        the arrow of time without shift also `asymmetry`, the largest difference between the logits
        of a window and its reversal: a network blind to order is right on exactly one of the two.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: as `train`; also without a folder,
            and for class names that are not the folder's.
    """
    if not options.data_root:
        raise DataError("it is asked of real videos: name their folder (data_root=DIR)")
    root = Path(options.data_root).expanduser().resolve()
    of_folds = options.with_changes(data="real", scale="mini", data_root=None)
    whole, videos = pooled_config(cfg, folds), videos_id(root)
    runs, differences = [], []
    for fold in fold_configs(cfg, folds, root, options.cache):
        if class_names(fold) != class_names(whole):
            names = ", ".join(class_names(fold))
            raise ConfigError(f"the classes in {root} are {names}; the arm names others")
        runs.append(train(fold, of_folds))
        if folds.task == "arrow" and not cfg.is_shift:
            differences.append(_asymmetry(fold, Path(runs[-1]["run_dir"])))
    outcome = _concatenate(runs)
    record = _record(whole, runs, outcome) | {"videos": root.name, "data_id": videos}
    if differences:
        record["asymmetry"] = max(differences)
    digest = hashlib.sha256(f"{whole.hash} {videos} {record['precision']}".encode()).hexdigest()
    name = f"real-mini-seed{options.training_seed}-{digest[:8]}"
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
    if folds.task == "arrow":
        return [arrow_fold(root, fold, folds, **same) for fold in range(folds.folds)]
    return [loro_fold(root, fold, folds, **same) for fold in range(count_folds(root, folds.task))]


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
        "folds": len(runs),
        "recordings": len({recording_of(path) for path in outcome["paths"]}),
        "num_listed": sum(run["num_listed"] for run in runs),
        "num_bad": sum(run["num_bad"] for run in runs),
        "training_seconds": round(sum(run["training_seconds"] for run in runs), 1),
        "evaluation_seconds": round(sum(run["evaluation_seconds"] for run in runs), 1),
        "config_hash": whole.hash,
        "commit": ", ".join(sorted({run["commit"] for run in runs})),
    }


def _asymmetry(cfg: Config, folder: Path) -> float:
    """Run `check_symmetry` on a fold's trained network and the clips that it left out."""
    cfg = mini(cfg)
    model = build_model(dataclasses.replace(cfg, pretrain="none")).eval()
    load_checkpoint(model, folder / "last.pth")
    clips = ClipDataset(find_list(cfg, "val", Path(cfg.data_root)), cfg, "validation")
    return check_symmetry(lambda x: model(normalize(x)), clips)
