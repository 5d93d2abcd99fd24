"""Parameter groups, optimizer, learning rate and schedule of a training run."""

import logging
import math

import torch
from torch import Tensor, nn

from ..configs import Config, scaled_lr

log = logging.getLogger(__name__)


def accumulation(batch_size: int, at_once: int) -> int:
    """Return how many batches, of `at_once` videos on all devices, share a step of `batch_size`."""
    return max(1, round(batch_size / at_once))


def log_lr(cfg: Config, batch: int, world: int) -> None:
    """Log the rate and what it was scaled from; warn of larger steps on a user's own videos."""
    note = " (Note 1 of the published page, 0.01 for 8 videos, is 8 times off its own configs.)"
    log.info(
        "learning rate %g for steps of %d videos: %d devices, %d videos at once on each; the "
        "configuration has %g for %d, and the rate is linear in the batch.%s",
        scaled_lr(cfg, batch), batch, world, cfg.videos_per_device, cfg.lr, cfg.batch_size,
        "" if cfg.dataset == "custom" else note,
    )  # fmt: skip
    if batch > cfg.batch_size and cfg.dataset == "custom":  # rows follow the published rule
        log.warning(
            "%d videos share a step on %d devices, and in the recipe %d, which can cost accuracy: "
            "set %s", batch, world, cfg.batch_size, _keep_batch(cfg, world),
        )  # fmt: skip


def _keep_batch(cfg: Config, world: int) -> str:
    """Say how so many devices compute steps of as many videos as the recipe has."""
    if world <= cfg.batch_size:
        return f"videos_per_device={cfg.batch_size // world}"
    return f"videos_per_device=1 on at most {cfg.batch_size} devices"


def param_groups(
    model: nn.Module, lr: float, weight_decay: float, fc_lr5: bool = True
) -> list[dict]:
    """Sort parameters into the published groups, for `torch.optim`.

    Multipliers of lr and weight decay (MMAction2 core/optimizer/tsm_optimizer_constructor.py):
    weights 1, 1; biases 2, 0; batch norms 1, 0; with `fc_lr5` the classifier's weight 5, 1 and
    bias 10, 0. Depth-wise convolutions count as convolutions.

    Returns:
        Dicts with `name`, `params`, `lr`, `weight_decay`; empty groups are left out.

    Raises:
        ValueError: a parameter of another kind of layer.
    """
    kinds = (nn.modules.batchnorm._BatchNorm, nn.modules.conv._ConvNd, nn.Linear)
    layers = [m for m in model.modules() if isinstance(m, kinds)]
    known = {p for layer in layers for p in layer.parameters(recurse=False)}
    if ungrouped := [n for n, p in model.named_parameters() if p not in known]:
        raise ValueError(f"no parameter group is defined for {', '.join(ungrouped)}")
    convs = [m for m in layers if isinstance(m, nn.modules.conv._ConvNd)]
    first, last = convs[0], [m for m in layers if isinstance(m, nn.Linear)][-1]
    multipliers = {
        "first_conv_weight": (1, 1), "first_conv_bias": (2, 0), "normal_weight": (1, 1),
        "normal_bias": (2, 0), "bn": (1, 0), "fc_lr5_weight": (5, 1), "fc_lr10_bias": (10, 0),
    }  # fmt: skip
    members: dict[str, list[Tensor]] = {name: [] for name in multipliers}
    for layer in layers:
        for kind, p in layer.named_parameters(recurse=False):
            if not isinstance(layer, kinds[1:]):
                name = "bn"
            elif layer is last and fc_lr5:
                name = "fc_lr5_weight" if kind == "weight" else "fc_lr10_bias"
            else:
                name = f"{'first_conv' if layer is first else 'normal'}_{kind}"
            members[name].append(p)
    return [
        {"name": n, "params": members[n], "lr": lr * a, "weight_decay": weight_decay * b}
        for n, (a, b) in multipliers.items()
        if members[n]
    ]


def make_optimizer(
    cfg: Config, model: nn.Module, lr: float, fused: bool = False
) -> torch.optim.Optimizer:
    """Make SGD as published, or AdamW, over the published parameter groups.

    `fused`: one operation for all parameters, faster on GPUs; rounding differs.
    """
    groups = param_groups(model, lr, cfg.weight_decay, cfg.fc_lr5)
    for group in groups:
        group["base_lr"] = group["lr"]
    if cfg.optimizer == "adamw":
        return torch.optim.AdamW(groups, fused=fused)
    return torch.optim.SGD(groups, lr=lr, momentum=cfg.momentum, fused=fused)


def lr_factor(cfg: Config, progress: float) -> float:
    """Return the factor of the base rate, `progress` epochs into the training.

    `step`: gamma for each milestone passed, by whole epochs (mmcv StepLrUpdaterHook). `cosine`:
    from 1 to 0 over the training.
    """
    if cfg.schedule == "cosine":
        return 0.5 * (1 + math.cos(math.pi * progress / cfg.epochs))
    return cfg.gamma ** sum(int(progress) >= m for m in cfg.milestones)


def set_lr(optimizer: torch.optim.Optimizer, cfg: Config, progress: float) -> None:
    """Set the rate of every group, `progress` epochs into the training."""
    factor = lr_factor(cfg, progress)
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor
