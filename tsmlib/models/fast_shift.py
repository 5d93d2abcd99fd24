"""Forms of the temporal shift that need no copy of all channels, equal to shift.py bit for bit.

- `shift_by_cat`: pieces put together, for compilers and tracers, which fuse them.
- `shift_`: in place, with a way back. Only the channels that move are touched.
- `borrowed_shift`: in place for the length of a `with` block.
- `unshift_grad_`: the adjoint, in place.

The in-place forms work on all that moves at once, or frame by frame where frames are large (CPUs).
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from .shift_plan import ShiftPlan

# Bytes that move in one frame: below this, moving all frames at once takes less time.
PER_FRAME_MIN_BYTES = 2**18


# --- for compilers --------------------------------------------------------------------------------


def needs_pure_ops() -> bool:
    """Tell whether a compiler, a tracer or a functional transform cannot follow in-place writes."""
    return (
        torch.compiler.is_compiling()
        or torch.jit.is_tracing()
        or torch._C._are_functorch_transforms_active()
    )


def shift_by_cat(x: Tensor, plan: ShiftPlan) -> Tensor:
    """Shift `[N*T, C, H, W]` by concatenation; eager, `torch.cat` may change the memory format."""
    clips = x.unflatten(0, (-1, plan.segments))  # [N, T, C, H, W]
    ahead, behind = clips[:, :, plan.ahead], clips[:, :, plan.behind]
    parts = [
        torch.cat((ahead[:, 1:], _entering(ahead, -1, plan.padding)), 1),
        torch.cat((_entering(behind, 0, plan.padding), behind[:, :-1]), 1),
        clips[:, :, plan.first_unmoved :],
    ]
    return torch.cat(parts, 2).flatten(0, 1)


def _entering(clips: Tensor, end: int, padding: int | None) -> Tensor:
    """Return the frame that enters at frame 0 or -1 of `[N, T, fold, H, W]`, with T = 1."""
    if padding is None:
        return torch.zeros_like(clips[:, :1])
    return clips[:, -1 - padding if end else padding][:, None]


# --- in place -------------------------------------------------------------------------------------


def shift_(x: Tensor, plan: ShiftPlan, per_frame: bool | None = None) -> Callable[[], Any]:
    """Shift `x` in place and return a callable that undoes it.

    This takes less than half the work of a copy. It is only for tensors that no one else reads.

    Args:
        x: `[N*T, C, H, W]`.
        plan: how to shift it.
        per_frame: move single frames one after the other; None: where that is faster.
    """
    if moves_per_frame(x, plan) if per_frame is None else per_frame:
        chains = _frame_chains(x, plan)
        firsts = [_advance(chain, plan.padding) for chain in chains]
        return lambda: [*map(_retreat, chains, firsts)]
    before = x[:, : plan.first_unmoved].clone()
    _write_shifted(before, x, plan)
    return partial(x[:, : plan.first_unmoved].copy_, before)


@contextmanager
def borrowed_shift(x: Tensor, plan: ShiftPlan) -> Iterator[Tensor]:
    """Shift `x` in place inside the block and restore it on exit."""
    undo = shift_(x, plan)
    try:
        yield x
    finally:
        undo()


def unshift_grad_(grad: Tensor, plan: ShiftPlan, per_frame: bool | None = None) -> None:
    """Shift the gradient of a shifted tensor back in place: `shift.adjoint_shift`."""
    if moves_per_frame(grad, plan) if per_frame is None else per_frame:
        for chain in _frame_chains(grad, plan):
            last = _advance(chain[::-1], plan.adjoint().padding)
            if plan.padding is not None and plan.padding >= 0:  # an edge frame entered once more
                chain[-1 - plan.padding].add_(last)
        return
    before = grad[:, : plan.first_unmoved].clone()
    _write_shifted(before, grad, plan.adjoint())
    if plan.padding is not None and plan.padding >= 0:
        clips, grads = (frames.unflatten(0, (-1, plan.segments)) for frames in (grad, before))
        clips[:, -1 - plan.padding, plan.ahead] += grads[:, -1, plan.ahead]
        clips[:, plan.padding, plan.behind] += grads[:, 0, plan.behind]


def moves_per_frame(x: Tensor, plan: ShiftPlan) -> bool:
    """Tell whether moving frame by frame, with no copy of all that moves, is faster."""
    moved = max(x[:, part].numel() for part in (plan.ahead, plan.behind)) * x.element_size()
    return x.device.type == "cpu" and moved >= PER_FRAME_MIN_BYTES * plan.segments


def _write_shifted(x: Tensor, out: Tensor, plan: ShiftPlan) -> None:
    """Write the channels of `x` that move into `out`, a different tensor."""
    t, ahead, behind, padding = plan
    clips, new = x.unflatten(0, (-1, t)), out.unflatten(0, (-1, t))  # [N, T, C, H, W]
    new[:, :-1, ahead] = clips[:, 1:, ahead]
    new[:, 1:, behind] = clips[:, :-1, behind]
    new[:, -1, ahead] = 0 if padding is None else clips[:, -1 - padding, ahead]
    new[:, 0, behind] = 0 if padding is None else clips[:, padding, behind]


# --- frame by frame -------------------------------------------------------------------------------


def _frame_chains(x: Tensor, plan: ShiftPlan) -> list[tuple[Tensor, ...]]:
    """List what moves of each frame, `[N, fold, H, W]`, so that each becomes the following one."""
    clips = x.unflatten(0, (-1, plan.segments))
    ahead, behind = (clips[:, :, part].unbind(1) for part in (plan.ahead, plan.behind))
    return [chain for chain in (ahead, behind[::-1]) if chain[0].numel()]


def _advance(chain: Sequence[Tensor], padding: int | None) -> Tensor:
    """Let each frame become the following one; return a copy of the first.

    Nothing else is set aside, which takes two thirds of the work of copying all frames.
    """
    first = chain[0].clone()
    entering = chain[-1 - padding].clone() if padding is not None and padding > 0 else first
    for frame, following in pairwise(chain):
        frame.copy_(following)
    if padding is None:
        chain[-1].zero_()
    elif padding != 0:
        chain[-1].copy_(entering)
    return first


def _retreat(chain: Sequence[Tensor], first: Tensor) -> None:
    """Undo `_advance`."""
    for following, frame in pairwise(chain[::-1]):
        following.copy_(frame)
    chain[0].copy_(first)
