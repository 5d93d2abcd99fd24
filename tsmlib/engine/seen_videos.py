"""Tell which videos of a test a network was trained on, and which changed since it was."""

import hashlib
import logging
from typing import Any

from ..configs import Config
from ..data.annotations import VideoList
from ..records import RECORD
from .run_folder import RunFolder

log = logging.getLogger(__name__)

TRAINED_ON = "trained_on"  # of a checkpoint
MAX_CHECKED = 5000  # videos whose files are looked at: each asks the file system


def hash_paths(videos: VideoList) -> list[int]:
    """Hash the absolute path of each video of a list, to 6 bytes."""
    paths = (str((videos.prefix / entry.path).absolute()) for entry in videos.entries)
    return [int.from_bytes(hashlib.sha256(path.encode()).digest()[:6]) for path in paths]


def trained_on(cfg: Config, videos: VideoList) -> dict[str, list[int]]:
    """Return what a checkpoint holds of the videos it was trained on; only of one's own."""
    return {TRAINED_ON: hash_paths(videos)} if cfg.dataset == "custom" else {}


def count_seen(content: dict[str, Any], videos: VideoList) -> int | None:
    """Count the videos of a list that a checkpoint was trained on, and warn of them.

    Videos that were moved or copied since are not recognised. None: the checkpoint does not say.
    """
    if TRAINED_ON not in content:
        return None
    seen = len({x for x in content[TRAINED_ON] if isinstance(x, int)} & {*hash_paths(videos)})
    if seen:
        log.warning(
            "%d OF %d TEST VIDEOS WERE ALSO TRAINED ON: this accuracy says little about new ones "
            "(%s was rewritten since the training, or both lists name them)",
            seen, len(videos.entries), videos.file.name,
        )  # fmt: skip
    return seen


def warn_of_changes(run: RunFolder) -> None:
    """Warn if one's own videos changed after a run had ended: it is not trained again."""
    if run.setup.cfg.dataset != "custom":
        return
    lists = run.setup.val_list, run.setup.train_list
    files = [videos.prefix / entry.path for videos in lists for entry in videos.entries]
    written = (run.folder / RECORD).stat().st_mtime
    newer = [f for f in files[:MAX_CHECKED] if f.exists() and f.stat().st_mtime > written]
    if newer:
        log.warning(
            "%d of the videos changed after this run ended, first %s: its accuracy is that of the "
            "old ones; fresh=True trains anew", len(newer), newer[0],
        )  # fmt: skip
