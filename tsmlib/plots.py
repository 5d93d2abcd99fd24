"""One function a chart: frames of data in, `Axes` out. Nothing here reads files or needs torch.

Every chart says on which data and at which scale it was measured, and is readable in grey.
"""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .intervals import wilson_interval
from .metrics import confusion_matrix, standard_error

sns.set_theme(style="whitegrid", context="notebook", rc={"figure.dpi": 76, "axes.titlesize": 11})
INK, ACCENT, PALE = "#1f2a44", "#d1495b", "#9aa5b8"


def conditions(record: dict) -> str:
    """`sthv1, stand-in data, mini scale, seed 0`."""
    data = {"standin": "stand-in"}.get(record["data"], record["data"])
    return f"{record['cfg']}, {data} data, {record['scale']} scale, seed {record['seed']}"


def curves(
    history: pd.DataFrame, record: dict, published: pd.DataFrame | None = None, axes=None
) -> np.ndarray:
    """Loss and top-1 accuracy over the epochs of a run; the band is one standard error (videos).

    Args:
        history: columns `epoch`, `loss`, `train_top1` and, where validated, `top1`, `loss_val`.
        record: of the run, for the title and the number of videos.
        published: columns `epoch`, `loss`, `top1` of the published log, laid over.
        axes: two axes; None: a new figure.
    """
    if axes is None:
        _, axes = plt.subplots(1, 2, figsize=(10, 3.4), layout="constrained")
    if published is not None:
        style = {"color": ACCENT, "linestyle": ":", "label": "published (MMAction2's log)"}
        axes[0].plot(published.epoch, published.loss, **style)
        known = published.dropna(subset=["top1"])
        axes[1].plot(known.epoch, known.top1, marker=".", **style)
    tested = history.dropna(subset=["top1"]) if "top1" in history else history.iloc[:0]
    axes[0].plot(history.epoch, history.loss, color=PALE, label="training")
    axes[1].plot(history.epoch, history.train_top1, color=PALE, label="training (augmented)")
    if len(tested):
        error = [standard_error(a, record["num_videos"]) for a in tested.top1]
        axes[0].plot(tested.epoch, tested.loss_val, "o-", color=INK, label="validation")
        axes[1].errorbar(
            tested.epoch, tested.top1, yerr=error, fmt="o-", color=INK, capsize=3,
            label=f"validation ± 1 standard error ({record['num_videos']} videos)",
        )  # fmt: skip
    axes[0].set(title="Cross entropy", xlabel="epoch", ylabel="loss (nats)", ylim=(0, None))
    axes[1].set(title="Accuracy", xlabel="epoch", ylabel="top-1 (%)", ylim=(0, 100))
    for ax in axes:
        ax.set_xlim(0, history.epoch.max() + 0.3)
        ax.legend(fontsize=8)
    axes[0].figure.suptitle(conditions(record), fontsize=10)
    return axes


def confusion(scores, labels, names, record: dict, ax: Axes | None = None, most: int = 30) -> Axes:
    """Confusion matrix in percent of each true class; with many classes the `most` worst ones."""
    counts = confusion_matrix(scores, labels)
    videos = counts.sum(1)
    recall = np.divide(counts.diagonal(), videos, where=videos > 0, out=np.ones(len(videos)))
    shown = np.sort(np.argsort(recall)[:most]) if len(names) > most else np.arange(len(names))
    share = 100 * counts / np.maximum(videos, 1)[:, None]
    rows = [f"{_short(name, 44)}  {i}" for i, name in enumerate(names)]
    table = pd.DataFrame(share, index=rows, columns=range(len(names))).iloc[shown, shown]
    if ax is None:
        side = 2.2 + 0.42 * len(shown)
        _, ax = plt.subplots(figsize=(side + 3.2, side), layout="constrained")
    sns.heatmap(
        table, ax=ax, vmin=0, vmax=100, cmap="Greys",
        annot=len(shown) <= 16, fmt=".0f", annot_kws={"fontsize": 8}, linewidths=0.4,
        cbar_kws={"label": "share of the class's videos (%)"},
    )  # fmt: skip
    ax.tick_params(labelsize=8)
    ax.set(title=f"Confusion: {conditions(record)}", xlabel="predicted label", ylabel="true")
    return ax


