"""A user's own configuration: a YAML file with `base: ROW` and changes."""

import os
from pathlib import Path
from typing import Any

import yaml

from ..text import split_lines
from .errors import ConfigError
from .fields import FIELD_TYPES
from .rows import is_row, resolve_name, row_fields
from .validation import check_field_names, convert_value


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Read a user's YAML file.

    Returns:
        The fields that follow from it (those of its row, and where the data lie), and the fields
        that it sets.

    Raises:
        ConfigError: the file cannot be read, has no usable `base`, or sets an impossible value.
    """
    own = _load(path)
    base = own.pop("base")
    if not isinstance(base, str):
        raise ConfigError(f"{path}: base={base!r} must be the name of a row, such as `base: sthv1`")
    fields = row_fields(resolve_name(base))
    check_field_names(own, FIELD_TYPES)
    for name, value in own.items():
        if name != "class_names" or not isinstance(value, str):  # else the name of a file
            own[name] = convert_value(name, value, FIELD_TYPES[name])
    home = path.resolve().parent
    root = home / _expand(own.get("data_root") or ".")
    if isinstance(own.get("class_names"), str):
        own["class_names"] = _read_class_names(own["class_names"], (root, home))
    if "train_list" in own or "val_list" in own:
        fields |= _describe_own_data(path, own, root)
    elif "data_root" in own:
        fields["data_root"] = str(root)
    own.pop("data_root", None)
    return fields, own


def _load(path: Path) -> dict[str, Any]:
    """Parse a YAML file that holds fields and `base`."""
    text = _read_text(path, f"{path}")
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    except (RecursionError, ValueError) as error:  # ValueError: an impossible date or number
        raise ConfigError(f"{path} is not valid YAML: {error}") from None
    if not isinstance(content, dict) or "base" not in content:
        raise ConfigError(f"{path} needs a line `base: ROW`, for example `base: sthv1`")
    return content


def _read_text(file: Path, subject: str) -> str:
    """Read UTF-8 text, with or without a byte-order mark."""
    if not _is_file(file):
        raise ConfigError(f"there is no configuration file {file}")
    try:
        text = file.read_text(encoding="utf-8-sig")
        if "\0" in text:  # UTF-16 without a byte-order mark
            raise UnicodeError
    except UnicodeError:
        raise ConfigError(f"{subject} is not UTF-8 text; save it as UTF-8") from None
    except OSError as error:
        raise ConfigError(f"{subject} cannot be read: {error.strerror}") from None
    return text


def _is_file(path: Path) -> bool:
    """Tell whether there is such a file; False where no file could have that name."""
    try:
        return path.is_file()
    except OSError:  # too long
        return False


def _expand(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise ConfigError(f"data_root={folder!r}: there is no home folder of that user") from None


def _describe_own_data(path: Path, own: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the fields of a row that the user's own lists change; make list names relative."""
    if is_row(path.stem):
        raise ConfigError(f"{path} has the name of a row; give your own data another one")
    for required in ("train_list", "val_list", "num_classes"):
        if own.get(required) is None:
            raise ConfigError(f"{path} needs a line `{required}:` (see docs/own-videos.md)")
    for name in ("train_list", "val_list"):  # in the data root, or beside the YAML file
        beside = path.resolve().parent / own[name]
        if not _is_file(root / own[name]) and _is_file(beside):
            own[name] = os.path.relpath(beside, root)
    return {
        "name": path.stem, "dataset": "custom", "layout": "auto", "resolution": None,
        "num_classes": own["num_classes"],
        "flip_label_map": None, "train_prefix": None, "val_prefix": None, "data_root": str(root),
    }  # fmt: skip


def _read_class_names(name: str, folders: tuple[Path, ...]) -> tuple[str, ...]:
    """Read class names from a file in one of the folders, one per line."""
    file = next((folder / name for folder in folders if _is_file(folder / name)), None)
    if file is None:
        where = " or ".join(dict.fromkeys(map(str, folders)))
        raise ConfigError(f"class_names: there is no file {name} in {where}")
    lines = split_lines(_read_text(file, f"class_names: {file}"))
    return tuple(line.strip() for line in lines if line.strip())
