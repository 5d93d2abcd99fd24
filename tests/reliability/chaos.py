"""Kill a small study at any point, again and again, and compare what its reruns end with.

    python tests/reliability/chaos.py [--kills 100] [--seed 0]

A study trains, evaluates and publishes, each with the call of its command. A process of it is
killed at a random moment of a random phase; or before a random one of the operations on files, a
rename for example; or in the middle of a write, by a limit on the size of files. The next process
does the same again, and may be killed, too. What the last one leaves must be equal, bit for bit, to
what a study leaves that nobody disturbed: weights, history, scores, records; and nothing else.

All processes are forks of this one, which has imported torch, and computes nothing itself.
"""

import argparse
import math
import mmap
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from reliability import write_part

sys.path.insert(0, str(Path(__file__).parents[1]))
from helpers import sliding, tiny  # noqa: E402

from tsmlib.data.video import write_video  # noqa: E402
from tsmlib.engine import checkpointing, evaluate, train  # noqa: E402
from tsmlib.models.checkpoints import read_checkpoint  # noqa: E402
from tsmlib.records import read_checked  # noqa: E402
from tsmlib.study import publish  # noqa: E402

PHASES = ("start", "training", "checkpoint", "validation", "record", "evaluation", "publication")
AGAIN = 0.5  # probability that a rerun is killed as well
CHANGES = ("open", "os.rename", "os.remove", "os.mkdir")  # audit events of operations on files
MOST_CHANGES = 1_000  # of the phase of a study
LIMITS = (1, 40, 4_000, 100_000)  # bytes after which a write is cut off
MEASURED = {
    "date",
    "commit",
    "training_seconds",
    "evaluation_seconds",
    "seconds",
    "checkpoint_sha256",
}
SLOWEST = 900  # seconds of a study, on a machine that has other work


class Kill(NamedTuple):
    """Where a process dies; `kind`: moment (seconds), operation (number) or write (number)."""

    kind: str
    value: float
    bytes: int = 0  # of a write
    change: int = 0  # of phase, from which a moment counts


class Seen:
    """What a child tells of itself, even if it is killed: its phases, and its operations."""

    def __init__(self):
        shared = mmap.mmap(-1, 16 + 16 * MOST_CHANGES)  # with forks
        self._counts = np.frombuffer(shared, "int64", 2)  # of operations, and of changes of phase
        self._changes = np.frombuffer(shared, "float64", offset=16).reshape(-1, 2)

    operations = property(lambda self: int(self._counts[0]))
    phase = property(lambda self: PHASES[int(self._changes[self._counts[1] - 1, 0])])

    def clear(self) -> None:
        """Begin the first phase of a child."""
        self._counts[:] = 0
        self.enter(PHASES[0])

    def enter(self, phase: str) -> None:
        """Begin a phase."""
        self._changes[self._counts[1]] = PHASES.index(phase), time.perf_counter()
        self._counts[1] += 1  # last: a kill between the two leaves what was there

    def count(self) -> int:
        """Count one operation more, and return how many there were before."""
        number = self.operations
        self._counts[0] = number + 1
        return number

    def since(self, change: int) -> float:
        """Return the seconds since a change of phase; below 0 before it."""
        begun = self._changes[change, 1] if change < self._counts[1] else math.inf
        return time.perf_counter() - begun

    def spans(self) -> dict[str, dict[int, float]]:
        """Map each phase to the changes with which it began, and its seconds after each."""
        phases, times = self._changes[: self._counts[1]].T
        seconds = np.diff(times, append=time.perf_counter())
        spans: dict[str, dict[int, float]] = {phase: {} for phase in PHASES}
        for change, phase in enumerate(phases):
            spans[PHASES[int(phase)]][change] = seconds[change]
        return spans


# --- the study ------------------------------------------------------------------------------------


def write_data(folder: Path) -> None:
    """Write eight videos of two classes, and their lists."""
    for i in range(8):
        write_video(folder / f"{i}.mp4", sliding(8, 3 * i))
    for name, numbers in (("train", range(6)), ("val", (6, 7))):
        (folder / f"{name}.txt").write_text("".join(f"{i}.mp4 8 {i % 2}\n" for i in numbers))


