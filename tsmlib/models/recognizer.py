"""Video recognizers: clips in, logits out.

A backbone with temporal shifts, non-local blocks and a consensus head, as a configuration says.
"""

from functools import lru_cache, partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..configs import Config, check_model, get_config
from .backbones import get_family
from .checkpoint_files import CheckpointError, check_values
from .checkpoints import LoadReport, is_of_run, load_content, load_pretrained
from .clip_network import freeze_batch_norms
from .nonlocal_block import NonLocalBlock, follow_with
from .shift import TemporalShift
from .shift_plan import shifted_channels
from .shifted_conv import shift_input

# grey levels, RGB, of ImageNet's images (MMAction2 configs, img_norm_cfg)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
HEAD_STD = 0.001  # of the classifier's initial weights (MMAction2 tsm_head.py, MIT ops/models.py)


def build_model(
    cfg: Config | str, num_classes: int | None = None, pretrained: bool = False, **changes
) -> nn.Module:
    """Build the recognizer of a configuration: `build_model("k400", num_segments=16)`.

    Args:
        cfg: the configuration, or its name; its model fields are used.
        num_classes: outputs; None: as the configuration says.
        pretrained: load the weights that `cfg.pretrain` names (nothing is loaded otherwise).
        changes: fields of the configuration, where `cfg` is a name.

    Returns:
        A module from `[N, T, C, H, W]` (float, RGB, normalised) to logits `[N, num_classes]`.
        `state_dict` keys are torchvision's. `.pretrained` says what was loaded.

    Raises:
        ConfigError: an unknown name, or a part that does not exist for this backbone.
        TypeError: changes of a `Config`; `get_config(cfg, **changes)` makes them.
        CheckpointError: pretrained weights that cannot be had or do not fit.
    """
    if changes and isinstance(cfg, Config):
        raise TypeError(
            f"build_model takes {', '.join(changes)} beside the name of a row only; change this "
            "configuration first: get_config(cfg, ...)"
        )
    cfg = get_config(cfg, **changes)
    model = assemble_model(cfg, num_classes)
    model.pretrained = load_pretrained(model, cfg) if pretrained else None
    return model


def load_model(cfg: Config, content: dict, file: Path) -> tuple[nn.Module, LoadReport]:
    """Build the recognizer of a configuration with the weights of a file that was read.

    Args:
        cfg: the configuration.
        content: of the file.
        file: its name, for messages.

    Raises:
        CheckpointError: the weights do not fit, see `load_checkpoint` and `check_size`.
    """
    if is_of_run(content):
        check_size(cfg, content["model"], file)
    model = assemble_model(cfg)
    return model, load_content(model, content, file)


def check_size(cfg: Config, weights: dict[str, Tensor], file: Path) -> None:
    """Check, before it is built, that a model is no larger than the weights of its file.

    A small file must not make this process ask for much memory.

    Raises:
        CheckpointError: it is larger, or the weights are no plain tensors of finite numbers.
    """
    check_values(weights, file)
    parts = [(weight.untyped_storage(), weight.itemsize) for weight in weights.values()]
    numbers = sum({part.data_ptr(): part.nbytes() // size for part, size in parts}.values())
    fits = cfg.num_classes <= numbers and sum(cfg.depth or ()) <= len(parts)
    if fits:
        with torch.device("meta"):  # shapes alone
            own = assemble_model(cfg).state_dict().values()
        fits = sum(weight.numel() for weight in own) <= 2 * numbers  # a head may be missing
    if not fits:
        raise CheckpointError(
            f"{file} states a larger model than it has weights of: width={cfg.width}, "
            f"depth={cfg.depth}, num_classes={cfg.num_classes}; it is damaged, or not of a run"
        )


def assemble_model(cfg: Config, num_classes: int | None = None) -> nn.Module:
    """Put a recognizer together, with new weights: backbone, non-local blocks, shifts, pooling."""
    check_model(cfg)
    classes = num_classes or cfg.num_classes
    model = get_family(cfg.backbone).build(cfg, classes)
    model.num_segments, model.num_classes = cfg.num_segments, classes
    init_head(model)
    if cfg.non_local:
        for block, channels in model.non_local_blocks():
            follow_with(block, NonLocalBlock(channels, cfg.num_segments, cfg.non_local))
    if cfg.is_shift:
        _add_shifts(model, cfg)
    if cfg.temporal_pool:
        pooled = model.pooled_stages()[0]
        pooled.temporal_pool = True
        pooled.register_forward_pre_hook(partial(_pool_time, cfg.num_segments))
    if cfg.partial_bn:
        freeze_batch_norms(model)
    return model


def init_head(model: nn.Module) -> None:
    """Start the classifier anew, as published."""
    nn.init.normal_(model.head.weight, std=HEAD_STD)
    nn.init.zeros_(model.head.bias)


def channels_last(model: nn.Module) -> nn.Module:
    """Put the weights of a model into the memory order that convolutions like best."""
    volumetric = any(isinstance(module, nn.Conv3d) for module in model.modules())
    return model.to(memory_format=torch.channels_last_3d if volumetric else torch.channels_last)


def moved_channels(model: nn.Module) -> dict[str, int]:
    """Count the channels that each shift moves per direction, by the name of the shifted layer."""
    moved = {}
    for name, module in model.named_modules():
        if isinstance(getattr(module, "shift", None), TemporalShift):
            conv = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
            moved[name] = shifted_channels(conv.in_channels, module.shift.shift_div)
    return moved


def _add_shifts(model: nn.Module, cfg: Config) -> None:
    """Shift the inputs of the published layers; behind temporal pooling clips have T/2 frames."""
    pooled = model.pooled_stages() if cfg.temporal_pool else ()
    late = {id(module) for stage in pooled for module in stage.modules()}
    for module in model.shifted_modules(cfg):
        t = cfg.num_segments // 2 if id(module) in late else cfg.num_segments
        shift = TemporalShift(t, cfg.shift_div, cfg.shift_direction, cfg.shift_padding)
        shift_input(module, shift)


def _pool_time(num_segments: int, stage: nn.Module, args: tuple[Tensor]) -> Tensor:
    """Pool `[N*T, C, H, W]` to `[N*T/2, C, H, W]`.

    Every second frame becomes the maximum of itself and its neighbours (MMAction2 resnet_tsm.py and
    MIT ops/temporal_shift.py, make_temporal_pool).
    """
    clips = args[0].unflatten(0, (-1, num_segments)).transpose(1, 2)  # [N, C, T, H, W]
    pooled = F.max_pool3d(clips, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))
    return pooled.transpose(1, 2).flatten(0, 1)


def normalize(clips: Tensor) -> Tensor:
    """Normalise uint8 `[..., C, H, W]` RGB with ImageNet's mean and deviation (all 36 rows)."""
    out = clips.to(torch.float32, copy=True)  # one new tensor, not three
    pixels = out.movedim(-3, -1)  # [..., H, W, C]
    if pixels.is_contiguous():  # rows of pixels: passes over three values at a time would be slow
        mean, std = _statistics(pixels.shape[-2], clips.device)
        pixels.flatten(-2).sub_(mean).div_(std)
        return out
    mean, std = _statistics(1, clips.device)
    return out.sub_(mean.view(3, 1, 1)).div_(std.view(3, 1, 1))


@lru_cache
def _statistics(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return mean and deviation for a row of pixels, cached: copies make a GPU wait."""
    with torch.inference_mode(False):  # training may be the next to use them
        mean, std = (torch.tensor(values, device=device).repeat(width) for values in (MEAN, STD))
    return mean, std
