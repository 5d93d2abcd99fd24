"""Lists and a YAML file for a folder of videos, which every command takes like a row."""

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from ...configs import is_row
from ...paths import display_path, is_below, write_whole
from ..annotations import DataError
from .folder import Clip, VideoFolder

VAL_SHARE = 4  # one video in so many is kept for validation
NAMED_CLASSES = 10  # so many are counted by name in the summary


def split_clips(clips: Sequence[Clip], seed: int = 0) -> dict[str, list[Clip]]:
    """Split videos into `train` and `val`: as their folders say, else a quarter of each class.

    A video's place follows from its path and the seed, so that videos added later move few others.

    Raises:
        DataError: no video is left to validate on.
    """
    splits: dict[str, list[Clip]] = {"train": [], "val": []}
    for label in sorted({clip.label for clip in clips}):
        own = sorted(clip for clip in clips if clip.label == label)
        val = {clip for clip in own if clip.split == "val"}
        if not any(clip.split for clip in own):
            order = sorted(own, key=lambda clip: _draw(clip.path, seed))
            count = max(1, round(len(own) / VAL_SHARE)) if len(own) > 1 else 0
            val = set(order[:count])
        splits["val"] += [clip for clip in own if clip in val]
        splits["train"] += [clip for clip in own if clip not in val]
    if not splits["val"]:
        raise DataError("each class has a single video, which leaves none to test on; add some")
    return splits


def write_folder_lists(
    videos: VideoFolder, splits: dict[str, list[Clip]], datasets: Path, fields: dict[str, Any],
    notes: Sequence[str] = (),
) -> Path:  # fmt: skip
    """Write `train.txt`, `val.txt`, `classes.txt` and the YAML file of a folder; return the latter.

    Args:
        videos: the folder.
        splits: of `split_clips`.
        datasets: the files get a folder in it, named after the folder of the videos.
        fields: of the configuration, beside those that name the data.
        notes: comment lines of the YAML file.

    Raises:
        DataError: a file cannot be written.
    """
    target = _own_target(datasets, videos.root)
    names = videos.classes
    own = {
        "base": "k400",
        "data_root": str(videos.root),
        "train_list": str(target / "train.txt"),
        "val_list": str(target / "val.txt"),
        "num_classes": len(names),
        "class_names": str(target / "classes.txt"),
        "layout": "video",  # an entry that is a folder holds frames
        "filename_tmpl": videos.filename_tmpl,
        "start_index": videos.start_index,
        **fields,
    }
    if not all(is_below(videos.root / clip.path, videos.root) for clip in videos.clips):
        own["allow_outside"] = True  # the user's own links
    header = [f"# {' '.join(note.split())}\n" for note in notes]
    header.append("# Written anew by each training of this folder: change a copy of it.\n")
    contents = {f"{split}.txt": _list_text(clips, names) for split, clips in splits.items()}
    contents["classes.txt"] = "".join(f"{name}\n" for name in names)
    contents[f"{target.name}.yaml"] = "".join(header) + yaml.safe_dump(
        own, sort_keys=False, allow_unicode=True
    )
    for name, text in contents.items():
        try:
            write_whole(target / name, text)
        except OSError as error:
            raise DataError(f"{target / name} cannot be written: {error.strerror}") from None
    return target / f"{target.name}.yaml"


def summarise_folder(videos: VideoFolder, splits: dict[str, list[Clip]]) -> str:
    """Say in a sentence which videos there are, and how they are split."""
    counts = Counter(clip.label for clip in videos.clips)
    listed = [f"{name} {counts[name]}" for name in videos.classes]
    if len(listed) > NAMED_CLASSES:
        (most, many), (fewest, few) = counts.most_common(1)[0], counts.most_common()[-1]
        listed = [f"from {few} of {fewest} to {many} of {most}"]
    how = "as its folders say" if videos.clips[0].split else "a quarter of each class, by seed"
    return (
        f"{display_path(videos.root)} holds {len(videos.clips)} videos of {len(counts)} classes "
        f"({', '.join(listed)}): {len(splits['train'])} to train on, {len(splits['val'])} to test "
        f"on ({how})."
    )


def _draw(path: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {path}".encode()).digest()


def _list_text(clips: Sequence[Clip], classes: Sequence[str]) -> str:
    return "".join(f"{c.path} {c.num_frames} {classes.index(c.label)}\n" for c in clips)


def _own_target(datasets: Path, root: Path) -> Path:
    """Choose the folder of the lists: another one for each folder of the same name."""
    name = root.name or "videos"
    if is_row(name):  # no YAML file may have the name of a row
        name = f"{name}-videos"
    target, number = datasets / name, 2
    while (file := target / f"{target.name}.yaml").is_file() and _data_root(file) != str(root):
        target, number = datasets / f"{name}-{number}", number + 1
    return target


def _data_root(file: Path) -> str | None:
    try:
        return yaml.safe_load(file.read_text(encoding="utf-8")).get("data_root")
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None
