"""The lock of a run's folder, which belongs to one process at a time."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import SoftFileLease, Timeout

from ..locks import wait_for
from ..paths import sweep_leftovers
from ..results import cannot_write
from .ranks import world_size

CLAIM_SECONDS = 120.0  # equal on all hosts


@contextmanager
def run_folder_lock(folder: Path) -> Iterator[None]:
    """Claim a run folder for this process. Skipped by ranks of torchrun or srun, which share a run.

    The claim needs nothing of a file system but files. Of a process or host that has died it ends
    by itself: at once here, elsewhere when it was not renewed for `CLAIM_SECONDS`. What it had
    begun to write is removed.

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


def sweep_finished(folder: Path) -> None:
    """Remove what a process left that died after it had written its record, if that can be."""
    claim = _claim(folder)
    if Path(claim.lock_file).exists() or any(folder.glob("*.tmp")):
        with suppress(OSError, Timeout), claim.acquire(timeout=0):
            sweep_leftovers(folder)


def _claim(folder: Path) -> SoftFileLease:
    return SoftFileLease(folder / "claim", lease_duration=CLAIM_SECONDS)
