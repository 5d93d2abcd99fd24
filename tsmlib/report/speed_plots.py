"""Draw the charts of costs: frames of data in, `Axes` out. No files, no torch.

Points are medians over rounds, bars reach from the first to the third quartile.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import LogLocator

from ..plots import ACCENT, INK, PALE, entitle

KINDS = {"32-true": "fp32", "bf16-mixed": "bf16", "16-mixed": "fp16"}
STYLE = {
    "TSM": {"color": INK, "fmt": "o", "mfc": INK},
    "TSN": {"color": ACCENT, "fmt": "s", "mfc": "white"},
}
TIMES = (1, 2, 4)
# readable in grey; the last is what is not computing
SHADES = {
    "forward": INK, "backward": "#5b6b8c", "clipped step": PALE, "validation": "#d9dde6",
    "to the device, normalised": "#e8a3ab", "waiting for clips": ACCENT,
}  # fmt: skip


def latencies(table: pd.DataFrame, caption: str, ax: Axes | None = None) -> Axes:
    """Draw the time of one clip by runtime and precision, TSN beside TSM.

    Args:
        table: of `inference.measure_forward`; lines of several clips at once are left out.
        caption: row, scale and device.
        ax: where to draw; None: a new figure.
    """
    table = table[table["clips"] == 1]
    forms = list(dict.fromkeys(zip(table["runtime"], table["precision"], strict=True)))
    if ax is None:
        size = (9.6, 1.5 + 0.36 * len(forms))
        _, ax = plt.subplots(figsize=size, layout="constrained")
    for name, shift in (("TSN", -0.13), ("TSM", 0.13)):
        lines = table[table["network"] == name]
        places = [forms.index(f) for f in zip(lines["runtime"], lines["precision"], strict=True)]
        _points(ax, lines, np.array(places) + shift, name)
    ax.set_yticks(range(len(forms)), [f"{runtime}, {KINDS[kind]}" for runtime, kind in forms])
    ax.set_ylim(len(forms) - 0.5, -0.5)
    ax.set_xlim(0, None)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set(xlabel="ms for one clip (median and quartiles of rounds in turn)")
    ratios = table["over_tsn"].dropna()
    finding = f"With the shift a clip takes {ratios.min():.2f} to {ratios.max():.2f} times as long"
    entitle(ax, finding, caption)
    return ax


def _points(ax: Axes, lines: pd.DataFrame, places, label: str) -> None:
    error = [lines["median"] - lines["q25"], lines["q75"] - lines["median"]]
    ax.errorbar(lines["median"], places, xerr=error, ms=6, capsize=3, label=label, **STYLE[label])


def growth(tables: dict[str, pd.DataFrame], caption: str, axes=None) -> np.ndarray:
    """Draw the cost of 1, 2 and 4 times the clips, views and segments, each round over its 1x.

    Args:
        tables: of `inference.measure_growth`, by the name of the model; two at most.
        caption: the device.
        axes: three axes; None: a new figure.
    """
    things = list(dict.fromkeys(next(iter(tables.values()))["of"]))
    if axes is None:
        _, axes = plt.subplots(1, len(things), figsize=(10, 3.8), sharey=True,
                               layout="constrained")  # fmt: skip
    for thing, ax in zip(things, axes, strict=True):
        ax.plot(TIMES, TIMES, ":", color=PALE, label="linear")
        for (name, table), style in zip(tables.items(), STYLE.values(), strict=False):
            lines = table[table["of"] == thing]
            error = [lines["over"] - lines["over_q25"], lines["over_q75"] - lines["over"]]
            label = f"{name}: 1x = {lines['ms'].iloc[0]:.3g} ms"
            ax.errorbar(lines["times"], lines["over"], yerr=error, capsize=3, label=label,
                        **style | {"ls": "-"})  # fmt: skip
        ax.set_xscale("log", base=2)
        ax.set_yscale("log", base=2)
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_ticks(TIMES, [f"{t}x" for t in TIMES])
        ax.set_xlabel(thing)
        ax.legend(loc="upper left")
    axes[0].set_ylabel("time, over that of 1x")
    name, table = next(iter(tables.items()))
    most = table[table["times"] == max(TIMES)].set_index("of")["over"]
    costs = ", ".join(f"{over:.1f} times for {max(TIMES)}x the {of}" for of, over in most.items())
    entitle(
        axes, f"{name.capitalize()} takes {costs}", f"{caption}; median and quartiles of rounds"
    )
    return axes


def epoch(table: pd.DataFrame, caption: str, ax: Axes | None = None) -> Axes:
    """Draw where the time of an epoch goes, TSM beside TSN.

    Args:
        table: of `training.measure_epoch`.
        caption: row, data, scale and device.
        ax: where to draw; None: a new figure.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(9.6, 2.7), layout="constrained")
    wide = table.pivot(index="network", columns="part", values="seconds").loc[["TSM", "TSN"]]
    left = np.zeros(len(wide))
    for part in [part for part in SHADES if part in wide]:
        ax.barh(wide.index, wide[part], left=left, color=SHADES[part], edgecolor="white",
                height=0.6, label=part)  # fmt: skip
        for place, (start, width) in enumerate(zip(left, wide[part], strict=True)):
            share = 100 * width / wide.iloc[place].sum()
            if share >= 6:
                dark = part in ("forward", "backward", "waiting for clips")
                ax.text(start + width / 2, place, f"{share:.0f} %", ha="center", va="center",
                        fontsize=9, color="white" if dark else INK)  # fmt: skip
        left += wide[part].to_numpy()
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set(xlabel="seconds of an epoch")
    shares = 100 * wide.loc["TSM"] / wide.loc["TSM"].sum()
    finding = f"{shares.max():.0f} % of an epoch of TSM are spent on: {shares.idxmax()}"
    entitle(ax, finding, caption)
    return ax


