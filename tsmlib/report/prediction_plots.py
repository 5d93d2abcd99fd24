"""Charts of predictions: the frames of videos beside the answers."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .. import plots  # noqa: F401  their style: no name is a formula

BEST, OTHER = "#9cc3e6", "#d9dee7"  # bars behind black text


def answers(clips, table: pd.DataFrame) -> Figure:
    """Draw videos as strips of frames, each beside the bars of its most probable classes.

    Args:
        clips: uint8 `[N, T, h, w, 3]`, one view of each video.
        table: of `engine.predict.predict`, with the rows of these videos in the same order.
    """
    clips = np.asarray(clips)
    groups = [group for _, group in table.groupby("path", sort=False)]
    count, t, height, width, _ = clips.shape
    most = table["rank"].max()
    strip = 5.4 / t * height / width  # inches
    figure, axes = plt.subplots(
        count, 2, figsize=(10, count * (0.4 + max(strip, 0.23 * most))), layout="constrained",
        squeeze=False, width_ratios=(5, 4),
    )  # fmt: skip
    for clip, group, (left, right) in zip(clips, groups, axes, strict=True):
        left.imshow(np.concatenate(list(clip), axis=1))
        left.set_title(_shorten(Path(group["path"].iloc[0]).name, 70), fontsize=11, loc="left")
        left.axis("off")
        _probability_bars(group, right)
        right.set_ylim(most - 0.4, -0.6)
    return figure


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
