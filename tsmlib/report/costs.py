"""Set accuracy beside cost: multiply-adds, and a clip's time as `make bench` measured it."""

import math
from functools import cache
from typing import Any

import pandas as pd

from ..configs import BACKBONES, get_config
from ..intervals import mean_interval
from ..reference import read_reference
from ..speed.inference import network_name
from ..speed.operations import count_cost
from ..study.plan import backbone_arms, get_study
from ..study.records import find_recorded_runs, tabulate_accuracies

COMPARED = {"k400": "Kinetics-400", "sthv1": "Something-Something V1",
            "sthv2": "Something-Something V2"}  # fmt: skip
SIZE = 224  # pixels of every row here: costs of one size can be compared


def costs_of_rows(bench: dict[str, Any] | None) -> pd.DataFrame:
    """Tabulate published accuracy and cost of a clip, for data sets with rows of several costs.

    Args:
        bench: record of `make bench`; None: there is none.

    Returns:
        Columns `dataset`, `name`, `macs`, `ms` (median; NaN: not measured), `top1` (%).
    """
    lines, times = [], _medians(bench, "rows")
    for line in read_reference().itertuples():
        cfg = get_config(line.cfg)
        if cfg.dataset in COMPARED:
            fields = ("backbone", "num_segments", "non_local")
            macs = _macs(*(getattr(cfg, name) for name in fields), cfg.num_classes)
            ms = times.get(network_name(cfg), math.nan)
            lines.append((COMPARED[cfg.dataset], line.cfg, macs, ms, line.top1))
    return pd.DataFrame(lines, columns=["dataset", "name", "macs", "ms", "top1"])


@cache
def _macs(backbone: str, num_segments: int, non_local: str | None, num_classes: int) -> int:
    fields = {"backbone": backbone, "num_segments": num_segments, "non_local": non_local}
    return count_cost(get_config("k400", num_classes=num_classes, **fields), SIZE).macs


def costs_of_arms(bench: dict[str, Any] | None) -> pd.DataFrame:
    """Tabulate accuracy (mean over seeds, 95 % t interval) and cost of the arms of `backbone`.

    Returns:
        Columns `family`, `name`, `macs`, `ms`, `top1`, `low`, `high`; NaN: not run or measured.
    """
    lines, times = [], _medians(bench, "arms")
    values = tabulate_accuracies(get_study("backbone"), known=find_recorded_runs("runs"))
    for name, cfg in backbone_arms().items():
        runs = values[name].dropna().to_numpy(dtype=float)
        family = "3-D" if BACKBONES[cfg.backbone].volumetric else "shift" if cfg.is_shift else "2-D"
        measured = mean_interval(runs) if len(runs) else (math.nan,) * 3
        ms = times.get(name, math.nan)
        lines.append((family, name, count_cost(cfg, cfg.crop_size).macs, ms, *measured))
    return pd.DataFrame(lines, columns=["family", "name", "macs", "ms", "top1", "low", "high"])


def _medians(bench: dict[str, Any] | None, benchmark: str) -> pd.Series:
    """Return the median milliseconds by path."""
    table = (bench or {}).get("milliseconds", {}).get(benchmark, {})
    return pd.DataFrame(table).median()


RECIPES = {  # of the studies, by the name that their records carry
    "pushups2": "push-ups", "digits": "digits in motion", "jester": "streams and short studies",
}  # fmt: skip


def core_hours(runs: pd.DataFrame) -> pd.DataFrame:
    """Add up the time of the published trainings and tests, which have one thread each."""
    seconds = runs[["training_seconds", "evaluation_seconds"]].sum(axis=1)
    groups = runs["cfg"].map(RECIPES).fillna("all others")
    table = seconds.groupby(groups).agg(["size", "sum"]).sort_values("sum", ascending=False)
    table.loc["in all"] = table.sum()
    return pd.DataFrame({
        "runs": table["size"].astype(int).astype(str),
        "core-hours": (table["sum"] / 3600).map("{:.1f}".format),
    }).rename_axis("trainings of")  # fmt: skip
