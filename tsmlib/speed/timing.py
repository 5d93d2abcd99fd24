"""How time is measured: paths that take turns, ratios of neighbours, and what the device is."""

import gc
import math
import os
import re
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from lightning_fabric import Fabric
from tqdm import tqdm

from ..configs import ConfigError
from ..engine.devices import device_name, make_fabric
from ..paths import results_folder
from ..results import environment

WARM = 2
LEAST = 5  # rounds, although their time is up
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")  # that matter
BF16_FLAGS = ("avx512_bf16", "amx_bf16")


def interleave(
    paths: Mapping[str, Callable[[], Any]],
    rounds: int,
    seconds: float = math.inf,
    *,
    warm: int = WARM,
    wait: Callable[[], Any] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
    bar: tqdm | None = None,
) -> pd.DataFrame:
    """Milliseconds of paths that take turns.

    They go there in even rounds and back in odd ones: neighbours are measured one right after the
    other, and none is always first. Garbage is collected before the rounds, not within.

    Args:
        paths: what to call, by name; those that are to be compared beside each other.
        rounds: calls of each path that are measured.
        seconds: no round begins later, but `LEAST` are made (fewer if fewer are asked for).
        warm: calls of each path before.
        wait: returns when the device has finished, see `waiting`.
        clock: of seconds.
        bar: is moved on by each round.

    Returns:
        A line a round, a column a path; `attrs["first"]`: seconds of each path's very first call,
        with what is compiled in it.
    """
    names, lines, first = list(paths), [], {}
    for name, path in paths.items():
        first[name] = round(_timed(path, wait, clock) / 1000, 3)
        for _ in range(warm - 1):
            path()
    wait()
    started = clock()
    with no_collection():
        while len(lines) < rounds:
            if len(lines) >= LEAST and clock() - started > seconds:
                break
            order = names[::-1] if len(lines) % 2 else names
            lines.append({name: _timed(paths[name], wait, clock) for name in order})
            if bar is not None:
                bar.update()
    table = pd.DataFrame(lines, columns=names)
    table.attrs["first"] = first
    return table


def _timed(path: Callable[[], Any], wait: Callable[[], Any], clock: Callable[[], float]) -> float:
    wait()
    started = clock()
    path()
    wait()
    return 1000 * (clock() - started)


@contextmanager
def no_collection():
    """Garbage is collected first, and not while this lasts."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Laps:
    """Seconds of the parts of some work that is repeated; a call ends the part that it names."""

    def __init__(self, wait: Callable[[], Any] = lambda: None, clock=time.perf_counter):
        self._wait, self._clock = wait, clock
        self.reset()

    def reset(self) -> None:
        """Forget what was measured; the next part begins now."""
        self.seconds: dict[str, float] = {}
        self._mark = self._clock()

    def __call__(self, part: str) -> None:
        self._wait()
        now = self._clock()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._mark
        self._mark = now


def spread(values) -> dict[str, float]:
    """Median and quartiles (linear between values) of a number a round."""
    q25, median, q75 = (round(float(q), 5) for q in np.percentile(values, (25, 50, 75)))
    return {"median": median, "q25": q25, "q75": q75, "rounds": len(values)}


def ratios(table: pd.DataFrame, of: str, over: str) -> dict[str, float]:
    """One path over another: the ratio in each round, then median and quartiles over the rounds."""
    return spread((table[of] / table[over]).to_numpy())


def waiting(device: torch.device) -> Callable[[], Any]:
    """A function that returns when all work of the device is done; a CPU's always is."""
    known = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}
    return known.get(device.type, lambda: None)


# --- the device -----------------------------------------------------------------------------------


def on_device(device: str) -> Fabric:
    """A Fabric on `auto`, `cpu`, `cuda` ...

    Raises:
        ConfigError: there is no such device here.
    """
    try:
        return make_fabric(device)
    except (RuntimeError, ValueError, ImportError):
        raise ConfigError(
            f"device={device!r} is not possible here; choose auto or cpu, or cuda or mps where "
            "there is one"
        ) from None


def device_label(fabric: Fabric) -> str:
    """`AMD EPYC, 2 cores` or `NVIDIA H200`."""
    name = device_name(fabric)
    return name if fabric.device.type != "cpu" else f"{name.rpartition(',')[0]}, {cores()} cores"


def slug(name: str) -> str:
    """A name of a device as that of a file: `amd-epyc-2-cores`."""
    plain = re.sub(r"\((r|tm)\)", "", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def record_file(fabric: Fabric, kind: str = "") -> Path:
    """Where a record of this device is kept: of the benchmark, or of a `kind` (rows, options)."""
    name = "-".join(filter(None, (slug(device_label(fabric)), kind)))
    return results_folder() / "benchmarks" / f"{name}.json"


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def cpu_flags(file: Path = Path("/proc/cpuinfo")) -> list[str]:
    """Instruction sets of this CPU, of those in `FLAGS`; none where it does not say."""
    if not file.is_file():
        return []
    lines = (line for line in file.read_text().splitlines() if line.startswith("flags"))
    has = next(lines, "").split()
    return [flag for flag in FLAGS if flag in has]


def no_bf16(device: torch.device, flags: list[str] | None = None) -> str:
    """Why bf16 cannot be fast on this device, in a sentence; empty where it can."""
    if device.type == "cuda":
        return "" if torch.cuda.is_bf16_supported() else "this GPU has no bf16"
    flags = cpu_flags() if flags is None else flags
    has = device.type != "cpu" or any(flag in flags for flag in BF16_FLAGS)
    return "" if has else f"this CPU has no bf16 instructions ({' or '.join(BF16_FLAGS)})"


def about(fabric: Fabric) -> dict[str, Any]:
    """What a record says of where and with what code it was measured."""
    return {
        "device": device_label(fabric),
        "cores": cores(),
        "threads": torch.get_num_threads(),
        "cpu_flags": cpu_flags(),
        **environment(),
    }
