"""Show the progress of long work: in a terminal, in a notebook, or through the file of a runner.

`track` and `Progress` count what is done and estimate the time that is left; `say` tells what
stays to be read. TSM_PROGRESS names a file that gets both as lines of JSON (`tsm notebook` shows
them). Without it they go to standard error, or wherever `show_in` sends them.
"""

import json
import logging
import os
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

from .text import to_terminal

Item = TypeVar("Item")
VARIABLE = "TSM_PROGRESS"
PACE = 0.5  # seconds between two changes of a status
SILENCE = 8  # seconds after which a file or a pipe gets the status as a line
LONG_SILENCE, EARLY = 60, 600  # seconds: of work that has lasted so long, fewer lines


class Sink:
    """A place where progress is shown; this one shows nothing."""

    def say(self, text: str) -> None:
        """Show a line that stays."""

    def status(self, text: str) -> None:
        """Show where the work stands now, instead of the last status; '' removes it."""


class Progress:
    """Context manager that counts steps of work; inside another one it is part of its status.

    Args:
        what: name of the work.
        total: number of steps; None: not known.
        unit: of the steps, in plural.
        done: steps that were done before.
        part: all steps together are one step of the work around them, and count in its time left.
        quiet: show nothing.
        clock: returns seconds.
    """

    _open: list["Progress"] = []

    def __init__(
        self, what: str, total: float | None = None, unit: str = "", *, done: float = 0,
        part: bool = False, quiet: bool = False, clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self.what, self.total, self.unit, self.done = what, total, unit, done
        self.quiet, self.clock, self.shown = quiet, clock, -PACE
        self.around = self._open[-1] if part and self._open and not quiet else None
        self.fraction = 0.0  # of the present step, which its parts have done
        self.first: tuple[float, float] | None = None  # time and steps from which it is estimated

    def __enter__(self) -> "Progress":
        if not self.quiet:
            self._open.append(self)
            self._show()
        return self

    def __exit__(self, *_: Any) -> None:
        if not self.quiet:
            self._open.remove(self)
            self._show()

    def advance(self, steps: float = 1) -> None:
        """Count steps."""
        self.done, self.fraction = self.done + steps, 0.0
        self._note_time()
        if not self.quiet and self.clock() - self.shown >= PACE:
            self._show()

    def say(self, text: str) -> None:
        """Show a line that stays, unless this work is only a part of another one."""
        if self._open[:1] == [self]:
            say(text)

    def time_left(self) -> str:
        """Estimate the time until the end, '2:45 left'; '' at the end and while it is unknown."""
        if self.first is None or not self.total:
            return ""
        began, steps = self.first
        made, seconds = self.done + self.fraction - steps, self.clock() - began
        rest = self.total - self.done - self.fraction
        if made <= 0 or seconds < PACE or rest <= 0:
            return ""
        return f"{format_seconds(seconds / made * rest)} left"

    def __str__(self) -> str:
        total = "" if self.total is None else f" of {self.total:.0f}"
        count = f"{self.done:.0f}{total} {self.unit}" if self.unit else ""
        known = ", ".join(filter(None, (count, "" if self.around else self.time_left())))
        return f"{self.what}: {known}" if known else self.what

    def count_time(self) -> None:
        """Count the time from now on, as steps run side by side; else the first one warms up."""
        self._note_time()

    def _note_time(self) -> None:
        if self.first is None:
            self.first = self.clock(), self.done + self.fraction
        if self.around is not None and self.total:
            self.around.fraction = min(1.0, (self.done + self.fraction) / self.total)
            self.around._note_time()

    def _show(self) -> None:
        self.shown = self.clock()
        _chosen_sink().status(" | ".join(map(str, self._open)))


def track(
    items: Iterable[Item], what: str, unit: str, total: int | None = None, *,
    part: bool = False, quiet: bool = False,
) -> Iterator[Item]:  # fmt: skip
    """Yield items, and show how many are done.

    Args:
        items: the work.
        what, unit, part, quiet: see `Progress`.
        total: number of items, where they have no length.
    """
    total = len(items) if total is None else total  # type: ignore[arg-type]
    with Progress(what, total, unit, part=part, quiet=quiet) as progress:
        for item in items:
            yield item
            progress.advance()


def say(text: str) -> None:
    """Show a line that stays, wherever this process shows its progress."""
    _chosen_sink().say(text)


def announce(log: logging.Logger, text: str) -> None:
    """Log a message that a runner's terminal shows as well; others show what is logged."""
    log.info("%s", text)
    if runner := runner_file():
        runner.say(text)


def tell_result(text: str) -> None:
    """Hand the result of a notebook to its runner, which prints it at the end."""
    if runner := runner_file():
        runner.send(result=text)


def show_message(line: str) -> None:
    """Show here what another process has written as a line of its progress file."""
    message, sink = json.loads(line), _chosen_sink()
    if "say" in message:
        sink.say(message["say"])
    if "status" in message:
        sink.status(message["status"])


def format_seconds(seconds: float) -> str:
    """Format a time as `m:ss`, or `h:mm:ss`."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class Terminal(Sink):
    """Shows progress on a stream: a status line in a terminal, now and then a line elsewhere.

    Args:
        stream: None: what standard error is at the time.
        live: it is a terminal, where a line can be written over; None: as the stream says.
    """

    def __init__(
        self, stream: Any = None, live: bool | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):  # fmt: skip
        self.stream, self.live, self.clock = stream, live, clock
        self.text, self.began, self.written = "", clock(), clock()
        self.lock, self.heart = threading.Lock(), None
        if hasattr(os, "register_at_fork"):  # in a loader's process no thread will release it
            os.register_at_fork(after_in_child=lambda: setattr(self, "lock", threading.Lock()))

    def say(self, text: str) -> None:
        """Write a line."""
        with self.lock:
            self._write(f"{self._clear()}{to_terminal(text)}\n")

    def status(self, text: str) -> None:
        """Set the status, '' for none; a thread keeps it alive."""
        with self.lock:
            self.text = to_terminal(text)
            if self._is_live():
                self._write(self._clear() + self._line())
        if text and self.heart is None:
            self.heart = threading.Thread(target=self._keep_beating, daemon=True)
            self.heart.start()

    def beat(self) -> None:
        """Show that the work goes on: the time in a terminal, else a line after a silence."""
        with self.lock:
            now = self.clock()
            pause = SILENCE if now - self.began < EARLY else LONG_SILENCE
            if self.text and self._is_live():
                self._write(self._clear() + self._line())
            elif self.text and now - self.written >= pause:
                self._write(self._line() + "\n")

    def _keep_beating(self) -> None:
        while True:
            time.sleep(1)
            self.beat()

    def _line(self) -> str:
        if not self.text:
            return ""
        line = f"[{format_seconds(self.clock() - self.began)}] {self.text}"
        return line[: shutil.get_terminal_size().columns - 1] if self._is_live() else line

    def _clear(self) -> str:
        return "\r\x1b[K" if self._is_live() else ""

    def _is_live(self) -> bool:
        return (self.stream or sys.stderr).isatty() if self.live is None else self.live

    def _write(self, text: str) -> None:
        self.written = self.clock()
        try:
            stream = self.stream or sys.stderr
            stream.write(text)
            stream.flush()
        except (OSError, ValueError):  # closed: nobody reads it any more
            self.text = ""


class TextFormatter(logging.Formatter):
    """Formats messages as text that a terminal or a notebook shows as it is."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the message, and the traceback of an error."""
        return to_terminal(super().format(record))


class LogHandler(logging.Handler):
    """Writes messages as lines that stay; standard error would mix them with the status."""

    def emit(self, record: logging.LogRecord) -> None:
        """Say the message."""
        say(self.format(record))


class ProgressFile(Sink):
    """Hands progress to another process as lines of JSON: `{"status": TEXT}`."""

    def __init__(self, path: str | Path):
        self.path = Path(path)

    def say(self, text: str) -> None:
        """Hand over a line that stays."""
        self.send(say=text)

    def status(self, text: str) -> None:
        """Hand over a status."""
        self.send(status=text)

    def send(self, **message: str) -> None:
        """Append a message; whoever has removed the file wants none."""
        try:
            file = os.open(self.path, os.O_WRONLY | os.O_APPEND)  # whole lines of any process
        except OSError:
            return
        with os.fdopen(file, "wb") as stream:
            stream.write(json.dumps(message).encode() + b"\n")


_sink: Sink | None = None


def show_in(sink: Sink | None) -> None:
    """Show all progress of this process in another sink; None: as at the start."""
    global _sink
    _sink = sink


def runner_file() -> ProgressFile | None:
    """Return the file of a runner that shows the progress of this process, if there is one."""
    path = os.environ.get(VARIABLE)
    return ProgressFile(path) if path else None


def _chosen_sink() -> Sink:
    global _sink
    if _sink is None:
        _sink = runner_file() or Terminal()
    return _sink
