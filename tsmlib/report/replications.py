"""The census for readers: a forest plot, tables and sentences on what others measured."""

import re
from functools import cache

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from ..plots import ACCENT, INK, PALE, entitle
from ..study.census import (
    NOT_FOUND,
    headline_trainings,
    paired_effects,
    pool_effects,
    read_census,
    training_noise,
)

SHOWN = ("TSM over TSN", "16 over 8 frames", "non-local over none", "ResNet-101 over ResNet-50")
SHORT = {  # patterns of the names of data sets in the forest plot
    "Something-Something": "Something", r" \(V2 annotations\)| split 1": "",
    r"EPIC-KITCHENS-(\d+), RGB, (\w+), .*": r"EPIC-\1 RGB, \2s",
}  # fmt: skip


@cache
def summarise_census() -> pd.DataFrame:
    """Pool the pairs of the census: one row per factor and data set, see `pool_effects`."""
    return pool_effects(paired_effects(read_census("pairs"), training_noise()[0]))


def plot_replications(ax: Axes | None = None, factors: tuple[str, ...] = SHOWN[:1]) -> Axes:
    """Draw what others measured: one line per pair of trainings, with its 95 % interval.

    Filled marks are comparable pairs; hollow ones are not, and are never pooled.
    """
    effects = paired_effects(read_census("pairs"), training_noise()[0])
    effects = effects[effects["factor"].isin(factors) & effects["independent"]]
    effects["dataset"] = _with_measure(effects)
    effects = effects[~effects["dataset"].str.contains("Flow|unseen")]
    labels = effects["dataset"].map(_short)
    if len(factors) > 1:
        labels = effects["factor"] + ", " + labels
    names = list(dict.fromkeys(labels))
    if ax is None:
        _, ax = plt.subplots(figsize=(8.5, 0.42 * len(names) + 1.7), layout="constrained")
    for i, name in enumerate(names):
        group = effects[labels == name].sort_values("difference")
        rows = i + np.linspace(-0.3, 0.3, len(group)) if len(group) > 1 else [i]
        for row, pair in zip(rows, group.itertuples(), strict=True):
            ax.plot([pair.low, pair.high], [row, row], color=PALE, linewidth=2, zorder=1)
            ax.scatter(pair.difference, row, s=45, zorder=2, edgecolor=INK,
                       color=INK if pair.comparable else "white")  # fmt: skip
    ax.scatter([], [], color=INK, label="equal test views; nothing but the recipe may differ")
    ax.scatter([], [], color="white", edgecolor=INK, label="not comparable")
    ax.axvline(0, color=ACCENT, linestyle="--")
    ax.set_yticks(range(len(names)), names, fontsize=11)
    ax.set_ylim(len(names) + 0.2, -0.6)  # an empty line holds the legend
    ax.set_xlabel(f"gain in top-1, {factors[0]} (points)" if len(factors) == 1 else
                  "difference of top-1 (points)", fontsize=11)  # fmt: skip
    finding = f"The median gain of other changes is {effects['difference'].median():.1f} points"
    if factors == SHOWN[:1]:
        parts = [effects.loc[effects["dataset"].str.contains(name), "difference"]
                 for name in ("Something", "Kinetics")]  # fmt: skip
        ends = [f"{part.min():.0f} to {part.max():.0f}" for part in parts]
        finding = f"TSM gains {ends[0]} points on Something-Something, {ends[1]} on Kinetics"
    entitle(ax, finding, "Trained by others on the real data sets (results/census); 95 % intervals "
            "of clips and trainings")  # fmt: skip
    ax.legend(fontsize=10.5, loc="lower right", ncol=2)
    return ax


def tabulate_replications(pooled: pd.DataFrame) -> pd.DataFrame:
    """Format `pool_effects` for people, with a last line for what nobody has measured."""
    rows = []
    datasets = _with_measure(pooled)
    for row, dataset in zip(pooled.itertuples(), datasets, strict=True):
        mean = f"{row.mean:+.1f} ({row.low:+.1f} to {row.high:+.1f})" if row.pairs else ""
        spread = f"{row.smallest:+.1f} to {row.largest:+.1f}"
        rows.append([row.factor, dataset, mean, describe_pairs(row) if row.pairs else "none",
                     row.apart, spread, row.verdict])  # fmt: skip
    for factor in NOT_FOUND:
        rows.append([factor, "any", "", "none", 0, "", "nothing independent found"])
    names = ["difference in", "data set", "mean (points)", "comparable pairs", "pairs apart",
             "smallest to largest", "verdict"]  # fmt: skip
    return pd.DataFrame(rows, columns=names).set_index(names[0])


