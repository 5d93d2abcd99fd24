"""Check of a row's data before a run: annotations, lists and media."""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import pandas as pd

from ...configs import DATASETS, Config, class_names
from ...configs.datasets import SPLITS
from ..annotations import DataError, VideoEntry, VideoList, find_list
from .extraction import stored_size
from .official_annotations import Annotations, annotations_folder, order_difference, read_official
from .parsing import stem
from .probe import STALE, ProbeResult, probe_videos
from .write_lists import locate_media, names_on_disk

Problem = tuple[str, str]  # path, and the problem: its kind, and details after a colon


@dataclass(frozen=True)
class CheckReport:
    """The state of a row's data.

    `problems` has the columns split, path (empty if it is not about one video) and problem;
    `summary` a row for each split; `videos` split, path, label, frames, height and width of every
    listed video that can be read. `ready`: both lists are there, and all they list can be read.
    """

    ready: bool
    summary: pd.DataFrame
    problems: pd.DataFrame
    videos: pd.DataFrame


def check_data(
    cfg: Config,
    data_root: str | Path,
    full: bool = False,
    workers: int | None = None,
    splits: tuple[str, ...] = SPLITS,
) -> CheckReport:
    """Check annotations, lists and media of a row; nothing is written.

    Args:
        cfg: a row, or a configuration of one's own data (which has no official annotations).
        data_root: folder that holds the data sets.
        full: decode every frame; else the first and the last one of each video.
        workers: processes; None: as many as cores, 0: none beside this one.
        splits: whose videos are looked at, and have to be ready.

    Raises:
        DataError: there is no such data root.
    """
    root = Path(data_root)
    if not root.is_dir():
        raise DataError(f"the data root {root} does not exist (--data-root, or TSM_DATA)")
    states = [_SplitCheck(cfg, root, split) for split in SPLITS]
    for state in states:
        state.compare()
        if state.split in splits:
            state.probe(full, workers)
    for state, other in zip(states, reversed(states), strict=True):
        state.find_shared(other)
    rows = [(s.split, path, problem) for s in states for path, problem in s.problems]
    problems = pd.DataFrame(rows, columns=["split", "path", "problem"])
    checked = [s for s in states if s.split in splits and s.is_named]
    ready = all(s.videos and s.readable == len(s.videos.entries) for s in checked)
    summary = pd.DataFrame([state.summary() for state in states]).convert_dtypes()
    videos = pd.DataFrame(
        [line for state in states for line in state.read()],
        columns=["split", "path", "label", "frames", "height", "width"],
    )
    return CheckReport(ready, summary, problems, videos)


