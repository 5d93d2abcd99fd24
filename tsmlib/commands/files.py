"""Checks of the files that a command reads and writes."""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from ..configs import ConfigError
from ..paths import expand_home


def check_different_files(named: Mapping[str, str | Path | None]) -> None:
    """Check that no two options name one file, by whatever names; None names none.

    Raises:
        ConfigError: two do.
    """
    seen: dict[str, Path] = {}
    for option, name in named.items():
        if name is None:
            continue
        path = expand_home(re.sub("^file:(//)?", "", str(name)))
        for other, before in seen.items():
            if _is_same(path, before):
                raise ConfigError(
                    f"{option} names the same file as {other}, {name}; name another one"
                )
        seen[option] = path


def _is_same(one: Path, other: Path) -> bool:
    with suppress(OSError):  # one of them is not there yet
        return one.samefile(other)
    return os.path.realpath(one) == os.path.realpath(other)
