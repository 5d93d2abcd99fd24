"""Optimizer, learning rate and schedule of a training run."""

import logging
import math

import torch
from torch import nn

from .configs import Config, scaled_lr
from .models.recognizer import param_groups

log = logging.getLogger(__name__)


def say_lr(cfg: Config, batch: int, world: int) -> None:
    """Log the rate, what it was scaled from, and a warning of the published page's example."""
    log.info(
        "learning rate %g for steps of %d videos: %d devices, %d videos at once on each; the "
        "configuration has %g for %d, and the rate is linear in the batch. (Note 1 of the "
        "published page, 0.01 for 8 videos, is 8 times off its own configs.)",
        scaled_lr(cfg, batch), batch, world, cfg.videos_per_device, cfg.lr, cfg.batch_size,
    )  # fmt: skip


def make_optimizer(cfg: Config, model: nn.Module, lr: float) -> torch.optim.Optimizer:
    """SGD as published, or AdamW, over the published parameter groups."""
    groups = param_groups(model, lr, cfg.weight_decay, cfg.fc_lr5)
    for group in groups:
        group["base_lr"] = group["lr"]
    if cfg.optimizer == "adamw":
        return torch.optim.AdamW(groups)
    return torch.optim.SGD(groups, lr=lr, momentum=cfg.momentum)


def lr_factor(cfg: Config, progress: float) -> float:
    """What the base rate is multiplied by, `progress` epochs into the training.

    `step`: gamma for each milestone passed, by whole epochs (mmcv StepLrUpdaterHook). `cosine`:
    from 1 to 0 over the training.
    """
    if cfg.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress / cfg.epochs))
    return cfg.gamma ** sum(int(progress) >= m for m in cfg.milestones)
