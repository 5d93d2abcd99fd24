"""Which channels a shift moves where: the plan that every form of the shift executes."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from torch import Tensor

from ..configs.shift_options import DIRECTIONS, PADDINGS

_alterations: list[Callable[["ShiftPlan"], "ShiftPlan"]] = []


class ShiftPlan(NamedTuple):
    """A shift of clips with a known number of channels."""

    segments: int  # T
    ahead: slice  # channels that come from the next frame
    behind: slice  # channels that come from the previous frame
    padding: int | None  # frame that enters at a clip's end, as in PADDINGS

    @property
    def first_unmoved(self) -> int:
        """The first of the channels that stay."""
        return max(self.ahead.stop, self.behind.stop)

    def adjoint(self) -> "ShiftPlan":
        """Swap the directions, as gradients do; edge frames that entered twice are not in it."""
        padding = -1 if self.padding == -1 else None
        return ShiftPlan(self.segments, self.behind, self.ahead, padding)


def shifted_channels(channels: int, shift_div: int) -> int:
    """Count the channels that move in each direction, `channels // shift_div` (0: none move).

    Raises:
        ValueError: `shift_div` is below 1.
    """
    if shift_div < 1:
        raise ValueError(f"shift_div={shift_div} must be at least 1")
    return channels // shift_div


def plan_shift(
    x: Tensor, num_segments: int, shift_div: int, direction: str, padding: str
) -> ShiftPlan:
    """Plan the shift of `x` `[N*T, C, H, W]`; for the arguments see `shift.temporal_shift`.

    Raises:
        ValueError: the frames do not divide into clips, or an option is unknown.
    """
    if x.ndim != 4 or num_segments < 1 or x.shape[0] % num_segments:
        raise ValueError(f"{tuple(x.shape)} is not [N*T, C, H, W] with T = {num_segments} frames")
    for name, value, options in (
        ("direction", direction, DIRECTIONS), ("padding", padding, PADDINGS)
    ):  # fmt: skip
        if value not in options:
            raise ValueError(f"{name}={value!r} is none of {', '.join(options)}")
    fold, folds = shifted_channels(x.shape[1], shift_div), DIRECTIONS[direction]
    ahead = slice(0, folds.from_next * fold)
    behind = slice(ahead.stop, ahead.stop + folds.from_previous * fold)
    inner = PADDINGS[padding]
    if inner is not None:  # a clip may be shorter than that
        inner = min(inner, num_segments - 1)
    plan = ShiftPlan(num_segments, ahead, behind, inner)
    for alter in _alterations:
        plan = alter(plan)
    return plan


@contextmanager
def altered_plans(alter: Callable[[ShiftPlan], ShiftPlan]) -> Iterator[None]:
    """Let all shifts of this process follow altered plans, to measure what a mistake would do."""
    _alterations.append(alter)
    try:
        yield
    finally:
        _alterations.remove(alter)
