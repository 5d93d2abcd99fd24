"""A pool of threads for work that releases the interpreter, such as decoding."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import cache
from typing import Any

import torch


def map_threads(work: Callable[[Any], Any], items: Sequence) -> list:
    """Map a function that releases the interpreter over items; the results are in order.

    Uses torch.get_num_threads() threads, one of them the caller (a loader worker has only itself).
    """
    results, positions = [None] * len(items), iter(range(len(items)))

    def take_items() -> None:
        for i in positions:
            results[i] = work(items[i])

    helpers = min(torch.get_num_threads(), len(items)) - 1
    futures = [_thread_pool(os.getpid()).submit(take_items) for _ in range(helpers)]
    try:
        take_items()
    finally:
        for _ in positions:  # after an error, no other item is started
            pass
        started = [future for future in futures if not future.cancel()]
        wait(started)
    for future in started:
        future.result()
    return results


@cache
def _thread_pool(process: int) -> ThreadPoolExecutor:
    """Make the sleeping threads of a process; a forked process does not inherit its parent's."""
    return ThreadPoolExecutor(thread_name_prefix="tsmlib")
