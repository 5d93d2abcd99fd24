"""List files of a row, written from the official annotations and what is on disk.

As MMAction2's tools/data/build_file_list.py writes them (0.x), but in the order of the annotations
instead of shuffled, so that the same data give the same file.
"""

import logging
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from ...configs import DATASETS, Config
from ...configs.datasets import SPLITS
from ...paths import write_whole
from ...progress import track
from ...text import parse_number
from ..annotations import DataError
from ..list_lines import VIDEO_SUFFIXES
from .official_annotations import (
    AnnotatedVideo,
    annotations_folder,
    order_difference,
    read_official,
)
from .parsing import stem

log = logging.getLogger(__name__)

NAMED = 5  # missing videos named in a report
SHORT = 5000  # up to so many videos are looked for without a progress bar
THREADS = 16  # list folders at the same time; they wait for the disk, not for a core


@dataclass(frozen=True)
class SplitReport:
    """Counts of one list: its videos, those that are missing, and their frames."""

    split: str
    file: Path
    annotated: int  # videos in the annotations
    found: int  # annotated videos on disk, which are in the list
    missing: tuple[str, ...]  # the first few annotated videos that are not on disk
    gaps: tuple[str, ...]  # frame folders with frames past the first number that is missing
    frames: tuple[int, float, int] | None  # fewest, median, most; None for video files
    difference: str  # how the class order differs from the row's; empty if it does not


@dataclass(frozen=True)
class ListsReport:
    """Reports of the lists that were written."""

    splits: tuple[SplitReport, ...]


def write_lists(
    cfg: Config, data_root: str | Path, splits: tuple[str, ...] = SPLITS
) -> ListsReport:
    """Write the list files of a row: `directory num_frames label`, or `path.ext label`.

    Videos that are not on disk are left out, as MMAction2 does, and counted. Nothing is written
    before all lists are complete, and each list appears at once.

    Args:
        cfg: a row; its list names, folders, layout and frame names are followed.
        data_root: folder that holds the data sets.
        splits: the lists to write.

    Raises:
        DataError: the annotations cannot be read (see `read_official`), no video of a split is on
            disk, labels do not fit the row, or a list cannot be written.
    """
    root = Path(data_root)
    written = [_compose_list(cfg, root, split) for split in splits]
    for report, text in written:
        _write_text(report.file, text)
    if written[0][0].difference:
        log.warning("%s", written[0][0].difference)
    for report, _ in written:
        if report.gaps:
            log.warning(
                "%s: %d folders have frames past a gap in their numbers, which are left out: %s",
                report.split, len(report.gaps), ", ".join(report.gaps[:NAMED]),
            )  # fmt: skip
    return ListsReport(tuple(report for report, _ in written))


def _compose_list(cfg: Config, root: Path, split: str) -> tuple[SplitReport, str]:
    """Compose the report and the text of a split's list."""
    official = read_official(cfg.dataset, annotations_folder(cfg.dataset, root), split)
    difference = order_difference(cfg, official.names)
    if len(official.names) > cfg.num_classes:
        raise DataError(
            f"the annotations of {cfg.dataset} have {len(official.names)} classes, "
            f"{cfg.name} has num_classes={cfg.num_classes}"
        )
    folder = media_folder(cfg, root, split)
    found = locate_media(cfg, folder, official.items)
    if not found:
        raise DataError(explain_missing_media(cfg, folder, split, official.items))
    known = {item.path for item, _ in found}
    missing = tuple(item.path for item in official.items if item.path not in known)
    counts = [] if cfg.layout == "video" else _count_all(cfg, folder, [path for _, path in found])
    frames = [listed for listed, _ in counts]
    lengths = [f" {n}" for n in frames] or [""] * len(found)
    lines = [f"{path}{n} {item.label}\n" for (item, path), n in zip(found, lengths, strict=True)]
    report = SplitReport(
        split, root / getattr(cfg, f"{split}_list"), len(official.items), len(found),
        missing[:NAMED],
        tuple(path for (_, path), (n, present) in zip(found, counts, strict=False) if present > n),
        (min(frames), median(frames), max(frames)) if frames else None,
        difference,
    )  # fmt: skip
    return report, "".join(lines)


# --- media on disk --------------------------------------------------------------------------------


def media_folder(cfg: Config, root: Path, split: str) -> Path:
    """Return the folder that the paths of a split are relative to."""
    return root / (getattr(cfg, f"{split}_prefix") or "")


