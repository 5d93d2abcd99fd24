"""What was measured at full scale on real data, to stand beside published accuracies. No torch."""

import json
import math
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import pandas as pd

from ..configs import get_config
from ..metrics import standard_error
from ..results import published_accuracy
from .plan import validation_videos


@dataclass(frozen=True)
class Measured:
    """An accuracy (%) or a difference (points) of ours; `value` None: there is none.

    `coverage` is the share of the published list that was evaluated, the smaller one of a
    difference; `seeds` is 0 where the weights were published ones.
    """

    value: float | None = None
    se: float = 0.0
    coverage: float | None = None
    seeds: int = 0
    trained: bool = True
    runs: list[str] = field(default_factory=list)

    def minus(self, other: "Measured") -> "Measured":
        """The difference of two, with an unpaired standard error."""
        if self.value is None or other.value is None:
            return Measured()
        return Measured(
            self.value - other.value, math.hypot(self.se, other.se),
            min(self.coverage, other.coverage), min(self.seeds, other.seeds),
            self.trained or other.trained, self.runs + other.runs,
        )  # fmt: skip


def trainings(runs: pd.DataFrame, asked: dict[str, Any]) -> Measured:
    """The mean over seeds of what was trained here.

    Args:
        runs: of `results.read_runs`.
        asked: `cfg`, the row; `protocol` (default: the row's published one); `changes`, the fields
            in which the runs differ from the row (default: none).
    """
    chosen = matching(runs, asked)
    if chosen.empty:
        return Measured()
    of_ours = chosen.get("checkpoint_of", pd.Series(None, chosen.index)).notna()
    chosen = chosen[(chosen["kind"] == "training") | of_ours]
    return _mean(chosen.drop_duplicates("seed"), trained=True)


def weights_of(runs: pd.DataFrame, asked: dict[str, Any]) -> Measured:
    """What the row's published weights give here; `asked` as in `trainings`."""
    chosen = matching(runs, asked)
    published = chosen.get("published_weights", pd.Series(False, chosen.index))
    return _mean(chosen[published.eq(True)][:1], trained=False)


def matching(runs: pd.DataFrame, asked: dict[str, Any]) -> pd.DataFrame:
    """Records at full scale, in fp32, on real data, of exactly this row, protocol and changes."""
    if runs.empty:
        return runs
    precision = runs.get("precision", pd.Series("32-true", runs.index)).fillna("32-true")
    plain = (runs["data"] == "real") & (runs["scale"] == "full") & (precision == "32-true")
    chosen = runs[plain & (runs["cfg"] == asked["cfg"])]
    protocol = _protocol(asked["cfg"], asked.get("protocol", "published"))
    same = [
        _protocol(run.cfg, run.protocol) == protocol
        and json.loads(run.changes) == asked.get("changes", {})
        for run in chosen.itertuples()
    ]
    return chosen[np.array(same, dtype=bool)]


@cache
def published_protocols(row: str) -> list[str]:
    """Protocols that the tables have a number for, in the order of their columns."""
    both = published_accuracy(row, "efficient")
    return ["efficient", "accurate"] if both else ["published"]


def standard_error_of(top1: float, dataset: str) -> float:
    """Binomial standard error (points) of an accuracy on the data set's published list."""
    return standard_error(top1, validation_videos()[dataset])


def _protocol(row: str, name: str) -> str:
    """A row's own protocol is the accurate one where there are two."""
    return "accurate" if name == "published" and "accurate" in published_protocols(row) else name


def _mean(chosen: pd.DataFrame, trained: bool) -> Measured:
    if chosen.empty:
        return Measured()
    top1, count = chosen["top1"].to_numpy(dtype=float), len(chosen)
    listed = chosen["num_listed"].clip(lower=validation_videos()[_dataset(chosen)])
    coverage = float((chosen["num_videos"] / listed).min())
    se = standard_error(float(top1.mean()), int(chosen["num_videos"].min()))
    if count > 1:  # the same videos under all seeds: their error does not shrink with them
        se = math.hypot(se, float(top1.std(ddof=1)) / math.sqrt(count))
    names = [f"results/runs/{run}" for run in chosen["run"]]
    return Measured(float(top1.mean()), se, coverage, count if trained else 0, trained, names)


def _dataset(chosen: pd.DataFrame) -> str:
    return get_config(chosen["cfg"].iloc[0]).dataset