def study(data: Path, results: Path) -> None:
    """Train for two epochs of three steps, evaluate, and publish."""
    cfg = tiny(
        dataset="custom", num_classes=2, layout="video", data_root=str(data), val_prefix=None,
        train_list="train.txt", val_list="val.txt", train_prefix=None, pretrain="none",
        num_segments=4, epochs=2, eval_interval=1, batch_size=2, videos_per_device=2, lr=0.01,
        short_side=32, crop_size=32, val_crop_size=32, test_crop_size=32,
    )  # fmt: skip
    options = {"workers": 0, "device": "cpu", "scale": "full"}
    folder = results / "local" / "tiny"
    train.train(cfg, work_dir=folder / "training", save_seconds=0, **options)
    file = folder / "training" / "last.pth"
    evaluate.evaluate(cfg, file, work_dir=folder / "evaluation", runtime="eager", **options)
    for name in ("training", "evaluation"):
        publish.publish(folder / name)


def outcome(results: Path) -> dict[str, Any]:
    """Read all that a study left, without times; files of records are checked as they are read."""
    found: dict[str, Any] = {}
    for file in sorted(path for path in results.rglob("*") if path.is_file()):
        name = str(file.relative_to(results))
        if file.suffix == ".pth":
            found[name] = _without_times(read_checkpoint(file))
        elif file.name == "metrics.json":
            found[name] = _without_times(read_checked(file.parent)[0])
        elif file.name == "history.csv":
            found[name] = pd.read_csv(file).drop(columns="seconds").to_csv()
        elif file.name in ("SHA256SUMS", "last.json"):  # of times, and of this folder
            found[name] = True
        else:
            found[name] = file.read_bytes()
    return found


def _without_times(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _without_times(v) for k, v in value.items() if k not in MEASURED}
    if isinstance(value, list):
        return [_without_times(part) for part in value]
    return value.numpy().tobytes() if isinstance(value, torch.Tensor) else value


# --- a process of it ------------------------------------------------------------------------------


def start(data: Path, results: Path, kill: Kill | None, seen: Seen) -> int:
    """Fork a process that does the study and dies as it is told to; return its id."""
    seen.clear()
    if pid := os.fork():
        return pid
    status = 1
    try:
        os.environ["TSM_RESULTS"] = str(results)
        with (results.parent / "log").open("w") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        _tell_phases(seen)
        sys.addaudithook(partial(_on_event, kill, seen))
        study(data, results)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


def _tell_phases(seen: Seen) -> None:
    places = [
        (train, "train_epoch", "training"), (train, "predict_scores", "validation"),
        (train, "write_record", "record"), (checkpointing.Saver, "save", "checkpoint"),
        (checkpointing.Saver, "keep_best", "checkpoint"), (evaluate, "evaluate", "evaluation"),
        (publish, "publish", "publication"),
    ]  # fmt: skip
    for place, name, phase in places:
        setattr(place, name, _in_phase(phase, getattr(place, name), seen))


def _in_phase(phase: str, function: Callable, seen: Seen) -> Callable:
    @wraps(function)
    def told(*args, **keywords):
        before = seen.phase
        seen.enter(phase)
        result = function(*args, **keywords)
        seen.enter(before)
        return result

    return told


def _on_event(kill: Kill | None, seen: Seen, event: str, args: tuple) -> None:
    """Count operations that change files, and die at the one that was chosen."""
    if event not in CHANGES or event == "open" and not args[2] & (os.O_WRONLY | os.O_RDWR):
        return
    number = seen.count()
    if kill is None or number != kill.value:
        return
    if kill.kind == "operation":
        os.kill(os.getpid(), signal.SIGKILL)
    elif kill.kind == "write":
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # which kills; Python ignores it
        resource.setrlimit(resource.RLIMIT_FSIZE, (kill.bytes, kill.bytes))


