"""Draw the charts of runs and data: frames of data in, `Axes` out. No files, no torch.

The title of a chart says what it shows, the line below it on which data and at which scale it was
measured. Text is at least 9 points on the page; the colours differ in lightness, so that they
survive grey and colour blindness.
"""

import textwrap

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .intervals import wilson_interval
from .metrics import confusion_matrix, standard_error

SIZES = {
    "figure.dpi": 96, "font.size": 10, "axes.labelsize": 10, "axes.titlesize": 10.5,
    "xtick.labelsize": 9.5, "ytick.labelsize": 9.5, "legend.fontsize": 9.5,
    "legend.title_fontsize": 9.5,
    "text.parse_math": False,  # a name with $ is a name
}  # fmt: skip
sns.set_theme(style="whitegrid", context="paper", rc=SIZES)
INK, ACCENT, PALE = "#1f2a44", "#d1495b", "#9aa5b8"
NOTE = "#4a4f5c"  # of the line below a chart
LETTERS = 11  # of a title on an inch


def conditions(record: dict) -> str:
    """Describe a run: `sthv1, stand-in data, mini scale, seed 0`."""
    data = {"standin": "stand-in"}.get(record["data"], record["data"])
    return f"{record['cfg']}, {data} data, {record['scale']} scale, seed {record['seed']}"


def entitle(axes, finding: str, source: str = "") -> None:
    """Write the finding above a figure, and below it on which data it was measured."""
    figure = np.ravel(axes)[0].figure
    width = figure.get_figwidth()
    style = {"x": 0.01, "ha": "left"}
    title = textwrap.fill(finding, int(LETTERS * width))
    figure.suptitle(title, fontsize=11.5, weight="bold", color=INK, **style)
    if source:
        text = textwrap.fill(source, int(1.3 * LETTERS * width))
        figure.supxlabel(text, fontsize=9, color=NOTE, **style)


def curves(
    history: pd.DataFrame, record: dict, published: pd.DataFrame | None = None, axes=None
) -> np.ndarray:
    """Draw loss and top-1 accuracy over the epochs of a run, with one standard error (videos).

    Args:
        history: columns `epoch`, `loss`, `train_top1` and, where validated, `top1`, `loss_val`.
        record: of the run, for the title and the number of videos.
        published: columns `epoch`, `loss`, `top1` of the published log, laid over.
        axes: two axes; None: a new figure.
    """
    if axes is None:
        _, axes = plt.subplots(1, 2, figsize=(9.6, 3.6), layout="constrained")
    if published is not None:
        style = {"color": ACCENT, "linestyle": ":", "label": "published (MMAction2's log)"}
        axes[0].plot(published.epoch, published.loss, **style)
        known = published.dropna(subset=["top1"])
        axes[1].plot(known.epoch, known.top1, marker=".", **style)
    tested = history.dropna(subset=["top1"]) if "top1" in history else history.iloc[:0]
    axes[0].plot(history.epoch, history.loss, color=PALE, label="training")
    axes[1].plot(history.epoch, history.train_top1, color=PALE, label="training (augmented clips)")
    if len(tested):
        error = [standard_error(a, record["num_videos"]) for a in tested.top1]
        axes[0].plot(tested.epoch, tested.loss_val, "o-", color=INK, label="validation")
        axes[1].errorbar(
            tested.epoch, tested.top1, yerr=error, fmt="o-", color=INK, capsize=3,
            label="validation ± 1 standard error",
        )  # fmt: skip
    axes[0].set(title="Cross entropy", xlabel="epoch", ylabel="loss (nats)", ylim=(0, None))
    axes[1].set(title="Accuracy", xlabel="epoch", ylabel="top-1 (%)", ylim=(0, 100))
    for ax in axes:
        ax.set_xlim(0, history.epoch.max() + 0.3)
        ax.legend()
    last = history.iloc[-1]
    finding = f"After {last.epoch:.0f} epochs, {record['top1']:.1f} % of the clips are recognised"
    entitle(axes, finding, f"{conditions(record)}; {record['num_videos']} validation videos")
    return axes


