"""The recipe of a detector: a frozen `DetectorConfig`, at full scale and at mini scale.

No one has published code or a recipe of TSM's detector. `vid_r101` is ours, and has not been run at
full scale. It follows the paper where the paper speaks (a one-way shift of 1/8 of the channels in
the residual blocks of a ResNet-101), and the Faster R-CNN of mmtracking elsewhere
(configs/_base_/models/faster_rcnn_r50_dc5.py and configs/vid/fgfa, 7 epochs).
"""

import dataclasses
import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_type_hints

from ..configs import BACKBONES, ConfigError
from ..configs.validation import (
    LARGEST,
    LARGEST_DEPTH,
    LARGEST_RATE,
    LARGEST_WIDTH,
    check_field_names,
    convert_value,
)

AT_LEAST_ONE = (
    "num_segments", "shift_div", "channels", "head_channels", "min_size", "max_size",
    "roi_size", "rpn_samples", "box_samples", "windows_per_video", "batch_size",
    "windows_per_device", "epochs",
)  # fmt: skip
LARGEST_SIZE = dict.fromkeys(  # of fields that size frames, feature maps and layers
    ("num_segments", "channels", "head_channels", "min_size", "max_size", "roi_size"), 2**14
)
# of `RunOptions`
OPTIONS_OF_TRAININGS = (
    "data", "scale", "seed", "device", "workers", "data_root", "cache", "work_dir", "fresh",
    "save_seconds", "deterministic", "precision",
)  # fmt: skip
OPTIONS_OF_TESTS = ("data", "data_root", "cache", "device", "work_dir")


@dataclass(frozen=True)
class DetectorConfig:
    """A detector and its training; without changes torchvision's Faster R-CNN, with shifts."""

    name: str = ""
    class_names: tuple[str, ...] = ()  # label i is class_names[i - 1]; label 0 is the background
    explicit: tuple[str, ...] = ()  # fields that the user set: no change of scale touches them

    # backbone
    backbone: str = "resnet50"  # a ResNet of configs/backbones.py
    pretrain: str = "imagenet"  # imagenet, coco (torchvision's detector), none, or a file
    width: float = 1.0  # multiplier of the backbone's channels
    depth: tuple[int, ...] | None = None  # blocks of each stage; None: as published
    frozen_bn: bool = True  # batch norms keep the statistics and weights of `pretrain`
    trainable_layers: int = 3  # stages that learn, from the last one; 5: all, the stem too

    # shift
    is_shift: bool = True  # False: the 2-D detector
    shift_div: int = 8  # 1/shift_div of the channels come from the previous frame
    shift_place: Literal["blockres", "block"] = "blockres"
    shift_direction: str = "unidirectional"  # the only one: a frame is answered when it comes
    num_segments: int = 4  # T, frames of a training window

    # feature maps, proposals, boxes; sizes in pixels
    neck: Literal["fpn", "dc5"] = "fpn"  # a pyramid, or one map of a dilated last stage
    levels: tuple[int, ...] = (1, 2, 3, 4)  # stages that the pyramid begins from
    channels: int = 256  # of the feature maps
    head_channels: int = 1024  # of the two layers that classify a box
    min_size: int = 800  # short side of the resized frame
    max_size: int = 1333  # and its longest side
    anchor_sizes: tuple[int, ...] = (32, 64, 128, 256, 512)  # fpn: one for each map and its pool
    aspect_ratios: tuple[float, ...] = (0.5, 1.0, 2.0)
    candidates: tuple[int, ...] = (2000, 1000)  # boxes of the RPN before NMS: training, test
    proposals: tuple[int, ...] = (2000, 1000)  # boxes of the RPN after NMS: training, test
    roi_size: int = 7  # cells a side of the features of a box
    rpn_samples: int = 256  # anchors of a frame that count in the loss
    box_samples: int = 512  # boxes of a frame that count in the loss
    box_positives: float = 0.25  # largest share of these boxes that are objects
    background_iou: float = 0.5  # a box below it is background; from there to 0.5 it is left out
    box_loss: float = 1.0  # weight of the loss that fits boxes, beside the loss of their classes
    score_threshold: float = 0.05  # of a detection

    # training
    windows_per_video: int = 15  # of each training video (FGFA's list has 15 frames of each)
    loss_frames: Literal["all", "last"] = "all"  # frames of a window that count in the loss
    flip: float = 0.5  # probability that a window is mirrored
    batch_size: int = 8  # windows a step that `lr` was chosen for
    windows_per_device: int = 1
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    clip_grad: float = 35.0  # largest total L2 norm of the gradient
    warmup: int = 500  # steps in which the rate rises to `lr`, from a third of it
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = (2, 5)
    gamma: float = 0.1
    epochs: int = 7

    def __post_init__(self):
        for name, declared in FIELD_TYPES.items():
            object.__setattr__(self, name, convert_value(name, getattr(self, name), declared))
        _check(self)

    @property
    def hash(self) -> str:
        """Return 8 hex digits of the fields that differ from their defaults."""
        fields = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if field.name != "explicit" and getattr(self, field.name) != field.default
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]


