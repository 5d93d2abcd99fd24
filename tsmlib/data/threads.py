"""A pool of threads for work that releases the interpreter, such as decoding."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import torch


def map_threads(work: Callable[[Any], Any], items: Sequence) -> list:
    """Results in order, of a function that leaves the interpreter to others while it works.

    By as many threads as torch uses here: in the processes of a loader, none beside their own.
    Each takes what comes next, the caller too: it would take as long to wake another one.
    """
    results, places = [None] * len(items), iter(range(len(items)))

    def share() -> None:
        for i in places:
            results[i] = work(items[i])

    helpers = min(torch.get_num_threads(), len(items)) - 1
    shares = [_helpers(os.getpid()).submit(share) for _ in range(helpers)]
    try:
        share()
    finally:
        for _ in places:  # after an error, nothing else is begun
            pass
        begun = [future for future in shares if not future.cancel()]
        wait(begun)
    for future in begun:
        future.result()
    return results


@cache
def _helpers(process: int) -> ThreadPoolExecutor:
    """Threads that sleep until they are needed; a forked process has none of its parent's."""
    return ThreadPoolExecutor(thread_name_prefix="tsmlib")
