"""Official annotations of the seven data sets, as their sites publish them.

They lie in `<data root>/<data set>/annotations` under the names that MMAction2's tools expect (0.x,
tools/data/*/README.md); labels are numbered as its tools/data/parse_file_list.py numbers them.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import NamedTuple

from ...configs import DATASETS, Config, class_names, published_names
from ..annotations import VIDEO_SUFFIXES, DataError
from .parsing import (
    bad_line,
    clean_name,
    in_order,
    label_of,
    labels_of,
    number_of,
    numbered_lines,
    plain_name,
    read_csv,
    read_entries,
    read_json,
)

SPLITS = ("train", "val")
K400_VAL_LIST = "kinetics_val_list.txt"  # the 19,796 videos of the published page's note 6
_TIMES = re.compile(r"_\d{6}_\d{6}$")  # first and last second in the name of a Kinetics clip


@dataclass(frozen=True)
class Item:
    """A video: its path below the folder of media, without suffix, and its label from 0."""

    path: str
    label: int


@dataclass(frozen=True)
class Annotations:
    """A split as its site publishes it: class names in label order, and the videos."""

    names: tuple[str, ...]
    items: tuple[Item, ...]


class VideoRow(NamedTuple):
    path: str
    label: int
    where: str  # file and line


_Read = tuple[list[str], list[VideoRow]]


def annotations_folder(dataset: str, data_root: Path) -> Path:
    """Where the official annotations of a data set belong.

    Raises:
        DataError: a data set without official annotations.
    """
    if DATASETS[dataset].official is None:
        known = ", ".join(name for name, record in DATASETS.items() if record.official)
        raise DataError(f"{dataset} has no official annotations; those of {known} can be read")
    return data_root / DATASETS[dataset].folder / "annotations"


def read_official(dataset: str, folder: Path, split: str) -> Annotations:
    """The official annotations of a split.

    Labels follow the official files: the order of the labels file (Something-Something, Jester),
    its numbers (UCF101, Diving48), or sorted names (Kinetics, HMDB51). Copies in another order
    exist (two lines of Jester's are swapped), and published weights would be read wrongly with
    them: see `order_difference`.

    Args:
        dataset: a name of `DATASETS`.
        folder: of its annotations.
        split: `train` or `val`. Validation videos of Kinetics are those of the published list
            (`kinetics_val_list.txt`) if it is there, else those of `kinetics_val.csv`.

    Raises:
        DataError: a file is missing or cannot be read, or a line of it is wrong: an unknown class,
            a label out of range, a video listed twice or in both splits.
    """
    annotations_folder(dataset, folder)  # known?
    if split not in SPLITS:
        raise ValueError(f"split={split!r} is none of {', '.join(SPLITS)}")
    names, rows = _read(dataset, folder, split)
    other = SPLITS[1 - SPLITS.index(split)]
    beside = folder.glob(_file_name(dataset, other).replace("<class>", "*"))
    _check_distinct(rows, _read(dataset, folder, other)[1] if any(beside) else [])
    return Annotations(tuple(names), tuple(Item(row.path, row.label) for row in rows))


def order_difference(cfg: Config, names: Iterable[str]) -> str:
    """A sentence on class names that are not a row's, in its order; empty if all are."""
    pairs = list(zip_longest(names, class_names(cfg), fillvalue=""))
    differ = [i for i, (ours, theirs) in enumerate(pairs) if plain_name(ours) != plain_name(theirs)]
    if not differ:
        return ""
    ours, theirs = pairs[differ[0]]
    return (
        f"{cfg.dataset}: {len(differ)} class names differ from the published order, the first at "
        f"label {differ[0]}: {ours!r}, published {theirs!r}; labels follow the annotation files, "
        "and published weights do not fit them"
    )


def stem(path: str) -> str:
    """A path without the suffix of a video file; other dots stay."""
    return path[: path.rfind(".")] if path.lower().endswith(VIDEO_SUFFIXES) else path


def class_folder(name: str) -> str:
    """The folder of a Kinetics class."""
    return name.replace(" ", "_")


# --- one function per form of annotations: class names, and the rows of a split -------------------


def _file_name(dataset: str, split: str) -> str:
    """Return the name of a split's annotation file; it may hold `<class>`."""
    return getattr(DATASETS[dataset].official, split)


def _read(dataset: str, folder: Path, split: str) -> _Read:
    file, official = folder / _file_name(dataset, split), DATASETS[dataset].official
    try:
        names, rows = READERS[official.form](folder, split, file)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no annotation file {error.filename}; download the annotations from "
            f"{official.site} and put it there"
        ) from None
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None
    if not rows:
        raise DataError(f"{file} lists no video of the {split} split; download it again")
    return names, rows


def _k400(folder: Path, split: str, file: Path) -> _Read:
    """`label,youtube_id,time_start,time_end,split`; quotes removed, sorted as folder names."""
    train, published = folder / _file_name("k400", "train"), folder / K400_VAL_LIST
    names = list(published_names("k400"))
    if train.is_file() or not (split == "val" and published.is_file()):
        listed = {clean_name(fields["label"]) for _, fields in read_csv(train, "label")}
        names = sorted(listed, key=class_folder)
    if split == "val" and published.is_file():
        return names, _k400_published(published, file, names)
    labels = {name: i for i, name in enumerate(names)}
    rows = []
    for where, fields in read_csv(file, "label", "youtube_id", "time_start", "time_end"):
        label = label_of(fields["label"], labels, where)
        clip = f"{class_folder(names[label])}/{_k400_clip(fields, where)}"
        rows.append(VideoRow(clip, label, where))
    return names, rows


