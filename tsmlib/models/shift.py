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
    if watched():  # compilers fuse pieces into what follows; writes would not be
        return _joined(x, num_segments, ahead, behind, padding)
    return _Shift.apply(x, num_segments, ahead, behind, padding)


def watched() -> bool:
    """Whether a compiler, a tracer or a functional transform needs plain operations."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
    )


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
