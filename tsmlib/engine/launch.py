"""Start the processes of a run on this machine: torchrun, one process a GPU.

`python -m tsmlib.engine.launch JOB` is one of them.
"""

import logging
import os
import pickle
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO, TypeVar

from ..configs import ConfigError
from ..paths import write_whole
from ..progress import VARIABLE, LogHandler, Sink, show_in, show_message
from . import interruption, ranks
from .devices import check_devices
from .options import RunOptions

Result = TypeVar("Result")
RESTARTS = 3  # of all processes, when one has died; they go on from the last checkpoint
POLL = 0.2  # seconds
PARENT = "TSM_LAUNCHED_BY"  # process id


class LaunchError(RuntimeError):
    """Processes of a run that died again and again; the message ends with their last words."""


def is_needed(options: RunOptions) -> bool:
    """Tell whether the processes that the options ask for have still to be started.

    Raises:
        ConfigError: fewer devices here, or another number of processes was started already.
    """
    if options.devices is None:
        return False
    if ranks.world_size() > 1:
        if options.devices != ranks.local_size():
            raise ConfigError(
                f"devices={options.devices}, but torchrun or srun started {ranks.local_size()} "
                "processes on this machine; leave devices out"
            )
        return False
    check_devices(options.devices, options.device)
    return options.devices > 1


def launch(devices: int, work: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function of a module in several processes; return what the first one returns.

    All are started anew when one dies. A signal makes them stop as one process does.

    Raises:
        LaunchError: they died `RESTARTS` times and once more.
        Interrupted, ConfigError, DataError, ...: what the function raised.
    """
    with tempfile.TemporaryDirectory() as name, interruption.noted_signals():
        job, channel = Path(name) / "job", Path(name) / "progress"
        job.write_bytes(pickle.dumps((work, arguments)))
        channel.touch()
        with (Path(name) / "log").open("w+") as log, channel.open(encoding="utf-8") as lines:
            torchrun = _start_torchrun(devices, job, channel, log)
            ending = False
            while torchrun.poll() is None:
                for line in lines:
                    show_message(line)
                if not ending and (interruption.pending_signal() or _errors(job)):
                    torchrun.send_signal(interruption.pending_signal() or signal.SIGTERM)
                    ending = True
                time.sleep(POLL)
            log.seek(0)
            return _result(job, torchrun.returncode, log.read())


def _start_torchrun(devices: int, job: Path, channel: Path, log: TextIO) -> subprocess.Popen:
    signals = ",".join(number.name for number in (signal.SIGINT, *interruption.STOP_SIGNALS))
    own = {
        VARIABLE: str(channel),
        PARENT: str(os.getpid()),
        "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",  # else restarted ones meet the dead (torch 2.14)
    }
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(devices), "--max-restarts", str(RESTARTS)),
        *("--signals-to-handle", signals, "-m", "tsmlib.engine.launch", str(job)),
    ]
    return subprocess.Popen(  # in a session of its own: Ctrl-C goes to this process alone
        command, env=os.environ | own, stdout=log, stderr=log, start_new_session=True
    )


def _errors(job: Path) -> list[Path]:
    """List the files in which processes have left what they raised."""
    return sorted(job.parent.glob("error-*.pickle"))


def _result(job: Path, status: int, log: str) -> Any:
    for file in _errors(job):
        error = pickle.loads(file.read_bytes())
        if isinstance(error, interruption.Interrupted):
            interruption.take_signal()  # it was this one
        raise error
    if status == 0:
        return pickle.loads(job.with_name("result.pickle").read_bytes())
    interruption.stop_if_asked(" before the processes had begun; the same command starts them")
    words = [line for line in log.splitlines() if re.search(r"Error: |\(exitcode: ", line)]
    said = "\n".join(words[-3:] or ["(they said nothing)"])
    raise LaunchError(
        f"the processes of the run have died {RESTARTS + 1} times, with status {status}; "
        f"the same command continues. Their last words:\n{said}"
    )


def main(job: Path) -> int:
    """Be one of the processes, and leave the outcome for the one that launched them."""
    _follow_parent(int(os.environ[PARENT]))
    logging.basicConfig(format="%(message)s", handlers=[LogHandler()])
    if ranks.global_rank() == 0:
        logging.getLogger("tsmlib").setLevel(logging.INFO)
    else:
        show_in(Sink())
    work, arguments = pickle.loads(job.read_bytes())
    outcome: Any
    try:
        outcome, status = work(*arguments), 0
    except interruption.Interrupted as stop:
        outcome, status = stop, stop.status
    except (RuntimeError, ValueError) as error:
        if not type(error).__module__.startswith("tsmlib."):
            raise
        outcome, status = error, 1
    rank = ranks.global_rank()
    if status or rank == 0:
        file = job.with_name(f"error-{rank}.pickle" if status else "result.pickle")
        write_whole(file, pickle.dumps(outcome))
    return status


def _follow_parent(parent: int) -> None:
    """Stop as at a signal when the process that launched this one is gone: nobody else would."""

    def watch() -> None:
        while True:
            try:
                os.kill(parent, 0)
            except ProcessLookupError:
                os.kill(os.getpid(), signal.SIGTERM)
                return
            time.sleep(1)

    threading.Thread(target=watch, daemon=True).start()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
