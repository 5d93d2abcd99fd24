"""The temporal shift (Lin, Gan and Han, TSM: Temporal Shift Module, section 3).

A clip has T frames of C channels. With fold = C // shift_div, the shift makes of a clip x

    y[t, c] = x[t + 1, c]    for         c < fold      (from the next frame)
    y[t, c] = x[t - 1, c]    for fold <= c < 2 fold    (from the previous frame)
    y[t, c] = x[t, c]        for 2 fold <= c           (these channels stay)

with zeros where a clip has no frame t + 1 or t - 1. A 2-D convolution of y then sees three frames,
without one multiplication more. MMAction2 (resnet_tsm.py) and MIT (ops/temporal_shift.py) agree.
In streams, which have no next frame, the channels c < fold come from the previous one instead.

The shift is linear, so its gradient is the adjoint shift, which sends every channel back to the
frame that it came from.

`shift_frames` writes the three lines as slices, and `adjoint_shift` their adjoint. They are also
fast: one copy each. Where no copy is needed at all, fast_shift.py does the same in other ways.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from .fast_shift import needs_pure_ops, shift_, shift_by_cat
from .shift_plan import ShiftPlan, plan_shift, shifted_channels


def shift_frames(x: Tensor, plan: ShiftPlan) -> Tensor:
    """Shift the clips in `x`, `[N*T, C, H, W]`, into a new tensor of the same memory format."""
    out = x.clone()
    # views [N, T, C, H, W]: what is written to `new` is written to `out`
    clips, new = (frames.unflatten(0, (-1, plan.segments)) for frames in (x, out))
    new[:, :-1, plan.ahead] = clips[:, 1:, plan.ahead]
    new[:, 1:, plan.behind] = clips[:, :-1, plan.behind]
    edge = plan.padding  # which frame enters at an end, counted from that end; None: zeros
    new[:, -1, plan.ahead] = 0 if edge is None else clips[:, -1 - edge, plan.ahead]
    new[:, 0, plan.behind] = 0 if edge is None else clips[:, edge, plan.behind]
    return out


def adjoint_shift(grad: Tensor, plan: ShiftPlan) -> Tensor:
    """Shift the gradient of `shift_frames(x, plan)` back: the gradient of `x`."""
    out = grad.clone()
    clips, new = (frames.unflatten(0, (-1, plan.segments)) for frames in (grad, out))
    new[:, 1:, plan.ahead] = clips[:, :-1, plan.ahead]
    new[:, :-1, plan.behind] = clips[:, 1:, plan.behind]
    new[:, 0, plan.ahead] = 0  # it left the clip
    new[:, -1, plan.behind] = 0
    if (edge := plan.padding) is not None:  # unless it entered at the other end, or once more
        new[:, -1 - edge, plan.ahead] += clips[:, -1, plan.ahead]
        new[:, edge, plan.behind] += clips[:, 0, plan.behind]
    return out


class _Shift(torch.autograd.Function):
    """Pairs the shift with its gradient: autograd by itself would copy once for each slice."""

    @staticmethod
    def forward(ctx, x: Tensor, plan: ShiftPlan) -> Tensor:
        ctx.plan = plan
        return shift_frames(x, plan)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None]:
        return adjoint_shift(grad, ctx.plan), None


def temporal_shift(
    x: Tensor,
    num_segments: int,
    shift_div: int = 8,
    direction: str = "bidirectional",
    padding: str = "zero",
) -> Tensor:
    """Exchange channels between neighbouring frames of each clip.

    Args:
        x: `[N*T, C, H, W]`, the frames of a clip in a row; never written to.
        num_segments: T.
        shift_div: a fold is 1/shift_div of the channels. Above C it moves nothing; 1 moves all
            channels one way, as the published code does.
        direction: `bidirectional`, or `unidirectional` (past to present only).
        padding: the frame that enters at a clip's ends: `zero` (as published), `circular` (from
            the other end) or `replicate` (the frame at that end).

    Returns:
        `[N*T, C, H, W]`, a new tensor in the memory format of `x`.

    Raises:
        ValueError: the frames do not divide into clips, or an option is unknown.
    """
    return apply_plan(x, plan_shift(x, num_segments, shift_div, direction, padding))


def apply_plan(x: Tensor, plan: ShiftPlan) -> Tensor:
    """Shift `x` with a gradient: by `cat` under a compiler or transform, else by slices."""
    return shift_by_cat(x, plan) if needs_pure_ops() else _Shift.apply(x, plan)


class TemporalShift(nn.Module):
    """`temporal_shift` as a part of a model that can be seen and exchanged."""

    def __init__(
        self,
        num_segments: int,
        shift_div: int = 8,
        direction: str = "bidirectional",
        padding: str = "zero",
    ):
        super().__init__()
        shifted_channels(1, shift_div)  # an impossible shift_div fails here, not at the first clip
        self.num_segments, self.shift_div = num_segments, shift_div
        self.direction, self.padding = direction, padding

    def forward(self, x: Tensor) -> Tensor:
        return apply_plan(x, self.plan(x))

    def plan(self, x: Tensor) -> ShiftPlan:
        """Plan the shift of `x`, for the forms in fast_shift.py."""
        return plan_shift(x, self.num_segments, self.shift_div, self.direction, self.padding)

    def shift_(self, x: Tensor) -> Callable[[], None]:
        """Shift `x` in place and return a callable that undoes it; see `fast_shift.shift_`."""
        return shift_(x, self.plan(x))

    def extra_repr(self) -> str:
        options = f"num_segments={self.num_segments}, shift_div={self.shift_div}"
        return f"{options}, {self.direction}, {self.padding} padding"
