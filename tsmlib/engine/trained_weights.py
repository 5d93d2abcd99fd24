"""Find weights: of earlier runs of a row, of the row that it starts from, and published ones."""

import dataclasses
import logging
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..configs import MODEL_FIELDS, Config, class_names, get_config, is_row
from ..models.checkpoint_files import CheckpointError, local_file, read_checkpoint, weights_hash
from ..models.checkpoints import run_facts
from ..models.downloads import DownloadError, download
from ..models.gradient_checkpointing import recompute_blocks
from ..models.recognizer import build_model, channels_last, init_head
from ..records import RECORD, ResultsError, read_checked
from ..reference import published_address
from .options import RunOptions
from .setup import Setup, resolve
from .stored_checkpoints import LAST, stated_config

log = logging.getLogger(__name__)

# fields that say where the data are and how they are stored
DATA_FIELDS = (
    "name", "published", "dataset", "class_names", "num_classes", "layout", "filename_tmpl",
    "start_index", "data_root", "allow_outside", "train_list", "val_list", "train_prefix",
    "val_prefix", "flip_label_map", "group",
)  # fmt: skip


def find_trained(
    cfg: Config, checkpoint: str | Path, options: RunOptions
) -> tuple[Setup, Path, dict[str, Any]]:
    """Find the weights that `evaluate` tests, and decide on the data and scale of the test.

    Args:
        cfg: the user's configuration; `checkpoint` and `options` as for `evaluate`.

    Returns:
        The setup, which is not prepared, the file of weights, and its content.

    Raises:
        ConfigError, DataError, CheckpointError, DownloadError: say what to do.
    """
    file = content = trained = None
    if str(checkpoint) == "published":
        file = published_checkpoint(cfg.name)
    elif str(checkpoint) != "auto":
        file = local_file(checkpoint)
    if file is not None:
        content = read_checkpoint(file)
        trained = stated_config(content, file)
        scale = run_facts(content).get("scale", options.scale)
        if options.scale not in ("auto", scale):
            raise CheckpointError(f"{file} was trained at {scale} scale, not {options.scale}")
        options = dataclasses.replace(options, scale=scale)
    setup = resolve(cfg, options, splits=("val",))
    if file is None:
        file = require_checkpoint(setup, options.seed)
        content = read_checkpoint(file)
        trained = stated_config(content, file)
    if trained is not None:
        setup = adapt_to_checkpoint(setup, cfg, trained, file)
    return setup, file, content


def finished_runs(runs: Iterable[Path]) -> Iterator[tuple[Path, dict[str, Any], Config]]:
    """Yield the `last.pth`, record and configuration of each folder of a run, oldest first."""
    records = [run / RECORD for run in runs if (run / LAST).is_file()]
    for file in sorted(filter(Path.is_file, records), key=lambda file: file.stat().st_mtime):
        try:
            yield file.with_name(LAST), *read_checked(file.parent)
        except ResultsError as error:
            log.warning("a run is left out: %s", error)


def find_checkpoint(
    setup: Setup, seed: int | None = None, same_recipe: bool = False
) -> Path | None:
    """Return the last weights of a row's newest finished run with this model, data and scale.

    Args:
        setup: the row; stand-in or real data count, not which clips they are.
        seed: of the run; None: any.
        same_recipe: all fields must be the row's, those of the training too.
    """
    if setup.cfg.port_of:
        return _find_port(setup)
    conditions = f"{setup.data}-{setup.scale}-seed{'*' if seed is None else seed}"
    found = None
    for last, _, trained in finished_runs(setup.runs.glob(f"{conditions}-*")):
        same = all(getattr(trained, f) == getattr(setup.cfg, f) for f in MODEL_FIELDS)
        if trained.hash == setup.cfg.hash if same_recipe else same:
            found = last
    return found


def require_checkpoint(setup: Setup, seed: int | None = None) -> Path:
    """Find a checkpoint as `find_checkpoint` does, and raise where there is none.

    Raises:
        CheckpointError: there is no such run; the message says how to train it.
    """
    found = find_checkpoint(setup, seed)
    if found is None:
        name = setup.cfg.name
        if setup.cfg.port_of and setup.data == "real":
            raise CheckpointError(
                f"{name} is a conversion of MIT's published weights: name their file, "
                "checkpoint=FILE"
            )
        raise CheckpointError(
            f"there is no finished run of {name} on {setup.data} data at {setup.scale} scale in "
            f"{setup.runs}; train it first (make train cfg={name}), or name a file of weights "
            "(checkpoint=FILE; of a row that another one starts from: pretrain=FILE)"
        )
    return found


def published_checkpoint(row_name: str) -> Path:
    """Download the weights that MMAction2 publishes for a row, once.

    Raises:
        ConfigError: there is no such row.
        DownloadError: the row has no published weights, or they cannot be had.
    """
    name = get_config(row_name).name
    url = published_address(name, "ckpt_url")
    if url is None:
        raise DownloadError(f"{name} has no published weights (ckpt_url in results/reference.csv)")
    return download(url)


