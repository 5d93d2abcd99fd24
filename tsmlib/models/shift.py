"""The temporal shift (TSM, section 3): move a part of the channels one frame, at no cost."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Direction = Literal["bidirectional", "unidirectional"]
Padding = Literal["zero", "circular", "replicate"]
FRAME = 2**18  # bytes of a frame that moves; smaller ones take less time all at once


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
    moves = _moves(x, num_segments, shift_div, direction, padding)
    if watched():  # compilers fuse pieces into what follows; writes would not be
        return _joined(x, moves)
    return _Shift.apply(x, moves)


def watched() -> bool:
    """Whether a compiler, a tracer or a functional transform needs plain operations."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
    )


class _Moves(NamedTuple):
    """What moves."""

    segments: int  # T
    ahead: slice  # channels that come from one frame later
    behind: slice  # and from one frame earlier
    padding: Padding

    @property
    def stop(self) -> int:
        """The channels from here on stay."""
        return max(self.ahead.stop, self.behind.stop)

    def back(self) -> "_Moves":
        """As gradients move; what was replicated is not in it."""
        padding = "circular" if self.padding == "circular" else "zero"
        return _Moves(self.segments, self.behind, self.ahead, padding)


def _moves(
    x: Tensor, num_segments: int, shift_div: int, direction: Direction, padding: Padding
) -> _Moves:
    if x.ndim != 4 or num_segments < 1 or x.shape[0] % num_segments:
        raise ValueError(f"{tuple(x.shape)} is not [N*T, C, H, W] with T = {num_segments} frames")
    if direction not in ("bidirectional", "unidirectional"):
        raise ValueError(f"direction={direction!r} is neither bidirectional nor unidirectional")
    if padding not in ("zero", "circular", "replicate"):
        raise ValueError(f"padding={padding!r} is none of zero, circular, replicate")
    fold = shifted_channels(x.shape[1], shift_div)
    ahead = slice(0, fold if direction == "bidirectional" else 0)
    return _Moves(num_segments, ahead, slice(ahead.stop, ahead.stop + fold), padding)


# --- with a copy ----------------------------------------------------------------------------------


class _Shift(torch.autograd.Function):
    """One copy forward and one backward: autograd would copy once for each slice."""

    @staticmethod
    def forward(ctx, x: Tensor, moves: _Moves) -> Tensor:
        ctx.moves = moves
        return _moved(x, moves)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple:
        back = _moved(grad, ctx.moves.back())
        _add_edges(grad, back, ctx.moves)
        return back, None


def _add_edges(grad: Tensor, back: Tensor, moves: _Moves) -> None:
    """Where edge frames were replicated, they went to their neighbours and stayed as well."""
    if moves.padding == "replicate":
        clips, grads = (x.unflatten(0, (-1, moves.segments)) for x in (back, grad))
        clips[:, -1, moves.ahead] += grads[:, -1, moves.ahead]
        clips[:, 0, moves.behind] += grads[:, 0, moves.behind]


def _moved(x: Tensor, moves: _Moves) -> Tensor:
    """`[N*T, C, H, W]`, shifted.

    A copy of everything is one fast pass; only what moves is written again. `torch.cat` would fall
    back to another memory format.
    """
    out = x.clone()
    _move(x, out, moves)
    return out


def _move(x: Tensor, out: Tensor, moves: _Moves) -> None:
    """Write the channels of `x` that move into `out`, which is another tensor."""
    t, ahead, behind, padding = moves
    clips, new = x.unflatten(0, (-1, t)), out.unflatten(0, (-1, t))  # [N, T, C, H, W]
    for part, target, source, edge in (
        (ahead, slice(None, -1), slice(1, None), -1), (behind, slice(1, None), slice(None, -1), 0)
    ):  # fmt: skip
        new[:, target, part] = clips[:, source, part]
        new[:, edge, part] = _edge(clips[:, :, part], edge, padding)


def _joined(x: Tensor, moves: _Moves) -> Tensor:
    """As `_moved`, put together from pieces."""
    t, ahead, behind, padding = moves
    clips = x.unflatten(0, (-1, t))
    first, last = (_entering(clips[:, :, part], edge, padding)
                   for part, edge in ((behind, 0), (ahead, -1)))  # fmt: skip
    parts = [
        torch.cat((clips[:, 1:, ahead], last), 1),
        torch.cat((first, clips[:, :-1, behind]), 1),
        clips[:, :, moves.stop :],
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


# --- in place -------------------------------------------------------------------------------------


def _by_frames(x: Tensor, moves: _Moves) -> bool:
    """Whether single frames are moved one after the other, with no copy of all that moves."""
    moved = x[:, moves.behind].numel() * x.element_size()
    return x.device.type == "cpu" and moved >= FRAME * moves.segments


def _lines(x: Tensor, moves: _Moves) -> list[tuple[Tensor, ...]]:
    """Frames `[N, fold, H, W]` of what moves, in an order in which each becomes the next one."""
    clips = x.unflatten(0, (-1, moves.segments))
    ahead, behind = (clips[:, :, part].unbind(1) for part in (moves.ahead, moves.behind))
    return [line for line in (ahead, behind[::-1]) if line[0].numel()]


def _advance(line: Sequence[Tensor], padding: Padding) -> Tensor:
    """Each frame becomes the next one of its line; returns the first as it was.

    Frame by frame, nothing is set aside but that: two thirds of the work of a copy of all.
    """
    first = line[0].clone()
    for frame, following in pairwise(line):
        frame.copy_(following)
    if padding == "zero":
        line[-1].zero_()
    elif padding == "circular":
        line[-1].copy_(first)
    return first


def _retreat(line: Sequence[Tensor], first: Tensor) -> None:
    """Undo `_advance`."""
    for following, frame in pairwise(line[::-1]):
        following.copy_(frame)
    line[0].copy_(first)


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

    def in_place(self, x: Tensor) -> Callable[[], None]:
        """Shift `x` itself, for those who own it; returns what makes it again what it was.

        What does not move is not touched: less than half the work of a copy.
        """
        moves = _moves(x, *self.options)
        if not _by_frames(x, moves):
            before = x[:, : moves.stop].clone()
            _move(before, x, moves)
            return partial(x[:, : moves.stop].copy_, before)
        lines = _lines(x, moves)
        firsts = [_advance(line, moves.padding) for line in lines]
        return lambda: [*map(_retreat, lines, firsts)]

    @contextmanager
    def lent(self, x: Tensor) -> Iterator[Tensor]:
        """`x` itself, shifted; afterwards it is what it was."""
        undo = self.in_place(x)
        try:
            yield x
        finally:
            undo()

    def back_in_place(self, grad: Tensor) -> None:
        """Move the gradient of what was shifted back to where it came from."""
        moves = _moves(grad, *self.options)
        if not _by_frames(grad, moves):
            before = grad[:, : moves.stop].clone()
            _move(before, grad, moves.back())
            _add_edges(before, grad, moves)
            return
        for line in _lines(grad, moves):
            last = _advance(line[::-1], moves.back().padding)
            if moves.padding == "replicate":
                line[-1].add_(last)

    def extra_repr(self) -> str:
        return "num_segments={}, shift_div={}, {}, {} padding".format(*self.options)