def explain_missing_media(
    cfg: Config, folder: Path, split: str, items: tuple[AnnotatedVideo, ...]
) -> str:
    """Compose the sentence for a split none of whose videos is where it belongs."""
    kind, example, how = "video files", f"{items[0].path}{VIDEO_SUFFIXES[0]}", ""
    if cfg.layout != "video":
        kind = "folders of frames"
        example = f"{items[0].path}/{cfg.filename_tmpl.format(cfg.start_index)}"
        if not DATASETS[cfg.dataset].as_frames:
            how = f", or: python -m tsmlib data extract {cfg.name}"
    return (
        f"none of the {len(items)} {kind} of the {split} split of {cfg.dataset} is in {folder} "
        f"(looked for {example} and others); put them there{how}"
    )


def locate_media(
    cfg: Config, folder: Path, items: tuple[AnnotatedVideo, ...]
) -> list[tuple[AnnotatedVideo, str]]:
    """List the annotated videos on disk, in order, with their paths below the folder."""
    if cfg.layout == "video":
        return locate_videos(index_videos(folder), items)
    paths = _map_paths(lambda item: _frame_folder(cfg, folder, item), items, "finding videos")
    return [(item, path) for item, path in zip(items, paths, strict=True) if path]


def locate_videos(
    videos: dict[str, str], items: tuple[AnnotatedVideo, ...]
) -> list[tuple[AnnotatedVideo, str]]:
    """List the annotated videos that `index_videos` has found, in order, with their paths."""
    paths = [(i, next((videos[n] for n in names_on_disk(i) if n in videos), None)) for i in items]
    return [(item, path) for item, path in paths if path]


def index_videos(folder: Path) -> dict[str, str]:
    """Map path without suffix to path, for the video files in a folder and its subfolders."""
    if not folder.is_dir():
        return {}
    inner = [entry.name for entry in os.scandir(folder) if entry.is_dir()]
    paths = sorted(
        f"{prefix}{entry.name}"
        for prefix in ("", *(f"{name}/" for name in inner))
        for entry in os.scandir(folder / prefix)
        if entry.name.lower().endswith(VIDEO_SUFFIXES) and entry.is_file()  # no frame folder
    )
    return {stem(path): path for path in reversed(paths)}  # of two suffixes the first one


def count_frames(folder: Path, template: str, start: int) -> tuple[int, int]:
    """Count the frames numbered without a gap from `start`, and the frames with any number."""
    before, after = re.split(r"\{[^}]*\}", template, maxsplit=1)
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except (FileNotFoundError, NotADirectoryError):
        return 0, 0
    numbered = {
        name for name in names
        if name.startswith(before) and name.endswith(after)
        and parse_number(name[len(before) : len(name) - len(after)]) is not None
    }  # fmt: skip
    count = 0
    while template.format(start + count) in numbered:
        count += 1
    return count, len(numbered)


def names_on_disk(item: AnnotatedVideo) -> tuple[str, ...]:
    """List the paths that a video may have: as annotated, with blanks, or without class folders."""
    parent, _, name = item.path.rpartition("/")
    return (item.path, f"{parent.replace('_', ' ')}/{name}", name) if parent else (item.path,)


def _frame_folder(cfg: Config, folder: Path, item: AnnotatedVideo) -> str | None:
    """Return the path of a video's frames; None if the first one is not there."""
    first = cfg.filename_tmpl.format(cfg.start_index)
    return next((n for n in names_on_disk(item) if (folder / n / first).is_file()), None)


def _count_all(cfg: Config, folder: Path, paths: list[str]) -> list[tuple[int, int]]:
    """Count the frames of many folders."""
    template, start = cfg.filename_tmpl, cfg.start_index
    return _map_paths(lambda p: count_frames(folder / p, template, start), paths, "counting frames")


def _map_paths(function: Callable, todo: Sequence, description: str) -> list:
    """Map a function that waits for the disk over videos, with a progress bar if they are many."""
    with ThreadPoolExecutor(THREADS) as pool:
        results = pool.map(function, todo)
        quiet = len(todo) < SHORT
        return list(track(results, description, "videos", len(todo), quiet=quiet))


def _write_text(file: Path, text: str) -> None:
    try:
        write_whole(file, text)
    except OSError as error:
        raise DataError(f"{file} cannot be written: {error.strerror or error}") from None
