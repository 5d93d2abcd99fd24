"""Run the jobs of a pass as jobs of Slurm, through submitit (https://github.com/facebookincubator/submitit)."""

import os
import re
import signal
import threading
from collections.abc import Callable, Mapping
from typing import Any

from ..configs import ConfigError
from ..engine.interruption import Interrupted
from ..paths import results_folder
from .process_pool import WorkerDied


class SlurmJobs:
    """An executor whose jobs are submitted to Slurm; their logs are in results/local/slurm.

    Args:
        parameters: of `submitit.AutoExecutor.update_parameters`: `slurm_partition`, `timeout_min`,
            `gpus_per_node`, `cpus_per_task`, `mem_gb` ...
        cluster: submitit's name of the scheduler; `local` stands in for one in tests.

    Raises:
        ConfigError: submitit or Slurm is not there, or it knows no such parameter.
    """

    def __init__(self, parameters: Mapping[str, Any], cluster: str = "slurm"):
        try:
            import submitit
        except ImportError:
            raise ConfigError(
                "executor=slurm needs submitit: pip install 'tsmlib[slurm]'"
            ) from None
        self.failures = submitit.core.utils.UncompletedJobError
        try:
            folder = results_folder() / "local" / "slurm"
            self.executor = submitit.AutoExecutor(folder=folder, cluster=cluster)
            self.executor.update_parameters(name="tsm", **parameters)
        except (RuntimeError, NameError, TypeError, ValueError) as error:
            raise ConfigError(f"executor=slurm: {str(error).splitlines()[0]}") from None
        self.lock, self.jobs = threading.Lock(), []

    def run(self, work: Callable[..., Any], arguments: tuple) -> Any:
        """Submit a job and wait for its result."""
        with self.lock:  # of submitit nobody says that threads may share it
            job = self.executor.submit(Resumable(), work, *arguments)
            self.jobs.append(job)
        try:
            return job.result()
        except self.failures as error:
            first, *rest = str(error).splitlines()
            raised = [line for line in rest if re.match(r"[\w.]*(Error|Interrupted)\b", line)]
            said = raised[-1] if raised else first
            raise WorkerDied(f"job {job.job_id}: {said}") from None

    def stop(self) -> None:
        """Cancel what runs; Slurm's SIGTERM lets it save."""
        for job in self.jobs:
            if not job.done():
                job.cancel(check=False)


class Resumable:
    """Calls a function in a job; when Slurm ends the job's time, it is queued again.

    Training notes the signal, saves after the step and raises; submitit then gets the signal as
    well, for which it calls `checkpoint`.
    """

    def __call__(self, work: Callable[..., Any], *arguments: Any) -> Any:
        try:
            return work(*arguments)
        except Interrupted as stop:
            if stop.number in (signal.SIGUSR1, signal.SIGUSR2):
                os.kill(os.getpid(), stop.number)
            raise

    def checkpoint(self, *arguments: Any) -> Any:
        """Tell submitit what to submit again: the same, which goes on from what was saved."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, *arguments)
