"""Devices, precision and processes: everything that knows there may be more than one of them."""

import functools
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from ..configs import ConfigError
from . import ranks
from .fabric import Fabric, LightningEnvironment, TorchElasticEnvironment

SMALL_INPUT = 64  # pixels a side

# Its notes on precision and processes are in our records. The package sets its own level anew.
logging.getLogger("lightning_fabric.utilities.rank_zero").setLevel(logging.WARNING)


def make_fabric(device: str = "auto", precision: str = "32-true") -> Fabric:
    """Launch a Fabric: one process here, or all that torchrun or srun started.

    TF32 is off: a run in fp32 is to be compared with published fp32 runs.

    Raises:
        ConfigError: there is no such device; fewer devices than processes, a precision that the
            device does not have, or a port that is in use.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    ranks.join_srun()
    world, here = ranks.world_size(), ranks.local_size()
    if world > 1 and torch.cuda.is_available():
        check_devices(here, device)
    try:
        fabric = Fabric(
            accelerator=device, devices=here, num_nodes=world // here,
            strategy="ddp" if world > 1 else "auto", precision=precision,
            plugins=TorchElasticEnvironment() if world > 1 else LightningEnvironment(),
        )  # fmt: skip
    except (RuntimeError, ValueError, ImportError):
        if device == "auto":
            raise
        raise ConfigError(
            f"device={device!r} is not there; choose device=auto or cpu, or cuda or mps where "
            "there is one"
        ) from None
    if precision == "16-mixed" and fabric.device.type != "cuda":  # Fabric would take bf16-mixed
        raise ConfigError(
            f"precision=16-mixed needs a CUDA GPU, and this run is on {fabric.device.type}; choose "
            "bf16-mixed or 32-true"
        )
    try:
        fabric.launch()
    except torch.distributed.DistNetworkError as error:
        address = f"{os.environ.get('MASTER_ADDR')}:{os.environ.get('MASTER_PORT')}"
        reason = str(error).splitlines()[0]
        raise ConfigError(
            f"the processes cannot meet at {address}; set MASTER_PORT to a free port of that "
            f"machine, for all of them ({reason})"
        ) from None
    return fabric


def check_devices(count: int, device: str = "auto") -> None:
    """Check that each of `count` processes can have a GPU here; without GPUs, a core.

    Raises:
        ConfigError: it has fewer.
    """
    gpus = 0 if device == "cpu" else torch.cuda.device_count()
    on_gpus = gpus or device == "cuda"
    available, kind = (gpus, "GPU") if on_gpus else (usable_cores(), "core")
    if count > available:
        raise ConfigError(
            f"{count} processes of a run need as many devices, and this process sees "
            f"{available} {kind}{'s' * (available != 1)}"
        )


@functools.cache
def _cpu_group():
    """Make a group of all processes that needs no GPU (gloo); None: the default group is one."""
    gloo = torch.distributed.get_backend() == "gloo"
    return None if gloo else torch.distributed.new_group(backend="gloo")


def largest(fabric: Fabric, *numbers: int) -> list[int]:
    """Return the largest of each number over all processes; no GPU is waited for."""
    if fabric.world_size == 1:
        return list(numbers)
    values = torch.tensor(numbers)
    torch.distributed.all_reduce(values, torch.distributed.ReduceOp.MAX, _cpu_group())
    return values.tolist()


@contextmanager
def threads_for(crop_size: int) -> Iterator[None]:
    """Compute clips of at most `SMALL_INPUT` pixels on one thread, others on as many as torch does.

    The operations of such a clip last microseconds. A second thread saves a quarter of the time and
    spins in between, for half as many core-seconds again; where another program uses its core,
    both are slower than one. The choice follows from the size alone, never from a measurement: a
    run that continues must round as it did before.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1 if crop_size <= SMALL_INPUT else threads)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def set_deterministic(deterministic: bool) -> None:
    """Refuse operations that are not deterministic, or let cuDNN choose the fastest ones."""
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic


def device_name(fabric: Fabric) -> str:
    """Name the device as people call it, for records."""
    if fabric.device.type == "cuda":
        names = torch.cuda.get_device_name(fabric.device)
        return names if fabric.world_size == 1 else f"{fabric.world_size} x {names}"
    if fabric.device.type != "cpu":
        return "Apple GPU"
    threads = torch.get_num_threads()
    return f"{_cpu_model()}, {threads} thread{'s' * (threads != 1)}"


def gather_lists(fabric: Fabric, items: list) -> list:
    """Collect the items of all processes in one list."""
    if fabric.world_size == 1:
        return items
    parts: list = [None] * fabric.world_size
    torch.distributed.all_gather_object(parts, items)
    return [item for part in parts for item in part]


def usable_cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 2


def default_workers() -> int:
    """Return the number of loader processes: a process's usable cores but one, at most 8."""
    return max(1, min(8, usable_cores() // ranks.local_size() - 1))


def _cpu_model() -> str:
    try:
        with Path("/proc/cpuinfo").open() as file:
            return next(
                line.split(":")[1].strip() for line in file if line.startswith("model name")
            )
    except (OSError, StopIteration):
        return "CPU"
