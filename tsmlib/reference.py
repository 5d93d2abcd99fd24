"""The published numbers of the 36 rows, and which records may stand beside them. No torch."""

import json
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from .configs import Config, changed_fields, get_config, list_configs
from .paths import reference_file
from .records import ResultsError


def read_reference() -> pd.DataFrame:
    """Read the 36 published rows (numbers of MMAction2's TSM page), with short names as `cfg`."""
    table = pd.read_csv(reference_file())
    table.insert(0, "cfg", table["row_id"].map(_rows_by_id()))
    return table


@cache
def _rows_by_id() -> dict[str, str]:
    return {get_config(name).row_id: name for name in list_configs()}


def published_address(name: str, column: str) -> str | None:
    """Return the address of a row in a column of results/reference.csv; None: it has none."""
    url = read_reference().set_index("cfg")[column].get(name)
    return url if isinstance(url, str) else None  # an empty field is read as NaN


def read_log(file: str | Path) -> pd.DataFrame:
    """Read a published training log (mmcv's JSON lines): `epoch`, mean `loss`, `top1` (%).

    Raises:
        ResultsError: the file is no such log.
    """
    try:
        lines = [json.loads(line) for line in Path(file).read_text().splitlines() if line.strip()]
        table = pd.DataFrame([line for line in lines if "mode" in line and "epoch" in line])
        train, val = (table[table["mode"] == mode] for mode in ("train", "val"))
        curve = train.groupby("epoch")["loss"].mean().to_frame()
        curve["top1"] = 100 * val.groupby("epoch")["top1_acc"].last()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"{file} is no training log of MMAction2: {error}") from None
    return curve.reset_index()


def candidate_protocols(cfg: Config) -> tuple[str, ...]:
    """List the protocols that may be behind a published number.

    The ten crops of the 16-frame and dense Kinetics rows came into their configs after the numbers
    were published, with one crop before (MMAction2 fc9f4c30): both are candidates.
    """
    unknown = cfg.dataset == "k400" and cfg.test_crops == 10
    return ("published", "validation") if unknown else ("published",)


def published_accuracy(cfg: str, protocol: str) -> dict[str, float]:
    """Return the published top1 and top5 of a row under a protocol, in percent, where they exist.

    The tables' first columns are the `efficient` protocol on Something-Something and Jester, whose
    own test pipeline is the `accurate` one; elsewhere there is one protocol (the page's note 4).
    """
    table = read_reference().set_index("cfg")
    if cfg not in table.index:
        return {}
    row = table.loc[cfg]
    if pd.notna(row["top1_accurate"]):
        suffix = {"efficient": "", "published": "_accurate", "accurate": "_accurate"}.get(protocol)
    else:
        suffix = "" if protocol == "published" else None
    if suffix is None:
        return {}
    values = {k: row[f"{k}{suffix}"] for k in ("top1", "top5")}
    return {k: float(v) for k, v in values.items() if pd.notna(v)}


def comparable(record: dict[str, Any], changes: dict[str, Any]) -> bool:
    """Tell whether a record may stand beside a published accuracy.

    Real data at full scale in fp32, the row unchanged, every listed validation video evaluated.
    """
    whole = record["num_videos"] == record["num_listed"] and not record.get("resumed_from")
    plain = (record["data"], record["scale"], record.get("precision", "32-true"))
    return plain == ("real", "full", "32-true") and not changes and whole


def published_beside(record: dict[str, Any], cfg: Config) -> dict[str, float]:
    """Return the published accuracies beside which a record may stand; none if incomparable."""
    if not comparable(record, changed_fields(cfg)):
        return {}
    return published_accuracy(record["cfg"], record["protocol"])
