"""Find weights and the configuration that they are used with, and build their network."""

import logging
from pathlib import Path
from typing import Any

from torch import nn

from ..configs import Config, ConfigError, class_names, get_config, standin_config
from ..models.checkpoint_files import CheckpointError, local_file, read_checkpoint
from ..models.checkpoints import LoadReport
from ..models.recognizer import channels_last, load_model
from ..paths import display_path, results_folder
from ..progress import announce
from .devices import make_fabric
from .fabric import Fabric
from .setup import Setup
from .stored_checkpoints import stated_config
from .trained_weights import adapt_to_checkpoint, finished_runs

log = logging.getLogger(__name__)


def find_weights(weights: str | Path | None = None, cfg: Config | None = None) -> Path:
    """Return the file of weights that is named, or that of the newest run; log which one it is.

    Raises:
        CheckpointError: there is none.
    """
    if weights is not None:
        return local_file(weights)
    file, record = newest_weights(cfg.name if cfg else None)
    run = f"{record['cfg']}, trained on {record['date']}"
    announce(log, f"weights of {run}: {display_path(file)}")
    if record["data"] == "standin":
        log.warning(
            "THESE WEIGHTS ARE OF GENERATED CLIPS (the stand-in of %s): their labels mean nothing "
            "for a real video. Train on your own with make train videos=FOLDER.", record["cfg"],
        )  # fmt: skip
    return file


def newest_weights(row: str | None = None) -> tuple[Path, dict[str, Any]]:
    """Find the last weights of the newest training run here, and its record.

    Runs on real data come before those on a stand-in; `row=None`: of any row.

    Raises:
        CheckpointError: there is none; the message says where weights come from.
    """
    runs = [
        (record["data"] == "real", last, record)
        for last, record, _ in finished_runs(results_folder().glob("local/*/*"))
        if record["kind"] == "training" and row in (None, record["cfg"])
    ]
    if not runs:
        folder = display_path(results_folder() / "local")
        raise CheckpointError(
            f"there are no trained weights{f' of {row}' if row else ''} in {folder}: "
            "train on your own videos first (make train videos=FOLDER), or name a file or address "
            "of weights and their row (weights=FILE cfg=ROW; MMAction2's page of TSM lists some)"
        )
    return max(reversed(runs), key=lambda run: run[0])[1:]  # the first of equal ones: the newest


def trained_config(weights: str | Path, cfg: Config | str | None = None) -> Config:
    """Return the configuration that a file of weights is used with; see `choose_config`."""
    file = local_file(weights)
    return choose_config(read_checkpoint(file), file, None if cfg is None else get_config(cfg))


def choose_config(content: dict, file: str | Path, cfg: Config | None) -> Config:
    """Return the configuration that weights are used with: their own, or the given one.

    Args:
        content: of the file of weights.
        file: its name, for messages.
        cfg: the user's configuration, if there is one.

    Raises:
        ConfigError: neither is there.
        CheckpointError: they contradict each other, see `adapt_to_checkpoint`.
    """
    trained = stated_config(content, Path(file))
    if trained is None:
        if cfg is None:
            raise ConfigError(
                f"{file} does not say which row it is of: name it (cfg=ROW, or --cfg ROW)"
            )
        return cfg
    if cfg is None:
        return trained
    if content.get("data") == "standin" and cfg.dataset == trained.dataset:
        cfg = standin_config(cfg)  # a stand-in has a part of the classes
    setup = Setup(cfg, content.get("data", ""), content.get("scale", ""), Path(), "as trained")
    adapted = adapt_to_checkpoint(setup, cfg, trained, Path(file)).cfg
    _check_known_classes(adapted, trained, file)
    return adapted


def find_model(
    weights: str | Path | None = None, cfg: Config | str | None = None
) -> tuple[Config, dict, Path]:
    """Find weights, and the configuration that they are used with.

    Returns:
        The configuration, the content of the file, and the file.

    Raises:
        ConfigError, CheckpointError: there are none, or they contradict a given configuration.
    """
    cfg = None if cfg is None else get_config(cfg)
    file = find_weights(weights, cfg)
    content = read_checkpoint(file)
    return choose_config(content, file, cfg), content, file


def load_on_device(
    cfg: Config, content: dict, file: Path, device: str
) -> tuple[Fabric, nn.Module, LoadReport]:
    """Build a network with the weights of a file that was read, on a device, in eval mode.

    Raises:
        ConfigError: there is no such device.
        CheckpointError: the weights do not fit.
    """
    fabric = make_fabric(device)
    model, report = load_model(cfg, content, file)
    return fabric, fabric.to_device(channels_last(model)).eval(), report


def _check_known_classes(cfg: Config, trained: Config, file: str | Path) -> None:
    """Raise `CheckpointError` where a configuration names other classes than the weights'."""
    given, own = class_names(cfg), class_names(trained)
    numbered = "class 0" in (given[0], own[0])
    other = [name for name in given if name not in own]
    if other and not numbered:
        raise CheckpointError(
            f"{file} knows other classes than {cfg.name}: not {other[0]!r}, but "
            f"{', '.join(map(repr, own[:2]))} ...; leave cfg out, or rename them with names=FILE"
        )
