"""Run all published rows in one resumable pass: each is trained, and tested as published.

Each run is written as it ends. A pass that was interrupted continues where it stopped: finished
runs are only read.
"""

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ..configs import Config, ConfigError, get_config, list_configs, validation_protocol
from ..data.annotations import DataError
from ..engine.divergence import DivergedError
from ..engine.evaluate import evaluate
from ..engine.options import RunOptions, make_options
from ..engine.ranks import work_alone
from ..engine.train import train
from ..engine.trained_weights import parent_row
from ..models.checkpoint_files import CheckpointError, weights_hash
from ..models.downloads import DownloadError
from ..records import ResultsError, read_checked
from .parents import ensure_trained, train_parent
from .process_pool import run_waves
from .sharing import Sharing

log = logging.getLogger(__name__)

# failures of a single run, which do not stop the other runs
RUN_ERRORS = (
    ConfigError, DataError, CheckpointError, DownloadError, ResultsError, DivergedError,
)  # fmt: skip
COLUMNS = ("state", "top1", "protocol", "num_videos", "seconds", "run_dir")


class Engine(NamedTuple):
    """The functions that do the work of a pass; tests have faster ones."""

    train: Callable[..., dict[str, Any]] = train
    evaluate: Callable[..., dict[str, Any]] = evaluate
    train_parent: Callable[..., Path | None] = train_parent
    ensure_trained: Callable[..., Path] = ensure_trained


ENGINE = Engine()


def run_rows(
    names: list[str] | None = None,
    processes: int | None = None,
    show: Callable[[pd.DataFrame], None] = lambda table: None,
    options: RunOptions | None = None,
    engine: Engine | None = None,
    sharing: Sharing | None = None,
    **keywords,
) -> pd.DataFrame:
    """Train and evaluate rows under their published test protocol, with their own recipes.

    A row whose runs are finished is only read. A row that fails is noted, and the other rows go on.

    Args:
        names: rows; None: all 36.
        processes: rows at the same time, on equal shares of the cores; None: one per GPU or core.
        show: called with the table of progress whenever a row begins or ends.
        options: of the runs; keywords change them.
        engine: trains and evaluates; None: `ENGINE`.
        sharing: which of the rows, and where; None: all, here.

    Returns:
        One line per row: `state`, `top1` (%), `protocol`, `num_videos`, `seconds`, `run_dir`.

    Raises:
        ConfigError: an unknown row, or torchrun around it.
    """
    work_alone()
    sharing = sharing or Sharing()
    names = [get_config(name).name for name in (list_configs() if names is None else names)]
    groups = {name: parent_row(get_config(name)) or name for name in names}
    shared = sharing.choose(groups.values())
    names = [name for name in names if groups[name] in shared]
    options, engine = make_options(options, keywords), engine or ENGINE
    processes, options, executor = sharing.start(processes, options)
    index = pd.Index(names, name="cfg")
    table = pd.DataFrame("", index=index, columns=list(COLUMNS), dtype=object)
    table["state"] = "waiting"
    show(table)

    waves = ({name: (run_row, (name, options, engine)) for name in wave} for wave in _waves(names))
    run_waves(table, waves, processes, show, describe_row, "rows", executor)
    return table


def run_row(
    name: str, options: RunOptions | None = None, engine: Engine | None = None
) -> dict[str, Any]:
    """Train a row and evaluate it under its published protocol; returns its line of the table."""
    started = time.perf_counter()
    try:
        record = _run(get_config(name), options or RunOptions(), engine or ENGINE)
    except RUN_ERRORS as error:
        return {"state": f"failed: {error}"}
    return {
        "state": "done",
        **{name: record[name] for name in ("top1", "protocol", "num_videos", "run_dir")},
        "seconds": round(time.perf_counter() - started),
    }


def describe_row(line: pd.Series) -> str:
    """Say what a row gave, from its line of the table."""
    return f"{line['top1']:6.2f} % of {line['num_videos']} videos, {line['protocol']}"


def _run(cfg: Config, options: RunOptions, engine: Engine) -> dict[str, Any]:
    any_seed = options.with_changes(seed=None)  # weights say of which seed they are
    if cfg.port_of:
        return engine.evaluate(cfg, engine.ensure_trained(cfg, any_seed), options=any_seed)
    engine.train_parent(cfg, options)
    trained = engine.train(cfg, options)
    if validation_protocol(cfg) == "published":
        return trained
    weights = Path(trained["run_dir"]) / "last.pth"
    known = _read_evaluation(weights, trained.get("val_list_sha256"))
    return known or engine.evaluate(cfg, weights, options=any_seed)


def _read_evaluation(weights: Path, videos: str | None) -> dict[str, Any] | None:
    """Read the record of weights under the published protocol, if it is there already.

    `videos` is the hash of the list that it must be of, as the training recorded it.
    """
    if not weights.is_file():
        return None
    conditions = "-".join(weights.parent.name.split("-")[:2])  # data and scale
    pattern = f"{conditions}-published-{weights_hash(weights)[:8]}-*/metrics.json"
    for file in sorted(weights.parents[1].glob(pattern)):
        try:
            record = read_checked(file.parent)[0]
        except ResultsError as error:
            log.warning("%s; it is evaluated again", error)
            continue
        if record.get("val_list_sha256") == videos:
            return {**record, "run_dir": str(file.parent)}
    return None


def _waves(names: list[str]) -> tuple[list[str], list[str]]:
    """Split rows into those that start from ImageNet or nothing, and those from another row."""
    later = [name for name in names if parent_row(get_config(name))]
    return [name for name in names if name not in later], later
