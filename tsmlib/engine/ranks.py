"""Which of how many processes this one is, as torchrun or srun say. Needs no torch."""

import os
import re
from collections.abc import Mapping

from ..configs import ConfigError


def world_size() -> int:
    """Return the number of processes that share a run, 1 without torchrun and srun."""
    return int(_variables().get("WORLD_SIZE", 1))


def local_size() -> int:
    """Return how many of them are on this machine."""
    return int(_variables().get("LOCAL_WORLD_SIZE", world_size()))


def global_rank() -> int:
    """Return the number of this process, from 0."""
    return int(_variables().get("RANK", 0))


def is_restarted() -> bool:
    """Tell whether torchrun or Slurm has started this process anew, after it was stopped."""
    return any(int(os.environ.get(name) or 0) > 0 for name in RESTARTS)


RESTARTS = ("TORCHELASTIC_RESTART_COUNT", "SLURM_RESTART_COUNT")


def join_srun() -> None:
    """Let tasks that srun started without torchrun be ranks: torch reads torchrun's variables."""
    os.environ.update(_variables())


def work_alone() -> None:
    """Let tasks of srun be processes of their own, as those of a study, which share no run.

    Raises:
        ConfigError: torchrun started this process, as a rank of one run.
    """
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise ConfigError(
            "torchrun's processes share one run, and a study has many; start it without torchrun "
            "and share it out by shard=I/N"
        )
    os.environ.pop("SLURM_STEP_NUM_TASKS", None)


def variables_of_srun(slurm: Mapping[str, str]) -> dict[str, str]:
    """Translate the variables of a task of srun into those of torchrun; {} for a task alone.

    A batch script has some of them as well, but not the number of tasks of a step
    (https://slurm.schedmd.com/srun.html, output environment variables).

    Raises:
        ConfigError: the machines have different numbers of tasks.
    """
    size = slurm.get("SLURM_STEP_NUM_TASKS", "1")
    if size == "1":
        return {}
    layout = slurm["SLURM_STEP_TASKS_PER_NODE"]  # "4" or "4(x2)" or "2,1"
    local = re.fullmatch(r"(\d+)(\(x\d+\))?", layout)
    if not local:
        raise ConfigError(
            f"srun started {layout} tasks on its machines; a run needs as many on each "
            "(--ntasks-per-node)"
        )
    first = re.sub(r"\[(\d+)[^]]*\].*", r"\1", slurm["SLURM_STEP_NODELIST"]).split(",")[0]
    return {
        "WORLD_SIZE": size,
        "RANK": slurm["SLURM_PROCID"],
        "LOCAL_WORLD_SIZE": local[1],
        "LOCAL_RANK": slurm["SLURM_LOCALID"],
        "GROUP_RANK": slurm["SLURM_NODEID"],
        "MASTER_ADDR": slurm.get("MASTER_ADDR", first),
        "MASTER_PORT": slurm.get("MASTER_PORT", str(15000 + int(slurm["SLURM_JOB_ID"]) % 10000)),
    }


def _variables() -> Mapping[str, str]:
    launched = "WORLD_SIZE" in os.environ
    return os.environ if launched else variables_of_srun(os.environ)
