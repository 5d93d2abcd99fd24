"""Execute a notebook in a process of its own, and show its progress in the terminal meanwhile."""

import asyncio
import json
import logging
import os
import shutil
import tempfile
import time
import warnings
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NoReturn

import tsmlib

from ..configs import ConfigError
from ..engine import interruption
from ..paths import display_path
from ..progress import VARIABLE, Terminal

MISTAKES = {name for name in tsmlib.__all__ if name.endswith("Error")}  # of the user, not of code
POLL = 0.2  # seconds
START = 300  # seconds that a kernel may take to start
PATIENCE = 120  # seconds that a notebook may take to finish a step and save it


class NotebookError(RuntimeError):
    """A notebook that ended with an error; the message is that of the error."""


def execute(notebook: Path, target: Path, parameters: dict[str, Any], terminal: Terminal) -> str:
    """Execute a notebook; its copy with all outputs appears when it ends.

    A mistake of the user leaves no copy; any other error leaves what was executed until then.

    Returns:
        The result that it told; '' if it told none.

    Raises:
        NotebookError: with the sentence of the error.
        Interrupted: at a signal, after the notebook had time to save its run.
    """
    with tempfile.TemporaryDirectory() as folder:
        copy, channel = Path(folder) / target.name, Path(folder) / "progress"
        channel.touch()
        terminal.status(f"{notebook.name}: starting")
        with (
            _kernel(channel) as kernel,
            ThreadPoolExecutor(1) as pool,
            interruption.noted_signals(),
        ):
            run = pool.submit(_run_papermill, notebook, copy, parameters, kernel)
            shown = f"{notebook.name} is running"
            try:
                result = _show_until_done(run, channel, terminal, shown)
                if number := interruption.take_signal():
                    _interrupt(kernel, run, number)
            finally:
                terminal.status("")
        try:
            run.result()
        except Exception as error:
            sentence = _describe_error(error)
            if getattr(error, "ename", "") not in MISTAKES and copy.is_file():
                _move(copy, target)
                sentence += f"\nthe notebook as far as it went: {display_path(target)}"
            raise NotebookError(sentence) from None
        _move(copy, target)
        return result


@contextmanager
def _kernel(channel: Path) -> Iterator[Any]:
    """Start a Python process for a notebook, without its warnings, and stop it at the end."""
    if not all(find_spec(name) for name in ("papermill", "ipykernel")):
        raise ConfigError("notebooks need papermill: pip install 'tsmlib[notebooks]'")
    from jupyter_client.manager import AsyncKernelManager

    environment = {**os.environ, VARIABLE: str(channel), "PYDEVD_DISABLE_FILE_VALIDATION": "1"}
    kernel = AsyncKernelManager(kernel_name="python3")
    with channel.with_name("kernel.log").open("wb") as log:
        asyncio.run(kernel.start_kernel(env=environment, stdout=log, stderr=log))
        try:
            yield kernel
        finally:
            asyncio.run(kernel.shutdown_kernel(now=True))


def _run_papermill(notebook: Path, copy: Path, parameters: dict[str, Any], kernel: Any) -> None:
    warnings.simplefilter("ignore")
    for name in ("papermill", "traitlets"):  # of killed kernels, and of sockets still open
        logging.getLogger(name).setLevel(logging.CRITICAL)
    import papermill

    papermill.execute_notebook(
        notebook, copy, parameters, progress_bar=False, kernel_name="python3", km=kernel,
        start_timeout=START,
    )  # fmt: skip


def _interrupt(kernel: Any, run: Future, number: int) -> NoReturn:
    """Interrupt a notebook, and wait until it has saved its run; a further signal ends it."""
    asyncio.run(kernel.interrupt_kernel())
    patience = time.monotonic() + PATIENCE
    while not run.done() and not interruption.take_signal() and time.monotonic() < patience:
        time.sleep(POLL)
    reason = str(getattr(run.exception(), "evalue", "")) if run.done() else ""
    if not run.done():
        asyncio.run(kernel.shutdown_kernel(now=True))  # papermill's thread ends with it
    raise interruption.Interrupted(reason or "interrupted", number)


def _show_until_done(run: Future, channel: Path, terminal: Terminal, otherwise: str) -> str:
    """Show what a notebook reports until it has ended, or a signal comes.

    `otherwise` is shown between its reports.
    """
    result = ""
    with channel.open(encoding="utf-8") as lines:
        while True:
            ended = run.done()  # before its last lines are read
            for line in lines:
                message = json.loads(line)
                if "say" in message:
                    terminal.say(message["say"])
                if "status" in message:
                    terminal.status(message["status"] or otherwise)
                result = message.get("result", result)
            if ended or interruption.pending_signal():
                return result
            time.sleep(POLL)


def _describe_error(error: Exception) -> str:
    """Say what went wrong: the error's own sentence where it is one of this package."""
    if (name := getattr(error, "ename", "")) in MISTAKES:
        return error.evalue
    if name:
        return f"{name}: {error.evalue}"
    if type(error).__name__ == "DeadKernelError":
        return "the notebook's process was killed, perhaps because memory ran out"
    return f"{type(error).__name__}: {error}"


def _move(copy: Path, target: Path) -> None:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(copy, target)
    except OSError as error:
        raise NotebookError(f"{target} cannot be written: {error.strerror or error}") from None
