"""Draw the charts of the comparison with published code: frames in, `Axes` out. No files."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..plots import ACCENT, INK, PALE, entitle


def parity(table: pd.DataFrame, tolerance: float, ax: Axes | None = None) -> Axes:
    """Draw how far our logits are from published ones, beside the effects of typical mistakes.

    Args:
        table: of `parity.compare_with_published`; differences in units of the logits' deviation.
        tolerance: the largest difference that counts as equal, in the same unit.
        ax: where to draw; None: a new figure.
    """
    if ax is None:
        size = (9.6, 1.7 + 0.45 * len(table))
        _, ax = plt.subplots(figsize=size, layout="constrained")
    mistakes = table.drop(columns=["model", "peer", "difference"])
    floor = 1e-8  # where equal bits are drawn on a logarithmic axis
    for i, row in table.iterrows():
        costs = mistakes.loc[i].dropna()
        ax.plot(costs, [i] * len(costs), "|", ms=16, mew=2, color=PALE,
                label="a typical mistake" if i == 0 else None)  # fmt: skip
        ax.plot(max(row.difference, floor), i, "o", color=INK, label="ours" if i == 0 else None)
        if row.difference == 0:
            white = {"facecolor": "white", "edgecolor": "none", "pad": 1}
            ax.annotate("equal bit for bit", (floor, i), (8, -3), textcoords="offset points",
                        fontsize=9, bbox=white)  # fmt: skip
    ax.axvline(tolerance, color=ACCENT, linestyle="--", label=f"tolerance {tolerance:g}")
    ax.set_yticks(range(len(table)), table.model)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.figure.legend(loc="outside upper right", ncols=3)
    ax.set(xscale="log", xlim=(floor / 3, 10), ylabel="published model",
           xlabel="largest difference of a logit (standard deviations of the logits)")  # fmt: skip
    ax.xaxis.set_major_formatter("{x:g}")
    equal = (table["difference"] <= tolerance).sum()
    entitle(ax, f"{equal} of {len(table)} published models give the logits of our code",
            "the same weights and clips through both, fp32")  # fmt: skip
    return ax


def sensitivity(table: pd.DataFrame, caption: str, axes=None) -> np.ndarray:
    """Draw what each pitfall changes: logits, predictions, accuracy with its paired 95 % interval.

    Args:
        table: of `sensitivity_table`; without accuracies (no labels) the third chart says so.
        caption: which model, data and scale.
        axes: three axes; None: a new figure.
    """
    asked = table.protocol.iloc[0]
    table = table[table.pitfall != "none"].iloc[::-1].reset_index(drop=True)
    if axes is None:
        size = (10, 1.7 + 0.24 * len(table))
        _, axes = plt.subplots(1, 3, figsize=size, sharey=True, layout="constrained")
    places, floor = np.arange(len(table)), 1e-6  # where equal bits are drawn on a logarithmic axis
    same = table.moved < floor
    axes[0].plot(table.moved[~same], places[~same], "o", color=INK)
    axes[0].plot(table.moved[same].clip(floor), places[same], "o", mfc="none", color=INK)
    axes[1].barh(places, table.flipped, color=PALE, height=0.6)
    other = np.where(table.protocol == asked, "", " (" + table.protocol + ")")
    axes[0].set_yticks(places, table.pitfall + other)
    axes[0].set(title="Logits", xscale="log", xlim=(floor / 2, 10), ylim=(-0.7, len(table) - 0.3),
                xlabel="mean change (standard\ndeviations), hollow: below 1e-6")  # fmt: skip
    axes[0].xaxis.set_major_formatter("{x:g}")
    axes[1].set(title="Predictions", xlabel=f"changed ({table.videos.max()} videos, %)",
                xlim=(0, 100))  # fmt: skip
    _sensitivity_accuracies(table, places, axes[2])
    for ax in axes:  # a line between kinds of pitfalls
        for place in np.flatnonzero(table.kind[1:].to_numpy() != table.kind[:-1].to_numpy()):
            ax.axhline(place + 0.5, color=PALE, linewidth=0.8)
    still = (table.flipped == 0).sum()
    finding = f"{still} of {len(table)} pitfalls flip no prediction"
    if table.top1.notna().any():
        clear = ((table.high < 0) | (table.low > 0)).sum()
        finding += f", {clear} change the accuracy by more than chance"
    entitle(axes, finding, caption)
    return axes


def _sensitivity_accuracies(table: pd.DataFrame, places: np.ndarray, ax: Axes) -> None:
    if table.top1.isna().all():
        ax.text(0.5, 0.5, "no labels, hence no accuracy", ha="center", transform=ax.transAxes,
                bbox={"facecolor": "white", "edgecolor": PALE})  # fmt: skip
        ax.set(title="Accuracy", xticks=[])
        return
    error = [table.difference - table.low, table.high - table.difference]
    ax.errorbar(table.difference, places, xerr=error, fmt="o", ms=4, color=INK, capsize=2)
    ax.axvline(0, color=ACCENT, linestyle="--")
    ends = min(-1.5, 1.5 * table.low.min()), max(1.5, 1.5 * table.high.max())
    ticks = [t for t in (-100, -10, -1, 0, 1, 10) if ends[0] <= t <= ends[1]]
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xticks(ticks, [f"{t:+d}" if t else "0" for t in ticks])
    ax.set(title="Accuracy, paired 95 % interval", xlim=ends,
           xlabel="change of top-1 (points),\nlogarithmic beyond 1")  # fmt: skip
