"""Readers of official annotations: one function per form of annotation files.

Each reader takes the annotations folder, the split and the split's file, and returns the class
names in label order and the annotated videos with file and line.
"""

import re
from pathlib import Path
from typing import NamedTuple

from ...configs import DATASETS, published_names
from ...text import parse_number
from .parsing import (
    bad_line,
    class_folder,
    clean_name,
    find_label,
    number_labels,
    numbered_lines,
    parse_label,
    read_csv,
    read_entries,
    read_json,
    sort_names,
    stem,
)

K400_VAL_LIST = "kinetics_val_list.txt"  # the 19,796 videos of the published page's note 6
_TIMES = re.compile(r"_\d{6}_\d{6}$")  # first and last second in the name of a Kinetics clip


class VideoRow(NamedTuple):
    """A row of an annotation file: a video, its label, and where the row stands."""

    path: str
    label: int
    where: str  # file and line


_Read = tuple[list[str], list[VideoRow]]  # class names in label order, rows


def _k400(folder: Path, split: str, file: Path) -> _Read:
    """Read `label,youtube_id,time_start,time_end,split`; labels number the sorted folder names."""
    official, published = DATASETS["k400"].official, folder / K400_VAL_LIST
    train = official.find(folder, official.train)
    names = list(published_names("k400"))
    if train.is_file() or not (split == "val" and published.is_file()):
        listed = {clean_name(fields["label"]) for _, fields in read_csv(train, "label")}
        names = sorted(listed, key=class_folder)
    if split == "val" and published.is_file():
        return names, _k400_published(published, file, names)
    labels = {name: i for i, name in enumerate(names)}
    rows = []
    for where, fields in read_csv(file, "label", "youtube_id", "time_start", "time_end"):
        label = find_label(fields["label"], labels, where)
        clip = f"{class_folder(names[label])}/{_k400_clip(fields, where)}"
        rows.append(VideoRow(clip, label, where))
    return names, rows


def _k400_published(published: Path, file: Path, names: list[str]) -> list[VideoRow]:
    """Read `video_id frames label`; the times in a clip's name come from kinetics_val.csv."""
    rows, clips = [], {}
    if file.is_file():
        table = read_csv(file, "youtube_id", "time_start", "time_end")
        clips = {fields["youtube_id"]: _k400_clip(fields, where) for where, fields in table}
    for where, line in numbered_lines(published):
        words = line.replace(",", " ").split()
        if len(words) != 3 or parse_number(words[1]) is None:
            raise bad_line(where, "expected `video_id frames label`", line)
        label, clip = parse_label(words[2], len(names), where), stem(words[0]).split("/")[-1]
        clip = clip if _TIMES.search(clip) else clips.get(clip, clip)
        rows.append(VideoRow(f"{class_folder(names[label])}/{clip}", label, where))
    return rows


def _k400_clip(fields: dict[str, str], where: str) -> str:
    """Name a clip of Kinetics: its video, and its first and last second."""
    start, end = fields["time_start"], fields["time_end"]
    try:
        return f"{fields['youtube_id']}_{int(float(start)):06d}_{int(float(end)):06d}"
    except (ValueError, OverflowError):
        why = "time_start and time_end must be seconds"
        raise bad_line(where, why, f"{start},{end}") from None


def _lines_of_labels(folder: Path, split: str, file: Path) -> _Read:
    """Read `id;label`; a label's number is its line in the labels file (Something V1, Jester)."""
    known = folder / f"{file.name.rsplit('-', 1)[0]}-labels.csv"
    names = [clean_name(line) for _, line in numbered_lines(known)]
    labels, rows = number_labels(names, known), []
    for where, line in numbered_lines(file):
        video, separator, name = line.partition(";")
        if not separator or not video.strip():
            raise bad_line(where, "expected `id;label`", line)
        rows.append(VideoRow(video.strip(), find_label(name, labels, where), where))
    return names, rows


def _templates(folder: Path, split: str, file: Path) -> _Read:
    """Read entries with `id` and `template` (in brackets); the labels file has the numbers."""
    known = file.with_name(f"{file.stem.rpartition('-')[0]}-labels.json".removeprefix("-"))
    if not known.is_file() and (folder / "labels.json").is_file():
        known = folder / "labels.json"
    table = read_json(known, dict, "an object of `name: number`")
    names = sort_names([(f"{known}, class {name!r}", name, table[name]) for name in table])
    labels, rows = number_labels(names, known), []
    for where, entry in read_entries(file, "id", "template"):
        template = str(entry["template"]).replace("[", "").replace("]", "")
        rows.append(VideoRow(str(entry["id"]).strip(), find_label(template, labels, where), where))
    return names, rows


def _diving48(folder: Path, split: str, file: Path) -> _Read:
    """Read entries with `vid_name` and `label`; Diving48_vocab.json may name the classes."""
    known, names, rows = folder / "Diving48_vocab.json", published_names("diving48"), []
    if known.is_file():
        vocabulary = read_json(known, list, "a list of classes")
        names = tuple(
            clean_name("+".join(c) if isinstance(c, list) else str(c)) for c in vocabulary
        )
    for where, entry in read_entries(file, "vid_name", "label"):
        video, label = (
            str(entry["vid_name"]).strip(),
            parse_label(entry["label"], len(names), where),
        )
        rows.append(VideoRow(stem(video), label, where))
    return list(names), rows


def _hmdb51(folder: Path, split: str, file: Path) -> _Read:
    """Read a file per class with `name flag` (1 train, 2 test, 0 neither); classes are sorted."""
    ending = file.name.removeprefix("<class>")
    names = sorted(path.name.removesuffix(ending) for path in folder.glob(f"*{ending}"))
    if not names:
        raise FileNotFoundError(None, None, str(file))
    rows = []
    for label, name in enumerate(names):
        for where, line in numbered_lines(folder / f"{name}{ending}"):
            video, *flag = line.rsplit(maxsplit=1)
            if not flag or flag[0] not in ("0", "1", "2"):
                raise bad_line(where, "expected `name flag`, 1 train, 2 test, 0 neither", line)
            if flag[0] == ("1" if split == "train" else "2"):
                rows.append(VideoRow(f"{name}/{stem(video)}", label, where))
    return names, rows


def _ucf101(folder: Path, split: str, file: Path) -> _Read:
    """Read `class/video.avi [number]`; classInd.txt numbers the classes from 1."""
    known, pairs, rows = folder / "classInd.txt", [], []
    for where, line in numbered_lines(known):
        number, *name = line.split(maxsplit=1)
        if not name:
            raise bad_line(where, "expected `number class`", line)
        pairs.append((where, name[0], number))
    names = sort_names(pairs, first=1)
    labels = number_labels(names, known)
    for where, line in numbered_lines(file):
        video, *numbers = line.replace("\\", "/").rsplit(maxsplit=1)
        if "/" not in video:
            raise bad_line(where, "expected `class/video [number]`", line)
        label = find_label(video.split("/")[0], labels, where)
        if numbers and parse_label(numbers[0], len(names), where, first=1) != label:
            raise bad_line(
                where, f"{names[label]} is class {label + 1} in {known.name}, not", *numbers
            )
        rows.append(VideoRow(stem(video), label, where))
    return names, rows


READERS = {  # by the form of the annotations (configs/datasets.py)
    "kinetics": _k400, "lines of labels": _lines_of_labels, "templates": _templates,
    "diving48": _diving48, "hmdb51": _hmdb51, "ucf101": _ucf101,
}  # fmt: skip
