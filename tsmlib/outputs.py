"""Make the outputs of notebook cells: an answer, a table, a small picture, clips that play."""

import base64
import io
import tempfile
from collections.abc import Mapping
from numbers import Integral, Real
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import HTML, Image, Markdown
from matplotlib.figure import Figure
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from .progress import tell_result
from .text import to_html, to_markdown

DPI = 96  # at which a point of a figure's text is a point of the page
COLOURS = 12  # in the palette of a picture
FPS = 4  # of clips that play


def answer(sentence: str, note: str = "") -> Markdown:
    """Show the answer of a notebook as a sentence that stands out, with a note in plain letters.

    A runner of the notebook prints it at the end.
    """
    tell_result(f"{sentence} {note}".rstrip())
    return Markdown(f"> **{to_markdown(sentence)}** {to_markdown(note)}".rstrip())


# --- tables ---------------------------------------------------------------------------------------


def table(
    frame: pd.DataFrame,
    columns: Mapping[str, str] | None = None,
    digits: int | Mapping[str, int] = 1,
    headings: Mapping[str, str] | None = None,
    folded: str = "",
) -> Markdown:
    """Render a whole table: titles with units, rounded numbers on the right, no `nan`.

    As Markdown, whose tables Jupyter aligns on the left. Columns without any value are left out.

    Args:
        frame: its index is the first column, if it has a name.
        columns: titles by the names of the columns to show, in order; None: all, as they are named.
        digits: decimals of the numbers that are no integers; also by name of the column.
        headings: a line above the rows of each value of the index, which is no column then.
        folded: a line to click on, which unfolds the table; empty: it is open.
    """
    index = frame.index
    if index.name is not None and headings is None or isinstance(index, pd.MultiIndex):
        frame = frame.reset_index()
    columns, headings = columns or {str(name): str(name) for name in frame}, dict(headings or {})
    cells = {name: _column(frame[name], digits) for name in columns if name in frame}
    cells = {name: texts for name, texts in cells.items() if any(texts) or not texts}
    right = [_is_numeric(frame[name]) for name in cells]
    rows = [_row("th", [columns[name] for name in cells], right)]
    for name, values in zip(index, zip(*cells.values(), strict=True), strict=True):
        if name in headings:
            heading = to_html(f"{name}. {headings.pop(name)}")
            rows.append(f'<tr><th colspan="{len(cells)}">{heading}</th></tr>')
        rows.append(_row("td", values, right))
    text = "<table>" + "".join(rows) + "</table>"
    if folded:
        text = f"<details><summary>{to_html(folded)}</summary>{text}</details>"
    return Markdown(text)


def _column(values: pd.Series, digits: int | Mapping[str, int]) -> list[str]:
    decimals = digits if isinstance(digits, int) else digits.get(str(values.name), 1)
    return [format_cell(value, decimals) for value in values]


def format_cell(value: Any, digits: int = 1) -> str:
    """Write a value for people; a missing or empty one is an empty text."""
    if value is None or isinstance(value, dict | list | tuple) and not value or value is pd.NA:
        return ""
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return f"{value:,}"
    if isinstance(value, Real):
        if np.isnan(value):
            return ""
        tiny = 0 < abs(value) < 0.5 * 10**-digits
        return f"{value:.0e}" if tiny else f"{value:,.{digits}f}"
    if isinstance(value, list | tuple):
        return ", ".join(format_cell(part, digits) for part in value)
    return str(value)


def _is_numeric(values: pd.Series) -> bool:
    known = [v for v in values if format_cell(v)]
    return bool(known) and all(isinstance(v, Real) and not isinstance(v, bool) for v in known)


def _row(tag: str, cells, right: list[bool]) -> str:
    parts = []
    for cell, on_the_right in zip(cells, right, strict=True):
        style = ' style="text-align:right"' if on_the_right and cell else ""
        parts.append(f"<{tag}{style}>{to_html(str(cell))}</{tag}>")
    return f"<tr>{''.join(parts)}</tr>"


# --- pictures -------------------------------------------------------------------------------------


def picture(axes, colours: int = COLOURS) -> Image:
    """Render the figure of some axes as a small picture of so many colours, and close it."""
    return Image(to_small_png(np.ravel(axes)[0].figure, colours=colours), format="png")


def to_small_png(figure: Figure, dpi: int = DPI, shows: str = "", colours: int = COLOURS) -> bytes:
    """Render a figure as PNG with a small palette, keep `shows` in its metadata, and close it."""
    rendered = Picture.open(_render(figure, "png", dpi)).convert("RGB")
    method = Picture.Quantize.MAXCOVERAGE  # keeps rare colours, which a curve may have
    small = rendered.quantize(colours, method, dither=Picture.Dither.NONE)
    information, buffer = PngInfo(), io.BytesIO()
    information.add_text("shows", shows)
    small.save(buffer, format="png", optimize=True, pnginfo=information)
    return buffer.getvalue()


def photo(figure: Figure) -> Image:
    """Render a figure of pictures as JPEG, a tenth of its size as PNG, and close it."""
    return Image(_render(figure, "jpeg", DPI, pil_kwargs={"quality": 70}).getvalue(), format="jpeg")


def _render(figure: Figure, kind: str, dpi: int, **options) -> io.BytesIO:
    buffer = io.BytesIO()
    figure.savefig(buffer, format=kind, dpi=dpi, **options)
    plt.close(figure)
    return buffer


# --- clips ----------------------------------------------------------------------------------------


def play(clips: np.ndarray, titles: list[str], width: int = 146, fps: float = FPS) -> HTML:
    """Show clips as videos with controls, side by side, each above its title.

    Args:
        clips: uint8 `[N, T, h, w, 3]`.
        titles: one per clip.
        width: of each video on the page, in pixels.
        fps: frames a second.
    """
    figures = [
        f'<figure style="display:inline-block;margin:0 12px 12px 0;width:{width}px;'
        f'vertical-align:top"><video width="{width}" controls loop muted autoplay '
        f'poster="{_data("image/jpeg", _poster(clip))}" '
        f'src="{_data("video/mp4", _mp4(clip, fps))}">'
        f"</video><figcaption>{to_html(title)}</figcaption></figure>"
        for clip, title in zip(clips, titles, strict=True)
    ]
    return HTML("".join(figures))


def _poster(clip: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Picture.fromarray(clip[0]).save(buffer, format="jpeg", quality=70)
    return buffer.getvalue()


def _mp4(clip: np.ndarray, fps: float) -> bytes:
    import torch  # only where clips are shown

    from .data.video import write_video

    even = torch.from_numpy(np.ascontiguousarray(clip[:, : clip.shape[1] // 2 * 2,
                                                      : clip.shape[2] // 2 * 2]))  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "clip.mp4"
        write_video(file, even, fps=fps, gop=len(clip))
        return file.read_bytes()


def _data(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
