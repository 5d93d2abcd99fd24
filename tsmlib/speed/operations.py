"""Count parameters and operations from shapes, as multiply-adds and as the published tables do."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import MobileNetV2

from ..configs import BACKBONES, DATASETS, Config
from ..models.recognizer import build_model


@dataclass(frozen=True)
class Cost:
    """Cost of one clip through a model."""

    parameters: int
    macs: int  # multiply-adds of convolutions, linear layers and attention products
    flops_published: int  # as the published tables count, see `count_published_flops`
    size: int  # of the input, in pixels


def count_cost(cfg: Config, size: int | None = None) -> Cost:
    """Count the parameters and operations of a configuration, computing nothing.

    Args:
        cfg: the configuration.
        size: of the square input; None: that of the published figure, 256 for MobileNetV2 and
            Jester, else 224.
    """
    records = BACKBONES[cfg.backbone], DATASETS[cfg.dataset]
    size = size or max(record.published_size for record in records)
    with torch.device("meta"):  # shapes alone
        model = build_model(cfg).eval()
        clip = torch.empty(1, cfg.num_segments, 3, size, size)
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, count_macs(model, clip), count_published_flops(model, clip), size)


@torch.no_grad()
def count_macs(model: nn.Module, clips: Tensor) -> int:
    """Count the multiply-adds of a forward pass as computed here; the shift has none."""
    with FlopCounterMode(display=False) as counter:
        model(clips)
    return counter.get_total_flops() // 2


@torch.no_grad()
def count_published_flops(model: nn.Module, clips: Tensor) -> int:
    """Count the operations of a forward pass as mmcv's `get_model_complexity_info` does.

    Multiply-adds of convolutions (and one for a bias) and of linear layers (without it), two
    operations for each value in a batch norm, one in a ReLU or into a pooling layer; no attention
    products. The published "FLOPs" are these, to the digit.
    """
    # MobileNetV2's average pool is no layer of its own in torchvision
    total, last = 0, model.features[-1] if isinstance(model, MobileNetV2) else None

    def count(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            kernel = layer.weight[0].numel() + (layer.bias is not None)
            total += output.numel() * kernel
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            total += 2 * output.numel()
        elif isinstance(layer, nn.ReLU | nn.ReLU6):
            total += output.numel()
        elif isinstance(layer, nn.MaxPool2d | nn.AdaptiveAvgPool2d | nn.AdaptiveAvgPool3d):
            total += inputs[0].numel()
        elif layer is last:
            total += output.numel()

    handles = [layer.register_forward_hook(count) for layer in model.modules()]
    try:
        model(clips)
    finally:
        for handle in handles:
            handle.remove()
    return total
