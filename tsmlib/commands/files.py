"""Checks of the files that a command reads and writes."""

from collections.abc import Mapping
from pathlib import Path

from ..configs import ConfigError


def check_different_files(named: Mapping[str, Path | None]) -> None:
    """Check that no two options name one file; None names none.

    Raises:
        ConfigError: two do.
    """
    seen: dict[Path, str] = {}
    for option, path in named.items():
        if path is not None and (other := seen.setdefault(path.resolve(), option)) != option:
            raise ConfigError(f"{option} names the same file as {other}, {path}; name another one")
