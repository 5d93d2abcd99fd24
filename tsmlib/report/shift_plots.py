"""Draw what the shift does: arrays before and after, its place in a block, its effect on a clip."""

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from ..plots import ACCENT, INK, entitle

FRAME_COLOURS = "cividis"  # readable in grey and with every kind of colour blindness


def arrays(shown: Mapping[str, np.ndarray], finding: str, source: str = "") -> np.ndarray:
    """Draw arrays `[T, C]`, one row per frame, whose values are numbers of frames; 0 is empty.

    Args:
        shown: arrays by the titles above them.
        finding: title of the figure.
        source: line below it.
    """
    frames, channels = next(iter(shown.values())).shape
    cell = min(0.34, (9.6 - 0.4 * len(shown)) / len(shown) / channels)  # in inches
    size = (len(shown) * (cell * channels + 0.4), 1.25 + cell * frames)
    _, axes = plt.subplots(1, len(shown), figsize=size, layout="constrained", squeeze=False)
    for (title, values), ax in zip(shown.items(), axes[0], strict=True):
        masked = np.ma.masked_equal(values, 0)
        ax.imshow(masked, cmap=FRAME_COLOURS, vmin=0.5, vmax=frames + 0.5)
        for t, c in np.ndindex(values.shape):
            dark = 0 < values[t, c] <= (frames + 1) / 2
            ax.text(c, t, f"{values[t, c]:.0f}", ha="center", va="center", fontsize=9.5,
                    color="white" if dark else INK)  # fmt: skip
        ax.set_xticks(range(channels), range(1, channels + 1))
        ax.set_yticks(range(frames), range(1, frames + 1))
        ax.set(title=title, xlabel="channel")
        ax.grid(False)
    axes[0, 0].set_ylabel("frame")
    entitle(axes, finding, source)
    return axes[0]


def residual_blocks() -> np.ndarray:
    """Draw the two places of the shift in a residual block: `blockres` and `block`."""
    _, axes = plt.subplots(1, 2, figsize=(9.6, 2.3), layout="constrained")
    titles = "shift_place = blockres (as published)", "shift_place = block (in place)"
    for ax, title, fork in zip(axes, titles, (0.8, 2.9), strict=True):
        shift = 1.9 if fork < 1 else 1.7
        steps = ((shift, "shift"), (4.1, "conv"), (5.6, "conv"))
        ax.plot([0, 8.7], [0, 0], color=INK, lw=1.5, zorder=0)
        ax.plot(8.8, 0, ">", color=INK)
        for place, name in steps:
            colour = ACCENT if name == "shift" else INK
            box = FancyBboxPatch((place - 0.5, -0.35), 1, 0.7, boxstyle="round,pad=0.05",
                                 fc="white", ec=colour, lw=2, zorder=2)  # fmt: skip
            ax.add_patch(box)
            ax.text(place, 0, name, ha="center", va="center", color=colour, zorder=3)
        ax.plot([fork, fork, 7.6, 7.6], [0, 1.1, 1.1, 0.25], color=INK, lw=1.5)
        ax.plot(7.6, 0, "o", ms=17, mfc="white", mec=INK, mew=1.5, zorder=2)
        ax.text(7.6, -0.02, "+", ha="center", va="center", fontsize=12, zorder=3)
        ax.text(0, -0.45, "x", ha="left")
        skipped = "the frame itself" if fork < 1 else "the shifted frame"
        ax.text((fork + 7.6) / 2, 1.2, skipped, ha="center")
        ax.set(title=title, xlim=(-0.2, 9.1), ylim=(-0.8, 1.7))
        ax.axis("off")
    entitle(axes, "On the residual branch the skip connection keeps every channel of the frame")
    return axes


def forward_and_reversed(
    clip: np.ndarray, probabilities: Mapping[str, tuple[float, float]], finding: str, source: str
) -> Figure:
    """Draw a clip and its reversal, and beside each the probability of `forward` by each network.

    Args:
        clip: uint8 `[T, h, w, 3]`.
        probabilities: of the clip and of its reversal, by the name of the network.
        finding: title of the figure.
        source: line below it.
    """
    figure, axes = plt.subplots(2, 2, figsize=(9.6, 3), layout="constrained",
                                width_ratios=[3, 1.2])  # fmt: skip
    for row, (title, frames) in enumerate({"forward": clip, "reversed": clip[::-1]}.items()):
        strip, bars = axes[row]
        strip.imshow(np.concatenate(list(frames), axis=1))
        strip.set_title(f"the clip played {title}", loc="left")
        strip.axis("off")
        values = [pair[row] for pair in probabilities.values()]
        _bars(bars, list(probabilities), values)
    axes[1, 1].set_xlabel("probability of 'forward'")
    entitle(axes, finding, source)
    return figure


def _bars(ax: Axes, names: list[str], values: list[float]) -> None:
    ax.barh(names, values, color=INK, height=0.55)
    for place, value in enumerate(values):
        inside = value > 0.6
        ax.text(value + (-0.03 if inside else 0.03), place, f"{value:.2f}", va="center",
                ha="right" if inside else "left", color="white" if inside else INK)  # fmt: skip
    ax.axvline(0.5, color=ACCENT, linestyle="--")
    ax.set_xlim(0, 1)
    ax.invert_yaxis()