def _k400_published(published: Path, file: Path, names: list[str]) -> list[VideoRow]:
    """`video_id frames label`; the times in a clip's name come from kinetics_val.csv."""
    rows, clips = [], {}
    if file.is_file():
        table = read_csv(file, "youtube_id", "time_start", "time_end")
        clips = {fields["youtube_id"]: _k400_clip(fields, where) for where, fields in table}
    for where, line in numbered_lines(published):
        words = line.replace(",", " ").split()
        if len(words) != 3 or not words[1].isdecimal():
            raise bad_line(where, "expected `video_id frames label`", line)
        label, clip = number_of(words[2], len(names), where), stem(words[0]).split("/")[-1]
        clip = clip if _TIMES.search(clip) else clips.get(clip, clip)
        rows.append(VideoRow(f"{class_folder(names[label])}/{clip}", label, where))
    return rows


def _k400_clip(fields: dict[str, str], where: str) -> str:
    start, end = fields["time_start"], fields["time_end"]
    try:
        return f"{fields['youtube_id']}_{int(float(start)):06d}_{int(float(end)):06d}"
    except (ValueError, OverflowError):
        why = "time_start and time_end must be seconds"
        raise bad_line(where, why, f"{start},{end}") from None


def _lines_of_labels(folder: Path, split: str, file: Path) -> _Read:
    """`id;label`; a label's number is its line in the labels file (Something V1, Jester)."""
    known = folder / f"{file.name.rsplit('-', 1)[0]}-labels.csv"
    names = [clean_name(line) for _, line in numbered_lines(known)]
    labels, rows = labels_of(names, known), []
    for where, line in numbered_lines(file):
        video, separator, name = line.partition(";")
        if not separator or not video.strip():
            raise bad_line(where, "expected `id;label`", line)
        rows.append(VideoRow(video.strip(), label_of(name, labels, where), where))
    return names, rows


def _templates(folder: Path, split: str, file: Path) -> _Read:
    """Entries with `id` and `template` (brackets removed); the labels file has the numbers."""
    known = folder / f"{file.name.rsplit('-', 1)[0]}-labels.json"
    table = read_json(known, dict, "an object of `name: number`")
    names = in_order([(f"{known}, class {name!r}", name, table[name]) for name in table])
    labels, rows = labels_of(names, known), []
    for where, entry in read_entries(file, "id", "template"):
        template = str(entry["template"]).replace("[", "").replace("]", "")
        rows.append(VideoRow(str(entry["id"]).strip(), label_of(template, labels, where), where))
    return names, rows


def _diving48(folder: Path, split: str, file: Path) -> _Read:
    """Entries with `vid_name` and `label`; names from Diving48_vocab.json if it is there."""
    known, names, rows = folder / "Diving48_vocab.json", published_names("diving48"), []
    if known.is_file():
        vocabulary = read_json(known, list, "a list of classes")
        names = [clean_name("+".join(c) if isinstance(c, list) else str(c)) for c in vocabulary]
    for where, entry in read_entries(file, "vid_name", "label"):
        video, label = str(entry["vid_name"]).strip(), number_of(entry["label"], len(names), where)
        rows.append(VideoRow(stem(video), label, where))
    return list(names), rows


def _hmdb51(folder: Path, split: str, file: Path) -> _Read:
    """One file a class with `name flag`: 1 train, 2 test, 0 neither. Labels: sorted classes."""
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
    """`class/video.avi [number]`; classInd.txt numbers the classes from 1."""
    known, pairs, rows = folder / "classInd.txt", [], []
    for where, line in numbered_lines(known):
        number, *name = line.split(maxsplit=1)
        if not name:
            raise bad_line(where, "expected `number class`", line)
        pairs.append((where, name[0], number))
    names = in_order(pairs, first=1)
    labels = labels_of(names, known)
    for where, line in numbered_lines(file):
        video, *number = line.replace("\\", "/").rsplit(maxsplit=1)
        if "/" not in video:
            raise bad_line(where, "expected `class/video [number]`", line)
        label = label_of(video.split("/")[0], labels, where)
        if number and number_of(number[0], len(names), where, first=1) != label:
            raise bad_line(
                where, f"{names[label]} is class {label + 1} in {known.name}, not", *number
            )
        rows.append(VideoRow(stem(video), label, where))
    return names, rows


READERS = {  # by the form of the annotations (configs/datasets.py)
    "kinetics": _k400, "lines of labels": _lines_of_labels, "templates": _templates,
    "diving48": _diving48, "hmdb51": _hmdb51, "ucf101": _ucf101,
}  # fmt: skip


def _check_distinct(rows: list[VideoRow], others: list[VideoRow]) -> None:
    """Every video once, and in one split only."""
    elsewhere = {row.path: row.where for row in others}
    seen: dict[str, str] = {}
    for row in rows:
        first = elsewhere.get(row.path) or seen.get(row.path)
        if first:
            how = "in both splits" if row.path in elsewhere else "listed twice"
            raise DataError(f"{row.path} is {how}: {first}, and {row.where}; remove one of them")
        seen[row.path] = row.where
