"""Wait for other processes that are at work in the same folder, and say so."""

import logging
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from errno import EACCES, EPERM, EROFS
from pathlib import Path

from filelock import AcquireReturnProxy, BaseFileLock, FileLock, SoftFileLease, Timeout

from .paths import display_path
from .progress import Progress

SIGNED_SECONDS = 2.0  # after which a claim has the name of its process in it
RETRY_SECONDS = 60.0


def wait_for(lock: BaseFileLock) -> AcquireReturnProxy:
    """Acquire the lock of a folder (`claim` or `lock` in it) or a file (`.lock` behind its name).

    While another process holds it, that is said. Returns a context manager that releases it.
    """
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        file = Path(lock.lock_file)
        of_folder = file.name in ("claim", "lock")
        place = display_path(file.parent if of_folder else file.with_suffix(""))
        text = f"another process is at work in {place}: waiting for it"
        logging.getLogger(__name__).info(text)
        with Progress(text):
            while True:
                if isinstance(lock, SoftFileLease):
                    remove_unsigned(file)
                with suppress(Timeout):
                    return lock.acquire(timeout=RETRY_SECONDS)


def remove_unsigned(claim: Path) -> None:
    """Remove a claim whose process died before it wrote its name into it.

    filelock would wait for it for ever: its earliest versions never wrote one.
    """
    with suppress(FileNotFoundError):
        before = claim.stat()
        if before.st_size == 0:
            time.sleep(SIGNED_SECONDS)
            now = claim.stat()
            if (now.st_size, now.st_ino, now.st_mtime) == (0, before.st_ino, before.st_mtime):
                claim.unlink()


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Make a folder and hold its lock; one that is there and cannot be written needs no lock.

    Raises:
        OSError: the folder is not there and cannot be made.
    """
    lock: AbstractContextManager = nullcontext()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = wait_for(FileLock(folder / "lock"))
    except OSError as error:
        if not folder.is_dir() or error.errno not in (EROFS, EACCES, EPERM):
            raise
    with lock:
        yield
