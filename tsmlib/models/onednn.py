"""oneDNN convolutions with pre-packed weights and fused activation and residual add (CPUs).

These are the operations that torch.compile chooses with freezing (torch's
inductor/fx_passes/mkldnn_fusion.py), called directly: no compiler and no waiting.
"""

import copy

import torch
from torch import Tensor, nn
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

from .nonlocal_block import follow_with

PACKED_SIZES = 2  # input sizes with packed weights: batches of a test, and its last, smaller batch


def supports_onednn(model: nn.Module) -> bool:
    """Tell whether this torch has the operations, and `model` has 2-D convolutions only."""
    mkldnn, ops = torch.backends.mkldnn, torch.ops.mkldnn
    available = mkldnn.is_available() and mkldnn.enabled and hasattr(ops, "_convolution_pointwise_")
    return available and not any(isinstance(module, nn.Conv3d) for module in model.modules())


def supports_bf16() -> bool:
    """Tell whether oneDNN can lay out bf16 weights on this CPU."""
    return torch.ops.mkldnn._is_mkldnn_bf16_supported()


def prepack(model: nn.Module) -> None:
    """Replace the convolutions of a model without batch norms, and the blocks around them."""
    for name, child in model.named_children():
        if isinstance(child, BasicBlock | Bottleneck):
            setattr(model, name, OneDNNResidualBlock(child))
        elif isinstance(child, InvertedResidual):
            setattr(model, name, OneDNNInvertedResidual(child))
        elif isinstance(child, nn.Conv2d) and name != "concat" and not hasattr(child, "shift"):
            setattr(model, name, OneDNNConv2d(child))  # of `concat` only the weights are used
        else:
            prepack(child)


class OneDNNConv2d(nn.Module):
    """A convolution and the activation that follows it, on channels-last tensors."""

    def __init__(self, conv: nn.Conv2d, activation: str = "none"):
        super().__init__()
        sizes = ("padding", "stride", "dilation")
        self.options = (*(list(getattr(conv, size)) for size in sizes), conv.groups)
        self.weight = conv.weight.detach().contiguous(memory_format=torch.channels_last)
        self._packed: dict[torch.Size, Tensor] = {}
        self.bias = None if conv.bias is None else conv.bias.detach()
        # oneDNN knows relu6 as a case of hardtanh
        self.activation = {"relu6": ("hardtanh", [0.0, 6.0], "")}.get(
            activation, (activation, [], "")
        )

    def forward(self, x: Tensor, add_to: Tensor | None = None) -> Tensor:
        """Convolve `[N, C, H, W]` to `[N, K, H', W']`; `add_to`, if given, receives the sum."""
        tensors = (x, self._packed_weight(x.shape), self.bias)
        if add_to is None:
            return torch.ops.mkldnn._convolution_pointwise(
                *tensors, *self.options, *self.activation
            )
        name, *_ = self.activation
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            add_to, *tensors, *self.options, "add", 1.0, None if name == "none" else name, [], None
        )

    def __deepcopy__(self, memo: dict) -> "OneDNNConv2d":
        """Share the weight, which nothing changes; packed weights are of one input size each."""
        twin = copy.copy(self)
        twin._packed = {}
        return twin

    def _packed_weight(self, size: torch.Size) -> Tensor:
        """Lay the weight out for the fastest implementation with this input size.

        In any other layout oneDNN would lay it out again at every call.
        """
        if size not in self._packed:
            if len(self._packed) == PACKED_SIZES:
                self._packed.pop(next(iter(self._packed)))
            options = *self.options, list(size)
            packed = torch._C._nn.mkldnn_reorder_conv2d_weight(self.weight.to_mkldnn(), *options)
            self._packed[size] = packed
        return self._packed[size]


class OneDNNBlock(nn.Module):
    """A residual block that writes over its input, which no other layer reads.

    Args:
        block: torchvision's block; its own shift, if it has one, acts on all that enters.
        convs: all convolutions but the last.
        last: the convolution whose output is added to the shortcut.
        shift: acts on the input of `convs`.
    """

    def __init__(
        self, block: nn.Module, convs: list[OneDNNConv2d], last: OneDNNConv2d,
        shift: nn.Module | None,
    ):  # fmt: skip
        super().__init__()
        self.convs, self.last, self.shift = nn.Sequential(*convs), last, shift
        self.block_shift = getattr(block, "shift", None)

    def shift_all(self, x: Tensor) -> None:
        """Let the block's own shift, if it has one, write over what enters."""
        if self.block_shift is not None:
            self.block_shift.shift_(x)

    def branch(self, x: Tensor, restore: bool) -> Tensor:
        """Compute the input of the last convolution; `restore`: leave `x` as it was."""
        if self.shift is None:
            return self.convs(x)
        undo = self.shift.shift_(x)
        out = self.convs(x)
        if restore:
            undo()
        return out


class OneDNNResidualBlock(OneDNNBlock):
    """A block of a ResNet."""

    def __init__(self, block: BasicBlock | Bottleneck):
        convs = [conv for name, conv in block.named_children() if name.startswith("conv")]
        first = [OneDNNConv2d(conv, "relu") for conv in convs[:-1]]
        last, shift = OneDNNConv2d(convs[-1], "relu"), getattr(convs[0], "shift", None)
        super().__init__(block, first, last, shift)
        self.downsample = OneDNNConv2d(block.downsample[0]) if block.downsample else None
        if hasattr(block, "non_local"):
            prepack(block.non_local)
            follow_with(self, block.non_local)

    def forward(self, x: Tensor) -> Tensor:
        self.shift_all(x)
        if self.downsample is None:
            return self.last(self.branch(x, restore=True), add_to=x)
        shortcut = self.downsample(x)
        return self.last(self.branch(x, restore=False), add_to=shortcut)


class OneDNNInvertedResidual(OneDNNBlock):
    """A block of MobileNetV2."""

    def __init__(self, block: InvertedResidual):
        *first, last, _ = block.conv  # the last batch norm is folded
        convs = [OneDNNConv2d(layer[0], "relu6") for layer in first]
        super().__init__(block, convs, OneDNNConv2d(last), getattr(first[0][0], "shift", None))
        self.shortcut = block.use_res_connect

    def forward(self, x: Tensor) -> Tensor:
        self.shift_all(x)
        out = self.branch(x, restore=self.shortcut)
        return self.last(out, add_to=x if self.shortcut else None)
