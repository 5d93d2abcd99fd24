"""Folders of data, caches and results: an argument, else an environment variable, else here.

"Here" is the repository, or the current folder where the package is installed without it.
"""

import hashlib
import os
import re
from contextlib import suppress
from pathlib import Path

LONGEST_NAME = 160  # bytes; file systems take 255, and something may be added
HOME = Path(__file__).resolve().parent.parent
IN_REPOSITORY = (HOME / "pyproject.toml").is_file()
if not IN_REPOSITORY:
    HOME = Path.cwd()


def data_folder(path: str | Path | None = None) -> Path:
    """Return the root of the real data sets (TSM_DATA, default `data/`)."""
    return _folder(path, "TSM_DATA", "data")


def cache_folder(path: str | Path | None = None) -> Path:
    """Return the folder of generated clips and downloads (TSM_CACHE, default `.cache/`)."""
    return _folder(path, "TSM_CACHE", ".cache")


def results_folder(path: str | Path | None = None) -> Path:
    """Return the folder of run records (TSM_RESULTS): one's own in local/, published in runs/."""
    return _folder(path, "TSM_RESULTS", "results")


def frame_cache_folder() -> Path | None:
    """Return the folder of decoded frames (TSM_FRAME_CACHE); None: they are not kept."""
    chosen = os.environ.get("TSM_FRAME_CACHE")
    return _folder(chosen, "", "") if chosen else None


def runs_folder(name: str) -> Path:
    """Return the folder of the runs here of a row, or of data of one's own by their name."""
    return results_folder() / "local" / file_name(name)


def file_name(text: str) -> str:
    """Turn any text into the name of a file or folder, which leads into no other folder.

    What file systems or shells do not take becomes `_`.
    """
    plain = re.sub(r"[^\w.+=,-]+", "_", text).encode(errors="ignore")[:LONGEST_NAME]
    return plain.decode(errors="ignore").strip("_.") or "_"


def display_path(path: str | Path) -> str:
    """Format a path for people: relative to the current folder or to the repository inside them."""
    path = Path(path)
    for base in (Path.cwd(), HOME):
        if path.is_absolute() and path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def expand_home(path: str | Path) -> Path:
    """Replace `~` and `~user`; where there is no such user, it is the name of a file."""
    with suppress(RuntimeError):
        return Path(path).expanduser()
    return Path(path)


def published_file(name: str) -> Path:
    """Find a file of results/ that comes with the project: `reference.csv`, `plan.yaml` ...

    It is the repository's where there is one, else the copy that was installed.
    """
    file = HOME / "results" / name
    return file if file.is_file() else Path(__file__).parent / "published" / name


def reference_file() -> Path:
    """Return the file of the published tables."""
    return published_file("reference.csv")


def write_whole(
    file: Path, content: str | bytes | memoryview, previous: Path | None = None
) -> None:
    """Write a file, and the folders above it, completely or not at all.

    What was there before is then named `previous`, if that is given.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        if previous and file.is_file():
            file.replace(previous)
        temporary.replace(file)
    except OSError:
        if temporary.is_file():
            temporary.unlink()
        raise


def file_sha256(path: str | Path) -> str:
    """Hash the content of a file; the digest is hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sweep_leftovers(folder: Path, of_the_dead: bool = False) -> None:
    """Remove what processes that died in `write_whole` left in a folder, if that can be.

    `of_the_dead`: where others may write, only what no process of this host is at work on.
    """
    for leftover in folder.glob("*.[0-9]*.tmp"):
        process = leftover.name.split(".")[-2]
        if not process.isdigit() or of_the_dead and _is_alive(int(process)):
            continue
        with suppress(OSError):
            leftover.unlink(missing_ok=True)


def _is_alive(process: int) -> bool:
    if os.name == "nt":  # where signal 0 is Ctrl-C
        return True
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):  # another user's, or no number of a process
        return True
    return True


def _folder(path: str | Path | None, variable: str, default: str) -> Path:
    chosen = Path(path or os.environ.get(variable) or HOME / default).expanduser()
    return chosen if chosen.is_absolute() else Path.cwd() / chosen