def per_class(scores, labels, names, record: dict, ax: Axes | None = None, most: int = 30) -> Axes:
    """Accuracy of each class with its standard error; with many classes the `most` worst ones."""
    hit = np.argmax(scores, axis=1) == labels
    rows = [(names[c], int((labels == c).sum()), 100 * hit[labels == c].mean())
            for c in np.unique(labels)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["name", "videos", "top1"]).sort_values("top1")[:most]
    if ax is None:
        _, ax = plt.subplots(figsize=(9, 0.8 + 0.3 * len(table)), layout="constrained")
    places = np.arange(len(table))
    error = [standard_error(a, n) for a, n in zip(table.top1, table.videos, strict=True)]
    ax.barh(places, table.top1, xerr=error, color=PALE, ecolor=INK, capsize=2)
    labels_ = [f"{_short(n, 44)} ({v})" for n, v in zip(table.name, table.videos, strict=True)]
    ax.set_yticks(places, labels_, fontsize=8)
    ax.set(
        title=f"Accuracy by class ± 1 standard error: {conditions(record)}",
        xlabel="top-1 (%)", xlim=(0, 100), ylabel="class (videos)",
    )  # fmt: skip
    return ax


def strips(clips, titles: list[str], caption: str = "") -> Figure:
    """Clips as rows of frames. `clips`: uint8 `[N, T, h, w, 3]`; one title a clip."""
    clips = np.asarray(clips)
    count, t, height, width, _ = clips.shape
    size = (min(10, 1.1 * t), 0.25 + count * (min(10, 1.1 * t) / t * height / width + 0.25))
    figure, axes = plt.subplots(count, 1, figsize=size, layout="constrained", squeeze=False)
    for clip, title, ax in zip(clips, titles, axes[:, 0], strict=True):
        ax.imshow(np.concatenate(list(clip), axis=1))
        ax.set_title(title, fontsize=9, loc="left")
        ax.axis("off")
    if caption:
        figure.suptitle(caption, fontsize=10)
    return figure


def data_overview(videos: pd.DataFrame, names, caption: str, axes=None) -> np.ndarray:
    """Videos of each class, their lengths and their sizes, by split.

    Args:
        videos: columns `split`, `label`, `frames`, `height`, `width` (of `check_data`).
        names: of the labels; with more than 40 classes they are left out.
        caption: which data these are.
        axes: three axes; None: a new figure.
    """
    if axes is None:
        _, axes = plt.subplots(1, 3, figsize=(12.5, 4), layout="constrained")
    shade = {"hue": "split", "hue_order": ["train", "val"], "palette": [PALE, INK]}
    counts = videos.groupby(["split", "label"]).size().reset_index(name="count")
    sns.barplot(counts, y="label", x="count", orient="h", ax=axes[0], **shade)
    sns.histplot(videos, x="frames", multiple="dodge", ax=axes[1], legend=False, **shade)
    sizes = videos.groupby(["split", "width", "height"]).size().reset_index(name="videos")
    sns.scatterplot(
        sizes, x="width", y="height", size="videos", sizes=(20, 200), ax=axes[2], alpha=0.7, **shade
    )
    axes[0].set(title="Videos of each class", xlabel="videos", ylabel="label")
    if len(names) <= 40:
        axes[0].set_yticks(range(len(names)), [_short(n, 44) for n in names], fontsize=7)
    else:
        axes[0].set_yticks([])
    axes[1].set(title="Lengths", xlabel="frames", ylabel="videos")
    axes[2].set(title="Stored sizes", xlabel="width (pixels)", ylabel="height (pixels)")
    axes[0].legend(fontsize=7, loc="lower right")
    axes[2].legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    axes[0].figure.suptitle(caption, fontsize=10)
    return axes


