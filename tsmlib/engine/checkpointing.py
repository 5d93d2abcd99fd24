"""Save and continue a run: its state, and its checkpoints."""

import dataclasses
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..configs import to_dict
from ..models.checkpoint_files import (
    CheckpointError,
    check_values,
    checkpoint_bytes,
    find_impossible,
    read_checkpoint,
)
from ..paths import display_path
from ..records import RECORD, ResultsError, read_checked
from ..results import make_folder, write_atomic
from . import interruption
from .devices import gather_lists, largest
from .divergence import DivergedError, advise
from .fabric import Fabric
from .optimizer import accumulation
from .run_folder import RunFolder
from .stored_checkpoints import (
    LAST,
    PREVIOUS,
    check_resumable,
    check_same_run,
    read_last,
    refusing_malformed,
)

log = logging.getLogger(__name__)

MAX_COST = 0.02  # share of a training that checkpoints within epochs may take


@dataclass
class State:
    """Where a training run stands; every field goes into the checkpoint."""

    epoch: int = 0  # finished epochs
    step: int = 0  # finished batches of this epoch
    loss_sum: float = 0.0  # over the videos of this epoch, as the next two
    hits: int = 0
    seen: int = 0
    seconds: float = 0.0  # of training, validation left out
    best: float = -1.0  # highest validation top-1, percent
    history: list[dict[str, float]] = field(default_factory=list)  # one row per epoch
    bad: dict[str, str] = field(default_factory=dict)  # videos that were ever unreadable, and why
    unread: dict[str, str] = field(default_factory=dict)  # those of this epoch, since its start
    resumed_from: dict[str, Any] | None = None  # run, epoch and step of the option `resume`


class RunningSums:
    """Sums of loss and hits on the device: to add a batch needs no sync with the host."""

    def __init__(self, device: torch.device):
        exact = torch.float32 if device.type == "mps" else torch.float64
        self.values, self.seen = torch.zeros(2, dtype=exact, device=device), 0

    def add(self, loss: Tensor, correct: Tensor) -> None:
        """Add a batch: its summed loss, and whether each video was recognised, bool `[N]`."""
        self.values += torch.stack((loss, correct.sum()))
        self.seen += len(correct)

    def flush_to(self, state: State) -> None:
        """Move the sums into a state and start again from zero."""
        loss, hits = self.values.tolist()
        state.loss_sum, state.hits = state.loss_sum + loss, state.hits + int(hits)
        state.seen += self.seen
        self.values.zero_()
        self.seen = 0


