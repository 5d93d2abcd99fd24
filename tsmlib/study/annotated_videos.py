"""Configure runs on annotated clips of real videos, on people or recordings left out of training.

A folder of videos comes with lists `path num_frames label` and a file of class names; `TASKS` says
which. Every video is decoded once (stored_frames.py). The same videos give the same lists.

Where a class played backwards is another class, each clip is tested in both directions. A network
blind to order gives both the same answer, so it is right on one of the two: 50 %, whatever it has
learned of people and places. (Where 2 T divides the number of frames, the two are sampled one frame
apart.)
"""

import dataclasses
from pathlib import Path
from typing import NamedTuple

from ..configs import Config, ConfigError, get_config, replace
from ..data.annotations import DataError, read_list
from ..paths import write_whole
from .plan import Folds
from .stored_frames import BACKWARDS, TEMPLATE, prepare_frames, recording_of


class Task(NamedTuple):
    """Lists and class names of annotated videos, as files in their folder."""

    lists: tuple[str, str]
    names: str
    split: bool = False  # the lists are the split; else one recording is left out at a time
    reversed_labels: tuple[int, ...] = ()  # of clips played backwards, which are tested as well


TASKS = {
    "actions8": Task(("train.txt", "val.txt"), "classes.txt"),  # overhead_actions
    "order3": Task(("train_order3.txt", "val_order3.txt"), "classes_order3.txt"),
    "pushups2": Task(
        ("train_order2.txt", "val_order2.txt"), "classes_order2.txt", split=True,
        reversed_labels=(1, 0),
    ),  # of pushup_phases: down, up
    "pushups4": Task(("train.txt", "val.txt"), "classes.txt", split=True),
}  # fmt: skip
TUNING_GROUPS = 5  # tuning tests every fifth group of the training list


def fold_config(
    root: str | Path,
    fold: int,
    folds: Folds,
    *,
    cache: str | Path | None = None,
    base: str = "k400",
    **changes,
) -> Config:
    """Configure a training and its test on clips that are left out; decodes the videos once.

    Args:
        root: folder with `videos/` and the lists and class names of `TASKS`.
        fold: 0 for a task whose lists are its split; elsewhere the position in `list_recordings` of
            the recording that is tested.
        folds: the task and the resolution of the stored frames.
        cache: folder of stored frames; None: TSM_CACHE.
        base: the row whose recipe is followed.
        changes: fields of `Config` to set.

    Returns:
        A `Config` of custom data, as from a user's YAML file, for `train`.

    Raises:
        ConfigError: no such task or fold.
        DataError: lists or videos that are not there or cannot be read, or no space.
    """
    labels, names = _annotated(Path(root), folds.task)
    if folds.tuning:
        labels = _listed(Path(root), folds.task, "train")
    store = prepare_frames(Path(root) / "videos", cache, folds.resolution)
    clips = [clip for clip in store.clips if clip.source in labels]
    # the fold in which each clip is tested; of a single fold 0, and 1 for clips that train alone
    if folds.tuning:
        groups = sorted({folds.group_of(clip.recording) for clip in clips})[::TUNING_GROUPS]
        test_folds = [int(folds.group_of(clip.recording) not in groups) for clip in clips]
    elif TASKS[folds.task].split:
        tested = _listed(Path(root), folds.task, "val")
        test_folds = [int(clip.source not in tested) for clip in clips]
    else:
        recordings = list_recordings(root, folds.task)
        test_folds = [recordings.index(clip.recording) for clip in clips]
    lines = [
        (test_fold, f"{clip.path} {clip.frames} {labels[clip.source]}\n")
        for test_fold, clip in zip(test_folds, clips, strict=True)
    ]
    if backwards := TASKS[folds.task].reversed_labels:
        lines += [
            (test_fold, f"{clip.path}{BACKWARDS} {clip.frames} {backwards[labels[clip.source]]}\n")
            for test_fold, clip in zip(test_folds, clips, strict=True)
            if test_fold == fold
        ]
    name = f"{folds.task}-tuning" if folds.tuning else folds.task
    lists = _write_fold(store.root, name, lines, fold, count_folds(root, folds.task))
    cfg = replace(get_config(base), **changes)
    return custom_config(cfg, folds.task, names, folds.resolution, store.root, lists)


def count_folds(root: str | Path, task: str) -> int:
    """Count the folds of annotated clips: one of a split, else one per recording."""
    return 1 if TASKS[task].split else len(list_recordings(root, task))


def list_recordings(root: str | Path, task: str = "order3") -> tuple[str, ...]:
    """List the recordings of a task."""
    return tuple(sorted({recording_of(path) for path in _annotated(Path(root), task)[0]}))


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
