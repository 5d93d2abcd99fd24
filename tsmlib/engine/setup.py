"""Decide what a run is: its configuration, data and scale; then make its data ready.

cfg -> resolve (decides, touches nothing) -> prepare (makes a stand-in, reads the lists) -> run
"""

import dataclasses
import hashlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..configs import (
    Config,
    ConfigError,
    check_model,
    class_names,
    get_config,
    is_row,
    mini,
    reversed_labels,
    standin_config,
)
from ..configs.datasets import SPLITS
from ..data.annotations import DataError, VideoList, find_list, list_file
from ..data.standin.generate import clips_id, prepare_standin, standin_root
from ..models.checkpoint_files import local_file, weights_hash
from ..paths import cache_folder, data_folder, display_path, file_sha256, runs_folder
from .options import RunOptions, sort_keywords

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Setup:
    """A run as decided by `resolve`; `prepare` adds its lists."""

    cfg: Config  # final: translated to the stand-in, reduced to mini scale
    data: str  # real or standin
    scale: str  # full or mini
    data_root: Path
    decision: str  # which data and scale, and why, in a sentence
    class_names: tuple[str, ...] = ()
    train_list: VideoList | None = None
    val_list: VideoList | None = None
    data_id: str | None = None  # hash of a stand-in's clips
    reversed_labels: tuple[int, ...] | None = None  # of a stand-in's classes played backwards

    @property
    def runs(self) -> Path:
        """Return the folder of the row's runs."""
        return runs_folder(self.cfg.name)

    @property
    def at_once(self) -> int:
        """Return how many videos a device trains on at once; a detector's setup counts windows."""
        return self.cfg.videos_per_device

    @property
    def num_training(self) -> int:
        """Return how many videos are trained on."""
        return len(self.train_list.entries)


def resolve(
    cfg: Config | str | Setup,
    options: RunOptions | None = None,
    splits: tuple[str, ...] = SPLITS,
    **keywords,
) -> Setup:
    """Decide on data and scale. Nothing is generated and no list is read.

    Args:
        cfg: a configuration or its name; fields that the user set keep their values at every
            scale. A `Setup` is decided already and returned as it is.
        options: `data`, `scale`, `data_root` and `cache` are used.
        splits: the lists that are needed.
        keywords: changes of options or fields.

    Raises:
        ConfigError: an unknown choice, or parts of the model that exclude each other.
        DataError: real data that are asked for and not there.
    """
    fields, options = sort_keywords(options, keywords)
    if isinstance(cfg, Setup):
        if fields:
            raise ConfigError(f"set {', '.join(fields)} before `resolve`: a Setup is decided")
        return cfg
    cfg = get_config(cfg, **fields)
    check_model(cfg)
    root = Path(options.data_root or cfg.data_root or data_folder()).expanduser().resolve()
    data, reason = _choose_data(cfg, options.data, root, splits)
    default_scale = "full" if data == "real" else "mini"
    scale = default_scale if options.scale == "auto" else options.scale
    backward = None
    if data == "standin":
        cfg, backward = standin_config(cfg), reversed_labels(cfg.dataset)
        root = standin_root(cfg, cache_folder(options.cache))
    if scale == "mini":
        cfg = mini(cfg)
    decision = f"{data} data ({reason}), {scale} scale"
    names = class_names(cfg)
    return Setup(cfg, data, scale, root, decision, names, reversed_labels=backward)


def _choose_data(cfg: Config, data: str, root: Path, splits: tuple[str, ...]) -> tuple[str, str]:
    """Choose real data or the stand-in, and say why."""
    absent = [f for f in (list_file(cfg, s, root) for s in splits) if not f.is_file()]
    named = data == "auto" and not {"train_list", "val_list"}.isdisjoint(cfg.explicit)
    if data == "real" or cfg.dataset == "custom" or named:
        if not root.is_dir():
            raise DataError(
                f"the data root {root} does not exist (parameter data_root, or TSM_DATA)"
            )
        if absent:
            raise DataError(f"there is no list file {absent[0]} (data_root is {root})")
    if data != "auto":
        return data, "as asked for"
    if absent:
        return "standin", f"{display_path(absent[0])} is not there"
    folder = list_file(cfg, splits[0], root).parent if cfg.dataset == "custom" else root
    return "real", f"the lists are in {display_path(folder)}"


def prepare(setup: Setup, splits: tuple[str, ...] = SPLITS, workers: int | None = None) -> Setup:
    """Make the data of a run ready: generate a stand-in where it is missing, read the lists once.

    Args:
        setup: of `resolve`; one that is prepared already is returned as it is.
        splits: the lists that are needed.
        workers: processes that generate; None: as many as cores.

    Raises:
        DataError: a stand-in that cannot be written, or a list that cannot be read.
    """
    ready: dict[str, Any] = {}
    if setup.data == "standin" and setup.data_id is None:
        prepare_standin(setup.cfg, setup.data_root, workers)
        ready["data_id"] = clips_id(setup.data_root)
    for name, split in (("train_list", "train"), ("val_list", "val")):
        if split in splits and getattr(setup, name) is None:
            ready[name] = find_list(setup.cfg, split, setup.data_root)
    return dataclasses.replace(setup, **ready)


def run_name(setup: Setup, options: RunOptions, weights: Path | None = None) -> str:
    """Name the folder of a training run: its conditions, and a hash of all it depends on.

    That is the configuration, the clips or lists of a prepared setup, the checkpoint of the parent
    row that it starts from, the checkpoint that it goes on from, and the precision.
    """
    cfg, parts = setup.cfg, [setup.cfg.hash, options.precision]
    if setup.data == "standin":
        parts.append(setup.data_id)
    else:
        parts += [setup.train_list.sha256, setup.val_list.sha256]
        parts.append(str(setup.data_root) if cfg.dataset == "custom" else "")
    if weights:
        parts.append(weights_hash(weights))
    elif cfg.pretrain not in ("none", "imagenet") and not is_row(cfg.pretrain):
        file = local_file(cfg.pretrain)
        parts.append(file_sha256(file))
    if options.resume:
        parts.append(weights_hash(options.resume))
    digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]
    return f"{setup.data}-{setup.scale}-seed{options.training_seed}-{digest}"


def evaluation_name(setup: Setup, protocol: str, weights: str, precision: str) -> str:
    """Name the folder of a test: its conditions, its weights, and a hash of all it depends on."""
    tested = setup.data_id if setup.data == "standin" else setup.val_list.sha256
    parts = [setup.cfg.hash, precision, tested]
    if setup.cfg.dataset == "custom":
        parts.append(str(setup.data_root))
    digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()
    return f"{setup.data}-{setup.scale}-{protocol}-{weights[:8]}-{digest[:8]}"
