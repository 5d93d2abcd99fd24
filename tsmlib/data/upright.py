"""Turn and mirror pictures as their file says: phones are held upright, selfies are mirrored."""

import numpy as np


def turn_upright(picture: np.ndarray, frame) -> np.ndarray:
    """Turn and mirror uint8 `[H, W, 3]` by the display matrix of its frame, as ffmpeg does.

    A matrix that is no quarter turn and no mirror is ignored.
    """
    a, b, c, d = _display_matrix(frame)
    if a == d == 0:  # x' = c y, y' = b x
        picture, a, d = picture.swapaxes(0, 1), c, b
    elif b or c:
        return picture
    return picture[:: -1 if d < 0 else 1, :: -1 if a < 0 else 1]


def is_mirrored(frame) -> bool:
    """Tell whether the display matrix of a frame exchanges left and right, or top and bottom."""
    a, b, c, d = _display_matrix(frame)
    return a * d - b * c < 0


def _display_matrix(frame) -> tuple[int, int, int, int]:
    """Return a, b, c, d of a frame of PyAV: x' = a x + c y, y' = b x + d y (ISO 14496-12, 6.2.2).

    FFmpeg keeps nine integers of 32 bits, row by row; the third of a row is not needed here.
    """
    found = [data for data in frame.side_data if data.type.name == "DISPLAYMATRIX"]
    if not found:
        return 1, 0, 0, 1
    a, b, _, c, d = (int(value) for value in np.frombuffer(bytes(found[0]), np.int32)[:5])
    return a, b, c, d
