"""Names of the rows, and the closest ones where a name is unknown."""

import difflib
import logging
from collections.abc import Iterable
from pathlib import Path

from .errors import ConfigError
from .fields import Config
from .rows import OWN_ROWS, ROWS, row_fields

log = logging.getLogger(__name__)


def list_configs() -> list[str]:
    """List the short names of the 36 published rows, in the order of the published tables."""
    return list(ROWS)


def list_own_configs() -> list[str]:
    """List the names of the rows of ours, which no published table has."""
    return list(OWN_ROWS)


def is_row(name: str) -> bool:
    """Tell whether a row has this short name, a published one or one of ours."""
    return name in ROWS or name in OWN_ROWS


def is_video_folder(name: str) -> bool:
    """Tell whether a name is no row but a folder, which is taken for one's own videos."""
    return not is_row(name) and Path(name).expanduser().is_dir()


def resolve_name(name: str) -> str:
    """Find the row of a short name, a published name or a row id.

    Raises:
        ConfigError: an unknown name; the closest ones are listed.
    """
    if is_row(name):
        return name
    plain = name.removesuffix(".py")
    by_id = [n for n in ROWS if Config(**row_fields(n)).row_id == plain]
    by_label = [n for n in ROWS if ROWS[n][1] == plain]
    rows = by_id if len(by_id) == 1 else by_label
    if not rows:
        known = [*ROWS, *OWN_ROWS, *{row[1] for row in ROWS.values()}]
        raise ConfigError(f"there is no configuration {name!r}; {_closest(plain, known)}")
    if len(rows) == 1:
        return rows[0]
    default = next(n for n in rows if row_fields(n)["resolution"] == "short-side 256")
    others = ", ".join(n for n in rows if n != default)
    log.warning("%s names %d rows: taking %s; the others are %s", name, len(rows), default, others)
    return default


def _closest(name: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(name, list(known), n=4, cutoff=0.4)
    return f"closest: {', '.join(near)}" if near else "list_configs() names all rows"
