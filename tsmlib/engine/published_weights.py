"""Fetch the weights and the training logs that MMAction2 publishes for the rows."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from ..configs import get_config
from ..models.downloads import DownloadError, download, hash_in_name
from ..paths import cache_folder
from ..results import read_log, read_reference

log = logging.getLogger(__name__)


def published_checkpoint(row_name: str) -> Path:
    """The weights that MMAction2 publishes for a row, downloaded once.

    Raises:
        ConfigError: there is no such row.
        DownloadError: the row has no published weights, or they cannot be had.
    """
    name, url = _published(row_name, "ckpt_url")
    if url is None:
        raise DownloadError(f"{name} has no published weights (ckpt_url in results/reference.csv)")
    return download(url)


def published_hash(name: str) -> str:
    """Start of the sha256 of a row's published weights; '' where there are none."""
    url = read_reference().set_index("cfg")["ckpt_url"].get(name)
    return hash_in_name(url) if isinstance(url, str) else ""


def published_log(row_name: str) -> Path | None:
    """The published training log of a row, one JSON object a line; None if there is none.

    Raises:
        ConfigError: there is no such row.
        DownloadError: it cannot be had.
    """
    name, url = _published(row_name, "json_url")
    if url is None:
        log.info("%s has no published log (json_url in results/reference.csv)", name)
        return None
    return download(url, cache_folder() / "logs" / name)  # both rows of UCF101 name theirs alike


def published_curve(row_name: str, source: str, record: dict[str, Any]) -> pd.DataFrame | None:
    """The published training curve of a row, to lay over the curve of a run.

    Args:
        row_name: the row.
        source: `none`, `published` (its log is downloaded), or a file.
        record: of the run; a curve is only given where it may be compared.

    Raises:
        DownloadError, ResultsError: the log cannot be had or read.
    """
    if source == "none":
        return None
    if (record["data"], record["scale"]) != ("real", "full"):
        log.warning("no published curve: the run is not on real data at full scale")
        return None
    file = published_log(row_name) if source == "published" else Path(source)
    return read_log(file) if file else None


def _published(row_name: str, column: str) -> tuple[str, str | None]:
    """Short name of a row, and its address in a column of results/reference.csv."""
    name = get_config(row_name).name
    url = read_reference().set_index("cfg")[column].get(name)
    return name, url if isinstance(url, str) else None  # an empty field is read as NaN