def confusion(scores, labels, names, record: dict, ax: Axes | None = None, most: int = 30) -> Axes:
    """Draw the confusion matrix in percent of each true class; of many classes the `most` worst."""
    counts = confusion_matrix(scores, labels)
    videos = counts.sum(1)
    recall = np.divide(counts.diagonal(), videos, where=videos > 0, out=np.ones(len(videos)))
    shown = np.sort(np.argsort(recall)[:most]) if len(names) > most else np.arange(len(names))
    share = 100 * counts / np.maximum(videos, 1)[:, None]
    rows = [f"{_wrap(name)}  {i}" for i, name in enumerate(names)]
    table = pd.DataFrame(share, index=rows, columns=range(len(names))).iloc[shown, shown]
    if ax is None:
        side = min(7, 1.6 + 0.36 * len(shown))
        _, ax = plt.subplots(figsize=(side + 3, side), layout="constrained")
    sns.heatmap(
        table, ax=ax, vmin=0, vmax=100, cmap="Greys",
        annot=len(shown) <= 16, fmt=".0f", annot_kws={"fontsize": 9}, linewidths=0.4,
        cbar_kws={"label": "share of the class's videos (%)"},
    )  # fmt: skip
    ax.set(xlabel="predicted label", ylabel="true class, label")
    np.fill_diagonal(share, 0)
    true, predicted = np.unravel_index(share.argmax(), share.shape)
    worst = f"'{names[true]}' taken for '{names[predicted]}'"
    finding = f"The commonest mistake: {worst}, {share.max():.0f} % of its videos"
    entitle(ax, finding if share.max() else "No video is taken for another class",
            conditions(record))  # fmt: skip
    return ax


def per_class(scores, labels, names, record: dict, ax: Axes | None = None, most: int = 30) -> Axes:
    """Draw the accuracy of each class with its standard error; of many classes the `most` worst."""
    hit = np.argmax(scores, axis=1) == labels
    rows = [(names[c], int((labels == c).sum()), 100 * hit[labels == c].mean())
            for c in np.unique(labels)]  # fmt: skip
    table = pd.DataFrame(rows, columns=["name", "videos", "top1"]).sort_values("top1")
    easiest, table = table.iloc[-1], table[:most]
    if ax is None:
        _, ax = plt.subplots(figsize=(9.6, 1.3 + 0.3 * len(table)), layout="constrained")
    places = np.arange(len(table))
    error = [standard_error(a, n) for a, n in zip(table.top1, table.videos, strict=True)]
    ax.barh(places, table.top1, xerr=error, color=PALE, ecolor=INK, capsize=2)
    labels_ = [f"{_wrap(n)} ({v})" for n, v in zip(table.name, table.videos, strict=True)]
    ax.set_yticks(places, labels_)
    ax.set(xlabel="top-1 (%), ± 1 standard error", xlim=(0, 100), ylabel="class (videos)")
    hardest = table.iloc[0]
    finding = f"From {hardest.top1:.0f} % for '{hardest['name']}' to {easiest.top1:.0f} %"
    entitle(ax, f"{finding} for '{easiest['name']}'", conditions(record))
    return ax


def strips(clips, titles: list[str], caption: str = "") -> Figure:
    """Draw clips as rows of frames. `clips`: uint8 `[N, T, h, w, 3]`; one title a clip."""
    clips = np.asarray(clips)
    count, t, height, width, _ = clips.shape
    letters = max(map(len, titles))
    wide = min(9.6, max(0.75 * t, letters / 13))  # inches: 13 letters of a title fit on one
    size = (wide, 0.3 + count * (wide / t * height / width + 0.25))
    figure, axes = plt.subplots(count, 1, figsize=size, layout="constrained", squeeze=False)
    for clip, title, ax in zip(clips, titles, axes[:, 0], strict=True):
        ax.imshow(np.concatenate(list(clip), axis=1))
        ax.set_title(title, fontsize=9, loc="left")
        ax.axis("off")
    if caption:
        figure.suptitle(caption, fontsize=10, x=0.01, ha="left")
    return figure