class Saver:
    """Writes `last.pth` (everything needed to continue) and `best.pth`, all or nothing.

    The first process alone writes. Within an epoch it does so every `save_seconds`, or less often
    if writing would take more than `MAX_COST` of the time; 0: after every step. The checkpoint
    before the last one stays as `previous.pth`, for the day the last one is damaged.
    """

    def __init__(
        self, fabric: Fabric, run: RunFolder, model, optimizer, save_seconds: float,
        facts: dict[str, Any] | None = None,
    ):  # fmt: skip
        self.fabric, self.run, self.model, self.optimizer = fabric, run, model, optimizer
        self.save_seconds, self.saved, self._cost = save_seconds, time.perf_counter(), 0.0
        self.facts = facts or {}  # that checkpoints hold besides
        self.signal, self.last = 0, run.folder / LAST  # the signal that asks to stop
        if fabric.is_global_zero:
            make_folder(run.folder)

    def save(self, state: State) -> None:
        """Write the model, the optimizer, the random numbers and the state of all processes."""
        begun = time.perf_counter()
        content = {
            "optimizer": self.optimizer.state_dict(),
            "state": vars(_of_all_processes(self.fabric, state)),
            "scaler": self.fabric.strategy.precision.state_dict(),  # of the loss, in fp16
            "processes": self.fabric.world_size,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        self._write(LAST, content)
        self.saved, self._cost = time.perf_counter(), time.perf_counter() - begun

    def is_due(self) -> bool:
        """Tell whether to save after this step, as it is time or a signal asks to stop.

        All processes get the same answer, whichever of them got a signal.
        """
        pause = self.save_seconds and max(self.save_seconds, self._cost / MAX_COST)
        late = self.fabric.is_global_zero and time.perf_counter() - self.saved > pause
        self.signal, due = largest(self.fabric, interruption.pending_signal() or 0, int(late))
        return bool(self.signal or due)

    def save_in_epoch(self, state: State, epoch_started: float) -> None:
        """Save after a whole step, with the seconds of the epoch so far; then stop if asked to.

        Raises:
            Interrupted: a signal asks for it.
        """
        before = state.seconds
        state.seconds += time.perf_counter() - epoch_started
        self.save(state)
        state.seconds = before
        if self.signal:
            where = f" after {state.step} batches of epoch {state.epoch + 1}; saved in "
            where += f"{display_path(self.run.folder)}, the same command goes on from there"
            interruption.stop(self.signal, where)

    def keep_best(self, state: State, top1: float) -> None:
        """Write `best.pth` if the validation accuracy is the highest yet."""
        if top1 > state.best:
            state.best = top1
            self._write("best.pth", {"epoch": state.epoch})

    def roll_back(self) -> None:
        """Put `previous.pth` in the place of `last.pth`, whose weights give no finite scores."""
        previous = self.run.folder / PREVIOUS
        if self.fabric.is_global_zero:
            self.last.unlink(missing_ok=True)
            if previous.is_file():
                previous.replace(self.last)

    def remove_earlier(self) -> None:
        """Remove what an earlier run left: no old record may stand beside new weights."""
        if self.fabric.is_global_zero:
            for name in (RECORD, LAST, PREVIOUS):
                (self.run.folder / name).unlink(missing_ok=True)

    def restore(self, resume: str | Path | None = None) -> State:
        """Load what the folder's last checkpoint holds, and return where the run stopped.

        The number of processes may have changed, if as many videos still share a step. `resume`:
        the checkpoint of another run, which this one goes on from if it has none of its own.
        """
        if (last := read_last(self.run.folder)) is not None:
            check_same_run(*last, self.run.name)
            with refusing_malformed(last[0]):
                return self._load(*last)
        if resume is None:
            return State()
        content = read_checkpoint(resume)
        check_values(content.get("model", {}), Path(resume))
        check_resumable(Path(resume), content, self.run.setup, self.run.seed)
        with refusing_malformed(Path(resume)):
            state = self._load(Path(resume), content)
        state.resumed_from = {"run": content["run"], "epoch": state.epoch, "step": state.step}
        return state

    def _load(self, file: Path, content: dict[str, Any]) -> State:
        step = self._convert_step(file, content["state"]["step"], content["processes"])
        self.model.load_state_dict(content["model"])
        kept = ("params", "lr")  # the latter is that of the last step, and goes into the history
        own = [{k: v for k, v in g.items() if k not in kept} for g in self.optimizer.param_groups]
        self.optimizer.load_state_dict(content["optimizer"])
        for group, options in zip(self.optimizer.param_groups, own, strict=True):
            group.update(options)  # rates are those of this run
        self.fabric.strategy.precision.load_state_dict(content.get("scaler", {}))
        torch.set_rng_state(content["rng"])
        if content["rng_cuda"] and self.fabric.device.type == "cuda":
            torch.cuda.set_rng_state(content["rng_cuda"][0], self.fabric.device)  # equal on all
        state = State(**content["state"] | {"step": step, "unread": {}})  # they may be mended
        if self.fabric.global_rank > 0:  # the sums are those of the first process
            state.loss_sum, state.hits, state.seen = 0.0, 0, 0
        log.info(
            "continuing %s: %d epochs, %d batches", display_path(file), state.epoch, state.step
        )
        return state

    def _convert_step(self, file: Path, step: int, processes: int) -> int:
        """Convert a count of finished batches to this run's number of processes.

        Raises:
            CheckpointError: other numbers of videos would share a step.
        """
        setup, world = self.run.setup, self.fabric.world_size
        if processes == world:
            return step
        size, at_once = setup.cfg.batch_size, setup.at_once
        before, now = (accumulation(size, at_once * count) for count in (processes, world))
        if before * processes != now * world:
            raise CheckpointError(
                f"{file} was written with {before * processes * at_once} videos a step on "
                f"{processes} devices, and {world} devices make it {now * world * at_once}; take a "
                "number of devices that gives the same, or start over with fresh=True"
            )
        batches = math.ceil(setup.num_training / (at_once * world))  # of the epoch
        return min(math.ceil(step / before) * now, batches)

    def _write(self, name: str, content: dict) -> None:
        if not self.fabric.is_global_zero:
            return
        weights = {k: v.detach().cpu() for k, v in self.model.state_dict().items()}
        if found := find_impossible(weights):
            advice = advise(self.last)
            raise DivergedError(f"the training diverged: its weights hold {found}; {advice}")
        content = {
            "model": weights,
            "config": to_dict(self.run.setup.cfg),
            "data": self.run.setup.data,
            "scale": self.run.setup.scale,
            "run": self.run.name,
            "seed": self.run.seed,
            **self.facts,
            **content,
        }
        previous = self.run.folder / PREVIOUS if name == LAST else None
        write_atomic(self.run.folder / name, checkpoint_bytes(content), previous)


def _of_all_processes(fabric: Fabric, state: State) -> State:
    """Return the state with the sums and the unreadable videos of all processes."""
    if fabric.world_size == 1:
        return state
    parts = gather_lists(fabric, [(state.loss_sum, state.hits, state.seen, state.bad)])
    loss_sum, hits, seen = (sum(part[i] for part in parts) for i in range(3))
    bad = {path: reason for part in parts for path, reason in part[3].items()}
    return dataclasses.replace(state, loss_sum=loss_sum, hits=hits, seen=seen, bad=bad)


def finished_record(
    run: RunFolder, read: Callable[[Path], dict[str, Any]] = lambda folder: read_checked(folder)[0]
) -> dict[str, Any] | None:
    """Return the record of a run that needs no more training, if its weights are still there.

    `read` reads a record, and raises `ResultsError` where it is damaged.
    """
    last = run.folder / LAST
    if not ((run.folder / RECORD).is_file() and last.is_file()):
        return None
    try:
        content = read_checkpoint(last)
    except CheckpointError:  # said by `restore`, which has an older one
        return None
    check_same_run(last, content, run.name)
    if content["state"]["epoch"] < run.setup.cfg.epochs:
        return None
    try:
        record = read(run.folder)
        if record.get("kind") != "training":
            raise ResultsError(f"{run.folder / RECORD} is of no training")
    except ResultsError as error:
        log.warning("%s; it is written anew, from the weights", error)
        return None
    return {**record, "run_dir": str(run.folder)}
