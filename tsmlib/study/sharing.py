"""Share out the runs of a pass: over jobs that know only their number, or by a cluster's queue."""

import re
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from ..configs import ConfigError
from ..engine.options import RunOptions, check_choice
from .process_pool import Executor, jobs_at_once, workers_per_job

EXECUTORS = ("local", "slurm")
QUEUED = 64  # jobs of a pass in a cluster's queue at the same time


@dataclass(frozen=True)
class Sharing:
    """How the runs of a pass are shared out.

    Attributes:
        shard: I/N, one of N equal parts, from 0/N on; None: all runs.
        executor: local: processes of this machine; slurm: jobs, through submitit.
        slurm: what a job needs, as `submitit.AutoExecutor.update_parameters` takes it:
            slurm_partition, timeout_min, gpus_per_node, cpus_per_task, mem_gb ...

    Raises:
        ConfigError: a shard or an executor that does not exist.
    """

    shard: str | None = None
    executor: str = "local"
    slurm: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self):
        check_choice("executor", self.executor, EXECUTORS)
        if self.slurm and self.executor != "slurm":
            raise ConfigError("slurm=... is for executor=slurm")
        if self.shard is not None:
            parse_shard(self.shard)

    def choose(self, groups: Iterable[Hashable]) -> set[Hashable]:
        """Choose the groups of this shard; all shards list them in the same order.

        A group is what one training serves, so that no shard waits for another one.
        """
        index, count = parse_shard(self.shard or "0/1")
        return set(list(dict.fromkeys(groups))[index::count])

    def start(
        self, processes: int | None, options: RunOptions
    ) -> tuple[int, RunOptions, Executor | None]:
        """Return how many runs to do at once, the options of each, and where they are done."""
        at_once = jobs_at_once(processes)
        if self.executor == "local":
            return at_once, workers_per_job(at_once, options), None
        from .slurm_jobs import SlurmJobs  # which needs submitit

        return processes or QUEUED, options, SlurmJobs(self.slurm)


def parse_shard(text: str) -> tuple[int, int]:
    """Read `I/N`, counted from 0 as job arrays and Indexed Jobs are.

    Raises:
        ConfigError: another form, or an index that is not below the number.
    """
    found = re.fullmatch(r"(\d+)/([1-9]\d*)", text, re.ASCII)
    if not found:
        raise ConfigError(f"shard={text!r} is not of the form I/N; 0/3 is the first of three")
    index, count = int(found[1]), int(found[2])
    if index >= count:
        raise ConfigError(f"shard={text} is out of range: {count} shards are 0 to {count - 1}")
    return index, count
