"""The folder of a run: who works in it, what is saved there, and what is read back."""

import io
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock, Timeout
from lightning_fabric import Fabric
from torch import Tensor

from ..configs import Config, to_dict
from ..models.checkpoints import CheckpointError, read_checkpoint
from ..paths import shown
from ..results import cannot_write, read_record, write_atomic
from .devices import world_size
from .setup import Setup

log = logging.getLogger(__name__)

SAVE_SECONDS = 600  # an interrupted epoch loses no more than this


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Alone in a folder while it lasts; the processes of one run, which work together, need none.

    Raises:
        ResultsError: the folder cannot be written.
    """
    if world_size() > 1:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / "lock")
        lock.acquire(timeout=0)
    except Timeout:
        log.info("another process is at work in %s: waiting for it", shown(folder))
        lock.acquire()
    except OSError as error:
        raise cannot_write(folder, error) from None
    try:
        yield
    finally:
        lock.release()


@dataclass
class State:
    """Where a training run stands; everything in it goes into the checkpoint."""

    epoch: int = 0
    step: int = 0  # batches of this epoch that are done
    loss_sum: float = 0.0
    hits: int = 0
    seen: int = 0
    seconds: float = 0.0
    best: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)


class Sums:
    """What a state counts, kept on the device: reading it at each step would wait for the step."""

    def __init__(self, device: torch.device):
        exact = torch.float32 if device.type == "mps" else torch.float64
        self.values, self.seen = torch.zeros(2, dtype=exact, device=device), 0

    def add(self, loss: Tensor, right: Tensor) -> None:
        """A batch: its summed loss, and whether each video was right."""
        self.values += torch.stack((loss, right.sum()))
        self.seen += len(right)

    def into(self, state: State) -> None:
        """Move the sums to a state."""
        loss, hits = self.values.tolist()
        state.loss_sum, state.hits = state.loss_sum + loss, state.hits + int(hits)
        state.seen += self.seen
        self.values.zero_()
        self.seen = 0


class Saver:
    """Writes `last.pth` (everything needed to continue) and `best.pth`, all or nothing."""

    def __init__(
        self, fabric: Fabric, folder: Path, setup: Setup, run: str, seed: int, model, optimizer
    ):
        self.fabric, self.folder, self.setup = fabric, folder, setup
        self.run, self.seed = run, seed
        self.model, self.optimizer, self.saved = model, optimizer, time.perf_counter()
        if fabric.is_global_zero:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise cannot_write(folder, error) from None

    def save(self, state: State) -> None:
        content = {
            "optimizer": self.optimizer.state_dict(),
            "state": vars(state),
            "processes": self.fabric.world_size,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        self._write("last.pth", content)
        self.saved = time.perf_counter()

    def is_due(self) -> bool:
        """Whether a long epoch should be saved before it ends."""
        return time.perf_counter() - self.saved > SAVE_SECONDS

    def save_in_epoch(self, state: State, epoch_started: float) -> None:
        """After a whole step."""
        before = state.seconds
        state.seconds += time.perf_counter() - epoch_started
        self.save(state)
        state.seconds = before

    def keep_best(self, state: State, top1: float) -> None:
        if top1 > state.best:
            state.best = top1
            self._write("best.pth", {"epoch": state.epoch})

    def restore(self) -> State:
        """Where the run in this folder stopped, or its beginning."""
        file = self.folder / "last.pth"
        if not file.is_file():
            return State()
        content = read_checkpoint(file)
        _check_same_run(file, content, self.run)
        if content["processes"] != self.fabric.world_size:
            raise CheckpointError(
                f"{file} was written by {content['processes']} processes, these are "
                f"{self.fabric.world_size}; start as many, or start over with fresh=True"
            )
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["rng"])
        if content["rng_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(content["rng_cuda"])
        state = State(**content["state"])
        if self.fabric.global_rank > 0:  # the sums are those of the first process
            state.loss_sum, state.hits, state.seen = 0.0, 0, 0
        log.info("continuing %s: %d epochs, %d batches", shown(file), state.epoch, state.step)
        return state

    def _write(self, name: str, content: dict) -> None:
        if not self.fabric.is_global_zero:
            return
        weights = {k: v.detach().cpu() for k, v in self.model.state_dict().items()}
        content = {
            "model": weights,
            "config": to_dict(self.setup.cfg),
            "data": self.setup.data,
            "scale": self.setup.scale,
            "run": self.run,
            "seed": self.seed,
            **content,
        }
        write_atomic(self.folder / name, as_bytes(content))


def as_bytes(content: dict) -> memoryview:
    """What `torch.save` would write into a file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def _check_same_run(file: Path, content: dict, run: str) -> None:
    if "run" not in content or "state" not in content:
        raise CheckpointError(f"{file} holds weights only; a run cannot be continued from it")
    if content["run"] != run:
        raise CheckpointError(
            f"{file} belongs to another run, {content['run']}; this one is {run}: other settings, "
            "lists, clips or precision; choose another work_dir, or start over with fresh=True"
        )


def finished_record(folder: Path, cfg: Config, run: str) -> dict[str, Any] | None:
    """The record of a run that needs no more training. One without its weights does not count."""
    if not ((folder / "metrics.json").is_file() and (folder / "last.pth").is_file()):
        return None
    content = read_checkpoint(folder / "last.pth")
    _check_same_run(folder / "last.pth", content, run)
    if content["state"]["epoch"] < cfg.epochs:
        return None
    return {**read_record(folder), "run_dir": str(folder)}
