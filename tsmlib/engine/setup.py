"""Runs: what is to be run on which data, their names, and the checkpoints that they leave."""

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path

from ..configs import Config, ConfigError, check_model, from_dict, load_config, mini
from ..data.annotations import DataError, list_file
from ..data.standin.generate import clips_id, prepare_standin, standin_config
from ..models.checkpoints import CheckpointError, file_sha256, read_checkpoint
from ..paths import cache_folder, data_folder, results_folder, shown

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """What a run will be: the final configuration, and on what data."""

    cfg: Config
    data: str  # real or standin
    scale: str  # full or mini
    data_root: Path
    reason: str  # why this data and this scale, in a sentence


def resolve(
    cfg: Config,
    data: str = "auto",
    scale: str = "auto",
    *,
    data_root: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    splits: tuple[str, ...] = ("train", "val"),
) -> Setup:
    """Decide on data and scale, and generate the stand-in where it is needed.

    Args:
        cfg: the configuration; fields that the user set keep their values at every scale.
        data: `real`, `standin`, or `auto`: real where its lists are, else the stand-in.
        scale: `full`, `mini`, or `auto`: full on real data, mini on a stand-in.
        data_root: root of the real data; None: the configuration's own, else TSM_DATA.
        cache: where stand-ins are kept; None: TSM_CACHE.
        workers: processes that generate; None: as many as cores.
        splits: the lists that are needed.

    Raises:
        ConfigError: an unknown choice, or parts of the model that exclude each other.
        DataError: real data that are asked for and not there.
    """
    check_choice("data", data, ("auto", "real", "standin"))
    check_choice("scale", scale, ("auto", "full", "mini"))
    check_model(cfg)
    root = Path(data_root or cfg.data_root or data_folder()).expanduser().resolve()
    absent = [f for f in (list_file(cfg, s, root) for s in splits) if not f.is_file()]
    if data == "real" or cfg.dataset == "custom":
        if not root.is_dir():
            raise DataError(
                f"the data root {root} does not exist (parameter data_root, or TSM_DATA)"
            )
        if absent:
            raise DataError(f"there is no list file {absent[0]} (data_root is {root})")
    if data == "auto":
        data = "standin" if absent else "real"
        why = f"{shown(absent[0])} is not there" if absent else f"the lists are in {shown(root)}"
    else:
        why = "as asked for"
    if scale == "auto":
        scale = "full" if data == "real" else "mini"
    if data == "standin":
        cfg = standin_config(cfg)
        root = prepare_standin(cfg, cache_folder(cache), workers)
    if scale == "mini":
        cfg = mini(cfg)
    return Setup(cfg, data, scale, root, f"{data} data ({why}), {scale} scale")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}={value!r} is not possible; choose one of {', '.join(allowed)}")


def run_name(
    setup: Setup, seed: int, precision: str = "32-true", weights: Path | None = None
) -> str:
    """Folder name of a training run: its conditions, and a hash of everything it depends on.

    That is the configuration, the clips or lists, the file of weights it starts from (of a row
    that `pretrain` names, or that it is), and the precision.
    """
    cfg, parts = setup.cfg, [setup.cfg.hash, precision]
    if setup.data == "standin":
        parts.append(clips_id(setup.data_root))
    else:
        parts += [file_sha256(list_file(cfg, split, setup.data_root)) for split in ("train", "val")]
        parts.append(str(setup.data_root) if cfg.dataset == "custom" else "")
    if weights:
        parts.append(weights_hash(weights))
    elif Path(cfg.pretrain).is_file():
        parts.append(file_sha256(cfg.pretrain))
    digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]
    return f"{setup.data}-{setup.scale}-seed{seed}-{digest}"


def weights_hash(file: Path) -> str:
    """Hash of the weights in a checkpoint of ours: equal runs differ in their timings alone."""
    digest = hashlib.sha256()
    for name, value in read_checkpoint(file)["model"].items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


# --- checkpoints ----------------------------------------------------------------------------------


MODEL_FIELDS = (
    "backbone", "width", "depth", "num_segments", "num_classes", "is_shift", "shift_div",
    "shift_place", "shift_direction", "shift_padding", "temporal_pool", "non_local",
)  # fmt: skip


DATA_FIELDS = (
    "class_names", "num_classes", "layout", "filename_tmpl", "start_index", "data_root",
    "train_list", "val_list", "train_prefix", "val_prefix", "flip_label_map",
)  # fmt: skip


def newest_checkpoint(setup: Setup, seed: int | None = None) -> Path | None:
    """The last weights of the newest finished run of this model on the same data and scale.

    Args:
        seed: of the run; None: any.

    Returns None if there is none on a stand-in.

    Raises:
        CheckpointError: there is none on real data.
    """
    folder = results_folder() / "local" / setup.cfg.name
    which = f"{setup.data}-{setup.scale}-seed{'*' if seed is None else seed}"
    runs = []
    for record in folder.glob(f"{which}-*/metrics.json"):
        trained = load_config(record.parent / "config.json")
        same = all(getattr(trained, f) == getattr(setup.cfg, f) for f in MODEL_FIELDS)
        if same and (record.parent / "last.pth").is_file():
            runs.append(record)
    if runs:
        return max(runs, key=lambda record: record.stat().st_mtime).parent / "last.pth"
    if setup.data == "real":
        raise CheckpointError(
            f"there is no finished run of {setup.cfg.name} on {setup.data} data at {setup.scale} "
            f"scale in {folder}; train it first (make train cfg={setup.cfg.name}), or name a file "
            "of weights (checkpoint=FILE; of a row that another one starts from: pretrain=FILE)"
        )
    return None


def for_evaluation(setup: Setup, asked: Config, content: dict, file: Path) -> Setup:
    """The setup that evaluates a checkpoint of ours: its model and sizes, the caller's data.

    Args:
        setup, asked: what the caller's configuration resolves to, and that configuration.
        content: of the checkpoint; `file` is its name for messages.

    Raises:
        CheckpointError: it is of another row, another number of classes, or contradicts a model
            field that the caller set.
    """
    trained = from_dict(content["config"])
    if trained.name != asked.name:
        raise CheckpointError(f"{file} is a checkpoint of {trained.name}, not of {asked.name}")
    if trained.num_classes != setup.cfg.num_classes:
        classes = f"{trained.num_classes} classes, the data have {setup.cfg.num_classes}"
        raise CheckpointError(f"{file} was trained for {classes}")
    for name in set(asked.explicit) & set(MODEL_FIELDS):
        if getattr(asked, name) != getattr(trained, name):
            raise CheckpointError(
                f"{file} was trained with {name}={getattr(trained, name)}, "
                f"not {name}={getattr(asked, name)}"
            )
    wanted = {name: getattr(setup.cfg, name) for name in (*DATA_FIELDS, *asked.explicit)}
    return dataclasses.replace(setup, cfg=dataclasses.replace(trained, **wanted))
