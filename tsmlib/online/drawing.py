"""Draw an answer into its frame."""

from functools import lru_cache
from pathlib import Path

import matplotlib
import numpy as np
from PIL import Image, ImageDraw, ImageFont

SMALLEST = 240  # pixels of the short side: smaller frames are enlarged, or nobody could read
LINES = 14  # of text that would fit into the short side of a frame
MIN_LETTERS = 13  # pixels of a letter's height
SHADE = 0.35  # of the light that the strip behind the text lets through
INK, BAR = (255, 255, 255), (209, 73, 91)


def annotate(picture: np.ndarray, name: str, probability: float) -> np.ndarray:
    """Write a class and its probability into a strip at the bottom of a frame.

    Args:
        picture: uint8 `[H, W, 3]` RGB; it is not changed.
        name: of the class; one that is too long is cut.
        probability: also drawn as a bar above the text.

    Returns:
        uint8 `[H', W', 3]` with even sides, as encoders want them: at least `SMALLEST`, with each
        pixel repeated where the frame is smaller.
    """
    factor = -(-SMALLEST // min(picture.shape[:2]))
    picture = picture.repeat(factor, 0).repeat(factor, 1)
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    picture = picture[:height, :width].copy()
    size = max(MIN_LETTERS, min(height, width) // LINES)
    margin, strip = size // 2, picture[height - 7 * size // 4 :]
    strip[:] = (strip * SHADE).astype(np.uint8)
    strip[: max(2, size // 8), : round(width * probability)] = BAR
    text, font = fit_text(name, f"  {100 * probability:.0f} %", width - 2 * margin, size)
    image = Image.fromarray(strip)
    ImageDraw.Draw(image).text((margin, len(strip) // 2), text, INK, font, anchor="lm")
    strip[:] = np.asarray(image)
    return picture


def fit_text(name: str, rest: str, width: float, size: int) -> tuple[str, ImageFont.FreeTypeFont]:
    """Choose the largest font up to `size` in which a line fits; cut the name if none does."""
    while size > MIN_LETTERS and _font(size).getlength(name + rest) > width:
        size -= 1
    font, text = _font(size), name + rest
    while name and font.getlength(text) > width:
        name = name[:-1]
        text = f"{name.rstrip()}…{rest}"
    return text, font


@lru_cache
def _font(size: int) -> ImageFont.FreeTypeFont:
    """Load the font that comes with matplotlib, which has most alphabets."""
    file = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(file), size)
