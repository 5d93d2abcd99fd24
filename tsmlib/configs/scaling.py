"""Changes of a configuration that keep its recipe together: fields, scale, batch and epochs."""

import dataclasses
from typing import Any

from .backbones import BACKBONES
from .fields import FIELD_TYPES, Config
from .validation import check_field_names

MINI_EPOCHS = 8
MINI_BATCH = 8
# tuned on the stand-in of sthv1 with seeds 100-103, never on a reported seed
MINI_LR_FACTOR = 64.0  # times the lr of the row
MINI_CLIP_GRAD_FACTOR = 0.05  # times its clip_grad


def mini(cfg: Config) -> Config:
    """Reduce every size of a recipe, for about a minute and a half on one CPU core.

    Sizes in pixels are a quarter, channels an eighth, one or two blocks a stage, 8 epochs of
    batches of 8. Training starts from scratch, unless from another row or a file; from scratch the
    classifier is no newer than the rest, and does not learn faster. The learning rate per video is
    higher (ratios between rows stay), and gradients are clipped at a lower norm, which keeps that
    rate stable. The rate falls along a cosine: in so few steps, one that falls at milestones is too
    high or too low most of the time. Segments, shift, non-local, blending and sampling stay.
    """
    scratch = cfg.pretrain in ("imagenet", "none")
    lr = cfg.lr if "batch_size" in cfg.explicit else scaled_lr(cfg, MINI_BATCH)
    milestones = cfg.milestones
    if "epochs" not in cfg.explicit:
        milestones = scale_milestones(cfg, MINI_EPOCHS)
    reduced: dict[str, Any] = {
        "width": cfg.width / 8,
        "depth": BACKBONES[cfg.backbone].mini_depth,
        "pretrain": "none" if scratch else cfg.pretrain,
        "short_side": cfg.short_side // 4,
        "crop_size": cfg.crop_size // 4,
        "val_crop_size": cfg.val_crop_size // 4,
        "test_crop_size": cfg.test_crop_size // 4,
        "batch_size": MINI_BATCH,
        "videos_per_device": MINI_BATCH,
        "lr": MINI_LR_FACTOR * lr,
        "clip_grad": cfg.clip_grad * MINI_CLIP_GRAD_FACTOR,
        "epochs": MINI_EPOCHS,
        "schedule": cfg.schedule if "milestones" in cfg.explicit else "cosine",
        "milestones": milestones,
        "fc_lr5": cfg.fc_lr5 and not scratch,
        "eval_interval": 4,
    }
    return dataclasses.replace(cfg, **{k: v for k, v in reduced.items() if k not in cfg.explicit})


def replace(cfg: Config, **changes) -> Config:
    """Copy a configuration with fields that the user sets: they keep their values at every scale.

    The milestones follow a change of `epochs`, and `lr` one of `batch_size` (linearly), unless they
    are set as well.
    """
    check_field_names(changes, FIELD_TYPES)
    explicit = tuple(sorted({*cfg.explicit, *changes}))
    changed = dataclasses.replace(cfg, **{**changes, "explicit": explicit})
    follows: dict[str, Any] = {}
    if "epochs" in changes and "milestones" not in explicit:
        follows["milestones"] = scale_milestones(cfg, changed.epochs)
    if "batch_size" in changes and "lr" not in explicit:
        follows["lr"] = scaled_lr(cfg, changed.batch_size)
    return dataclasses.replace(changed, **follows) if follows else changed


def scale_milestones(cfg: Config, epochs: int) -> tuple[int, ...]:
    """Place the milestones at the same fractions of another number of epochs."""
    return tuple(max(1, round(m * epochs / cfg.epochs)) for m in cfg.milestones)


def scaled_lr(cfg: Config, batch: int) -> float:
    """Scale the learning rate linearly to `batch` videos a step, from the row's own pair.

    The published page's example (its note 1: lr 0.01 for 4 GPUs x 2 videos) is 8 times off the
    config files, which have 0.01 for 8 GPUs x 8 videos; the config files are followed.
    """
    return cfg.lr * batch / cfg.batch_size