FIELD_TYPES = get_type_hints(DetectorConfig)

# name: what differs from torchvision's detector
RECIPES: dict[str, dict[str, Any]] = {
    "vid_r101": {
        "backbone": "resnet101", "neck": "dc5", "channels": 512, "min_size": 600, "max_size": 1000,
        "anchor_sizes": (64, 128, 256, 512), "candidates": (6000, 6000), "proposals": (600, 300),
        "box_samples": 256, "score_threshold": 1e-4,
    },
}  # fmt: skip


def get_recipe(name: str | DetectorConfig, **changes) -> DetectorConfig:
    """Make the configuration of a recipe, with changes that keep their values at every scale.

    Raises:
        ConfigError: an unknown recipe or field, or an impossible value.
    """
    if isinstance(name, DetectorConfig):
        cfg = name
    elif name in RECIPES:
        cfg = DetectorConfig(name=name, **RECIPES[name])
    else:
        raise ConfigError(f"there is no detector {name!r}; choose one of {', '.join(RECIPES)}")
    check_field_names(changes, FIELD_TYPES)
    explicit = tuple(sorted({*cfg.explicit, *changes}))
    return dataclasses.replace(cfg, **{**changes, "explicit": explicit})


def mini(cfg: DetectorConfig) -> DetectorConfig:
    """Reduce every size of a recipe, for a training of at most four minutes on one CPU core.

    The network is a narrow ResNet-18 with a pyramid of two levels, for frames of about 100 pixels
    with objects of 16 to 36. It starts from scratch, so all layers learn, batch norms too, and the
    rate falls along a cosine. The loss that fits boxes would drown that of their classes at first,
    so it counts a fifth; boxes that overlap an object by 0.3 to 0.5 are doubtful, and left out. The
    shift is untouched.
    """
    reduced: dict[str, Any] = {
        "backbone": "resnet18", "width": 0.25, "depth": (1, 1, 1, 1), "pretrain": "none",
        "frozen_bn": False, "trainable_layers": 5, "num_segments": 4,
        "neck": "fpn", "levels": (2, 3), "channels": 32, "head_channels": 128,
        "min_size": 96, "max_size": 128, "anchor_sizes": (24, 34, 48), "aspect_ratios": (1.0,),
        "candidates": (100, 100), "proposals": (32, 32), "roi_size": 5,
        "rpn_samples": 32, "box_samples": 16, "box_positives": 0.5, "background_iou": 0.3,
        "box_loss": 0.2, "score_threshold": 0.05,
        "batch_size": 8, "windows_per_device": 8, "optimizer": "adamw", "lr": 3e-3,
        "weight_decay": 0.01, "clip_grad": 5.0, "warmup": 20, "schedule": "cosine",
        "epochs": 3, "windows_per_video": 2,
    }  # fmt: skip
    return dataclasses.replace(cfg, **{k: v for k, v in reduced.items() if k not in cfg.explicit})


def config_from_dict(fields: dict[str, Any], file: str | Path) -> DetectorConfig:
    """Make the configuration that a checkpoint or a record holds.

    Raises:
        ConfigError: it is not of a detector.
    """
    if strange := [name for name in fields if name not in FIELD_TYPES]:
        raise ConfigError(f"{file} is not of a detector: its configuration has {strange[0]}")
    try:
        cfg = DetectorConfig(**fields)
    except ConfigError as error:
        raise ConfigError(f"{file} is not of a detector: {error}") from None
    if not cfg.class_names:
        raise ConfigError(f"{file} is not of a detector: its configuration names no classes")
    return cfg