def data_overview(videos: pd.DataFrame, names, caption: str, axes=None) -> np.ndarray:
    """Draw the videos of each class, their lengths and their sizes, by split.

    Args:
        videos: columns `split`, `label`, `frames`, `height`, `width` (of `check_data`).
        names: of the labels; with more than 40 classes they are left out.
        caption: which data these are.
        axes: three axes; None: a new figure.
    """
    if axes is None:
        high = 2.2 + 0.22 * min(40, max(len(names), 8))
        _, axes = plt.subplots(1, 3, figsize=(10, high), layout="constrained",
                               width_ratios=[1.2, 1, 1])  # fmt: skip
    shade = {"hue": "split", "hue_order": ["train", "val"], "palette": [PALE, INK]}
    counts = videos.groupby(["split", "label"]).size().reset_index(name="count")
    sns.barplot(counts, y="label", x="count", orient="h", ax=axes[0], **shade)
    sns.histplot(videos, x="frames", multiple="dodge", ax=axes[1], legend=False, **shade)
    for split, marker, size, colour in (("train", "s", 90, PALE), ("val", "o", 25, INK)):
        sizes = videos.loc[videos["split"] == split, ["width", "height"]].drop_duplicates()
        axes[2].scatter(sizes["width"], sizes["height"], s=size, marker=marker, color=colour)
    axes[0].set(title="Videos of each class", xlabel="videos", ylabel="")
    if len(names) <= 40:
        axes[0].set_yticks(range(len(names)), [_wrap(name, 24) for name in names], fontsize=9)
    else:
        axes[0].set_yticks([])
    axes[1].set(title="Lengths", xlabel="frames", ylabel="videos")
    axes[2].set(title="Stored sizes", xlabel="width (pixels)", ylabel="height (pixels)")
    handles, labels = axes[0].get_legend_handles_labels()
    axes[0].get_legend().remove()
    axes[0].figure.legend(handles, labels, loc="outside lower right", ncols=2)
    split, frames = videos["split"].value_counts(), videos["frames"]
    finding = (f"{split.get('train', 0):,} training and {split.get('val', 0):,} validation videos, "
               f"{frames.min()} to {frames.max()} frames long")  # fmt: skip
    entitle(axes, finding, caption)
    return axes


def with_and_without_shift(records: dict[str, dict], chance: float, ax: Axes | None = None) -> Axes:
    """Draw top-1 of runs of one row by name, with Wilson's 95 % intervals and a line at chance.

    Args:
        records: run records, the one with the shift first.
        chance: accuracy in percent of a network blind to the order of frames.
        ax: where to draw; None: a new figure.
    """
    if ax is None:
        _, ax = plt.subplots(figsize=(9.6, 2.4), layout="constrained")
    places, runs = np.arange(len(records)), list(records.values())
    top1 = np.array([r["top1"] for r in runs])
    low, high = np.transpose([wilson_interval(r["top1"], r["num_videos"]) for r in runs])
    error = [top1 - low, high - top1]
    ax.barh(places, top1, xerr=error, color=PALE, ecolor=INK, capsize=4, height=0.55)
    ax.set_yticks(places, list(records))
    label = f"most that a network blind to order can reach: {chance:.0f} %"
    ax.axvline(chance, color=ACCENT, linestyle="--", label=label)
    ax.legend(loc="lower right")
    ax.set(xlabel="top-1 (%), 95 % intervals (videos)", xlim=(0, 100))
    finding = f"The shift changes top-1 from {top1[-1]:.1f} to {top1[0]:.1f} %"
    entitle(ax, finding, conditions(runs[0]))
    return ax


def _wrap(name: str, letters: int = 48) -> str:
    return textwrap.fill(name, letters)
