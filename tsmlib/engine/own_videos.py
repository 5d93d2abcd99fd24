"""Train on a folder of one's own videos: its lists, a recipe for few clips, the weights to start.

Command:   python -m tsmlib train my_videos     # one sub-folder for each class
"""

import logging
import re
from pathlib import Path

import torch

from ..configs import Config, get_config, is_row
from ..data.prepare.few_clips import GPU_CORES, MOST_CORES, Recipe, few_clips
from ..data.prepare.find_videos import printable
from ..data.prepare.folder import read_folder
from ..data.prepare.folder_lists import split_clips, summarise_folder, write_folder_lists
from ..models.checkpoints import CheckpointError, imagenet_file, local_file, read_checkpoint
from ..paths import display_path, results_folder
from ..progress import announce
from .devices import usable_cores

log = logging.getLogger(__name__)

SPLIT_SEED = 0
MIRRORED = {"left", "right"}  # words of classes that a horizontal flip exchanges


def configure_videos(folder: str | Path, workers: int | None = None, **changes) -> Config:
    """Make a folder of class folders a data set of one's own, with a recipe for few clips.

    The lists and a YAML file are written to `results/local/datasets/NAME`. What was found, left out
    and chosen is logged.

    Args:
        folder: see `read_folder`.
        workers: processes that open the videos; None: as many as cores.
        changes: fields of the configuration that the user sets.

    Returns:
        The configuration of the YAML file, which every command takes in place of a row.

    Raises:
        DataError: a folder that cannot be used, see `read_folder`.
        ConfigError, CheckpointError: an impossible field, or weights that cannot be had.
    """
    get_config("k400", **changes)  # a misspelt field stops here, before the videos are read
    pretrain = str(changes.get("pretrain") or "imagenet")
    if pretrain not in ("imagenet", "none") and not is_row(pretrain):
        pretrain = str(local_file(pretrain).resolve())
        read_checkpoint(pretrain)  # what is no file of weights stops here
    videos = read_folder(folder, workers)
    for path, reason in videos.left_out:
        log.warning("left out: %s: %s", printable(path), reason)
    splits = split_clips(videos.clips, SPLIT_SEED)
    announce(log, summarise_folder(videos, splits))
    notes = [f"Split: as the folders say, else a quarter of each class by seed {SPLIT_SEED}."]
    if pretrain == "imagenet":
        pretrain, missing = _available(changes.get("backbone", "mobilenetv2"))
        if missing:
            log.warning("%s", missing)
            notes.append(missing)
    cores = GPU_CORES if torch.cuda.is_available() else min(usable_cores(), MOST_CORES)
    recipe = few_clips(len(splits["train"]), videos.frames * videos.pixels, cores, pretrain)
    fields = recipe.fields | ({"flip": 0.0} if _mirrored(videos.classes) else {}) | changes
    fields["pretrain"] = pretrain
    datasets = results_folder() / "local" / "datasets"
    file = write_folder_lists(videos, splits, datasets, fields, notes)
    cfg = get_config(str(file))
    announce(log, _describe(cfg, recipe, cores, file))
    return cfg


def _available(backbone: str) -> tuple[str, str]:
    """Return `imagenet`, or `none` and a sentence where its weights cannot be had."""
    try:
        imagenet_file(get_config("k400", backbone=backbone))
    except CheckpointError as error:
        return "none", (
            "NO PRETRAINED WEIGHTS could be had: the network starts from scratch, which usually "
            f"needs more videos for the same accuracy. {error}"
        )
    return "imagenet", ""


def _mirrored(classes: tuple[str, ...]) -> bool:
    """Tell whether classes are named left or right, so that clips must not be flipped."""
    return any(MIRRORED & {*re.findall("[a-z]+", name.lower())} for name in classes)


def _describe(cfg: Config, recipe: Recipe, cores: int, file: Path) -> str:
    start = {"none": "from scratch", "imagenet": "from ImageNet weights"}
    seconds = recipe.seconds * cfg.epochs / recipe.fields["epochs"]
    time = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{max(10, round(seconds, -1)):.0f} s"
    where = "the GPU" if cores == GPU_CORES else f"{cores} cores"
    return (
        f"Recipe for few clips: {cfg.backbone} {start.get(cfg.pretrain, f'from {cfg.pretrain}')}, "
        f"{cfg.crop_size} pixels, {cfg.epochs} epochs; about {time} on {where}. "
        f"The configuration is {display_path(file)}."
    )
