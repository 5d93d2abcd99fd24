"""The directions of the temporal shift and its padding at a clip's ends: one entry each."""

from typing import NamedTuple


class ShiftDirection(NamedTuple):
    """How many folds of channels (of C // shift_div each) a frame takes from its neighbours."""

    from_next: int
    from_previous: int


DIRECTIONS = {
    "bidirectional": ShiftDirection(1, 1),
    "unidirectional": ShiftDirection(0, 1),  # from the past only, for online use
}

# Frame that enters at a clip's end, counted inwards from the frame at that end: None: zeros,
# -1: the frame at the other end, 0: that frame itself.
PADDINGS: dict[str, int | None] = {"zero": None, "circular": -1, "replicate": 0}
