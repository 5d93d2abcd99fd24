"""Decide on the data and the scale of a detector's run, and make the data ready."""

import dataclasses
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..data.annotations import DataError
from ..engine.options import RunOptions
from ..paths import cache_folder, data_folder
from .recipes import DetectorConfig, mini
from .standin import STANDIN_CLASSES, DetectionStandin, prepare_detection_standin
from .vid_dataset import VidDataset, training_mix
from .windows import Window

FOLDER = "ILSVRC2015"  # as the archives of ImageNet VID and DET unpack


@dataclass(frozen=True)
class DetectionSetup:
    """A run of a detector as decided by `resolve_detection`."""

    cfg: DetectorConfig  # final: with the classes of the data, reduced to mini scale
    data: str  # real or standin
    scale: str  # full or mini
    root: Path
    training: Sequence[Window]  # empty where real data are only tested on
    validation: VidDataset

    @property
    def at_once(self) -> int:
        """Return how many windows each device computes at once in training."""
        return self.cfg.windows_per_device

    @property
    def num_training(self) -> int:
        """Return how many windows are trained on."""
        return len(self.training)

    @property
    def data_id(self) -> str:
        """Return 8 hex digits of what is trained and tested on."""
        names = [f"{video.name} {video.num_frames}" for video in self.validation.videos]
        facts = [self.root.name, str(self.num_training), *names]
        return hashlib.sha256("\n".join(facts).encode()).hexdigest()[:8]


def standin_recipe(cfg: DetectorConfig) -> DetectorConfig:
    """Return a configuration as it runs on a stand-in at mini scale, without any data."""
    return dataclasses.replace(mini(cfg), class_names=tuple(STANDIN_CLASSES.values()))


def resolve_detection(
    cfg: DetectorConfig,
    options: RunOptions,
    standin: DetectionStandin | None = None,
    trains: bool = True,
) -> DetectionSetup:
    """Decide on data and scale, as `tsmlib.resolve` does, and make the data ready.

    Args:
        cfg: of `get_recipe`; fields that the user set keep their values at every scale.
        options: `data`, `scale`, `data_root` and `cache` are used.
        standin: what a stand-in is drawn from; None: its defaults.
        trains: False: real data to train on need not be there.

    Raises:
        DataError: real data that are asked for and not there, or that cannot be read.
    """
    root = Path(options.data_root or data_folder() / FOLDER).expanduser().resolve()
    there = (root / "ImageSets" / "VID").is_dir()
    if options.data == "real" and not there:
        raise DataError(f"there are no lists of ImageNet VID in {root / 'ImageSets/VID'}")
    data = options.data if options.data != "auto" else "real" if there else "standin"
    scale = options.scale if options.scale != "auto" else "full" if data == "real" else "mini"
    listed = cfg.windows_per_video
    if scale == "mini":
        cfg = mini(cfg)
    if data == "real":
        cfg = dataclasses.replace(cfg, windows_per_video=listed)  # as published: DET is beside it
        training = training_mix(root, cfg.num_segments, listed) if trains else ()
        validation = VidDataset(root, "val", cfg.num_segments)
    else:
        root = prepare_detection_standin(standin or DetectionStandin(), cache_folder(options.cache))
        windows = cfg.num_segments, cfg.windows_per_video
        training = VidDataset(root, "train", *windows, STANDIN_CLASSES)
        validation = VidDataset(root, "val", cfg.num_segments, classes=STANDIN_CLASSES)
    cfg = dataclasses.replace(cfg, class_names=tuple(validation.classes))
    return DetectionSetup(cfg, data, scale, root, training, validation)