def describe_pairs(row) -> str:
    """Say how many pairs were pooled: `7 pairs, of 3 controls, 4 marked`."""
    text = "1 pair" if row.pairs == 1 else f"{row.pairs} pairs"
    if row.controls < row.pairs:
        text += f", of {row.controls} controls"
    if row.marked:
        text += ", marked" if row.marked == row.pairs else f", {row.marked} marked"
    return text


def tabulate_headlines() -> pd.DataFrame:
    """List each accuracy of the authors, and how many independent trainings came near."""
    trainings = read_census("trainings")
    table = headline_trainings(trainings)
    table["network"] = table["backbone"] + ", " + table["frames"] + " frames, " + table["views"]
    table["within ±1 point"] = [
        f"{r.within} of {r.trainings}" if r.trainings else _other_views(trainings, r)
        for r in table.itertuples()
    ]
    for name in ("median", "best"):
        table[name] = table[name].map(lambda v: "" if np.isnan(v) else f"{v:.1f}")
    columns = ["dataset", "network", "published", "within ±1 point", "median", "best"]
    return table[columns].rename(columns={"published": "published top-1 (%)"}).set_index("dataset")


def _other_views(trainings: pd.DataFrame, row) -> str:
    """Say what independent trainings of a network reached under other dense views."""
    keys = {"model": "TSM dense", "dataset": row.dataset, "backbone": row.backbone,
            "frames": row.frames, "retrained_or_copied": "retrained"}  # fmt: skip
    top1 = trainings.loc[(trainings[list(keys)] == list(keys.values())).all(axis=1), "top1"]
    if top1.empty:
        return "no independent training"
    return f"none under such views; {top1.min():.1f} to {top1.max():.1f} under other dense ones"


def describe_gain(pooled: pd.DataFrame) -> str:
    """Say in a sentence what others gained with the shift on the real data."""
    gains = pooled[pooled["factor"] == "TSM over TSN"].set_index("dataset")
    parts, views = [], " with equal test views"
    for name in ("Something-Something V1", "Kinetics-400"):
        row = gains.loc[name]
        doubt = ", which could be zero" if row["low"] <= 0 else ""
        pairs = (
            f"{row['pairs']} pair{'s' * bool(row['pairs'] > 1)} of {row['pairs'] + row['apart']}"
        )
        parts.append(
            f"{row['mean']:+.1f} points on {name} ({row['low']:.1f} to {row['high']:.1f}; "
            f"{pairs}{views}){doubt}"
        )
        views = ""
    return f"TSM over TSN: {parts[0]}; {parts[1]}."


def describe_headlines() -> str:
    """Say in a sentence how many of the authors' accuracies were reached by others."""
    table = headline_trainings(read_census("trainings"))
    tried = table[table["trainings"] > 0]
    text = (
        f"By others, mostly: at least half of the retrainings came within a point of "
        f"{int(tried['reached'].sum())} of {len(tried)} accuracies ({tried['theirs'].sum()} of "
        f"{tried['trainings'].sum()} by MMAction2)."
    )
    missed, exceeded = (
        [f"{', '.join(map(str, values))} % on {name}" for name, values in rows.groupby(
            "dataset", sort=False)["published"]]
        for above in (False, True)
        for rows in [tried[~tried["reached"] & ((tried["median"] > tried["published"]) == above)]]
    )  # fmt: skip
    text += f" Not reached: {'; '.join(missed)}." if missed else ""
    return f"{text} Exceeded: {'; '.join(exceeded)}." if exceeded else text


def _with_measure(table: pd.DataFrame) -> pd.Series:
    """Name the data set, and the measure where there are several."""
    return (table["dataset"] + ", " + table["measure"]).str.removesuffix(", ")


def _short(name: str) -> str:
    for long, short in SHORT.items():
        name = re.sub(long, short, name)
    return name
