"""Draw the chart of two detectors: frames of data in, `Axes` out. No torch."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from ..plots import ACCENT, INK, entitle

STYLES = {"detector": (ACCENT, "s"), "baseline": (INK, "o"), "gain": (ACCENT, "D")}


def gains(table: pd.DataFrame, names: dict[str, str], finding: str, caption: str) -> np.ndarray:
    """Draw the mAP of two detectors by part of a test, and beside it the gain.

    Args:
        table: of `detection.compare_detectors.compare`.
        names: of `detector` and `baseline`.
        finding: what it shows.
        caption: which data and scale, and what the intervals are over.

    Returns:
        Two axes.
    """
    _, axes = plt.subplots(1, 2, figsize=(9.6, 3.4), layout="constrained", sharey=True)
    y = np.arange(len(table))[::-1]
    for ax, shown in zip(axes, (("baseline", "detector"), ("gain",)), strict=True):
        for i, name in enumerate(shown):
            (color, marker), value = STYLES[name], table[name]
            ends = (value - table[f"{name}_low"], table[f"{name}_high"] - value)
            height = y - 0.12 * (2 * i - len(shown) + 1)
            ax.errorbar(value, height, xerr=ends, fmt=marker, color=color, ms=5, capsize=3,
                        label=names.get(name))  # fmt: skip
    axes[0].set(yticks=y, yticklabels=table.index, xlim=(0, 100), xlabel="mAP at IoU 0.5 (%)")
    axes[0].legend(loc="upper center", bbox_to_anchor=(0.5, 1.16), ncols=2, frameon=False)
    axes[1].axvline(0, color=INK, linewidth=1)
    axes[1].set_xlabel("gain (points)")
    for ax in axes:
        ax.grid(False, axis="y")
    entitle(axes, finding, caption)
    return axes
