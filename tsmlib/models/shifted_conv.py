"""Convolutions of shifted frames that make no copy of the frames."""

import torch
from torch import Tensor, nn
from torch.autograd.forward_ad import unpack_dual

from .fast_shift import borrowed_shift, needs_pure_ops, unshift_grad_
from .shift import TemporalShift, apply_plan


def shift_input(module: nn.Module, shift: TemporalShift) -> None:
    """Let `shift` act on the input of `module`, a 2-D convolution or any other module.

    There is no wrapper: the names of parameters, and so state_dicts, stay those of the plain
    network.
    """
    module.shift = shift
    if type(module) is nn.Conv2d:
        module.__class__ = ShiftedConv2d
    else:
        module.register_forward_pre_hook(_shift_first_argument)


def _shift_first_argument(module: nn.Module, args: tuple) -> tuple:
    return module.shift(args[0]), *args[1:]


class ShiftedConv2d(nn.Conv2d):
    """A convolution of shifted frames that shifts its input in place and back, where possible.

    That takes less work than a copy of all channels. The gradient needs nothing but the input as it
    was, which the layer before keeps as well.
    """

    shift: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        if not self._may_borrow(x):
            return super().forward(self.shift(x))
        plan = self.shift.plan(x)
        if not torch.is_grad_enabled():
            with borrowed_shift(x.data, plan) as shifted:
                return super().forward(shifted)
        options = self.stride, self.padding, self.dilation, self.groups
        return _ShiftedConvolution.apply(x, self.weight, self.bias, plan, options)

    def _may_borrow(self, x: Tensor) -> bool:
        """Tell whether this is a plain call on memory that can be written to."""
        return (
            not needs_pure_ops()
            and type(self.shift) is TemporalShift
            and not (self.shift._forward_hooks or self.shift._forward_pre_hooks)  # they see a copy
            and type(x) is Tensor
            and unpack_dual(x).tangent is None  # a forward gradient would be lost
            and isinstance(self.padding, tuple) and self.padding_mode == "zeros"
            and (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last))
            and not _autocasts(x.device.type)
        )  # fmt: skip


def _autocasts(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


class _ShiftedConvolution(torch.autograd.Function):
    """`conv2d` of a shifted input, with the gradients of a shift and a convolution."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None, plan, options) -> Tensor:
        ctx.save_for_backward(x, weight, bias)
        ctx.plan, ctx.options = plan, options
        with borrowed_shift(x.data, plan) as shifted:  # autograd sees no write to x
            return torch.conv2d(shifted, weight, bias, *options)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        compute = _differentiable_gradients if torch.is_grad_enabled() else _gradients
        return *compute(ctx, grad, *ctx.saved_tensors), None, None


def _gradients(ctx, grad: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None) -> list:
    """Compute the gradients of input, weight and bias in place."""
    stride, padding, dilation, groups = ctx.options
    with borrowed_shift(x.data, ctx.plan) as shifted:
        x_grad, *parameter_grads = torch.ops.aten.convolution_backward(
            grad, shifted, weight, None if bias is None else list(bias.shape), stride, padding,
            dilation, False, [0, 0], groups, ctx.needs_input_grad[:3],
        )  # fmt: skip
    if x_grad is not None:
        unshift_grad_(x_grad, ctx.plan)
    return [x_grad, *parameter_grads]


def _differentiable_gradients(ctx, grad: Tensor, *inputs: Tensor | None) -> list:
    """Compute the same gradients with copies, so that they have gradients themselves."""
    x, *parameters = inputs
    out = torch.conv2d(apply_plan(x, ctx.plan), *parameters, *ctx.options)
    needed = ctx.needs_input_grad[:3]
    leaves = [t for t, need in zip(inputs, needed, strict=True) if need]
    grads = iter(torch.autograd.grad(out, leaves, grad, create_graph=True))
    return [next(grads) if need else None for need in needed]
