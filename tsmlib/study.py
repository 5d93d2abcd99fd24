"""Many runs in one resumable pass: `python -m tsmlib.study rows` runs every published row.

Each run is written as it ends. A pass that was interrupted continues where it stopped: finished
runs are only read.
"""

import argparse
import logging
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from .configs import Config, ConfigError, get_config, list_configs, validation_protocol
from .data.annotations import DataError
from .downloads import DownloadError
from .engine import train
from .evaluation import evaluate
from .models.checkpoints import CheckpointError
from .results import ResultsError, read_record
from .runs import weights_hash

EXPECTED = (
    ConfigError,
    DataError,
    CheckpointError,
    DownloadError,
    ResultsError,
)  # a row's own failure
STUDIES = ("rows",)
COLUMNS = ("state", "top1", "protocol", "num_videos", "seconds", "run_dir")


def run_rows(
    names: list[str] | None = None,
    seed: int = 0,
    processes: int = 1,
    show: Callable[[pd.DataFrame], None] = lambda table: None,
    **options,
) -> pd.DataFrame:
    """Train and evaluate rows under their published test protocol, with their own recipes.

    A row whose runs are finished is only read; a row that fails is noted, and the others go on.

    Args:
        names: rows; None: all 36.
        seed: of the training runs.
        processes: rows that run at the same time, on equal shares of the cores.
        show: called with the table of progress whenever a row begins or ends.
        options: of `train` and `evaluate` (data, scale, data_root, cache ...).

    Returns:
        A line a row with `state`, `top1` (%), `protocol`, `num_videos`, `seconds`, `run_dir`.

    Raises:
        ConfigError: an unknown row.
    """
    names = [get_config(name).name for name in (list_configs() if names is None else names)]
    index = pd.Index(names, name="cfg")
    table = pd.DataFrame("", index=index, columns=list(COLUMNS), dtype=object)
    table["state"] = "waiting"
    show(table)
    jobs = [(name, seed, options) for name in names]

    def begin(name: str) -> None:
        table.loc[name, "state"] = "running"
        show(table)

    with tqdm(total=len(names), desc="rows", unit="row", mininterval=1) as bar:
        for wave in _waves(jobs):
            if processes > 1:
                table.loc[[job[0] for job in wave], "state"] = "queued"
                show(table)
            for name, line in _finished(wave, processes, begin):
                table.loc[name, list(line)] = list(line.values())
                bar.update()
                show(table)
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
        return evaluate(cfg, **options)
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


def _waves(jobs: list[tuple]) -> Iterator[list[tuple]]:
    """Rows that start from ImageNet or nothing first, then those that start from such a row."""
    later = [job for job in jobs if _parent(job[0])]
    yield from filter(None, ([job for job in jobs if job not in later], later))


def _parent(name: str) -> str | None:
    cfg = get_config(name)
    return cfg.port_of or (cfg.pretrain if cfg.pretrain in list_configs() else None)


def _finished(
    jobs: list[tuple], processes: int, begin: Callable[[str], None]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Names and lines of rows as they end; `begin` is told of a row that starts in this process."""
    if processes == 1:
        for job in jobs:
            begin(job[0])
            yield job[0], run_row(*job)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    context = multiprocessing.get_context("spawn")  # a forked torch has dead threads
    with ProcessPoolExecutor(processes, context, torch.set_num_threads, (threads,)) as pool:
        names: dict[Future, str] = {pool.submit(run_row, *job): job[0] for job in jobs}
        yield from ((names[future], future.result()) for future in as_completed(names))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tsmlib.study", description=__doc__)
    parser.add_argument("study", choices=STUDIES)
    parser.add_argument("--only", nargs="+", metavar="ROW", help="some of the rows")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=1, help="rows at the same time")
    parser.add_argument("--data", default="auto")
    parser.add_argument("--scale", default="auto")
    given = vars(parser.parse_args(arguments))
    given.pop("study")
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        table = run_rows(given.pop("only"), show=_print_finished(), **given)
    except ConfigError as error:
        print(error, file=sys.stderr)
        return 1
    done = (table["state"] == "done").sum()
    print(f"{done} of {len(table)} rows done")
    return 0 if done == len(table) else 1


def _print_finished() -> Callable[[pd.DataFrame], None]:
    """Prints each row once, when it is done or has failed."""
    printed: set[str] = set()

    def show(table: pd.DataFrame) -> None:
        for name, line in table.iterrows():
            if name not in printed and line["state"] not in ("waiting", "queued", "running"):
                printed.add(name)
                result = line["state"]
                if result == "done":
                    result = f"{line['top1']:6.2f} % of {line['num_videos']} videos, "
                    result += f"{line['protocol']}, {line['seconds']} s"
                tqdm.write(f"{name:26} {result}")
                sys.stdout.flush()

    return show


if __name__ == "__main__":
    sys.exit(main())
