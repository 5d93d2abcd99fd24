"""Draw the charts of recognised streams: arrays and frames of data in, `Axes` out. No torch.

Recognizers come as a dictionary by name, the most important one first.
"""

from itertools import cycle

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.patches import Patch

from ..online.scoring import decide, find_false_alarms, measure_delays
from ..online.truth import NO_CLASS, StreamTruth
from ..plots import ACCENT, INK, PALE, entitle

STYLES = ((INK, "-", "o"), (ACCENT, "--", "s"), ("#3d7d6a", ":", "^"))  # of the recognizers


def timelines(
    probabilities: dict[str, np.ndarray], truth: StreamTruth, threshold: float, caption: str
) -> np.ndarray:
    """Draw the probabilities of a stream's classes against its truth, one panel a recognizer.

    The bands are the actions, in the colours of their classes. The strip below the curves is what
    is announced.

    Args:
        probabilities: `[num_frames, K]` by name of the recognizer.
        truth: of the stream.
        threshold: of `scoring.decide`.
        caption: which data and scale.
    """
    decisions = {name: decide(p, threshold) for name, p in probabilities.items()}
    shown = np.unique(np.concatenate((truth.labels, *decisions.values())))
    shown = shown[shown != NO_CLASS].tolist()
    colors = dict(zip(shown, _class_colors(len(shown)), strict=True))
    rows = -(-len(shown) // 2)  # of the legend
    height = 1.2 + 1.5 * len(probabilities) + 0.19 * rows
    _, axes = plt.subplots(
        len(probabilities), 1, figsize=(9.6, height), layout="constrained", sharex=True,
        squeeze=False,
    )  # fmt: skip
    for ax, (name, p) in zip(axes[:, 0], probabilities.items(), strict=True):
        _timeline(ax, p, decisions[name], truth, colors, threshold)
        ax.set_title(_describe_decisions(name, decisions[name], truth), loc="left", fontsize=9.5)
    axes[-1, 0].set_xlabel("time (s)")
    names = [Patch(color=colors[k], label=f"{k}  {truth.class_names[k]}") for k in shown]
    axes[-1, 0].legend(
        handles=names, loc="upper center", bbox_to_anchor=(0.5, -0.3), ncols=2, frameon=False
    )
    first = next(iter(probabilities))
    found = int(np.isfinite(measure_delays(decisions[first], truth)).sum())
    finding = f"{first}: {found} of {len(truth.actions)} actions are recognised while they last"
    entitle(axes, finding, f"{caption}; announced from a probability of {threshold:g} on")
    return axes[:, 0]


def early_recognition(
    curves: dict[str, pd.DataFrame], caption: str, ax: Axes | None = None
) -> Axes:
    """Draw accuracy against the share of the action that was seen, with 95 % intervals (streams).

    Args:
        curves: tables of `scoring.score_early` by name of the recognizer.
        caption: which data and scale, and how many actions.
        ax: where to draw; None: a new figure.
    """
    ax = ax or _new_axes()
    for (name, table), (color, line, marker) in zip(curves.items(), cycle(STYLES), strict=False):
        x = 100 * table["share"]
        ax.plot(x, table["accuracy"], color=color, linestyle=line, marker=marker, ms=4, label=name)
        ax.fill_between(x, table["low"], table["high"], color=color, alpha=0.15, linewidth=0)
    ax.set(xlim=(0, 102), ylim=(0, 102), xlabel="share of the action seen (%)",
           ylabel="actions recognised (%)")  # fmt: skip
    ax.legend(loc="lower right")
    name, table = next(iter(curves.items()))
    half = table.iloc[(table["share"] - 0.5).abs().argmin()]
    seen, at_end = 100 * half["share"], table["accuracy"].iloc[-1]
    finding = (f"{name}: {half['accuracy']:.0f} % are recognised after {seen:.0f} % of the action, "
               f"{at_end:.0f} % at its end")  # fmt: skip
    entitle(ax, finding, f"{caption}; bands: 95 % intervals over streams")
    return ax


def delays(waited: dict[str, np.ndarray], fps: float, caption: str, ax: Axes | None = None) -> Axes:
    """Draw the share of actions that are recognised within a time from their start.

    Args:
        waited: frames of `scoring.measure_delays`, of all streams, by name of the recognizer.
        fps: frames per second.
        caption: which data and scale, and how many actions.
        ax: where to draw; None: a new figure.
    """
    ax = ax or _new_axes()
    end = 1.05 * max((np.nanmax(w) for w in waited.values() if np.isfinite(w).any()), default=fps)
    for (name, frames), (color, line, _) in zip(waited.items(), cycle(STYLES), strict=False):
        known = np.sort(frames[np.isfinite(frames)])
        seconds = np.concatenate(([0], known, [end])) / fps
        share = (
            100 * np.concatenate(([0], np.arange(1, len(known) + 1), [len(known)])) / len(frames)
        )
        never = 100 - share[-1]
        label = f"{name} (never: {never:.0f} %)"
        ax.plot(seconds, share, color=color, linestyle=line, drawstyle="steps-post", label=label)
    ax.set(xlim=(0, end / fps), ylim=(0, 102), xlabel="time from the action's start (s)",
           ylabel="actions recognised (%)")  # fmt: skip
    ax.legend(loc="lower right")
    entitle(ax, _describe_delays(waited, fps), caption)
    return ax


def operating_points(tables: dict[str, pd.DataFrame], caption: str, ax: Axes | None = None) -> Axes:
    """Draw the share of recognised actions against false alarms, one point per threshold.

    Args:
        tables: of `scoring.score_thresholds` by name of the recognizer.
        caption: which data and scale, and how many actions.
        ax: where to draw; None: a new figure.
    """
    ax = ax or _new_axes()
    best, rate = {}, _few_alarms(tables)
    for (name, table), (color, line, marker) in zip(tables.items(), cycle(STYLES), strict=False):
        x, y = table["false alarms"], table["recognised"]
        ax.plot(x, y, color=color, linestyle=line, marker=marker, ms=3, label=name)
        best[name] = y[x <= rate].max()
    ax.set_xscale("symlog", linthresh=1)
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set(xlim=(0, None), ylim=(0, 102), xlabel="false alarms per minute, logarithmic beyond 1",
           ylabel="actions recognised (%)")  # fmt: skip
    ax.legend(loc="lower right")
    parts = ", ".join(f"{value:.0f} % ({name})" for name, value in best.items())
    alarms = f"{rate:g} false alarm{'s' * (rate > 1)} a minute"
    entitle(ax, f"Recognised with at most {alarms}: {parts}", caption)
    return ax


def _few_alarms(tables: dict[str, pd.DataFrame]) -> float:
    """Return a rate of false alarms that all recognizers can keep: a round number, 1 or more."""
    least = max(table["false alarms"].min() for table in tables.values())
    return next((rate for rate in (1, 2, 5, 10, 20, 50) if rate >= least), float(np.ceil(least)))


def _timeline(
    ax: Axes, p: np.ndarray, decisions: np.ndarray, truth: StreamTruth, colors: dict, threshold
) -> None:
    """Draw the panel of one recognizer: bands, curves, and the strip of announcements."""
    seconds = np.arange(truth.num_frames) / truth.fps
    for start, end, label in truth.actions:
        ends = start / truth.fps, end / truth.fps
        ax.axvspan(*ends, color=colors[label], alpha=0.22, linewidth=0)
        ax.text(sum(ends) / 2, 1.02, label, ha="center", va="bottom", fontsize=9, color=INK)
    for label, color in colors.items():
        ax.plot(seconds, p[:, label], color=color, linewidth=1.3, drawstyle="steps-post")
        announced = decisions == label
        ax.fill_between(seconds, -0.16, -0.04, where=announced, color=color, step="post", lw=0)
    ax.axhline(threshold, color=PALE, linestyle=":", linewidth=1)
    ax.set(xlim=(0, truth.num_frames / truth.fps), ylim=(-0.18, 1.15), yticks=(0, 0.5, 1),
           ylabel="probability")  # fmt: skip
    ax.grid(False)


def _describe_decisions(name: str, decisions: np.ndarray, truth: StreamTruth) -> str:
    found = int(np.isfinite(measure_delays(decisions, truth)).sum())
    alarms = len(find_false_alarms(decisions, truth))
    return f"{name}: {found} of {len(truth.actions)} recognised, {alarms} false alarms"


def _describe_delays(waited: dict[str, np.ndarray], fps: float) -> str:
    """Say after which time half of all actions are recognised, by each recognizer."""
    parts = []
    for name, frames in waited.items():
        middle = float(np.median(np.nan_to_num(frames, nan=np.inf))) / fps
        parts.append(f"{middle:.1f} s ({name})" if np.isfinite(middle) else f"never ({name})")
    return f"Half of the actions are recognised within {', '.join(parts)}"


def _class_colors(count: int) -> list:
    return sns.color_palette("colorblind" if count <= 10 else "husl", count)


def _new_axes() -> Axes:
    return plt.subplots(figsize=(9.6, 3.6), layout="constrained")[1]
