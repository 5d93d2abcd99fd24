"""Measure time: callables that take turns, ratios of neighbours, parts of repeated work."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pandas as pd
import torch

from ..progress import Progress

WARM_CALLS = 2  # of each path, before it is measured
MIN_ROUNDS = 5  # are made although their time is up


def interleave(
    paths: Mapping[str, Callable[[], Any]],
    rounds: int,
    seconds: float = math.inf,
    *,
    warm: int = WARM_CALLS,
    wait: Callable[[], Any] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
    progress: Progress | None = None,
) -> pd.DataFrame:
    """Measure the milliseconds of paths that take turns.

    Odd rounds run in reverse order: neighbours are measured one right after the other, and no path
    is always the first. Garbage is collected before the rounds, not within.

    Args:
        paths: callables by name; paths that are to be compared beside each other.
        rounds: measured calls of each path.
        seconds: no round begins later, but `MIN_ROUNDS` are made (or `rounds`, if fewer).
        warm: calls of each path before the rounds.
        wait: returns when the device has finished, see `synchronizer`.
        clock: returns seconds.
        progress: counts the rounds.

    Returns:
        One row per round, one column per path; `attrs["first"]`: seconds of each path's very first
        call, compilation included.
    """
    names, times, first = list(paths), [], {}
    for name, path in paths.items():
        first[name] = round(_time_call(path, wait, clock) / 1000, 3)
        for _ in range(warm - 1):
            path()
    wait()
    started = clock()
    with no_collection():
        while len(times) < rounds:
            if len(times) >= MIN_ROUNDS and clock() - started > seconds:
                break
            order = names[::-1] if len(times) % 2 else names
            times.append({name: _time_call(paths[name], wait, clock) for name in order})
            if progress is not None:
                progress.advance()
    table = pd.DataFrame(times, columns=names)
    table.attrs["first"] = first
    return table


def _time_call(
    path: Callable[[], Any], wait: Callable[[], Any], clock: Callable[[], float]
) -> float:
    wait()
    started = clock()
    path()
    wait()
    return 1000 * (clock() - started)


@contextmanager
def no_collection():
    """Collect garbage first, and none inside the block."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


class Laps:
    """Add up the seconds of the parts of repeated work; a call ends the part that it names."""

    def __init__(self, wait: Callable[[], Any] = lambda: None, clock=time.perf_counter):
        self._wait, self._clock = wait, clock
        self.reset()

    def reset(self) -> None:
        """Forget all measurements; the next part begins now."""
        self.seconds: dict[str, float] = {}
        self._mark = self._clock()

    def __call__(self, part: str) -> None:
        self._wait()
        now = self._clock()
        self.seconds[part] = self.seconds.get(part, 0.0) + now - self._mark
        self._mark = now


def quartiles(values) -> dict[str, float]:
    """Compute median and quartiles (linear between values) of one number per round."""
    q25, median, q75 = (round(float(q), 5) for q in np.percentile(values, (25, 50, 75)))
    return {"median": median, "q25": q25, "q75": q75, "rounds": len(values)}


def ratios(table: pd.DataFrame, of: str, over: str) -> dict[str, float]:
    """Divide two paths in each round; median and quartiles of the ratio over the rounds."""
    return quartiles((table[of] / table[over]).to_numpy())


def synchronizer(device: torch.device) -> Callable[[], Any]:
    """Return a function that waits for all work of the device; a CPU's is always done."""
    known = {"cuda": torch.cuda.synchronize, "mps": torch.mps.synchronize}
    return known.get(device.type, lambda: None)
