"""The temporal shift (TSM, section 3): move a part of the channels one frame, at no cost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

Direction = Literal["bidirectional", "unidirectional"]
Padding = Literal["zero", "circular", "replicate"]
SCRATCH = 2**26  # bytes that are kept at most


def shifted_channels(channels: int, shift_div: int) -> int:
    """Channels that move in each direction, `channels // shift_div` (0: nothing moves).

    Raises:
        ValueError: `shift_div` below 1.
    """
    if shift_div < 1:
        raise ValueError(f"shift_div={shift_div} must be at least 1")
    return channels // shift_div


def temporal_shift(
    x: Tensor,
    num_segments: int,
    shift_div: int = 8,
    direction: Direction = "bidirectional",
    padding: Padding = "zero",
) -> Tensor:
    """Exchange channels between neighbouring frames of each clip.

    With fold = C // shift_div, the output at time t holds, of the input,
    channels [0, fold) of t+1, channels [fold, 2 fold) of t-1, and the rest of t
    (MMAction2 resnet_tsm.py and MIT ops/temporal_shift.py agree). Unidirectional, for online use:
    channels [0, fold) of t-1, the rest of t (MIT online_demo).

    Args:
        x: `[N*T, C, H, W]`, the frames of a clip in a row; never written to.
        num_segments: T.
        shift_div: a fold is 1/shift_div of the channels; larger than C moves nothing, and 1 moves
            all channels one way, as the published code does.
        direction: `bidirectional`, or `unidirectional` (past to present only).
        padding: what enters at a clip's first and last frame: `zero` (as published), `circular`
            (the clip's other end) or `replicate` (the frame itself).

    Returns:
        `[N*T, C, H, W]`, a new tensor in the memory format of `x`.

    Raises:
        ValueError: frames that do not divide into clips, or an unknown option.
    """
    ahead, behind = _parts(x, num_segments, shift_div, direction, padding)
    if torch.compiler.is_compiling():  # pieces are fused into what follows; writes would not be
        return _joined(x, num_segments, ahead, behind, padding)
    return _Shift.apply(x, num_segments, ahead, behind, padding)


def _parts(
    x: Tensor, num_segments: int, shift_div: int, direction: Direction, padding: Padding
) -> tuple[slice, slice]:
    """Channels that come from one frame later, and from one frame earlier."""
    if x.ndim != 4 or num_segments < 1 or x.shape[0] % num_segments:
        raise ValueError(f"{tuple(x.shape)} is not [N*T, C, H, W] with T = {num_segments} frames")
    if direction not in ("bidirectional", "unidirectional"):
        raise ValueError(f"direction={direction!r} is neither bidirectional nor unidirectional")
    if padding not in ("zero", "circular", "replicate"):
        raise ValueError(f"padding={padding!r} is none of zero, circular, replicate")
    fold = shifted_channels(x.shape[1], shift_div)
    ahead = slice(0, fold if direction == "bidirectional" else 0)
    return ahead, slice(ahead.stop, ahead.stop + fold)


class _Shift(torch.autograd.Function):
    """One copy forward and one backward: autograd would copy once for each slice."""

    @staticmethod
    def forward(ctx, x: Tensor, t: int, ahead: slice, behind: slice, padding: Padding) -> Tensor:
        ctx.options = t, ahead, behind, padding
        return _moved(x, t, ahead, behind, padding)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        t, ahead, behind, padding = ctx.options
        back = _moved(grad, t, behind, ahead, "circular" if padding == "circular" else "zero")
        _add_edges(grad, back, t, ahead, behind, padding)
        return back, None, None, None, None


def _add_edges(
    grad: Tensor, back: Tensor, t: int, ahead: slice, behind: slice, padding: Padding
) -> None:
    """Where edge frames were replicated, they went to their neighbours and stayed as well."""
    if padding == "replicate":
        clips, grads = back.unflatten(0, (-1, t)), grad.unflatten(0, (-1, t))
        clips[:, -1, ahead] += grads[:, -1, ahead]
        clips[:, 0, behind] += grads[:, 0, behind]


def _moved(x: Tensor, t: int, ahead: slice, behind: slice, padding: Padding) -> Tensor:
    """`[N*T, C, H, W]`: channels `ahead` as one frame later, `behind` as one frame earlier.

    A copy of everything is one fast pass; only what moves is written again. `torch.cat` would fall
    back to another memory format.
    """
    out = x.clone()
    _move(x, out, t, ahead, behind, padding)
    return out


def _move(x: Tensor, out: Tensor, t: int, ahead: slice, behind: slice, padding: Padding) -> None:
    """Write the channels of `x` that move into `out`, which is another tensor."""
    clips, new = x.unflatten(0, (-1, t)), out.unflatten(0, (-1, t))  # [N, T, C, H, W]
    for part, target, source, edge in (
        (ahead, slice(None, -1), slice(1, None), -1), (behind, slice(1, None), slice(None, -1), 0)
    ):  # fmt: skip
        new[:, target, part] = clips[:, source, part]
        new[:, edge, part] = _edge(clips[:, :, part], edge, padding)


def _joined(x: Tensor, t: int, ahead: slice, behind: slice, padding: Padding) -> Tensor:
    """As `_moved`, put together from pieces."""
    clips = x.unflatten(0, (-1, t))
    first, last = (_entering(clips[:, :, part], edge, padding)
                   for part, edge in ((behind, 0), (ahead, -1)))  # fmt: skip
    parts = [
        torch.cat((clips[:, 1:, ahead], last), 1),
        torch.cat((first, clips[:, :-1, behind]), 1),
        clips[:, :, max(ahead.stop, behind.stop) :],
    ]
    return torch.cat(parts, 2).flatten(0, 1)


def _edge(clips: Tensor, frame: int, padding: Padding) -> Tensor | float:
    """What enters at frame 0 or -1 of `[N, T, fold, H, W]`."""
    if padding == "zero":
        return 0.0
    return clips[:, frame if padding == "replicate" else -1 - frame]


def _entering(clips: Tensor, frame: int, padding: Padding) -> Tensor:
    """As `_edge`, `[N, 1, fold, H, W]`."""
    found = _edge(clips, frame, padding)
    return torch.zeros_like(clips[:, :1]) if padding == "zero" else found[:, None]


class _Scratch(threading.local):
    """Memory of a thread that is written over each time: fresh pages cost more than the copy."""

    memory = torch.empty(0, dtype=torch.uint8, device="cpu")

    def copy(self, x: Tensor) -> Tensor:
        size = x.numel() * x.element_size()
        if x.device.type != "cpu" or size > SCRATCH:  # allocators of GPUs keep theirs
            return x.clone()
        if size > self.memory.numel():
            with torch.inference_mode(False):  # else only inference could write to it
                self.memory = torch.empty(size, dtype=torch.uint8, device="cpu")
        strides = torch.empty_like(x, device="meta").stride()
        return self.memory[:size].view(x.dtype).as_strided(x.shape, strides).copy_(x)


_scratch = _Scratch()


class TemporalShift(nn.Module):
    """`temporal_shift` with its options, as a part of a model that can be seen and exchanged."""

    def __init__(
        self,
        num_segments: int,
        shift_div: int = 8,
        direction: Direction = "bidirectional",
        padding: Padding = "zero",
    ):
        super().__init__()
        shifted_channels(1, shift_div)  # an impossible shift_div fails here, not at the first clip
        self.options = (num_segments, shift_div, direction, padding)

    def forward(self, x: Tensor) -> Tensor:
        return temporal_shift(x, *self.options)

    def in_place(self, x: Tensor) -> Tensor:
        """Shift `x` itself, for those who own it; returns its first channels as they were.

        What does not move is not touched: less than half the work of a copy. What is returned is
        written over by the next call in the same thread.
        """
        ahead, behind = _parts(x, *self.options)
        before = _scratch.copy(x[:, : behind.stop])
        _move(before, x, self.options[0], ahead, behind, self.options[3])
        return before

    @contextmanager
    def lent(self, x: Tensor) -> Iterator[Tensor]:
        """`x` itself, shifted; afterwards it is what it was."""
        before = self.in_place(x)
        try:
            yield x
        finally:
            x[:, : before.shape[1]] = before

    def back_in_place(self, grad: Tensor) -> None:
        """Move the gradient of what was shifted back to where it came from."""
        t, padding = self.options[0], self.options[3]
        ahead, behind = _parts(grad, *self.options)
        before = _scratch.copy(grad[:, : behind.stop])
        _move(before, grad, t, behind, ahead, "circular" if padding == "circular" else "zero")
        _add_edges(before, grad, t, ahead, behind, padding)

    def extra_repr(self) -> str:
        return "num_segments={}, shift_div={}, {}, {} padding".format(*self.options)


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

    Its input is shifted in place, and back again: as fast as a copy of the quarter that moves, and
    for the gradient nothing is kept but the input itself, which others keep as well.
    """

    shift: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        if not self._lends(x):
            return super().forward(self.shift(x))
        options = self.stride, self.padding, self.dilation, self.groups
        return _ShiftedConvolution.apply(x, self.weight, self.bias, self.shift, options)

    def _lends(self, x: Tensor) -> bool:
        """Whether this is a plain call on memory that can be written to."""
        return (
            type(self.shift) is TemporalShift
            and not (self.shift._forward_hooks or self.shift._forward_pre_hooks)  # who looks at it
            and type(x) is Tensor
            and isinstance(self.padding, tuple) and self.padding_mode == "zeros"
            and (x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last))
            and not _autocasts(x.device.type)
            and not torch.compiler.is_compiling() and not torch.jit.is_tracing()
            and not torch._C._are_functorch_transforms_active()
        )  # fmt: skip


def _autocasts(device: str) -> bool:
    return torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device)


class _ShiftedConvolution(torch.autograd.Function):
    """`conv2d` of a shifted input; its gradients are those of `_Shift` and of the convolution."""

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
