"""Where the videos of one's own are, and of which class: class folders, or a csv `path,label`."""

from pathlib import Path
from typing import NamedTuple

from ..annotations import DataError
from .parsing import read_csv

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "test", "testing"),
}


class Source(NamedTuple):
    """A video, or a folder with videos of one class, and the split it is in if it has one."""

    split: str | None
    label: str
    path: Path


class LeftOut(NamedTuple):
    """A file or folder that is not used, and the reason."""

    path: str
    reason: str


def list_class_folders(root: Path) -> tuple[list[Source], list[LeftOut]]:
    """List the class folders with the split that they are in, and the entries beside them.

    Raises:
        DataError: a folder cannot be read.
    """
    folders, files = _visible(root)
    by_name = {folder.name.lower(): folder for folder in folders}
    train, val = (
        next((by_name[name] for name in names if name in by_name), None)
        for names in SPLITS.values()
    )
    if train is None or val is None or not _visible(train)[0]:
        left_out = [LeftOut(file.name, "it lies in no class folder") for file in files]
        return [Source(None, _class_name(path.name), path) for path in folders], left_out
    sources: list[Source] = []
    beside = [path for path in (*folders, *files) if path not in (train, val)]
    for split, folder in (("train", train), ("val", val)):
        classes, inside = _visible(folder)
        sources += [Source(split, _class_name(path.name), path) for path in classes]
        beside += inside
    reason = f"it lies in no class folder of {train.name} or {val.name}"
    return sources, [LeftOut(str(path.relative_to(root)), reason) for path in beside]


def read_labels(file: Path) -> tuple[list[Source], list[LeftOut]]:
    """Read a csv with the columns `path` and `label`, and `split` (train or val) where it has one.

    Paths are of videos, or of folders with videos of one class, relative to the csv.

    Raises:
        DataError: no such file, other columns, a line without a class, or another split.
    """
    sources: list[Source] = []
    left_out: list[LeftOut] = []
    for where, fields in read_csv(file, "path", "label"):
        name, label, split = fields["path"], _class_name(fields["label"]), fields.get("split", "")
        side = next((side for side, names in SPLITS.items() if split.lower() in names), None)
        if not (name and label):
            raise DataError(f"{where}: the path or the label is empty")
        if split and side is None:
            raise DataError(f"{where}: the split {split!r} is neither train nor val")
        path = file.parent / Path(name).expanduser()
        if path.exists():
            sources.append(Source(side, label, path))
        else:
            left_out.append(LeftOut(name, "there is no such file or folder"))
    if len({source.split is None for source in sources}) > 1:
        raise DataError(f"{file} has a split for some videos only; give one for all, or for none")
    return sources, left_out


def _class_name(text: str) -> str:
    return " ".join(text.split())


def _visible(folder: Path) -> tuple[list[Path], list[Path]]:
    """List the folders and the files in a folder that are not hidden."""
    try:
        paths = sorted(p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX")))
    except OSError as error:
        raise DataError(f"{folder} cannot be read: {error.strerror}") from None
    return [p for p in paths if p.is_dir()], [p for p in paths if not p.is_dir()]