def ported_file(setup: Setup, trained: Path) -> Path:
    """Name the file of a run's weights in MIT's layout, for a row that is a conversion of it."""
    return setup.runs / f"mit-{weights_hash(trained)[:8]}.pth"


def _find_port(setup: Setup) -> Path | None:
    """Return the converted weights of the parent's run, if `ensure_trained` has made them."""
    if setup.data == "real":
        return None  # MIT's own weights are the ones to test there
    trained = find_checkpoint(parent_setup(setup, RunOptions()), seed=0, same_recipe=True)
    file = trained and ported_file(setup, trained)
    return file if file and file.is_file() else None


def parent_row(cfg: Config) -> str | None:
    """Name the row whose trained weights a configuration starts from, or is a conversion of."""
    return cfg.port_of or (cfg.pretrain if is_row(cfg.pretrain) else None)


def parent_setup(setup: Setup, options: RunOptions) -> Setup | None:
    """Resolve the parent row, on the same data and scale, with model fields that the user set.

    None: the row starts from no other one.
    """
    cfg, row = setup.cfg, parent_row(setup.cfg)
    if row is None:
        return None
    fields = {k: getattr(cfg, k) for k in cfg.explicit if k in MODEL_FIELDS and k != "num_classes"}
    where = dataclasses.replace(options, data=setup.data, scale=setup.scale)
    return resolve(get_config(row, **fields), where)


def parent_weights(setup: Setup, options: RunOptions) -> Path | None:
    """Return the parent row's weights; its run of seed 0 serves all runs that start from it.

    A run with the row's own recipe comes first; one with another recipe is warned of.

    Raises:
        CheckpointError: the parent is not trained; `train_parent` does that. Or the file that is
            named in its place cannot be read.
    """
    if parent := parent_setup(setup, options):
        found = find_checkpoint(parent, seed=0, same_recipe=True)
        if found is None:
            found = require_checkpoint(parent, seed=0)
            log.warning("%s STARTS FROM A CHANGED RECIPE: %s", setup.cfg.name, found)
        return found
    if setup.cfg.pretrain not in ("none", "imagenet"):
        read_checkpoint(setup.cfg.pretrain)
    return None


def adapt_to_checkpoint(setup: Setup, user_cfg: Config, trained: Config, file: Path) -> Setup:
    """Return the setup that tests a checkpoint of ours: its model and sizes, the caller's data.

    Args:
        setup: what `user_cfg` resolves to.
        user_cfg: the caller's: fields that the user set must not contradict the checkpoint.
        trained: the configuration in the checkpoint.
        file: the checkpoint, for messages.

    Raises:
        CheckpointError: it is of another row, of other classes, or contradicts a model field that
            the caller set.
    """
    if trained.name != user_cfg.name:
        _check_own_classes(trained, user_cfg, file)
    if trained.num_classes != setup.cfg.num_classes:
        classes = f"{trained.num_classes} classes, the data have {setup.cfg.num_classes}"
        raise CheckpointError(f"{file} was trained for {classes}")
    for name in set(user_cfg.explicit) & set(MODEL_FIELDS):
        if getattr(user_cfg, name) != getattr(trained, name):
            raise CheckpointError(
                f"{file} was trained with {name}={getattr(trained, name)}, "
                f"not {name}={getattr(user_cfg, name)}"
            )
    kept = {name: getattr(setup.cfg, name) for name in (*DATA_FIELDS, *user_cfg.explicit)}
    return dataclasses.replace(setup, cfg=dataclasses.replace(trained, **kept))


def _check_own_classes(trained: Config, user_cfg: Config, file: Path) -> None:
    """Refuse weights of another row, but for own data with exactly their class names."""
    if user_cfg.dataset != "custom":  # the record of a row is of its own weights
        raise CheckpointError(f"{file} is a checkpoint of {trained.name}, not of {user_cfg.name}")
    theirs, ours = set(class_names(trained)), set(user_cfg.class_names or ())
    if not ours:
        raise CheckpointError(
            f"{file} is a checkpoint of {trained.name}, and {user_cfg.name} names no classes to "
            "compare with its; set class_names"
        )
    if theirs != ours:
        example = min(ours - theirs or theirs - ours)
        where = user_cfg.name if example in ours else trained.name
        raise CheckpointError(
            f"{file} is a checkpoint of {trained.name}, whose classes are others than those of "
            f"{user_cfg.name}: only {where} has {example!r}"
        )


def starting_model(
    cfg: Config, weights: Path | None, options: RunOptions
) -> tuple[nn.Module, dict[str, str] | None]:
    """Return the model before its first step, and what it was pretrained on (None: nothing).

    `weights`: of the row that it starts from, see `parent_weights`.
    """
    start = dataclasses.replace(cfg, pretrain=str(weights)) if weights else cfg
    model = channels_last(build_model(start, pretrained=True))
    pretrained = model.pretrained
    if weights:  # the parent's classifier has other classes, even if the count is equal
        init_head(model)
        pretrained["source"] = "/".join(weights.parts[-3:])  # row, run, file
        log.info("%s starts from %s", cfg.name, pretrained["source"])
    if options.recompute:
        recompute_blocks(model)
    return torch.compile(model) if options.compiled else model, pretrained
