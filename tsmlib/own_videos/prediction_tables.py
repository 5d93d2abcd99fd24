"""Tables of predictions: in the order of the videos, joined to segments, in lines of text."""

from collections.abc import Sequence

import pandas as pd

from ..data.annotations import VideoEntry

COLUMNS = ("path", "start", "end", "rank", "label", "name", "probability")


def sort_by_video(
    table: pd.DataFrame, entries: Sequence[VideoEntry], addresses: dict[str, str]
) -> pd.DataFrame:
    """Put rows into the order of the videos and of time; name videos of the web by address."""
    place = {entry.path: number for number, entry in enumerate(entries)}
    table = table.assign(place=table["path"].map(place))
    table = table.sort_values(["place", "start"], kind="stable", ignore_index=True)
    return table.drop(columns="place").replace({"path": addresses})


def merge_windows(table: pd.DataFrame) -> pd.DataFrame:
    """Join neighbouring windows with the same most probable class to segments.

    Between two windows with different classes, the border is in the middle between their middles.

    Args:
        table: of `predict`.

    Returns:
        One row per segment: `path`, `start` and `end` in seconds, `label`, `name`, the mean
        `probability` of the class in its windows, and how many `windows`. A whole video is one.
    """
    best = table[table["rank"] == 1]
    new = (best["label"] != best["label"].shift()) | (best["path"] != best["path"].shift())
    groups = best.assign(middle=(best["start"] + best["end"]) / 2).groupby(new.cumsum())
    merged = groups.agg(
        path=("path", "first"), start=("start", "first"), end=("end", "last"),
        label=("label", "first"), name=("name", "first"), probability=("probability", "mean"),
        windows=("rank", "size"), first=("middle", "first"), last=("middle", "last"),
    ).reset_index(drop=True)  # fmt: skip
    same = merged["path"] == merged["path"].shift(-1)
    borders = (merged["last"] + merged["first"].shift(-1)) / 2
    merged["end"] = merged["end"].mask(same, borders)
    merged["start"] = merged["start"].mask(same.shift(fill_value=False), borders.shift())
    return merged.drop(columns=["first", "last"])


def is_cut(table: pd.DataFrame) -> pd.Series:
    """Tell for each row of a table of predictions whether its video was cut into windows."""
    return table.groupby("path")["start"].transform("nunique") > 1


def choose_answers(table: pd.DataFrame, count: int) -> pd.DataFrame:
    """Choose answers to look at: the surest one of each video, then the second ones, and so on.

    Returns:
        The rows of at most `count` videos and windows, the surest ones, in the order of the table.
    """
    best = table[table["rank"] == 1].sort_values("probability", ascending=False, kind="stable")
    turn = best.groupby("path").cumcount().sort_values(kind="stable")
    chosen = best.loc[turn.index[:count], ["path", "start"]]
    return table[table.set_index(["path", "start"]).index.isin(pd.MultiIndex.from_frame(chosen))]


def describe(table: pd.DataFrame) -> list[str]:
    """Summarise a table of predictions in lines: each video with its classes, or its segments."""
    lines, cut = [], is_cut(table)
    for path, group in table.groupby("path", sort=False):
        lines.append(str(path))
        if cut[group.index[0]]:
            for own in merge_windows(group).itertuples():
                times = f"{_clock(own.start)} - {_clock(own.end)}"
                lines.append(f"  {times} {100 * own.probability:6.2f} %  {own.name}")
            continue
        for rank, name, value in group[["rank", "name", "probability"]].itertuples(index=False):
            lines.append(f"{rank:4} {100 * value:6.2f} %  {name}")
    return lines


def _clock(seconds: float) -> str:
    """Format a time as `h:mm:ss.s`."""
    minutes, rest = divmod(round(seconds, 1), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02}:{rest:04.1f}"
