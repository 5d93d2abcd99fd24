"""Draw the charts of the studies: frames of data in, `Axes` out. No files, no torch."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..intervals import mean_interval
from ..plots import ACCENT, INK, PALE, entitle
from ..study.uncertainty import Clustered

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
        "ours": "ours, stand-in, 95 % interval (Holm)",
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


def temporality(values: pd.DataFrame, slope: pd.Series | None, caption: str, axes=None):
    """Draw the accuracy of TSN and TSM over the share of order, and the gain with its slope.

    Args:
        values: one row per seed; columns `TSN, 0 %`, `TSM, 0 %` ... in percent.
        slope: the finding on the slope of the gain, points per unit of share; None: not known.
        caption: data and scale.
        axes: two axes; None: a new figure.
    """
    if axes is None:
        _, axes = plt.subplots(1, 2, figsize=(9.8, 4), layout="constrained")
    levels = sorted({int(c.split(", ")[1].split(" ")[0]) for c in values if c.count(",") == 1})
    for name, style in (("TSN", {"color": ACCENT, "fmt": "s--", "mfc": "white"}),
                        ("TSM", {"color": INK, "fmt": "o-"})):  # fmt: skip
        _over_levels(axes[0], levels, [values[f"{name}, {x} %"] for x in levels], name, style)
    ceiling = [100 - 0.5 * x for x in levels]
    axes[0].plot(levels, ceiling, ":", color=PALE, label="ceiling without order")
    axes[0].set(ylabel="top-1 (%)", ylim=(0, 101))
    gains = [values[f"TSM, {x} %"] - values[f"TSN, {x} %"] for x in levels]
    _over_levels(axes[1], levels, gains, "TSM minus TSN", {"color": INK, "fmt": "o-"})
    finding = "The gain of the shift, over the share of clips that only order tells apart"
    if slope is not None and pd.notna(slope["difference"]):
        finding = (f"From no clip to all clips that only order tells apart, the gain of the shift "
                   f"grows by {slope['difference']:.0f} points")  # fmt: skip
        caption += f"; slope {slope['low']:.1f} to {slope['high']:.1f} (95 % interval, Holm)"
    axes[1].axhline(0, color=PALE)
    axes[1].set(ylabel="gain of TSM over TSN (points)")
    for ax in axes:
        ax.set_xlabel("clips that only the order of frames tells apart (%)")
        ax.set_xticks(levels)
        if values.isna().all(axis=None):
            ax.text(50, 0.5, "not run yet", ha="center", transform=ax.get_xaxis_transform())
        elif ax.get_legend_handles_labels()[0]:
            ax.legend(loc="lower left" if ax is axes[0] else "upper left")
    entitle(axes, finding, caption)
    return axes


def _over_levels(ax: Axes, levels, columns: list[pd.Series], label: str, style: dict) -> None:
    """Draw means over seeds with their 95 % t intervals."""
    runs = [c.dropna().to_numpy(dtype=float) for c in columns]
    kept = [(x, r) for x, r in zip(levels, runs, strict=True) if len(r) > 1]
    if not kept:
        return
    means, low, high = np.array([mean_interval(r) for _, r in kept]).T
    seeds = min(len(r) for _, r in kept)
    ax.errorbar([x for x, _ in kept], means, yerr=[means - low, high - means], capsize=3,
                label=f"{label}, {seeds} seeds, 95 % interval", **style)  # fmt: skip
