"""Make a data root of shards: the lists of a row as they are, and its media in tars beside them."""

import shutil
from pathlib import Path

from ...configs import Config
from ..annotations import DataError, find_list
from ..shards import ShardReport, write_shards


def make_shards(
    cfg: Config, data_root: Path, out: Path, splits: tuple[str, ...], max_bytes: int
) -> dict[str, ShardReport]:
    """Write the shards of some splits, and copy their lists; the hash of a list stays.

    Args:
        cfg: the row.
        data_root: where its data are.
        out: the new data root.
        splits: `train`, `val` or both.
        max_bytes: about the size of a shard.

    Raises:
        DataError: a list that cannot be read, or a folder that cannot be written or holds shards.
    """
    out, reports = Path(out).expanduser().resolve(), {}
    if out == data_root:
        raise DataError(f"{out} is the data root itself: name another folder for the shards")
    for split in splits:
        videos = find_list(cfg, split, data_root)
        if videos.sharded:
            raise DataError(f"{videos.prefix} holds shards already, and no single files")
        prefix = getattr(cfg, f"{split}_prefix")
        folder = out / (prefix if prefix is not None else "")
        numbering = cfg.filename_tmpl, cfg.start_index
        reports[split] = write_shards(videos, folder, split, *numbering, max_bytes)
        target = out / getattr(cfg, f"{split}_list")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(videos.file, target)
    return reports
