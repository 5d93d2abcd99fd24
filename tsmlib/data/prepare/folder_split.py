"""Split the videos of a folder: as its own folders say, else by class, by seed, and by group."""

import hashlib
import re
from collections.abc import Sequence

import numpy as np

from ..annotations import DataError
from .folder import Clip

VAL_SHARE = 4  # one video in so many is kept for validation

Split = dict[str, list[Clip]]  # the clips of `train` and `val`


def split_clips(clips: Sequence[Clip], seed: int = 0, group: str | None = None) -> Split:
    """Split videos into `train` and `val`: as their folders say, else a quarter of each class.

    A video's place follows from its path and the seed, so that videos added later move few others.

    Args:
        clips: the videos of all classes.
        seed: of the split.
        group: regular expression; videos whose paths agree in it stay on one side.

    Raises:
        DataError: no video is left to validate on, a class has no two groups, or the folders put a
            group on both sides.
    """
    if group and not any(clip.split for clip in clips):
        groups = {name_group(clip.path, group) for clip in clips}
        folds = fold_clips(clips, max(2, min(VAL_SHARE, len(groups))), seed, group)
        return max(folds, key=lambda sides: min(map(_count_classes, sides.values())))
    _check_sides(clips, group)
    split: Split = {"train": [], "val": []}
    for own in _by_class(clips, seed).values():
        val = {clip for clip in own if clip.split == "val"}
        if not any(clip.split for clip in own):
            count = max(1, round(len(own) / VAL_SHARE)) if len(own) > 1 else 0
            val = set(own[:count])
        split["val"] += sorted(val)
        split["train"] += sorted({*own} - val)
    if not split["val"]:
        raise DataError("each class has a single video, which leaves none to test on; add some")
    return split


def fold_clips(
    clips: Sequence[Clip], folds: int, seed: int = 0, group: str | None = None
) -> list[Split]:
    """Split videos into folds of which each is tested once, every class spread over them.

    Args:
        clips: see `split_clips`.
        folds: as many, 2 or more.
        seed: of the split.
        group: see `split_clips`.

    Raises:
        DataError: the videos are split by their folders, there are fewer videos or groups than
            folds, or a class is not on both sides of every fold.
    """
    if any(clip.split for clip in clips):
        raise DataError(
            f"the videos are split by their folders or the csv already: leave out folds={folds}, "
            "or name a folder without such a split"
        )
    classes = _by_class(clips, seed)
    ordered = [clip for own in classes.values() for clip in own]
    groups = [name_group(clip.path, group) for clip in ordered] if group else [*range(len(ordered))]
    _check_counts(ordered, groups, folds, group)
    labels = [[*classes].index(clip.label) for clip in ordered]
    if group:
        fold_of = assign_groups(labels, groups, folds)
    else:  # dealt out, class after class
        fold_of = np.arange(len(ordered)) % folds
    splits: list[Split] = []
    for fold in range(folds):
        sides: Split = {"train": [], "val": []}
        for clip, own in sorted(zip(ordered, fold_of, strict=True), key=lambda pair: pair[0]):
            sides["val" if own == fold else "train"].append(clip)
        splits.append(sides)
    return splits


def name_group(path: str, pattern: str) -> str:
    """Name the group of a video: what its path has in the brackets of a pattern, or in all of it.

    Raises:
        DataError: the pattern matches nothing in the path.
    """
    found = re.search(pattern, path)
    if not found:
        raise DataError(
            f"group={pattern!r} matches nothing in {path}; it must match the path of every video, "
            "for example group='person\\d+' or group='^[^/]+/([^/]+)/'"
        )
    return "/".join(part or "" for part in found.groups()) if found.groups() else found[0]


def name_groups(paths: Sequence[str], pattern: str | None) -> list[str] | None:
    """Name the group of each video, over which an interval is; None without a pattern."""
    return [name_group(path, pattern) for path in paths] if pattern else None


def assign_groups(labels: Sequence[int], groups: Sequence, folds: int) -> np.ndarray:
    """Assign whole groups to folds, so that each fold has about its share of every class.

    Those of scikit-learn's `StratifiedGroupKFold`, unshuffled: one after the other, the group whose
    classes are spread most unevenly first, each to the fold where the shares of the folds in the
    classes differ least afterwards, among equal ones to the smallest.

    Args:
        labels: `[N]` the class of each video.
        groups: `[N]` the group of each video; equal ones keep the order in which they come.
        folds: as many.

    Returns:
        int `[N]` the fold of each video.
    """
    numbers = {group: number for number, group in enumerate(dict.fromkeys(groups))}
    of = np.array([numbers[group] for group in groups])
    counts = np.zeros((len(numbers), max(labels) + 1))
    np.add.at(counts, (of, np.asarray(labels)), 1)
    counts = counts[:, counts.any(0)]
    filled = np.zeros((folds, counts.shape[1]))
    chosen: np.ndarray = np.zeros(len(numbers), dtype=int)
    for number in np.argsort(-counts.std(1), kind="stable"):
        tried = filled + np.eye(folds)[:, :, None] * counts[number]  # [fold that takes it, fold, K]
        spread = (tried / counts.sum(0)).std(1).mean(1)
        even = np.flatnonzero(np.isclose(spread, spread.min()))
        chosen[number] = fold = min(even, key=lambda fold: filled[fold].sum())
        filled[fold] += counts[number]
    return chosen[of]


def _by_class(clips: Sequence[Clip], seed: int) -> dict[str, list[Clip]]:
    """Return the clips of each class in an order that only their paths and the seed decide."""

    def draw(clip: Clip) -> bytes:
        return hashlib.sha256(f"{seed} {clip.path}".encode()).digest()

    labels = sorted({clip.label for clip in clips})
    return {name: sorted((c for c in clips if c.label == name), key=draw) for name in labels}


def _count_classes(clips: Sequence[Clip]) -> int:
    return len({clip.label for clip in clips})


def _check_sides(clips: Sequence[Clip], group: str | None) -> None:
    """Check that folders which are the split have no group on both sides."""
    side_of: dict[str, Clip] = {}
    for clip in clips if group else ():
        other = side_of.setdefault(name_group(clip.path, group), clip)
        if other.split != clip.split:
            raise DataError(
                f"{other.path} and {clip.path} are of one group (group={group!r}), but to be "
                "trained and tested on; move one of them, or leave out group"
            )


def _check_counts(clips: Sequence[Clip], groups: Sequence, folds: int, group: str | None) -> None:
    """Check that there is a group for each fold, and that each class has two."""
    what = f"groups (group={group!r})" if group else "videos"
    if not 2 <= folds <= len({*groups}):
        raise DataError(
            f"folds={folds} must be at least 2 and at most the number of {what}, {len({*groups})}"
        )
    found: dict[str, set] = {}
    for clip, own in zip(clips, groups, strict=True):
        found.setdefault(clip.label, set()).add(own)
    for label, own in found.items():
        if len(own) < 2:
            raise DataError(
                f"all videos of the class {label} are of one of the {what}: they cannot be both "
                "trained and tested on; add some, or choose another group"
                if group
                else f"the class {label} has a single video, which cannot be both trained and "
                "tested on; add some"
            )
