"""Commands that prepare a row's data: its lists, its raw frames, a check of everything.

The official annotations belong into `<data root>/<data set>/annotations`, media beside them (see
data/prepare/official_annotations.py and the folders of each data set).
"""

import logging
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..configs import Config, get_config
from ..paths import data_folder
from ..text import to_terminal

Row = Annotated[str, Parameter(help="name of a row, or a YAML file.")]
DataRoot = Annotated[str | None, Parameter(help="folder of the data sets (default: TSM_DATA).")]
Split = Annotated[Literal["train", "val"] | None, Parameter(help="one split only.")]
Workers = Annotated[int | None, Parameter(help="processes (default: as many as cores).")]


def lists(row: Row, /, *, split: Split = None, data_root: DataRoot = None) -> None:
    """Write a row's list files from the official annotations."""
    cfg, root = _find_data(row, data_root)
    from ..data.prepare.summaries import summarise_lists
    from ..data.prepare.write_lists import write_lists

    splits = (split,) if split else ("train", "val")
    print(to_terminal("\n".join(summarise_lists(write_lists(cfg, root, splits)))))


def extract(
    row: Row, /, *, split: Split = None, workers: Workers = None, data_root: DataRoot = None
) -> None:
    """Extract a row's raw frames from its videos; the same command continues where it stopped."""
    cfg, root = _find_data(row, data_root)
    from ..data.prepare.extraction import extract_frames
    from ..data.prepare.summaries import summarise_extraction

    print(to_terminal("\n".join(summarise_extraction(extract_frames(cfg, root, split, workers)))))


def check(
    row: Row, /, *, full: bool = False, workers: Workers = None, data_root: DataRoot = None
) -> int:
    """Say which of a row's data are there, missing or damaged.

    Args:
        full: decode every frame.
    """
    cfg, root = _find_data(row, data_root)
    from ..data.prepare.check import check_data
    from ..data.prepare.summaries import summarise_check

    checked = check_data(cfg, root, full, workers)
    print(to_terminal("\n".join(summarise_check(checked))))
    return 0 if checked.ready else 1


def shard(
    row: Row,
    out: Path,
    /,
    *,
    split: Split = None,
    megabytes: int = 1000,
    data_root: DataRoot = None,
) -> None:
    """Write a row's videos as tar shards, for file systems that are slow at many small files.

    The folder is a data root: tsm train ROW --data-root OUT.

    Args:
        out: folder to write to.
        megabytes: about the size of a shard.
    """
    cfg, root = _find_data(row, data_root)
    from ..data.prepare.make_shards import make_shards
    from ..data.prepare.summaries import summarise_shards

    splits = (split,) if split else ("train", "val")
    reports = make_shards(cfg, root, out, splits, megabytes * 10**6)
    print("\n".join(summarise_shards(reports)))


def pushups(source: str, target: str, /) -> int:
    """Cut the push-up clips of the studies from a checkout of their public source.

    Args:
        source: folder with the source videos (results/pushups/README.md says whose).
        target: folder of the new data set: videos, lists and class names.
    """
    logging.getLogger("tsmlib").setLevel(logging.INFO)
    from ..data.prepare.pushups import cut_pushups
    from ..data.prepare.summaries import summarise_cut

    report = cut_pushups(source, target)
    print(to_terminal("\n".join(summarise_cut(report))))
    return 1 if report.failed else 0


def _find_data(row: str, data_root: str | None) -> tuple[Config, Path]:
    """Return a row and the folder of its data sets, and let the work on them be logged."""
    logging.getLogger("tsmlib").setLevel(logging.INFO)
    cfg = get_config(row)
    return cfg, Path(data_root or cfg.data_root or data_folder()).expanduser().resolve()