class _SplitCheck:
    """A split: its annotations and its list, as far as they can be read, and its problems."""

    def __init__(self, cfg: Config, root: Path, split: str):
        self.cfg, self.split = cfg, split
        self.problems: list[Problem] = []
        self.official: Annotations | None = None
        self.videos: VideoList | None = None
        self.results: list[ProbeResult] = []
        try:
            if DATASETS[cfg.dataset].official:
                folder = annotations_folder(cfg.dataset, root)
                self.official = read_official(cfg.dataset, folder, split)
        except DataError as error:
            self.problems.append(("", f"annotations: {error}"))
        try:
            self.videos = find_list(cfg, split, root) if self.is_named else None
        except DataError as error:
            self.problems.append(("", f"list: {error}"))

    @property
    def is_named(self) -> bool:
        """Whether the configuration names a list; one of test videos has none to train on."""
        return bool(getattr(self.cfg, f"{self.split}_list"))

    @property
    def readable(self) -> int:
        return sum(result.num_frames > 0 for result in self.results)

    def compare(self) -> None:
        """Compare the list with the annotations, and its lines with each other."""
        if self.videos and not self.official:
            self.problems += _listed_twice(self.videos)
        if self.official:
            difference = order_difference(self.cfg, self.official.names)
            self.problems += [("", f"class order: {difference}")] if difference else []
            if self.videos:
                self.problems += _differences(self.cfg, self.videos, self.official)

    def probe(self, full: bool, workers: int | None) -> None:
        """Read every listed video on disk."""
        if not self.videos:
            return
        entries = self.videos.entries
        self.results = probe_videos(self.cfg, self.videos, full, workers, self.split)
        for result in self.results:
            path, kinds = entries[result.position].path, []
            if result.problem:
                kinds.append(result.problem)
            if result.num_frames == 1:
                kinds.append("one frame only")
            elif 0 < result.num_frames < self.cfg.num_segments:
                segments = f"num_segments is {self.cfg.num_segments}"
                kinds.append(f"short: {result.num_frames} frames, {segments}")
            self.problems += [(path, kind) for kind in kinds]
        self.problems += _odd_sizes(self.cfg, self.videos, self.results)
        self.problems += self._classes_without_videos()

    def find_shared(self, other: "_SplitCheck") -> None:
        """Find videos that are in both lists, which would make a validation too good."""
        if self.split == "val" and self.videos and other.videos:
            trained = {_locate(other.videos, e): e.label for e in other.videos.entries}
            for entry in self.videos.entries:
                label = trained.get(_locate(self.videos, entry))
                if label is not None:
                    two = "" if label == entry.label else f": labels {label} and {entry.label}"
                    self.problems.append((entry.path, f"in both lists{two}"))

    def summary(self) -> dict[str, object]:
        """Return the split's row of the summary."""
        frames = [result.num_frames for result in self.results if result.num_frames]
        present = sum(result.present for result in self.results)
        return {
            "split": self.split,
            "annotated": len(self.official.items) if self.official else None,
            "listed": len(self.videos.entries) if self.videos else 0,
            "present": present,
            "damaged": present - self.readable,
            "frames_min": min(frames, default=None),
            "frames_median": median(frames) if frames else None,
            "frames_max": max(frames, default=None),
            "classes": len(self._labels()),
            "list_sha256": self.videos.sha256[:12] if self.videos else None,
        }

    def read(self) -> list[tuple]:
        """Return a row for each video that can be read."""
        return [
            (self.split, entry.path, entry.label, result.num_frames, result.height, result.width)
            for result in self.results
            if result.num_frames and (entry := self.videos.entries[result.position])
        ]

    def _labels(self) -> set[int]:
        """Return the labels of the videos that can be read."""
        return {self.videos.entries[r.position].label for r in self.results if r.num_frames}

    def _classes_without_videos(self) -> Iterator[Problem]:
        names, covered = class_names(self.cfg), self._labels()
        for label in range(self.cfg.num_classes):
            if label not in covered:
                yield "", f"class without videos: {label} {names[label]}"


def _differences(cfg: Config, videos: VideoList, official: Annotations) -> Iterator[Problem]:
    items = {name: item for item in official.items for name in names_on_disk(item)}
    listed = set()
    for entry in videos.entries:
        item = items.get(stem(entry.path))
        if item is None:
            yield entry.path, "not in the annotations"
        elif item.path in listed:
            yield entry.path, "listed twice"
        elif item.label != entry.label:
            yield entry.path, f"label: {entry.label}, the annotations say {item.label}; {STALE}"
        listed.add(item.path if item else entry.path)
    others = tuple(item for item in official.items if item.path not in listed)
    on_disk = {item.path for item, _ in locate_media(cfg, videos.prefix, others)}
    for item in others:
        there = f"not in the list: on disk; {STALE}"
        yield item.path, there if item.path in on_disk else "not on disk, and not in the list"


def _locate(videos: VideoList, entry: VideoEntry) -> str:
    """Return the path of an entry, the same one however it is written."""
    return os.path.normpath(videos.prefix / entry.path)


def _listed_twice(videos: VideoList) -> Iterator[Problem]:
    """Yield one problem per line with a video of an earlier line."""
    labels: dict[str, int] = {}
    for entry in videos.entries:
        label = labels.get(path := _locate(videos, entry))
        if label is not None:
            two = "" if label == entry.label else f": labels {label} and {entry.label}"
            yield entry.path, f"listed twice{two}"
        labels.setdefault(path, entry.label)


def _odd_sizes(cfg: Config, videos: VideoList, results: list[ProbeResult]) -> Iterator[Problem]:
    """Yield one problem per stored size that is not the row's."""
    sizes: dict[tuple[int, int], list[int]] = {}
    for result in results:
        size = result.height, result.width
        if result.num_frames and stored_size(cfg.resolution, *size) != size:
            sizes.setdefault(size, []).append(result.position)
    for (height, width), positions in sizes.items():
        yield (
            videos.entries[positions[0]].path,
            f"stored size: {width}x{height}, the row has {cfg.resolution} (as {len(positions)} of "
            f"{len(results)} videos)",
        )
