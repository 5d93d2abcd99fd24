"""Official annotations of the data sets, as their sites publish them.

They lie in `<data root>/<data set>/annotations` under the names that MMAction2's tools expect (0.x,
tools/data/*/README.md); labels are numbered as its tools/data/parse_file_list.py numbers them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

from ...configs import DATASETS, Config, class_names
from ...configs.datasets import SPLITS
from ..annotations import DataError
from .official_readers import READERS, VideoRow
from .parsing import bad_line, normalise_name


@dataclass(frozen=True)
class AnnotatedVideo:
    """An annotated video: its path below the media folder, without suffix, and its label from 0."""

    path: str
    label: int


@dataclass(frozen=True)
class Annotations:
    """An annotated split: its class names in label order, and its videos."""

    names: tuple[str, ...]
    items: tuple[AnnotatedVideo, ...]


def annotations_folder(dataset: str, data_root: Path) -> Path:
    """Return the folder where the official annotations of a data set belong.

    Raises:
        DataError: the data set has no official annotations.
    """
    if DATASETS[dataset].official is None:
        known = ", ".join(name for name, record in DATASETS.items() if record.official)
        raise DataError(f"{dataset} has no official annotations; those of {known} can be read")
    return data_root / DATASETS[dataset].folder / "annotations"


def read_official(dataset: str, folder: Path, split: str) -> Annotations:
    """Read the official annotations of a split.

    Labels follow the official files: the order of the labels file (Something-Something, Jester),
    its numbers (UCF101, Diving48), or sorted names (Kinetics, HMDB51). Copies in another order
    exist (two lines of Jester's are swapped), and published weights would be read wrongly with
    them: see `order_difference`.

    Args:
        dataset: a name of `DATASETS`.
        folder: folder of its annotations.
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
    beside = folder.glob(_find_file(dataset, folder, other).name.replace("<class>", "*"))
    _check_distinct(rows, _read(dataset, folder, other)[1] if any(beside) else [])
    return Annotations(tuple(names), tuple(AnnotatedVideo(row.path, row.label) for row in rows))


def order_difference(cfg: Config, names: Iterable[str]) -> str:
    """Describe how class names differ from the row's in its order; empty if they agree."""
    pairs = list(zip_longest(names, class_names(cfg), fillvalue=""))
    differ = [
        i
        for i, (ours, theirs) in enumerate(pairs)
        if normalise_name(ours) != normalise_name(theirs)
    ]
    if not differ:
        return ""
    ours, theirs = pairs[differ[0]]
    return (
        f"{cfg.dataset}: {len(differ)} class names differ from the published order, the first at "
        f"label {differ[0]}: {ours!r}, published {theirs!r}; labels follow the annotation files, "
        "and published weights do not fit them"
    )


def _find_file(dataset: str, folder: Path, split: str) -> Path:
    """Return the path of a split's annotation file; its name may hold `<class>`."""
    official = DATASETS[dataset].official
    return official.find(folder, getattr(official, split))


def _read(dataset: str, folder: Path, split: str) -> tuple[list[str], list[VideoRow]]:
    """Read a split by the reader of its data set's form."""
    file, official = _find_file(dataset, folder, split), DATASETS[dataset].official
    try:
        names, rows = READERS[official.form](folder, split, file)
    except FileNotFoundError as error:
        raise DataError(
            f"there is no annotation file {error.filename}; download the annotations from "
            f"{official.site} and put it there"
        ) from None
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}") from None
    for row in rows:
        if row.path.startswith("/") or ".." in row.path.split("/"):
            raise bad_line(row.where, "a path that leads out of the folder of the videos", row.path)
    if not rows:
        raise DataError(f"{file} lists no video of the {split} split; download it again")
    return names, rows


def _check_distinct(rows: list[VideoRow], others: list[VideoRow]) -> None:
    """Raise DataError for a video that is listed twice, or in both splits."""
    elsewhere = {row.path: row.where for row in others}
    seen: dict[str, str] = {}
    for row in rows:
        first = elsewhere.get(row.path) or seen.get(row.path)
        if first:
            how = "in both splits" if row.path in elsewhere else "listed twice"
            raise DataError(f"{row.path} is {how}: {first}, and {row.where}; remove one of them")
        seen[row.path] = row.where
