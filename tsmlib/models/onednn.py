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

NORMS = (nn.BatchNorm2d, nn.BatchNorm3d)
SIZES = 2  # of inputs that weights are kept for: batches of a test, and its last, smaller one


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
        self.weight = conv.weight.detach().contiguous(memory_format=torch.channels_last)
        self._packed: dict[torch.Size, Tensor] = {}
        self.bias = None if conv.bias is None else conv.bias.detach()
        # relu6 goes by the name of what it is a case of
        self.activation = {"relu6": ("hardtanh", [0.0, 6.0], "")}.get(
            activation, (activation, [], "")
        )

    def forward(self, x: Tensor, into: Tensor | None = None) -> Tensor:
        """`[N, C, H, W]` to `[N, K, H', W']`; added to `into`, which is written over, if given."""
        tensors = (x, self._packed_for(x.shape), self.bias)
        if into is None:
            return torch.ops.mkldnn._convolution_pointwise(
                *tensors, *self.options, *self.activation
            )
        name, *_ = self.activation
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            into, *tensors, *self.options, "add", 1.0, None if name == "none" else name, [], None
        )

    def _packed_for(self, size: torch.Size) -> Tensor:
        """The weights as the fastest implementation for this size of input wants them.

        In any other layout oneDNN would lay them out again at every call.
        """
        if size not in self._packed:
            if len(self._packed) == SIZES:
                self._packed.pop(next(iter(self._packed)))
            options = *self.options, list(size)
            packed = torch._C._nn.mkldnn_reorder_conv2d_weight(self.weight.to_mkldnn(), *options)
            self._packed[size] = packed
        return self._packed[size]


class PackedBlock(nn.Module):
    """A block whose input is written over: nobody else has it.

    Args:
        convs: all but the last.
        last: is added to the shortcut.
        shift: of the input of `convs`.
    """

    def __init__(self, convs: list[PackedConv], last: PackedConv, shift: nn.Module | None):
        super().__init__()
        self.convs, self.last, self.shift = nn.Sequential(*convs), last, shift

    def branch(self, x: Tensor, needed: bool) -> Tensor:
        """What enters the last convolution; `needed`: afterwards, `x` is what it was before."""
        if self.shift is None:
            return self.convs(x)
        undo = self.shift.in_place(x)
        out = self.convs(x)
        if needed:
            undo()
        return out


class PackedResidual(PackedBlock):
    """A block of a ResNet."""

    def __init__(self, block: BasicBlock | Bottleneck):
        convs = [conv for name, conv in block.named_children() if name.startswith("conv")]
        first = [PackedConv(conv, "relu") for conv in convs[:-1]]
        super().__init__(first, PackedConv(convs[-1], "relu"), getattr(convs[0], "shift", None))
        self.downsample = PackedConv(block.downsample[0]) if block.downsample else None
        self.block_shift = getattr(block, "shift", None)
        if hasattr(block, "non_local"):
            pack(block.non_local)
            follow_with(self, block.non_local)

    def forward(self, x: Tensor) -> Tensor:
        if self.block_shift is not None:
            self.block_shift.in_place(x)
        if self.downsample is None:
            return self.last(self.branch(x, needed=True), into=x)
        shortcut = self.downsample(x)
        return self.last(self.branch(x, needed=False), into=shortcut)


class PackedInverted(PackedBlock):
    """A block of MobileNetV2."""

    def __init__(self, block: InvertedResidual):
        *first, last, _ = block.conv  # the last batch norm is folded
        convs = [PackedConv(layer[0], "relu6") for layer in first]
        super().__init__(convs, PackedConv(last), getattr(first[0][0], "shift", None))
        self.shortcut = block.use_res_connect

    def forward(self, x: Tensor) -> Tensor:
        out = self.branch(x, needed=self.shortcut)
        return self.last(out, into=x if self.shortcut else None)
