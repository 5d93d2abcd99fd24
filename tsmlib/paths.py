"""Where data, caches and results lie: an argument, else an environment variable, else here."""

import os
from pathlib import Path

HOME = Path(__file__).resolve().parent.parent
if not (HOME / "pyproject.toml").is_file():  # installed without its repository
    HOME = Path.cwd()


def data_folder(path: str | Path | None = None) -> Path:
    """Root of the real data sets (TSM_DATA, default `data/`)."""
    return _folder(path, "TSM_DATA", "data")


def cache_folder(path: str | Path | None = None) -> Path:
    """Generated clips and downloads (TSM_CACHE, default `.cache/`)."""
    return _folder(path, "TSM_CACHE", ".cache")


def results_folder(path: str | Path | None = None) -> Path:
    """Run records: the user's own in `local/`, published ones in `runs/` (TSM_RESULTS)."""
    return _folder(path, "TSM_RESULTS", "results")


def frame_cache_folder() -> Path | None:
    """Where decoded frames are kept (TSM_FRAME_CACHE); None: nowhere."""
    chosen = os.environ.get("TSM_FRAME_CACHE")
    return _folder(chosen, "", "") if chosen else None


def display_path(path: str | Path) -> str:
    """A path for people: relative to here or to the repository where it lies inside."""
    path = Path(path)
    for base in (Path.cwd(), HOME):
        if path.is_absolute() and path.is_relative_to(base):
            return str(path.relative_to(base))
    return str(path)


def reference_file() -> Path:
    """The published tables."""
    return HOME / "results" / "reference.csv"


def write_whole(file: Path, content: str | bytes | memoryview) -> None:
    """Write a file, and the folders above it, completely or not at all.

    Raises:
        OSError: it cannot be written; what was there before is still there.
    """
    temporary = file.with_name(f"{file.name}.{os.getpid()}.tmp")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(file)
    except OSError:
        if temporary.is_file():
            temporary.unlink()
        raise


def _folder(path: str | Path | None, variable: str, default: str) -> Path:
    chosen = Path(path or os.environ.get(variable) or HOME / default).expanduser()
    return chosen if chosen.is_absolute() else Path.cwd() / chosen
