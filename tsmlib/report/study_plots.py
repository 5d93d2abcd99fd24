"""Draw the charts of the studies: frames of data in, `Axes` out. No files, no torch."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..intervals import Clustered, mean_interval
from ..plots import ACCENT, INK, PALE, entitle

OURS, PUBLISHED = "o", "s"
FAR = 10  # points from which on the axis of differences is logarithmic


def arms(
    values: pd.DataFrame, caption: str, ax: Axes | None = None, unit="top-1 (%)",
    ends: dict[str, Clustered] | None = None, notes: dict[str, str] | None = None,
) -> Axes:  # fmt: skip
    """Draw the accuracy of each arm: every seed, the mean, and its 95 % t interval over seeds.

    Args:
        values: one row per seed, one column per arm, in percent; runs that are missing are NaN.
        caption: which study, data and scale.
        ends: intervals over recordings by arm, instead of those over seeds.
        notes: additions to the names of arms.
        ax: where to draw; None: a new figure.
        unit: of the axis.
    """
    if ax is None:
        size = (9.6, 1.6 + 0.3 * values.shape[1])
        _, ax = plt.subplots(figsize=size, layout="constrained")
    names = []
    for place, name in enumerate(values):
        runs = values[name].dropna().to_numpy(dtype=float)
        names.append(", ".join(filter(None, (name, (notes or {}).get(name), f"{len(runs)} seeds"))))
        ax.plot(runs, np.full(len(runs), place), "|", ms=9, mew=1.2, color=PALE)
        if ends and name in ends:
            found = ends[name]
            _bar(ax, place, found.accuracy, found.low, found.high, INK, OURS, None)
        elif len(runs) > 1:
            _bar(ax, place, *mean_interval(runs), INK, OURS, None)
        elif not len(runs):
            ax.text(0.02, place, "not run yet", transform=ax.get_yaxis_transform(), fontsize=9,
                    va="center", color=INK)  # fmt: skip
    ax.set_yticks(range(values.shape[1]), names)
    ax.set_ylim(values.shape[1] - 0.5, -0.5)
    interval = "95 % interval" + " over recordings" * bool(ends)
    ax.set(xlabel=unit)
    means, finding = values.mean().dropna(), "Not run yet"
    if len(means):
        finding = (f"From {means.min():.1f} % ({means.idxmin()}) to {means.max():.1f} % "
                   f"({means.idxmax()})")  # fmt: skip
    else:
        ax.set_xlim(0, 100)
    entitle(ax, finding, f"{caption}; mean of the seeds, {interval}; each seed a tick")
    return ax


def differences(table: pd.DataFrame, caption: str, ax: Axes | None = None) -> Axes:
    """Draw planned differences of ours beside the published ones, both with 95 % intervals.

    Ours are Holm-adjusted within the study; the published ones are binomial over the validation
    videos, without variance between seeds. The grey band is the margin of equivalence.

    Args:
        table: of `findings.findings`.
        caption: which study, data and scale.
        ax: where to draw; None: a new figure.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(9.6, 1.8 + 0.42 * len(table)), layout="constrained")
    margin = float(table["margin"].iloc[0])
    ax.axvspan(-margin, margin, color=PALE, alpha=0.25, label=f"equivalent: ±{margin:g} points")
    ax.axvline(0, color=INK, linewidth=0.8)
    labels = {
        "ours": "ours, 95 % interval (Holm)",
        "published": "published, 95 % interval",
    }
    for place, line in enumerate(table.itertuples()):
        if pd.notna(line.difference):
            _bar(ax, place - 0.13, line.difference, line.low_holm, line.high_holm, INK, OURS,
                 labels.pop("ours", None))  # fmt: skip
        else:
            ax.text(1.01, place, "not run yet", transform=ax.get_yaxis_transform(), fontsize=9,
                    va="center", color=INK)  # fmt: skip
        if pd.notna(line.published):
            _bar(ax, place + 0.13, line.published, line.published_low, line.published_high, ACCENT,
                 PUBLISHED, labels.pop("published", None))  # fmt: skip
    rows = [f"{q}\n{v}" for q, v in zip(table["question"], table["verdict"], strict=True)]
    ax.set_yticks(range(len(table)), rows, fontsize=9)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.set(xlabel="difference of accuracy (percentage points)")
    ends = ax.get_xlim()
    if max(map(abs, ends)) > FAR:  # a large effect must not hide the small ones
        ax.set_xscale("symlog", linthresh=FAR / 2, linscale=1)
        ax.set_xlim(1.3 * min(ends[0], -FAR / 3), 1.3 * ends[1])
        ticks = [t for t in (-50, -20, -5, -2, 0, 2, 5, 20, 50) if ends[0] < t < ends[1]]
        ax.set_xticks(ticks, [f"{t:+d}" if t else "0" for t in ticks])
        ax.set_xlabel(f"{ax.get_xlabel()}, logarithmic beyond {FAR / 2:g}")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=3, frameon=False)
    clear = (table["low_holm"] > 0) | (table["high_holm"] < 0)
    entitle(ax, f"{clear.sum()} of {len(table)} differences of ours exclude zero", caption)
    return ax


def _bar(ax: Axes, place, middle, low, high, color, marker, label) -> None:
    ax.errorbar(
        middle, place, xerr=[[middle - low], [high - middle]], fmt=marker, color=color, capsize=3,
        ms=5, mfc="white" if marker == PUBLISHED else color, label=label,
    )  # fmt: skip