def wait(pid: int, kill: Kill | None, seen: Seen) -> int:
    """Wait for a process, kill it at its moment, and return the status: below 0 if it was killed.

    Raises:
        TimeoutError: it hangs.
    """
    is_timed, slow = kill is not None and kill.kind == "moment", False
    while not (is_timed and seen.since(kill.change) >= kill.value or slow):
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.001)
        slow = seen.since(0) >= SLOWEST
    os.kill(pid, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if slow:
        raise TimeoutError(f"it hangs: no end after {SLOWEST} s")
    return status


# --- many of them ---------------------------------------------------------------------------------


class Undisturbed(NamedTuple):
    """A study that nobody disturbed: what it left, and when its phases were."""

    outcome: dict[str, Any]
    operations: int
    spans: dict[str, dict[int, float]]  # see `Seen.spans`


def undisturbed(data: Path, folder: Path) -> Undisturbed:
    """Run a study, which tells when its phases are."""
    seen = Seen()
    if wait(start(data, folder / "results", None, seen), None, seen):
        raise AssertionError((folder / "log").read_text())
    spans = seen.spans()
    return Undisturbed(outcome(folder / "results"), seen.operations, spans)


def draw_kill(whole: Undisturbed, draw: random.Random) -> Kill:
    """Draw where a process dies."""
    kind = draw.choice(("moment", "operation", "write"))
    if kind == "moment":
        spans = draw.choice([*whole.spans.values()])
        (change,) = draw.choices([*spans], [*spans.values()])  # the longer, the likelier
        return Kill(kind, draw.uniform(0, spans[change]), change=change)
    return Kill(kind, draw.randrange(whole.operations), draw.choice(LIMITS))


def disturbed(
    data: Path, folder: Path, whole: Undisturbed, draw: random.Random, dead: Counter
) -> None:
    """Kill a study once or more often, let a rerun end, and compare; count the dead by phase.

    Raises:
        AssertionError: a rerun fails, or ends with something else.
    """
    seen, story = Seen(), []
    while not story or draw.random() < AGAIN:
        kill = draw_kill(whole, draw)
        status = wait(start(data, folder / "results", kill, seen), kill, seen)
        story.append(f"{kill} in phase {seen.phase}: status {status}")
        if status > 0:
            raise AssertionError(f"{story}: {(folder / 'log').read_text()}")
        if status < 0:
            dead[seen.phase] += 1
            dead[kill.kind] += 1
    if wait(start(data, folder / "results", None, seen), None, seen):
        raise AssertionError(f"{story}; the rerun: {(folder / 'log').read_text()}")
    found = outcome(folder / "results")
    for name in sorted(found.keys() | whole.outcome.keys()):
        if found.get(name) != whole.outcome.get(name):
            raise AssertionError(f"{story}: {name} is another, or there in one of them alone")


def chaos(kills: int, seed: int = 0, say: Callable[[str], None] = print) -> dict[str, int]:
    """Kill so many processes, and return the counts.

    Raises:
        AssertionError: see `disturbed`.
    """
    draw, dead, studies = random.Random(seed), Counter(), 0
    torch.set_num_threads(1)  # no thread is lost at a fork
    with tempfile.TemporaryDirectory() as temporary:
        data = Path(temporary) / "data"
        data.mkdir()
        write_data(data)
        folder = Path(temporary) / "undisturbed"
        folder.mkdir()
        whole = undisturbed(data, folder)
        killed = 0
        while killed < kills:
            studies += 1
            folder = Path(temporary) / f"{studies}"
            folder.mkdir()
            disturbed(data, folder, whole, draw, dead)
            shutil.rmtree(folder)
            killed = sum(dead[phase] for phase in PHASES)
            say(f"{killed} of {kills} killed, {studies} studies equal")
    counts = {"processes killed": killed, "studies, each equal bit for bit": studies}
    counts |= {f"killed in phase {phase}": dead[phase] for phase in PHASES}
    names = {"moment": "at a moment", "operation": "before an operation on files",
             "write": "in the middle of a write"}  # fmt: skip
    return counts | {f"killed {how}": dead[kind] for kind, how in names.items()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    try:
        counts = chaos(given.kills, given.seed, partial(print, flush=True))
    except (AssertionError, TimeoutError) as error:
        sys.exit(f"LOST, with --seed {given.seed}: {error}")
    write_part("chaos", {"seed": given.seed, "counts": counts})
    print("nothing lost")