def _check(cfg: DetectorConfig) -> None:
    """Raise `ConfigError` for values that are impossible, or exclude each other."""
    if BACKBONES[cfg.backbone].family != "resnet":
        known = [name for name, b in BACKBONES.items() if b.family == "resnet"]
        raise ConfigError(f"a detector's backbone is one of {', '.join(known)}, not {cfg.backbone}")
    if cfg.shift_direction != "unidirectional":
        raise ConfigError(
            f"shift_direction={cfg.shift_direction} needs the next frame, which is not there when "
            "a frame is answered; choose unidirectional, or is_shift=False for the 2-D detector"
        )
    _check_ranges(cfg)
    _check_network(cfg)
    if cfg.max_size < cfg.min_size:
        raise ConfigError(f"max_size={cfg.max_size} must be at least min_size={cfg.min_size}")
    for name in ("candidates", "proposals"):
        if len(getattr(cfg, name)) != 2 or min(getattr(cfg, name)) < 1:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be two numbers: training, test")


def _check_ranges(cfg: DetectorConfig) -> None:
    for name in AT_LEAST_ONE:
        if getattr(cfg, name) < 1:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be at least 1")
        if getattr(cfg, name) > (largest := LARGEST_SIZE.get(name, LARGEST)):
            raise ConfigError(f"{name}={getattr(cfg, name)} must be at most {largest}")
    if cfg.background_iou > 0.5:
        raise ConfigError(f"background_iou={cfg.background_iou} must be at most 0.5")
    for name in ("lr", "width", "clip_grad", "box_loss"):
        if not 0 < getattr(cfg, name) < math.inf:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be positive and finite")
    for name in ("flip", "score_threshold", "box_positives", "background_iou", "momentum"):
        if not 0 <= getattr(cfg, name) <= 1:
            raise ConfigError(f"{name}={getattr(cfg, name)} must lie between 0 and 1")
    for name in ("weight_decay", "gamma", "warmup"):
        if not 0 <= getattr(cfg, name) < math.inf:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be 0 or more")
    for name in ("lr", "clip_grad", "box_loss", "weight_decay", "gamma"):
        if getattr(cfg, name) > LARGEST_RATE:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be at most {LARGEST_RATE:g}")
    for name in ("depth", "milestones", "anchor_sizes"):
        if any(value < 1 for value in getattr(cfg, name) or ()):
            raise ConfigError(f"{name}={getattr(cfg, name)} must hold numbers from 1 on")


def _check_network(cfg: DetectorConfig) -> None:
    if not 1 <= round(64 * cfg.width) <= 64 * LARGEST_WIDTH:
        raise ConfigError(f"width={cfg.width} must lie between {1 / 128:g} and {LARGEST_WIDTH}")
    if cfg.depth is not None and (len(cfg.depth) != 4 or max(cfg.depth) > LARGEST_DEPTH):
        raise ConfigError(f"depth={cfg.depth} must be 4 numbers up to {LARGEST_DEPTH}")
    if not cfg.aspect_ratios or not all(0 < ratio < math.inf for ratio in cfg.aspect_ratios):
        raise ConfigError(f"aspect_ratios={cfg.aspect_ratios} must be positive numbers")
    if not 0 <= cfg.trainable_layers <= 5:
        raise ConfigError(f"trainable_layers={cfg.trainable_layers} must lie between 0 and 5")
    if not cfg.anchor_sizes:
        raise ConfigError("anchor_sizes must hold a size")
    in_order = list(cfg.levels) == sorted({*cfg.levels})
    if not cfg.levels or not {*cfg.levels} <= {1, 2, 3, 4} or not in_order:
        raise ConfigError(f"levels={cfg.levels} must be stages from 1 to 4, in order")
    if cfg.neck == "fpn" and len(cfg.anchor_sizes) != len(cfg.levels) + 1:
        raise ConfigError(
            f"anchor_sizes={cfg.anchor_sizes} must have {len(cfg.levels) + 1} sizes: one for each "
            "of the levels and one for the pooled map"
        )
