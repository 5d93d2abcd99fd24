"""Ask questions of real videos: the arrow of time, and annotated clips of people left out.

Arrow of time (Pickup et al., CVPR 2014; Wei et al., CVPR 2018): windows of any videos, forward
(label 0) against reversed (label 1). Splits are by recording, and nothing is drawn: the same videos
give the same windows, frames and lists.

What must not tell the direction of a window, and why it does not: both directions hold the very
same JPEG files, every frame coded alone, in opposite numbering; windows are cut and kept by rules
that look at no order; a window stands in both directions in the same list; test sampling takes
mirrored frames, and training sampling draws them with mirrored chances (`check_window`).

What is not excluded: traces of the codec of the source video, which predicts a frame from earlier
ones. Frames are reduced in size, which averages over them, and static windows are left out, where
they are most of what changes: of the windows of overhead_actions (24 frames, 64x64) with a motion
below 0.2, 71 % have less change in their second half; from 0.5 on 52 %, which chance explains.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from ..configs import Config, ConfigError, get_config, replace
from ..data.annotations import DataError, read_list
from ..data.loader import ClipDataset, collate
from ..paths import display_path, write_whole
from .frame_windows import DIRECTIONS, TEMPLATE, prepare_frames, recording_of
from .plan import Folds

ROUNDING = 1e-4  # logits of a network blind to order differ by no more between two directions


class Task(NamedTuple):
    """Lists and class names of annotated videos, as files in their folder."""

    lists: tuple[str, str]
    names: str
    split: bool = False  # the lists are the split; else one recording is left out at a time


TASKS = {
    "actions8": Task(("train.txt", "val.txt"), "classes.txt"),  # overhead_actions
    "order3": Task(("train_order3.txt", "val_order3.txt"), "classes_order3.txt"),
    "pushups2": Task(("train_order2.txt", "val_order2.txt"), "classes_order2.txt", split=True),
    "pushups4": Task(("train.txt", "val.txt"), "classes.txt", split=True),  # pushup_phases
}


def arrow_fold(
    videos: str | Path,
    fold: int,
    folds: Folds,
    *,
    cache: str | Path | None = None,
    base: str = "k400",
    **changes,
) -> Config:
    """Configure `forward or reversed` on one fold, and decode the videos where it is not done.

    Args:
        videos: folder of videos, at any depth.
        fold: validation holds the recordings of this one, training all others.
        folds: how the videos are cut, and dealt into folds, largest recording first.
        cache: folder of stored frames; None: TSM_CACHE.
        base: the row whose recipe is followed.
        changes: fields of `Config` to set.

    Returns:
        A `Config` of custom data, as from a user's YAML file, for `train`.

    Raises:
        ConfigError: a window that is not sampled symmetrically, or no such fold.
        DataError: no videos, none that can be read, too few recordings, or no space.
    """
    cfg = replace(get_config(base), **changes)
    window = folds.window or 3 * cfg.num_segments
    check_window(cfg, window)
    store = prepare_frames(videos, cache, window, folds.resolution)
    clips = [clip for clip in store.clips if clip.motion >= folds.min_motion]
    groups = _deal(Counter(clip.recording for clip in clips), folds.folds, display_path(videos))
    lines = [
        (groups[clip.recording], f"{clip.path}/{name} {clip.frames} {label}\n")
        for clip in clips
        for label, name in enumerate(DIRECTIONS)
    ]
    name = f"arrow-window{window}-motion{folds.min_motion:g}"
    lists = _write_fold(store.root, name, lines, fold, max(groups.values()) + 1)
    return custom_config(cfg, "arrow", DIRECTIONS, folds.resolution, store.root, lists)


def loro_fold(
    root: str | Path,
    fold: int,
    folds: Folds,
    *,
    cache: str | Path | None = None,
    base: str = "k400",
    **changes,
) -> Config:
    """Configure the test on one recording's annotated clips, after training on all others.

    A task whose lists are a split has one fold: it is tested on the second list.

    Args:
        root: folder with `videos/` and the lists and class names of `TASKS`; the published split
            of the lists is not used.
        fold: position of the recording in `loro_recordings`.
        folds: the task, `order3` or `actions8`, and the resolution.
        cache, base, changes: see `arrow_fold`; whole clips are stored.

    Raises:
        ConfigError: no such task or fold.
        DataError: lists or videos that are not there or cannot be read.
    """
    labels, names = _annotated(Path(root), folds.task)
    recordings = loro_recordings(root, folds.task)
    store = prepare_frames(Path(root) / "videos", cache, None, folds.resolution)
    clips = [clip for clip in store.clips if clip.source in labels]
    texts = {c.source: f"{c.path}/forward {c.frames} {labels[c.source]}\n" for c in clips}
    if TASKS[folds.task].split:
        tested = _listed(Path(root), folds.task, "val")
        lines = [(1 - (source in tested), text) for source, text in texts.items()]
        lists = _write_fold(store.root, folds.task, lines, fold, 1)
    else:
        lines = [(recordings.index(c.recording), texts[c.source]) for c in clips]
        lists = _write_fold(store.root, f"loro-{folds.task}", lines, fold, len(recordings))
    cfg = replace(get_config(base), **changes)
    return custom_config(cfg, folds.name, names, folds.resolution, store.root, lists)


def count_folds(root: str | Path, task: str) -> int:
    """Count the folds of annotated clips: one of a split, else one per recording."""
    return 1 if TASKS[task].split else len(loro_recordings(root, task))


def loro_recordings(root: str | Path, task: str = "order3") -> tuple[str, ...]:
    """List the recordings of a task."""
    return tuple(sorted({recording_of(path) for path in _annotated(Path(root), task)[0]}))


def check_window(cfg: Config, window: int) -> None:
    """Refuse sampling that treats a window and its reversal differently.

    Test: frame floor((k + 1/2) n/T) is mirrored to itself unless that is a whole number for some k.
    Training: all n frames are drawn from T equal parts only if T divides n. Both hold for odd
    multiples n of T.

    Raises:
        ConfigError: another length, or a sampling that is not uniform.
    """
    t = cfg.num_segments
    if (cfg.sampling, cfg.eval_sampling, cfg.twice_sample) != ("uniform", "uniform", False):
        raise ConfigError("the arrow of time needs uniform sampling with one clip a video")
    if window % (2 * t) != t:
        raise ConfigError(
            f"window={window} is not symmetric under reversal with num_segments={t}; "
            f"choose an odd multiple of it ({t}, {3 * t}, {5 * t} ...)"
        )


@torch.inference_mode()
def check_symmetry(logits: Callable[[Tensor], Tensor], dataset: ClipDataset) -> float:
    """Measure the largest difference between the logits of a window and of its reversal.

    For a network blind to order it is below `ROUNDING`: of each pair exactly one is right, unless
    its two logits are as close as that.

    Args:
        logits: from uint8 `[N, T, 3, h, w]` to `[N, K]`, for example
            `lambda x: model(normalize(x))` with the model in eval mode.
        dataset: a list of `arrow_fold` under a test protocol.

    Raises:
        DataError: the two clips of a pair do not hold the same pictures in opposite order.
    """
    numbers = {entry.path: i for i, entry in enumerate(dataset.videos.entries)}
    largest = 0.0
    for path, i in numbers.items():
        if not path.endswith(DIRECTIONS[0]):
            continue
        batch = collate([dataset[0, i], dataset[0, numbers[_partner(path)]]])
        clips = batch.clips.movedim(-1, -3)  # [2, views, T, 3, h, w]
        if len(clips) < 2 or not clips[0].equal(clips[1].flip(1)):
            raise DataError(f"{path} and {_partner(path)} are not mirrored; delete the cache")
        both = logits(clips.flatten(0, 1)).unflatten(0, clips.shape[:2])
        largest = max(largest, float((both[0] - both[1]).abs().max()))
    return largest


def _partner(path: str) -> str:
    return path.removesuffix(DIRECTIONS[0]) + DIRECTIONS[1]


# --- lists and folds ------------------------------------------------------------------------------


def _annotated(root: Path, task: str) -> tuple[dict[str, int], tuple[str, ...]]:
    """Read the label of each video of a task, by path in `videos/`, and the labels' names."""
    if task not in TASKS:
        raise ConfigError(f"task={task!r} is none of {', '.join(TASKS)}")
    labels = _listed(root, task, "train") | _listed(root, task, "val")
    missing = next((path for path in labels if not (root / "videos" / path).is_file()), None)
    if missing:
        raise DataError(f"{task} lists {missing}, which is not in {root / 'videos'}")
    return labels, _class_names(root, task)


