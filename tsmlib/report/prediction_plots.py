"""Charts of predictions: frames beside the answers, where a network looked, what it saw when."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from PIL import Image

from ..plots import PALE, entitle
from ..progress import format_seconds

NAMED = 9  # classes of a timeline with a colour of their own
BEST, OTHER = "#9cc3e6", "#d9dee7"  # bars behind black text


def answers(clips, table: pd.DataFrame, maps: Sequence[np.ndarray] | None = None) -> Figure:
    """Draw videos as strips of frames, each beside the bars of its most probable classes.

    Args:
        clips: uint8 `[N, T, h, w, 3]`, one view of each video or window.
        table: of `own_videos.predict.predict`, with the rows of these in the same order.
        maps: class activation maps `[T', h', w']` of each, drawn over the frames in a second strip.
            Below each frame stands its mean, and the mean of those is the logit less its bias.
    """
    clips = np.asarray(clips)
    groups = [group for _, group in table.groupby(["path", "start"], sort=False)]
    count, t, height, width, _ = clips.shape
    most = table["rank"].max()
    strip = 5.4 / t * height / width * (1 if maps is None else 2.2)  # inches
    figure, axes = plt.subplots(
        count, 2, figsize=(10, count * (0.4 + max(strip, 0.23 * most))), layout="constrained",
        squeeze=False, width_ratios=(5, 4),
    )  # fmt: skip
    for i, (clip, group, (left, right)) in enumerate(zip(clips, groups, axes, strict=True)):
        picture = np.concatenate(list(clip), axis=1)
        if maps is not None:
            warm = np.concatenate(list(overlay(clip, maps[i])), axis=1)
            picture = np.concatenate((picture, warm))
            for k, value in enumerate(maps[i].mean((1, 2))):
                place = (k + 0.5) * t / len(maps[i]) * width
                left.text(place, 2.03 * height, f"{value:+.1f}", fontsize=9, ha="center", va="top")
        left.imshow(picture)
        first = group.iloc[0]
        times = f", {first.start:.1f} to {first.end:.1f} s" if first.end > 0 else ""
        left.set_title(_shorten(Path(first.path).name, 60) + times, fontsize=11, loc="left")
        left.axis("off")
        _probability_bars(group, right)
        right.set_ylim(most - 0.4, -0.6)
    return figure


def overlay(clip: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Colour frames where a class is activated; what speaks against it stays grey.

    Args:
        clip: uint8 `[T, h, w, 3]`.
        maps: `[T', h', w']`; a map serves all frames that it was made of.

    Returns:
        uint8 `[T, h, w, 3]`; the colours of one clip have one scale.
    """
    size = clip.shape[2], clip.shape[1]
    nearest = np.arange(len(clip)) * len(maps) // len(clip)
    large = [np.asarray(Image.fromarray(maps[i].astype(np.float32)).resize(size)) for i in nearest]
    heat = np.maximum(np.stack(large), 0)
    heat /= max(heat.max(), 1e-9)
    grey = clip.mean(-1, keepdims=True)
    colour = 255 * plt.get_cmap("inferno")(heat)[..., :3]
    share = 0.75 * heat[..., None]
    return ((1 - share) * grey + share * colour).astype(np.uint8)


def timeline(segments: pd.DataFrame, ax: Axes | None = None) -> Axes:
    """Draw the segments of one recording: their classes as colours, their probabilities as heights.

    Args:
        segments: of `prediction_tables.merge_windows`, with the rows of one recording.
        ax: where to draw; None: a new figure.
    """
    seconds = (segments["end"] - segments["start"]).groupby(segments["name"]).sum()
    named = seconds.sort_values(ascending=False).index[:NAMED]
    if ax is None:
        high = 2.2 + 0.22 * -(-len(named) // 2)
        _, ax = plt.subplots(figsize=(9.6, high), layout="constrained")
    colours = dict(zip(named, sns.color_palette("colorblind", len(named)), strict=True))
    for own in segments.itertuples():
        ax.bar(
            own.start, 100 * own.probability, own.end - own.start, align="edge",
            color=colours.get(own.name, PALE), edgecolor="white", linewidth=0.6,
        )  # fmt: skip
    handles = [Patch(color=c, label=_shorten(name, 60)) for name, c in colours.items()]
    if len(seconds) > NAMED:
        handles.append(Patch(color=PALE, label=f"{len(seconds) - NAMED} other classes"))
    ax.figure.legend(handles=handles, loc="outside lower center", ncols=2, frameon=False)
    ax.xaxis.set_major_formatter(lambda value, _: format_seconds(max(value, 0)))
    ax.set(xlim=(segments["start"].min(), segments["end"].max()), ylim=(0, 100),
           xlabel="time (min:s)", ylabel="probability (%)")  # fmt: skip
    share = 100 * seconds[named[0]] / seconds.sum()
    file = Path(segments["path"].iloc[0]).name
    windows = int(segments["windows"].sum())
    plural = "s" * (len(segments) != 1)
    parts = f"{len(segments)} segment{plural} of {windows} windows"
    entitle(ax, f"{file}: {parts}; {share:.0f} % of the time '{named[0]}'")
    return ax


def _probability_bars(group: pd.DataFrame, ax: Axes) -> None:
    """Draw the classes of one video, with their names on the bars."""
    places, values = np.arange(len(group)), 100 * group["probability"].to_numpy()
    ax.barh(places, values, color=[BEST, *[OTHER] * (len(group) - 1)], height=0.9)
    for place, name, value in zip(places, group["name"], values, strict=True):
        text = f"{value:3.0f} %  {_shorten(name, 60)}"
        ax.text(1, place, text, va="center", fontsize=9.5)
    ax.set(xlim=(0, 100), xticks=[], yticks=[])
    ax.grid(False)
    sns.despine(ax=ax, left=False, bottom=True)


def _shorten(name: str, length: int) -> str:
    return name if len(name) <= length else f"{name[: length - 1]}…"
