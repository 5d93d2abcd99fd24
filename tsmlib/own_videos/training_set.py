"""Train on a folder of one's own videos: its lists, the row `few_clips`, the weights to start from.

Command:   python -m tsmlib train my_videos     # one sub-folder for each class
           python -m tsmlib train labels.csv    # path,label
"""

import logging
import re
from pathlib import Path
from typing import Any

import torch

from ..configs import MODEL_FIELDS, Config, ConfigError, get_config, is_row, replace
from ..data.prepare.few_clips import GPU_CORES, MOST_CORES, Recipe, few_clips
from ..data.prepare.find_videos import printable
from ..data.prepare.folder import read_folder
from ..data.prepare.folder_lists import (
    describe_split,
    list_name,
    summarise_folder,
    write_folder_lists,
)
from ..data.prepare.folder_split import fold_clips, split_clips
from ..engine.devices import usable_cores
from ..engine.stored_checkpoints import stated_config
from ..models.checkpoint_files import CheckpointError, local_file, read_checkpoint
from ..models.checkpoints import imagenet_file
from ..models.recognizer import build_model, check_size
from ..paths import display_path, results_folder
from ..progress import announce

log = logging.getLogger(__name__)

SPLIT_SEED = 0
MIRRORED = {"left", "right"}  # words of classes that a horizontal flip exchanges


def configure_videos(
    folder: str | Path, workers: int | None = None, folds: int | None = None, **changes
) -> Config:
    """Make a folder of class folders a data set of one's own, with a recipe for few clips.

    The lists and a YAML file are written to `results/local/datasets/NAME`. What was found, left out
    and chosen is logged.

    Args:
        folder: see `read_folder`: a folder, or a csv of paths and labels.
        workers: processes that open the videos; None: as many as cores.
        folds: split the videos into so many folds, see `fold_configs`; None: hold a quarter out.
        changes: fields of the configuration that the user sets; `group` keeps videos on one side.

    Returns:
        The configuration of the YAML file, which every command takes in place of a row; of folds,
        that of the first.

    Raises:
        DataError: a folder that cannot be used, see `read_folder`, `split_clips` and `fold_clips`.
        ConfigError, CheckpointError: an impossible field, or weights that cannot be had.
    """
    group = get_config("few_clips", **changes).group  # a misspelt field stops here
    pretrain = str(changes.get("pretrain") or "imagenet")
    inherited: dict[str, Any] = {}
    if pretrain not in ("imagenet", "none") and not is_row(pretrain):
        pretrain = str(local_file(pretrain).resolve())
        inherited = _model_of(pretrain, changes)  # what does not fit stops here
    videos = read_folder(folder, workers)
    for path, reason in videos.left_out:
        log.warning("left out: %s: %s", printable(path), reason)
    if folds is None:
        splits = [split_clips(videos.clips, SPLIT_SEED, group)]
    else:
        splits = fold_clips(videos.clips, folds, SPLIT_SEED, group)
    announce(log, summarise_folder(videos, splits, group))
    notes = [f"Split (seed {SPLIT_SEED}): {describe_split(videos, splits, group)}."]
    if pretrain == "imagenet":
        pretrain, missing = _available(changes.get("backbone", "mobilenetv2"))
        if missing:
            log.warning("%s", missing)
            notes.append(missing)
    cores = GPU_CORES if torch.cuda.is_available() else min(usable_cores(), MOST_CORES)
    few = len(splits[0]["train"])
    recipe = few_clips(few, videos.frames * videos.pixels, cores, pretrain)
    flip = {"flip": 0.0} if _mirrored(videos.classes) else {}
    fields = {"base": recipe.row, **recipe.fields, **flip, **inherited, **changes}
    fields["pretrain"] = pretrain
    datasets = results_folder() / "local" / "datasets"
    file = write_folder_lists(videos, splits, datasets, fields, notes)
    cfg = get_config(str(file))
    announce(log, _describe(cfg, recipe, cores, file, folds or 1))
    return cfg


def fold_configs(cfg: Config, folds: int) -> list[Config]:
    """Return the configurations of all folds, from that of the first (`configure_videos`)."""
    first = {side: Path(getattr(cfg, f"{side}_list")) for side in ("train", "val")}
    if first["val"].name != list_name("val", 0, folds):
        raise ConfigError(
            f"{cfg.name} is not split into {folds} folds: folds=N is for a folder of videos"
        )
    return [
        replace(cfg, **{
            f"{side}_list": str(file.with_name(list_name(side, fold, folds)))
            for side, file in first.items()
        })
        for fold in range(folds)
    ]  # fmt: skip


def _model_of(weights: str, changes: dict[str, Any]) -> dict[str, Any]:
    """Return the fields of the model that a checkpoint of ours is of, after loading it once.

    Raises:
        CheckpointError: it does not fit the model that `changes` ask for.
    """
    file, inherited = local_file(weights), {}
    content = read_checkpoint(file)
    trained = stated_config(content, file)
    if trained is not None:
        check_size(trained, content["model"], file)
        inherited = {f: getattr(trained, f) for f in MODEL_FIELDS if f != "num_classes"}
    try:
        build_model(
            get_config("few_clips", **inherited | changes | {"pretrain": weights}), pretrained=True
        )
    except CheckpointError as error:
        raise CheckpointError(
            f"{error}; if it is of another network, name that too, for example backbone=resnet50"
        ) from None
    return inherited


def _available(backbone: str) -> tuple[str, str]:
    """Return `imagenet`, or `none` and a sentence where its weights cannot be had."""
    try:
        imagenet_file(get_config("few_clips", backbone=backbone))
    except CheckpointError as error:
        return "none", (
            "NO PRETRAINED WEIGHTS could be had: the network starts from scratch, which usually "
            f"needs more videos for the same accuracy. {error}"
        )
    return "imagenet", ""


def _mirrored(classes: tuple[str, ...]) -> bool:
    """Tell whether classes are named left or right, so that clips must not be flipped."""
    return any(MIRRORED & {*re.findall("[a-z]+", name.lower())} for name in classes)


def _describe(cfg: Config, recipe: Recipe, cores: int, file: Path, folds: int) -> str:
    start = {"none": "from scratch", "imagenet": "from ImageNet weights"}
    seconds = folds * recipe.seconds * cfg.epochs / recipe.fields["epochs"]
    time = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{max(10, round(seconds, -1)):.0f} s"
    where = "the GPU" if cores == GPU_CORES else f"{cores} cores"
    times = f"{folds} trainings, " if folds > 1 else ""
    return (
        f"Recipe {recipe.row}: {cfg.backbone} {start.get(cfg.pretrain, f'from {cfg.pretrain}')}, "
        f"{cfg.crop_size} pixels, {cfg.epochs} epochs; {times}about {time} on {where}. "
        f"The configuration is {display_path(file)}."
    )
