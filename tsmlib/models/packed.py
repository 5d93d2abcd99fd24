"""Convolutions as oneDNN wants them: weights laid out once, what follows computed on the way.

For inference on CPUs. These are the operations that torch.compile chooses with freezing (its
inductor/fx_passes/mkldnn_fusion.py), called directly: no compiler and no waiting.
"""

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

from .nonlocal_block import NonLocalBlock, follow_with
from .shift import shift_input_of

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)


def fold_batch_norms(model: nn.Module) -> None:
    """Multiply every batch norm into the convolution in front of it; `model` is changed."""
    for parent in list(model.modules()):
        for conv, norm in _pairs(parent):
            setattr(parent, conv, fuse_conv_bn_eval(getattr(parent, conv), getattr(parent, norm)))
            setattr(parent, norm, nn.Identity())


def _pairs(parent: nn.Module) -> list[tuple[str, str]]:
    """Names of convolutions and of the batch norms that follow them, among a module's children."""
    children = dict(parent.named_children())
    names = list(children)
    if isinstance(parent, nn.Sequential):
        pairs = list(zip(names, names[1:], strict=False))
    elif isinstance(parent, NonLocalBlock):
        pairs = [("conv_out", "bn")]
    else:
        pairs = [(name, name.replace("conv", "bn")) for name in names if name.startswith("conv")]
    kinds = nn.Conv2d | nn.Conv3d
    norms = {name for name, child in children.items() if isinstance(child, NORMS)}
    return [(conv, norm) for conv, norm in pairs
            if isinstance(children[conv], kinds) and norm in norms]  # fmt: skip


def can_be_packed(model: nn.Module) -> bool:
    """Whether this torch has the operations, and the model nothing but 2-D convolutions."""
    there = hasattr(torch.ops.mkldnn, "_convolution_pointwise_") and torch.backends.mkldnn.enabled
    flat = not any(isinstance(module, nn.Conv3d) for module in model.modules())
    return torch.backends.mkldnn.is_available() and there and flat


def pack(model: nn.Module) -> None:
    """Replace the convolutions of a model without batch norms, and the blocks around them."""
    for name, child in model.named_children():
        if isinstance(child, BasicBlock | Bottleneck):
            setattr(model, name, PackedResidual(child))
        elif isinstance(child, InvertedResidual):
            setattr(model, name, PackedInverted(child))
        elif isinstance(child, nn.Conv2d) and name != "concat":  # only its weights are used
            setattr(model, name, PackedConv(child))
        else:
            pack(child)


class PackedConv(nn.Module):
    """A convolution, with the activation that follows it, on channels-last tensors."""

    def __init__(self, conv: nn.Conv2d, activation: str = "none"):
        super().__init__()
        sizes = ("padding", "stride", "dilation")
        self.options = (*(list(getattr(conv, size)) for size in sizes), conv.groups)
        weight = conv.weight.detach().contiguous(memory_format=torch.channels_last).to_mkldnn()
        self.weight = torch._C._nn.mkldnn_reorder_conv2d_weight(weight, *self.options, None)
        self.bias = None if conv.bias is None else conv.bias.detach()
        # relu6 goes by the name of what it is a case of
        self.activation = {"relu6": ("hardtanh", [0.0, 6.0], "")}.get(
            activation, (activation, [], "")
        )
        if hasattr(conv, "shift"):
            shift_input_of(self, conv.shift)

    def forward(self, x: Tensor, into: Tensor | None = None) -> Tensor:
        """`[N, C, H, W]` to `[N, K, H', W']`; added to `into`, which is written over, if given."""
        tensors = (x, self.weight, self.bias)
        if into is None:
            return torch.ops.mkldnn._convolution_pointwise(
                *tensors, *self.options, *self.activation
            )
        name, *_ = self.activation
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            into, *tensors, *self.options, "add", 1.0, None if name == "none" else name, [], None
        )


class PackedResidual(nn.Module):
    """A block of a ResNet. Its input is written over: nobody else has it."""

    def __init__(self, block: BasicBlock | Bottleneck):
        super().__init__()
        convs = [conv for name, conv in block.named_children() if name.startswith("conv")]
        self.convs = nn.Sequential(*(PackedConv(conv, "relu") for conv in convs[:-1]))
        self.last = PackedConv(convs[-1], "relu")
        self.downsample = PackedConv(block.downsample[0]) if block.downsample else nn.Identity()
        if hasattr(block, "shift"):
            shift_input_of(self, block.shift)
        if hasattr(block, "non_local"):
            pack(block.non_local)
            follow_with(self, block.non_local)

    def forward(self, x: Tensor) -> Tensor:
        out = self.convs(x)
        return self.last(out, into=self.downsample(x))


class PackedInverted(nn.Module):
    """A block of MobileNetV2. Where there is a shortcut, its input is written over."""

    def __init__(self, block: InvertedResidual):
        super().__init__()
        *first, last, _ = block.conv  # the last batch norm is folded
        self.convs = nn.Sequential(*(PackedConv(layer[0], "relu6") for layer in first))
        self.last, self.shortcut = PackedConv(last), block.use_res_connect

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.convs(x), into=x if self.shortcut else None)