def _class_names(root: Path, task: str) -> tuple[str, ...]:
    file = root / TASKS[task].names
    if not file.is_file():
        raise DataError(f"there is no file {file} with the class names of {task}")
    return tuple(file.read_text(encoding="utf-8").split())


def _listed(root: Path, task: str, split: str) -> dict[str, int]:
    """Read the label of each video of one list, by path in `videos/`."""
    name = TASKS[task].lists[("train", "val").index(split)]
    entries = read_list(root / name, "video", len(_class_names(root, task)))[1]
    return {entry.path: entry.label for entry in entries}


def _deal(counts: Counter[str], folds: int | None, videos: str) -> dict[str, int]:
    """Deal recordings into folds: the largest first, each into the emptiest fold."""
    folds = len(counts) if folds is None else folds
    if folds < 2 or len(counts) < folds:
        raise DataError(
            f"{videos} has windows with motion from {len(counts)} recordings, and {folds} folds "
            "were asked for; choose from 2 to as many folds as recordings, or add videos"
        )
    dealt, sizes = {}, [0] * folds
    for name in sorted(counts, key=lambda name: (-counts[name], name)):
        dealt[name] = sizes.index(min(sizes))
        sizes[dealt[name]] += counts[name]
    return dealt


def _write_fold(
    root: Path, name: str, lines: list[tuple[int, str]], fold: int, folds: int
) -> dict[str, str]:
    """Write the two lists of a fold; returns their names by field of `Config`."""
    if not 0 <= fold < folds:
        raise ConfigError(f"fold={fold} does not exist; there are {folds}, from 0 on")
    texts = {
        "train": "".join(line for group, line in lines if group != fold),
        "val": "".join(line for group, line in lines if group == fold),
    }
    fields = {}
    for split, text in texts.items():
        fields[f"{split}_list"] = f"lists/{name}-fold{fold}of{folds}-{split}.txt"
        file = root / fields[f"{split}_list"]
        if not file.is_file() or file.read_text(encoding="utf-8") != text:
            write_whole(file, text)
    return fields


def custom_config(
    cfg: Config, name: str, names, resolution: str, root: Path | None, lists: dict[str, str]
) -> Config:
    """Return the configuration on these lists, as a user's YAML file would make it."""
    return dataclasses.replace(
        cfg, name=name, dataset="custom", layout="rawframes", filename_tmpl=TEMPLATE, start_index=1,
        num_classes=len(names), class_names=tuple(names), resolution=resolution,
        flip_label_map=None, train_prefix="rawframes", val_prefix="rawframes",
        data_root=root and str(root), **lists,
    )  # fmt: skip
