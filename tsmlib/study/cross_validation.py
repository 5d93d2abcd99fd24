"""Cross-validation over the recordings of real videos: the folds of an arm make one record.

Clips of one recording are alike, so no recording is on both sides of a fold, and the intervals of
what comes out are over recordings (report/uncertainty.py).
"""

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import Config, ConfigError, class_names, mini
from ..data.annotations import DataError, find_list
from ..data.loader import ClipDataset
from ..engine.test_loop import accuracies
from ..engine.train import train
from ..models.checkpoints import load_checkpoint
from ..models.recognizer import build_model, normalize
from ..paths import results_folder
from ..results import scores_of, write_record, write_scores
from .arrow_of_time import arrow_fold, check_symmetry, loro_fold, loro_recordings
from .frame_windows import recording_of, videos_id
from .plan import Folds
from .records import pooled

ALIKE = (  # in the records of all folds, and so in the one of them together
    "data", "scale", "seed", "protocol", "views", "class_names", "device", "precision", "versions",
    "validated", "deterministic", "batch", "lr", "processes", "parameters", "date",
)  # fmt: skip


def cross_validate(
    cfg: Config, folds: Folds, data_root: str | Path | None, seed: int = 0, **options
) -> dict[str, Any]:
    """Train a configuration on every fold, and pool what it says of the clips that were left out.

    Each fold is a run of its own, and only read where it is finished.

    Args:
        cfg: what is trained; `pretrain` may be a file, relative to `data_root`.
        folds: what is asked of the videos, and how they are cut and dealt.
        data_root: folder of videos; for `order3` and `actions8` with their lists.
        seed: of the training of all folds.
        options: of `train` (cache, workers, device, precision).

    Returns:
        A run record of all clips, with the numbers of `recordings` and `folds`, and `run_dir`. For
        the arrow of time without shift also `asymmetry`, the largest difference between the logits
        of a window and its reversal: a network blind to order is right on exactly one of the two.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: as `train`; also without a folder,
            and for class names that are not the folder's.
    """
    if not data_root:
        raise DataError("it is asked of real videos: name their folder (data_root=DIR)")
    root = Path(data_root).expanduser().resolve()
    whole, videos = pooled(cfg, folds), videos_id(root)
    runs, differences = [], []
    for fold in fold_configs(cfg, folds, root, options.get("cache")):
        if class_names(fold) != class_names(whole):
            names = ", ".join(class_names(fold))
            raise ConfigError(f"the classes in {root} are {names}; the arm names others")
        runs.append(train(fold, data="real", scale="mini", seed=seed, **options))
        if folds.task == "arrow" and not cfg.is_shift:
            differences.append(_asymmetry(fold, Path(runs[-1]["run_dir"])))
    outcome = _together(runs)
    record = _record(whole, runs, outcome) | {"videos": root.name, "data_id": videos}
    if differences:
        record["asymmetry"] = max(differences)
    digest = hashlib.sha256(f"{whole.hash} {videos} {record['precision']}".encode()).hexdigest()
    folder = results_folder() / "local" / whole.name / f"real-mini-seed{seed}-{digest[:8]}"
    write_scores(folder / "scores.json", outcome)
    write_record(folder, whole, record, [])
    return {**record, "run_dir": str(folder)}


def fold_configs(cfg: Config, folds: Folds, root: Path, cache: str | None) -> list[Config]:
    """The configuration of each fold; decodes the videos where that is not done."""
    changes = {name: getattr(cfg, name) for name in cfg.explicit}
    if cfg.pretrain not in ("imagenet", "none"):
        changes["pretrain"] = str(root / cfg.pretrain)
    same = {"cache": cache, "resolution": folds.resolution, "base": cfg.name, **changes}
    if folds.task == "arrow":
        cut = {"folds": folds.folds, "window": folds.window, "min_motion": folds.min_motion}
        return [arrow_fold(root, fold, **cut, **same) for fold in range(folds.folds)]
    recordings = loro_recordings(root, folds.task)
    return [loro_fold(root, fold, folds.task, **same) for fold in range(len(recordings))]


def _together(runs: list[dict[str, Any]]) -> dict[str, Any]:
    """Paths, labels and scores of the validation clips of all folds: each clip once."""
    parts = [scores_of(run["run_dir"]) for run in runs]
    paths = [path for found, _, _ in parts for path in found]
    labels, scores = (np.concatenate([part[i] for part in parts]) for i in (1, 2))
    return {"paths": paths, "labels": labels, "scores": scores}


def _record(whole: Config, runs: list[dict[str, Any]], outcome: dict[str, Any]) -> dict[str, Any]:
    found = accuracies(outcome["scores"], outcome["labels"])
    return {
        "cfg": whole.name,
        "kind": "cross-validation",
        **{name: runs[0][name] for name in ALIKE},
        **{k: round(v, 4) if isinstance(v, float) else v for k, v in found.items()},
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
    """`check_symmetry` of a fold's trained network on the clips that it left out."""
    cfg = mini(cfg)
    model = build_model(dataclasses.replace(cfg, pretrain="none")).eval()
    load_checkpoint(model, folder / "last.pth")
    clips = ClipDataset(find_list(cfg, "val", Path(cfg.data_root)), cfg, "validation")
    return check_symmetry(lambda x: model(normalize(x)), clips)