def parity(table: pd.DataFrame, tolerance: float, ax: Axes | None = None) -> Axes:
    """How far our logits are from published ones, beside what typical mistakes would have changed.

    Args:
        table: of `parity.compare_with_peers`; differences in units of the logits' deviation.
        tolerance: what is asked for, in the same unit.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(9.5, 0.9 + 0.55 * len(table)), layout="constrained")
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
                        fontsize=8, bbox=white)  # fmt: skip
    ax.axvline(tolerance, color=ACCENT, linestyle="--", label="tolerance")
    ax.set_yticks(range(len(table)), table.model, fontsize=8)
    ax.set_ylim(len(table) - 0.5, -0.5)
    ax.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5))
    ax.set(xscale="log", xlim=(floor / 3, 10), ylabel="published model",
           xlabel="largest difference of a logit (standard deviations of the logits)",
           title="Ours and the published implementations on the same weights, fp32")  # fmt: skip
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
        size = (12, 1.2 + 0.25 * len(table))
        _, axes = plt.subplots(1, 3, figsize=size, dpi=66, sharey=True, layout="constrained")
    places, floor = np.arange(len(table)), 1e-6  # where equal bits are drawn on a logarithmic axis
    same = table.moved < floor
    axes[0].plot(table.moved[~same], places[~same], "o", color=INK)
    axes[0].plot(table.moved[same].clip(floor), places[same], "o", mfc="none", color=INK)
    axes[1].barh(places, table.flipped, color=PALE, height=0.6)
    other = np.where(table.protocol == asked, "", " (" + table.protocol + ")")
    axes[0].set_yticks(places, table.pitfall + other, fontsize=8)
    axes[0].set(title="Logits", xscale="log", xlim=(floor / 2, 10), ylim=(-0.7, len(table) - 0.3),
                xlabel="mean change (standard deviations),\nhollow: below 1e-6")  # fmt: skip
    axes[1].set(title="Predictions", xlabel=f"changed ({table.videos.max()} videos, %)",
                xlim=(0, 100))  # fmt: skip
    _sensitivity_accuracies(table, places, axes[2])
    for ax in axes:  # a line between kinds of pitfalls
        for place in np.flatnonzero(table.kind[1:].to_numpy() != table.kind[:-1].to_numpy()):
            ax.axhline(place + 0.5, color=PALE, linewidth=0.8)
    axes[0].figure.suptitle(caption, fontsize=10)
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
    ticks = [t for t in (-100, -30, -10, -3, -1, 0, 1, 3, 10, 30) if ends[0] <= t <= ends[1]]
    ax.set_xscale("symlog", linthresh=1)
    ax.set_xticks(ticks, [f"{t:+d}" if t else "0" for t in ticks])
    ax.set(title="Accuracy, 95 % interval (paired, videos)", xlim=ends,
           xlabel="change of top-1 (points),\nlogarithmic beyond 1")  # fmt: skip


def with_and_without_shift(records: dict[str, dict], chance: float, ax: Axes | None = None) -> Axes:
    """Top-1 of runs of one row by their names, with Wilson's 95 % interval, and a line at chance.

    Args:
        records: run records.
        chance: accuracy in percent of a network blind to the order of frames.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(6, 2.6), layout="constrained")
    places, runs = np.arange(len(records)), list(records.values())
    top1 = np.array([r["top1"] for r in runs])
    low, high = np.transpose([wilson_interval(r["top1"], r["num_videos"]) for r in runs])
    error = [top1 - low, high - top1]
    ax.barh(places, top1, xerr=error, color=PALE, ecolor=INK, capsize=4, height=0.55)
    ax.set_yticks(places, list(records))
    label = f"most that a network blind to order can reach: {chance:.0f} %"
    ax.axvline(chance, color=ACCENT, linestyle="--", label=label)
    ax.legend(fontsize=8, loc="lower right")
    ax.set(title=f"{conditions(runs[0])}; 95 % intervals (videos)", xlabel="top-1 (%)",
           xlim=(0, 100))  # fmt: skip
    return ax


def published_rows(table: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Published top-1 of the 36 rows, and ours where a comparable run exists.

    Args:
        table: of `report.tables.beside_published`.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(9, 8), dpi=68, layout="constrained")
    places = np.arange(len(table))[::-1]
    ax.plot(table.top1, places, "o", color=INK, label="published (MMAction2), first column")
    ax.plot(table.top1_accurate, places, "s", mfc="none", color=INK, label="published, accurate")
    for column, marker in (("ours_top1", "D"), ("ours_top1_accurate", "d")):
        if table[column].notna().any():
            label = f"ours, {column.removeprefix('ours_')}"
            ax.plot(table[column], places, marker, color=ACCENT, label=label)
    ax.set_yticks(places, [f"{c}" for c in table.cfg], fontsize=8)
    ax.set(title="The 36 published rows, full scale on the real data sets", xlabel="top-1 (%)")
    ax.legend(fontsize=8, loc="lower left")
    return ax


def _short(name: str, length: int = 26) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
