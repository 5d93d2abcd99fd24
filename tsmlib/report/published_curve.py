"""The published training logs of the rows, to lay their curves over those of a run."""

import logging
from pathlib import Path
from typing import Any

import pandas as pd

from ..configs import get_config
from ..models.downloads import download
from ..paths import cache_folder
from ..reference import published_address, read_log

log = logging.getLogger(__name__)


def published_log(row_name: str) -> Path | None:
    """Download the published training log of a row, one JSON object a line; None: there is none.

    Raises:
        ConfigError: there is no such row.
        DownloadError: it cannot be had.
    """
    name = get_config(row_name).name
    url = published_address(name, "json_url")
    if url is None:
        log.info("%s has no published log (json_url in results/reference.csv)", name)
        return None
    return download(url, cache_folder() / "logs" / name)  # both rows of UCF101 name theirs alike


def published_curve(row_name: str, source: str, record: dict[str, Any]) -> pd.DataFrame | None:
    """Read the published training curve of a row, to lay over the curve of a run.

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
