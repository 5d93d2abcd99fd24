"""Stop at a whole step when a signal asks for it: Ctrl-C, a scheduler's warning, an eviction.

Where `noted_signals` is open a signal is only noted, and the work looks for it where it can be
saved. Elsewhere in a command it is raised at once (`raised_signals`).
"""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from .ranks import world_size

# Slurm sends SIGTERM, or what --signal names: SIGUSR1 by custom, SIGUSR2 by submitit
STOP_SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
TRY_AGAIN = 75  # exit status: EX_TEMPFAIL of sysexits.h

_asked: int | None = None  # the signal that this process has got


class Interrupted(KeyboardInterrupt):
    """A run that a signal has stopped; the message says what is saved and how to go on."""

    def __init__(self, message: str = "", number: int = signal.SIGINT):
        super().__init__(message)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status: `TRY_AGAIN`; after Ctrl-C 130, as of any command."""
        return 130 if self.number == signal.SIGINT else TRY_AGAIN


def pending_signal() -> int | None:
    """Return the signal that asks this process to stop, if there is one."""
    return _asked


def take_signal() -> int | None:
    """Return the signal that asks this process to stop, and forget it."""
    global _asked
    number, _asked = _asked, None
    return number


def stop(number: int, rest: str) -> NoReturn:
    """Raise `Interrupted`, as a signal asks for; `rest` completes its sentence."""
    take_signal()
    raise Interrupted(f"stopped by {signal.Signals(number).name}{rest}", number)


def stop_if_asked(rest: str) -> None:
    """Stop if a signal was noted."""
    if _asked:
        stop(_asked, rest)


@contextmanager
def noted_signals() -> Iterator[None]:
    """Hold signals back until `stop_if_asked`; one that is pending at the end is sent again.

    Does nothing outside the main thread, which alone gets signals.
    """
    try:
        with _handled((signal.SIGINT, *STOP_SIGNALS), _note):
            yield
    finally:
        if number := take_signal():
            signal.raise_signal(number)


@contextmanager
def raised_signals() -> Iterator[None]:
    """Raise `Interrupted` at a scheduler's signal, as Python raises KeyboardInterrupt at Ctrl-C."""
    with _handled(STOP_SIGNALS, lambda number, _: stop(number, "; the same command continues")):
        yield


@contextmanager
def _handled(numbers: tuple[int, ...], handler: Callable[[int, Any], None]) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, old in before.items():
            signal.signal(number, old or signal.SIG_DFL)


def _note(number: int, _: Any) -> None:
    """Note a signal. A second Ctrl-C stops at once, but in torchrun, which repeats the first."""
    global _asked
    if _asked == number == signal.SIGINT and world_size() == 1:
        take_signal()
        raise KeyboardInterrupt
    _asked = number
