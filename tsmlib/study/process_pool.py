"""Work off independent jobs, one after another or on an executor, with a progress table."""

import contextlib
import logging
import multiprocessing
import os
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from queue import SimpleQueue
from typing import Any, Protocol

import pandas as pd
import torch

from ..configs import ConfigError
from ..engine.interruption import Interrupted
from ..engine.options import RunOptions
from ..progress import Progress, Sink, format_seconds, show_in

Job = tuple[Callable[..., dict[str, Any]], tuple]  # a function of a module, and its arguments
TRIES = 2  # of a job whose worker dies; it goes on from its last checkpoint

log = logging.getLogger(__name__)


class WorkerDied(RuntimeError):
    """The process or machine of a job has died, and with it nothing else."""


class Executor(Protocol):
    """Where jobs run: processes of this machine, or those of a cluster."""

    def run(self, work: Callable[..., Any], arguments: tuple) -> Any:
        """Run one job and wait for it, which several threads do at once.

        Raises:
            WorkerDied: it may be tried again.
        """

    def stop(self) -> None:
        """Ask the jobs that run to save and end."""


def run_waves(
    table: pd.DataFrame,
    waves: Iterable[Mapping[Hashable, Job]],
    processes: int,
    show: Callable[[pd.DataFrame], None],
    describe: Callable[[pd.Series], str],
    what: str,
    executor: Executor | None = None,
) -> None:
    """Run waves of jobs, and fill in what they return; a wave begins when the last one has ended.

    Args:
        table: one row per job, with the column `state`; rows without a job in `waves` are done.
        waves: jobs by the labels of their rows.
        processes, executor: see `run_jobs`.
        show: called with the table whenever a job ends and, in this process alone, begins.
        describe: says what a job gave, from its row.
        what: name of the pass.
    """

    def begin(key: Hashable) -> None:
        table.loc[key, "state"] = "running"
        show(table)

    waves = [wave for wave in waves if wave]
    done = len(table) - sum(map(len, waves))
    with Progress(what, len(table), "runs", done=done) as progress:
        if processes > 1:
            progress.count_time()
        if done:
            progress.say(f"{done} of {len(table)} runs are recorded already: they are only read")
        for jobs in waves:
            if processes > 1:
                table.loc[list(jobs), "state"] = "queued"
                show(table)
            with contextlib.closing(run_jobs(jobs, processes, begin, executor)) as results:
                for key, values in results:
                    fill_row(table, key, values)
                    progress.advance()
                    line = table.loc[key]
                    result = line["state"]
                    if result == "done":
                        result = f"{describe(line)}, {format_seconds(line['seconds'])}"
                    progress.say(f"{_name_job(key)} {result}")
                    show(table)


def _name_job(key: Hashable) -> str:
    """Name a job for people: a row, or an arm and its seed."""
    name = key if isinstance(key, str) else f"{key[0]}, seed {key[1]}"
    return f"{name:26}"


def run_jobs(
    jobs: Mapping[Hashable, Job],
    processes: int = 1,
    begin: Callable[[Hashable], None] = lambda key: None,
    executor: Executor | None = None,
) -> Iterator[tuple[Hashable, Any]]:
    """Run jobs, and yield the name and result of each as it ends.

    A job whose worker dies is tried again. If that one dies as well its state is `failed`, and the
    others go on.

    Args:
        jobs: by name.
        processes: jobs at the same time; 1: they run in this process, unless there is an executor.
        begin: is told of each job that begins in this process.
        executor: where they run; None: `LocalProcesses`.
    """
    if processes == 1 and executor is None:
        for key, (work, arguments) in jobs.items():
            begin(key)
            yield key, work(*arguments)
        return
    executor, ended = executor or LocalProcesses(processes), threading.Event()
    with ThreadPoolExecutor(processes) as pool:  # each thread waits for a worker of its own
        keys = {pool.submit(_try, executor, ended, *job): key for key, job in jobs.items()}
        try:
            yield from ((keys[future], future.result()) for future in as_completed(keys))
        except BaseException:  # an error, or a signal
            ended.set()
            pool.shutdown(wait=False, cancel_futures=True)
            executor.stop()
            raise


def _try(executor: Executor, ended: threading.Event, work: Callable, arguments: tuple) -> Any:
    for left in reversed(range(TRIES)):
        try:
            return executor.run(work, arguments)
        except WorkerDied as error:
            failed = {"state": f"failed: {error}"}
            if ended.is_set():
                break
            log.warning("%s; it is %s", error, "tried again" if left else "given up")
    return failed


class LocalProcesses:
    """Fresh processes of this machine, each with a share of the cores and one of the GPUs."""

    def __init__(self, processes: int):
        self.threads, self.gpus = max(1, (os.cpu_count() or 1) // processes), _visible_gpus()
        self.slots: SimpleQueue[int] = SimpleQueue()
        for slot in range(processes):
            self.slots.put(slot)

    def run(self, work: Callable[..., Any], arguments: tuple) -> Any:
        """Run a job in a process that cannot take others along when it is killed."""
        slot = self.slots.get()
        gpu = self.gpus[slot % len(self.gpus)] if self.gpus else None
        context = multiprocessing.get_context("spawn")  # a forked torch has dead threads
        try:
            with ProcessPoolExecutor(1, context, _init_worker, (self.threads, gpu)) as process:
                return process.submit(work, *arguments).result()
        except BrokenProcessPool:
            raise WorkerDied("its process was killed, perhaps because memory ran out") from None
        except Interrupted as stop:
            raise WorkerDied(str(stop)) from None
        finally:
            self.slots.put(slot)

    def stop(self) -> None:
        """Send SIGTERM to the processes: a training saves after its step."""
        for process in multiprocessing.active_children():
            process.terminate()


def _init_worker(threads: int, gpu: str | None) -> None:
    """Limit a process to its threads and its GPU; its progress would overwrite that of others."""
    torch.set_num_threads(threads)
    show_in(Sink())
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu


def fill_row(table: pd.DataFrame, key: Hashable, values: Mapping[str, Any]) -> None:
    """Fill a row of a table with those values that it has columns for."""
    known = {name: values[name] for name in table.columns if name in values}
    table.loc[key, list(known)] = list(known.values())


def jobs_at_once(processes: int | None) -> int:
    """Return how many jobs to run at once: as asked, else one per GPU, else one per core."""
    if processes is not None and processes < 1:
        raise ConfigError(f"processes={processes} must be at least 1")
    return processes or len(_visible_gpus()) or os.cpu_count() or 1


def workers_per_job(processes: int, options: RunOptions) -> RunOptions:
    """Limit the loader processes of each of several jobs at once, unless the options set them.

    A job that has one core gets none: its clips would only wait for each other.
    """
    if processes == 1 or options.workers is not None:
        return options
    return options.with_changes(workers=max(0, (os.cpu_count() or 1) // processes - 1))


def _visible_gpus() -> list[str]:
    """Name the GPUs that this process may use, as CUDA_VISIBLE_DEVICES has them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]
