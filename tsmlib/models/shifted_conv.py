"""Convolutions of shifted frames, without copies of what they shift."""

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from .shift import TemporalShift, watched


def shift_input_of(module: nn.Module, shift: TemporalShift) -> None:
    """Let `shift` act on the input of `module`, a 2-D convolution or any other.

    No wrapper around it: names of parameters, and so state_dicts, stay those of the plain network.
    """
    module.shift = shift
    if type(module) is nn.Conv2d:
        module.__class__ = ShiftedConv2d
    else:
        module.register_forward_pre_hook(_shift_first_argument)


def _shift_first_argument(module: nn.Module, args: tuple) -> tuple:
    return module.shift(args[0]), *args[1:]


class ShiftedConv2d(nn.Conv2d):
    """A convolution of shifted frames that makes no copy of them, where that is possible.

    Its input is shifted in place, and back again: less work than a copy of everything, and for the
    gradient nothing is kept but the input itself, which others keep as well.
    """

    shift: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        if not self._lends(x):
            return super().forward(self.shift(x))
        if not torch.is_grad_enabled():
            with self.shift.lent(x.data) as shifted:
                return super().forward(shifted)
        options = self.stride, self.padding, self.dilation, self.groups
        return _ShiftedConvolution.apply(x, self.weight, self.bias, self.shift, options)

    def _lends(self, x: Tensor) -> bool:
        """Whether this is a plain call on memory that can be written to."""
        return (
            not watched()
            and type(self.shift) is TemporalShift
            and not (self.shift._forward_hooks or self.shift._forward_pre_hooks)  # who looks at it
            and type(x) is Tensor
            and unpack_dual(x).tangent is None  # a forward gradient would be lost
            and isinstance(self.padding, tuple) and self.padding_mode == "zeros"
            and (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last))
            and not _autocasts(x.device.type)
        )  # fmt: skip


def _autocasts(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


class _ShiftedConvolution(torch.autograd.Function):
    """`conv2d` of a shifted input; its gradients are those of a shift and a convolution."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, shift, options) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.shift, ctx.options = shift, options
        with shift.lent(x.data) as shifted:  # to autograd, nothing happens to x
            return torch.conv2d(shifted, weight, bias, *options)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        find = _gradients_with_copies if torch.is_grad_enabled() else _gradients
        return *find(ctx, grad, *ctx.saved_tensors), None, None


def _gradients(ctx, grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> list:
    stride, padding, dilation, groups = ctx.options
    with ctx.shift.lent(x.data) as shifted:
        of_x, *others = torch.ops.aten.convolution_backward(
            grad, shifted, weight, None if bias is None else list(bias.shape), stride, padding,
            dilation, False, [0, 0], groups, ctx.needs_input_grad[:3],
        )  # fmt: skip
    if of_x is not None:
        ctx.shift.back_in_place(of_x)
    return [of_x, *others]


def _gradients_with_copies(ctx, grad: Tensor, *inputs: Tensor | None) -> list:
    """As `_gradients`, for those who want gradients of gradients."""
    x, *parameters = inputs
    out = torch.conv2d(ctx.shift(x), *parameters, *ctx.options)
    needed = ctx.needs_input_grad[:3]
    wanted = [t for t, need in zip(inputs, needed, strict=True) if need]
    found = iter(torch.autograd.grad(out, wanted, grad, create_graph=True))
    return [next(found) if need else None for need in needed]