def loading(table: pd.DataFrame, caption: str, ax: Axes | None = None) -> Axes:
    """Draw the clips a second of each way to load them, and the decoder's limit.

    Args:
        table: of `training.measure_loading`.
        caption: row, data and device.
        ax: where to draw; None: a new figure.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(9.6, 1.4 + 0.4 * len(table)), layout="constrained")
    places = np.arange(len(table))
    ax.barh(places, table["per_second"], color=PALE, height=0.55)
    ax.plot(table["limit"], places, "|", ms=22, mew=2, color=ACCENT, label="the decoder's limit")
    ax.set_yticks(places, table["what"])
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set(xlabel="training clips a second")
    whole = table[table["per_second"] < table["limit"]]
    best = (whole if len(whole) else table).nlargest(1, "per_second").iloc[0]
    share = 100 * best["per_second"] / best["limit"]
    finding = (
        f"{best['what']}: {best['per_second']:,.0f} clips a second, {share:.0f} % of the limit"
    )
    entitle(ax, finding, caption)
    return ax


def ratios(table: pd.DataFrame, caption: str, ax: Axes | None = None) -> Axes:
    """Draw the ratios of a benchmark on a logarithmic axis, beside the limits they must keep.

    Args:
        table: of `benchmarks.ratio_table`.
        caption: the device.
        ax: where to draw; None: a new figure.
    """
    if ax is None:
        size = (9.6, 1.7 + 0.27 * len(table))
        _, ax = plt.subplots(figsize=size, layout="constrained")
    places = np.arange(len(table))
    error = [table["median"] - table["q25"], table["q75"] - table["median"]]
    ax.errorbar(
        table["median"], places, xerr=error, fmt="o", color=INK, capsize=3, label="measured"
    )
    ax.plot(table["at most"], places, "|", ms=16, mew=2, color=ACCENT, label="limit")
    ax.axvline(1, color=PALE)
    ax.set_xscale("log")
    low, high = min(1, table["q25"].min()) / 1.3, max(1, table["q75"].max()) * 1.3
    ticks = [t for t in (0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 10) if low <= t <= high]
    ax.set_xticks(ticks, ticks)
    ax.minorticks_off()
    names = [f"{name}: {what}" for name, what in zip(table.index, table["of / over"], strict=True)]
    ax.set_yticks(places, names)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set(xlabel="ratio of times (median and quartiles of the rounds)")
    limited = table[table["at most"].notna()]
    kept = (limited["median"] <= limited["at most"]).sum()
    entitle(ax, f"{kept} of {len(limited)} ratios keep their limit", caption)
    return ax


def accuracy_and_cost(rows: pd.DataFrame, arms: pd.DataFrame, captions: list[str], axes=None):
    """Draw accuracy over multiply-adds and over measured time: published rows, below them our arms.

    Args:
        rows, arms: of `tsmlib.report.costs`.
        captions: of the published rows, of the arms (study, data and scale), of the device.
        axes: 2 x 2 axes; None: a new figure.
    """
    if axes is None:
        _, axes = plt.subplots(2, 2, figsize=(9.6, 6.2), layout="constrained")
    parts = (rows, "dataset", 1e9, "G"), (arms, "family", 1e6, "M")
    for line, (table, by, unit, name), caption in zip(axes, parts, captions[:2], strict=True):
        table = table.assign(macs=table["macs"] / unit)
        _over_cost(line[0], table, by, "macs", f"multiply-adds of a clip ({name})")
        _over_cost(line[1], table, by, "ms", f"ms of a clip, measured: {captions[2]}")
        line[0].set_title(caption, loc="left")
    best = rows.loc[rows["top1"].idxmax()]
    finding = (f"The most accurate published row, {best['name']}, has {best['top1']:.1f} % for "
               f"{best['macs'] / 1e9:.0f} G multiply-adds a clip")  # fmt: skip
    entitle(axes, finding)
    return axes


def _over_cost(ax: Axes, table: pd.DataFrame, by: str, cost: str, label: str) -> None:
    marks = (("s", "white"), ("o", INK), ("^", PALE))
    for (name, group), (marker, face) in zip(table.groupby(by, sort=False), marks, strict=False):
        done = group.dropna(subset=["top1", cost])
        error = [done["top1"] - done["low"], done["high"] - done["top1"]] if "low" in done else None
        ax.errorbar(done[cost], done["top1"], yerr=error, fmt=marker, mfc=face, mec=INK,
                    color=INK, capsize=3, label=name)  # fmt: skip
    ax.set(xlabel=label, ylabel="top-1 (%)", xscale="log")
    ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    ax.xaxis.set_major_formatter("{x:g}")
    ax.minorticks_off()
    if table[["top1", cost]].dropna().empty:
        ax.text(0.5, 0.5, "not measured yet", ha="center", transform=ax.transAxes)
    else:
        ax.legend()
