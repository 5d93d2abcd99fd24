"""All published rows in one resumable pass: each is trained, and tested as published.

Each run is written as it ends. A pass that was interrupted continues where it stopped: finished
runs are only read.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ..configs import Config, ConfigError, get_config, list_configs, validation_protocol
from ..data.annotations import DataError
from ..engine.evaluate import evaluate
from ..engine.parents import ensure_trained, train_parent
from ..engine.setup import weights_hash
from ..engine.train import train
from ..engine.trained_weights import parent_row
from ..models.checkpoints import CheckpointError
from ..models.downloads import DownloadError
from ..results import ResultsError, read_record
from .process_pool import as_many_as_fit, complete, share

# a run's own failure, which does not stop the others
EXPECTED = (ConfigError, DataError, CheckpointError, DownloadError, ResultsError)
COLUMNS = ("state", "top1", "protocol", "num_videos", "seconds", "run_dir")


def run_rows(
    names: list[str] | None = None,
    seed: int = 0,
    processes: int | None = None,
    show: Callable[[pd.DataFrame], None] = lambda table: None,
    **options,
) -> pd.DataFrame:
    """Train and evaluate rows under their published test protocol, with their own recipes.

    A row whose runs are finished is only read; a row that fails is noted, and the others go on.

    Args:
        names: rows; None: all 36.
        seed: of the training runs.
        processes: rows at the same time, on equal shares of the cores; None: one a GPU, or a core.
        show: called with the table of progress whenever a row begins or ends.
        options: of `train` and `evaluate` (data, scale, data_root, cache ...).

    Returns:
        A line a row with `state`, `top1` (%), `protocol`, `num_videos`, `seconds`, `run_dir`.

    Raises:
        ConfigError: an unknown row.
    """
    names = [get_config(name).name for name in (list_configs() if names is None else names)]
    processes = as_many_as_fit(processes)
    options = {**share(processes), **options}
    index = pd.Index(names, name="cfg")
    table = pd.DataFrame("", index=index, columns=list(COLUMNS), dtype=object)
    table["state"] = "waiting"
    show(table)

    waves = ({n: (run_row, (n, seed, options)) for n in wave} for wave in _waves(names))
    complete(table, waves, processes, show, "rows", "row")
    return table


def run_row(name: str, seed: int = 0, options: dict[str, Any] | None = None) -> dict[str, Any]:
    """One line of the table: a row trained, and evaluated under its published protocol."""
    cfg, options, started = get_config(name), options or {}, time.perf_counter()
    try:
        record = _record(cfg, seed, options)
    except EXPECTED as error:
        return {"state": f"failed: {error}"}
    return {
        "state": "done",
        **{name: record[name] for name in ("top1", "protocol", "num_videos", "run_dir")},
        "seconds": round(time.perf_counter() - started),
    }


def _record(cfg: Config, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    if cfg.port_of:
        return evaluate(cfg, ensure_trained(cfg, **options), **options)
    train_parent(cfg, **options)
    trained = train(cfg, seed=seed, **options)
    if validation_protocol(cfg) == "published":
        return trained
    weights = Path(trained["run_dir"]) / "last.pth"
    return (_evaluated(weights) if weights.is_file() else None) or evaluate(cfg, weights, **options)


def _evaluated(weights: Path) -> dict[str, Any] | None:
    """The record of these weights under the published protocol, if it is there already."""
    conditions = "-".join(weights.parent.name.split("-")[:2])  # data and scale
    folder = weights.parents[1] / f"{conditions}-published-{weights_hash(weights)[:8]}"
    found = read_record(folder) if (folder / "metrics.json").is_file() else None
    return {**found, "run_dir": str(folder)} if found else None


def _waves(names: list[str]) -> tuple[list[str], list[str]]:
    """Rows that start from ImageNet or nothing first, then those that start from such a row."""
    later = [name for name in names if parent_row(get_config(name))]
    return [name for name in names if name not in later], later
