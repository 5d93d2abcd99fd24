"""The record of a run as it was written: `metrics.json`, its configuration, and their checksums."""

import json
import math
from numbers import Real
from pathlib import Path
from typing import Any

from .configs import Config, load_config
from .paths import file_sha256, write_whole

RECORD, CONFIG = "metrics.json", "config.json"
SUMS = "SHA256SUMS"  # as `sha256sum` writes it, and checks it with -c
NAMES = ("cfg", "kind", "data", "scale", "protocol")  # fields that are texts


class ResultsError(RuntimeError):
    """A record that cannot be read or written; the message names the file."""


def write_sums(folder: Path) -> None:
    """Write the checksums of a run's record and configuration beside them.

    Raises:
        OSError: the file cannot be written.
    """
    lines = [f"{file_sha256(folder / name)}  {name}\n" for name in (CONFIG, RECORD)]
    write_whole(folder / SUMS, "".join(lines))


def read_record(folder: str | Path) -> dict[str, Any]:
    """Read the `metrics.json` of a run's folder, as it is; see `read_checked`.

    Raises:
        ResultsError: there is none, or it is damaged.
    """
    file = Path(folder) / RECORD
    try:
        record = json.loads(file.read_text(encoding="utf-8"), parse_constant=_refuse)
    except FileNotFoundError:
        raise ResultsError(f"{folder} holds no record ({RECORD})") from None
    except OSError as error:
        raise ResultsError(f"{file} cannot be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{file} is damaged: {error}") from None
    if not isinstance(record, dict):
        raise ResultsError(f"{file} is damaged: it holds no record but {str(record)[:20]!r}")
    return record


def read_checked(folder: str | Path) -> tuple[dict[str, Any], Config]:
    """Read the record and the configuration of a run, and check that they are what was written.

    Records from before there were checksums have none; they and their configuration must agree.

    Raises:
        ResultsError: there is none, a field is missing or odd, or either file was changed.
    """
    folder = Path(folder)
    record = read_record(folder)
    try:
        cfg = load_config(folder / CONFIG)
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise ResultsError(f"{folder / CONFIG} is damaged: {reason}") from None
    problem = _find_odd_field(record) or _find_difference(record, cfg) or _find_change(folder)
    if problem:
        raise ResultsError(f"{folder / RECORD} is damaged: {problem}")
    return record, cfg


def _find_odd_field(record: dict[str, Any]) -> str:
    """Say which of the fields that every reader needs is not as it must be; '' if all are."""
    for name in NAMES:
        if not isinstance(record.get(name), str):
            return f"its {name} is {record.get(name)!r}, no text"
    seed, top1 = record.get("seed", ""), record.get("top1")
    if not (seed is None or type(seed) is int and abs(seed) < 2**63):
        return f"its seed is {seed!r}" if "seed" in record else "it has no seed"
    if not isinstance(top1, Real) or isinstance(top1, bool) or not math.isfinite(top1):
        return f"its top1 is {top1!r}, no number"
    return ""


def _find_difference(record: dict[str, Any], cfg: Config) -> str:
    """Say in what a record is not that of the configuration beside it; '' if it is."""
    if record["cfg"] != cfg.name:
        return f"it is of {record['cfg']}, the configuration beside it of {cfg.name}"
    if record.get("config_hash", cfg.hash) != cfg.hash:
        return f"its config_hash is {record['config_hash']}, that of {CONFIG} {cfg.hash}"
    return ""


def _find_change(folder: Path) -> str:
    """Say which file is not the one that was written, by its checksum; '' if all are."""
    try:
        lines = (folder / SUMS).read_text().splitlines()
    except FileNotFoundError:
        return ""
    except (OSError, ValueError) as error:
        return f"{SUMS} cannot be read: {error}"
    known = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name in (CONFIG, RECORD):
        if known.get(name) != file_sha256(folder / name):
            return f"the checksum of {name} is not the one in {SUMS}"
    return ""


def _refuse(constant: str) -> float:
    raise ValueError(f"it holds {constant}")
