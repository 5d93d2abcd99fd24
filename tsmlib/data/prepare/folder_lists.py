"""Lists and a YAML file for a folder of videos, which every command takes like a row."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ...configs import is_row
from ...paths import display_path, write_whole
from ..annotations import DataError
from ..list_lines import is_below
from .folder import Clip, VideoFolder
from .folder_split import Split

NAMED_CLASSES = 10  # so many are counted by name in the summary
UNBALANCED = 3  # how many times as many videos as the smallest the largest class has then


def write_folder_lists(
    videos: VideoFolder, splits: Sequence[Split], datasets: Path, fields: dict[str, Any],
    notes: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Write the lists, `classes.txt` and the YAML file of a folder; return the latter.

    Args:
        videos: the folder.
        splits: of `split_clips`, or those of `fold_clips`; the configuration is of the first.
        datasets: the files get a folder in it, named after the folder of the videos.
        fields: of the configuration, beside those that name the data.
        notes: comment lines of the YAML file.

    Raises:
        DataError: a file cannot be written.
    """
    target = _own_target(datasets, videos)
    names, folds = videos.classes, len(splits)
    own = {
        "data_root": str(videos.root),
        "train_list": str(target / list_name("train", 0, folds)),
        "val_list": str(target / list_name("val", 0, folds)),
        "num_classes": len(names),
        "class_names": str(target / "classes.txt"),
        "layout": "video",  # an entry that is a folder holds frames
        "filename_tmpl": videos.filename_tmpl,
        "start_index": videos.start_index,
    }
    if not all(is_below(videos.root / clip.path, videos.root) for clip in videos.clips):
        own["allow_outside"] = True  # the user's own links
    header = [f"# {' '.join(note.split())}\n" for note in notes]
    header.append("# Written anew by each training of this folder: change a copy of it.\n")
    contents = {
        list_name(side, fold, folds): _list_text(clips, names)
        for fold, split in enumerate(splits)
        for side, clips in split.items()
    }
    contents["classes.txt"] = "".join(f"{name}\n" for name in names)
    contents[f"{target.name}.yaml"] = "".join(header) + yaml.safe_dump(
        {"base": "few_clips"} | own | fields, sort_keys=False, allow_unicode=True
    )
    for name, text in contents.items():
        try:
            write_whole(target / name, text)
        except OSError as error:
            raise DataError(f"{target / name} cannot be written: {error.strerror}") from None
    return target / f"{target.name}.yaml"


def list_name(side: str, fold: int = 0, folds: int = 1) -> str:
    """Name the list of a side, `train` or `val`, of a fold counted from 0."""
    return f"{side}.txt" if folds == 1 else f"fold{fold + 1}of{folds}-{side}.txt"


def summarise_folder(videos: VideoFolder, splits: Sequence[Split], group: str | None = None) -> str:
    """Say in a few sentences which videos there are, how they are split, and what is unbalanced."""
    counts = Counter(clip.label for clip in videos.clips)
    (most, many), (fewest, few) = counts.most_common(1)[0], counts.most_common()[-1]
    listed = [f"{name} {counts[name]}" for name in videos.classes]
    if len(listed) > NAMED_CLASSES:
        listed = [f"from {few} of {fewest} to {many} of {most}"]
    train, val = (len(splits[0][side]) for side in ("train", "val"))
    text = (
        f"{display_path(videos.root)} holds {len(videos.clips)} videos of {len(counts)} classes "
        f"({', '.join(listed)}): {train} to train on, {val} to test on "
        f"({describe_split(videos, splits, group)})."
    )
    tested = {clip.label for split in splits for clip in split["val"]}
    if untested := [name for name in videos.classes if name not in tested]:
        text += f" NOT TESTED, as no video is left for it: {', '.join(untested)}."
    if many < UNBALANCED * few:
        return text
    return (
        f"{text} {most} has {many / few:.0f} times as many as {fewest}: mind the mean of the "
        "classes, and try class_weights=balanced or balanced_sampling=True."
    )


def describe_split(videos: VideoFolder, splits: Sequence[Split], group: str | None = None) -> str:
    """Say in a few words how videos are split."""
    if videos.clips[0].split:
        return "as its folders or the csv say"
    if len(splits) > 1:
        share = f"fold 1 of {len(splits)}"
    else:
        share = "whole groups" if group else "about a quarter of each class"
    whole = f", groups {group} on one side" if group else ""
    return f"{share}, always the same{whole}"


def _list_text(clips: Sequence[Clip], classes: Sequence[str]) -> str:
    return "".join(f"{c.path} {c.num_frames} {classes.index(c.label)}\n" for c in clips)


def _own_target(datasets: Path, videos: VideoFolder) -> Path:
    """Choose the folder of the lists: another one for each folder of the same name."""
    name, root = videos.name or "videos", videos.root
    if is_row(name):  # no YAML file may have the name of a row
        name = f"{name}-videos"
    target, number = datasets / name, 2
    while (file := target / f"{target.name}.yaml").is_file() and _data_root(file) != str(root):
        target, number = datasets / f"{name}-{number}", number + 1
    return target


def _data_root(file: Path) -> str | None:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")).get("data_root")
    except (OSError, ValueError, AttributeError, TypeError, LookupError, yaml.YAMLError):
        return None
