"""Many independent jobs: in this process, or over several processes."""

import multiprocessing
import os
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import Any

import pandas as pd
import torch
from tqdm import tqdm

from ..configs import ConfigError

Job = tuple[Callable[..., dict[str, Any]], tuple]  # a function of a module, and its arguments


def finished(
    jobs: Mapping[Hashable, Job],
    processes: int = 1,
    begin: Callable[[Hashable], None] = lambda key: None,
) -> Iterator[tuple[Hashable, dict[str, Any]]]:
    """Keys and results of jobs as they end.

    Args:
        jobs: what to do, by a name.
        processes: jobs at the same time; they share the cores evenly and take the GPUs in turn.
        begin: is told of each job that starts in this process (those of others are not known).
    """
    if processes == 1:
        for key, (work, arguments) in jobs.items():
            begin(key)
            yield key, work(*arguments)
        return
    threads = max(1, (os.cpu_count() or 1) // processes)
    context = multiprocessing.get_context("spawn")  # a forked torch has dead threads
    places = context.Queue()
    for place in range(processes):
        places.put(place)
    with ProcessPoolExecutor(processes, context, _settle, (places, threads, _gpus())) as pool:
        keys = {pool.submit(work, *arguments): key for key, (work, arguments) in jobs.items()}
        yield from ((keys[future], future.result()) for future in as_completed(keys))


def complete(
    table: pd.DataFrame,
    waves: Iterable[Mapping[Hashable, Job]],
    processes: int,
    show: Callable[[pd.DataFrame], None],
    what: str,
    unit: str,
) -> None:
    """Work off waves of jobs, each a line of `table`, and enter what they return.

    Args:
        table: a line a job, with the column `state`; lines without a job in `waves` are done.
        waves: jobs by the labels of their lines; a wave begins when the one before it has ended.
        processes: see `finished`.
        show: called with the table whenever a job begins or ends.
        what, unit: of the progress bar.
    """

    def begin(key: Hashable) -> None:
        table.loc[key, "state"] = "running"
        show(table)

    waves = [wave for wave in waves if wave]
    done = len(table) - sum(map(len, waves))
    with tqdm(total=len(table), initial=done, desc=what, unit=unit, mininterval=1) as bar:
        for jobs in waves:
            if processes > 1:
                table.loc[list(jobs), "state"] = "queued"
                show(table)
            for key, line in finished(jobs, processes, begin):
                enter(table, key, line)
                bar.update()
                show(table)


def enter(table: pd.DataFrame, key: Hashable, line: Mapping[str, Any]) -> None:
    """Put what a job returned into its line, as far as the table has columns for it."""
    kept = {name: line[name] for name in table.columns if name in line}
    table.loc[key, list(kept)] = list(kept.values())


def as_many_as_fit(processes: int | None) -> int:
    """Jobs at the same time: as asked for, else one a GPU, or one a core without any."""
    if processes is not None and processes < 1:
        raise ConfigError(f"processes={processes} must be at least 1")
    return processes or len(_gpus()) or os.cpu_count() or 1


def share(processes: int) -> dict[str, int]:
    """Loader processes for each of several jobs at the same time, as an option of `train`.

    None beside a job that has one core: its clips would only wait for each other.
    """
    cores = (os.cpu_count() or 1) // processes
    return {"workers": max(0, cores - 1)} if processes > 1 else {}


def _gpus() -> list[str]:
    """Names of the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def _settle(places, threads: int, gpus: list[str]) -> None:
    """A process of the pool takes its threads and its GPU, before anything asks for one."""
    place = places.get()
    torch.set_num_threads(threads)
    if gpus:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpus[place % len(gpus)]
