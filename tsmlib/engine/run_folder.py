"""A run and its folder, which belongs to one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import SoftFileLease, Timeout

from ..locks import remove_unsigned, wait_for
from ..paths import sweep_leftovers
from ..records import SUMS, write_sums
from ..results import cannot_write
from .ranks import world_size
from .setup import Setup

CLAIM_SECONDS = 120.0  # must be the same on all hosts


@dataclass(frozen=True)
class RunFolder:
    """A run and the folder it is written to; `name` is that of `run_name` or `evaluation_name`."""

    folder: Path
    name: str
    setup: Setup
    seed: int | None  # of a test: that of the training, if its weights say so
    max_bad: float = 0.01  # largest share of unreadable videos
    parent_weights: Path | None = None  # of the row that it starts from


@contextmanager
def run_folder_lock(folder: Path) -> Iterator[None]:
    """Claim a run folder for this process. Skipped by ranks of torchrun or srun, which share a run.

    The claim is an ordinary file, so it works on any file system. If its process dies, it is
    released at once on the same host, and elsewhere when it was not renewed for `CLAIM_SECONDS`.
    What the dead process had half written is removed.

    Raises:
        ResultsError: the folder cannot be written.
    """
    if world_size() > 1:
        yield
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = wait_for(_claim(folder))
    except OSError as error:
        raise cannot_write(folder, error) from None
    with lock:
        sweep_leftovers(folder)
        yield


def tidy_finished(folder: Path) -> None:
    """Clean up after a process that died between record and checksums, if nobody else does."""
    claim, is_sealed = _claim(folder), (folder / SUMS).exists()
    if Path(claim.lock_file).exists() or any(folder.glob("*.tmp")) or not is_sealed:
        with suppress(OSError, Timeout):
            remove_unsigned(Path(claim.lock_file))
            with claim.acquire(timeout=0):
                sweep_leftovers(folder)
                if not is_sealed:
                    write_sums(folder)


def _claim(folder: Path) -> SoftFileLease:
    return SoftFileLease(folder / "claim", lease_duration=CLAIM_SECONDS)
