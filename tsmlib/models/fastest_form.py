"""Choose the fastest of several forms of a model by a measurement."""

import logging
import time
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

from torch import Tensor

log = logging.getLogger(__name__)

ROUNDS = 11  # each form is called once per round, in alternating order
CLEARLY = 0.98  # share of the first form's time that another one must stay below


def choose_fastest(
    make: Callable[[str], Any], runtimes: Sequence[str], call: Callable[[Any], Tensor]
) -> Any:
    """Make forms of a model, call them in turn, and return the fastest.

    The first form stays unless another takes less than `CLEARLY` of its time, as the median over
    the rounds: noise, as of a busy machine, must not decide.

    Args:
        make: makes a form of a runtime.
        runtimes: to be tried, beginning with the one that is chosen without measurement.
        call: calls a form and returns logits.

    Returns:
        A form; its `milliseconds` holds the median time of a call for each runtime.

    Raises:
        RuntimeError: what the first form raises. Others that fail are left out, with a warning.
    """
    forms = {}
    for runtime in runtimes:
        try:
            forms[runtime] = make(runtime)
            for _ in range(2):  # compiled, packed and warm
                call(forms[runtime])
        except RuntimeError as error:  # RuntimeFailed, or a compiler that is missing
            if runtime == runtimes[0]:
                raise
            forms.pop(runtime, None)
            log.warning("the form %s is left out: %s", runtime, str(error).splitlines()[0])
    seconds: dict[str, list[float]] = {runtime: [] for runtime in forms}
    for i in range(ROUNDS):
        for runtime in list(forms)[:: -1 if i % 2 else 1]:
            seconds[runtime].append(_time(call, forms[runtime]))
    chosen = forms[_fastest(seconds)]
    chosen.milliseconds = {name: 1000 * median(values) for name, values in seconds.items()}
    log.info("%s, of %s (milliseconds)", chosen.runtime, chosen.milliseconds)
    return chosen


def _time(call: Callable[[Any], Tensor], form: Any) -> float:
    started = time.perf_counter()
    call(form).cpu()  # waits for the device
    return time.perf_counter() - started


def _fastest(seconds: dict[str, list[float]]) -> str:
    first, *_ = seconds.values()
    ratios = {
        name: median(own / of_first for own, of_first in zip(values, first, strict=True))
        for name, values in seconds.items()
    }
    best = min(ratios, key=ratios.__getitem__)
    return best if ratios[best] < CLEARLY else next(iter(seconds))
