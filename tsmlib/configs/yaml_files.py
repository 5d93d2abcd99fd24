"""A user's own configuration: a YAML file with `base: ROW` and changes."""

import os
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from .errors import ConfigError
from .fields import FIELD_TYPES
from .rows import is_row, resolve_name, row_fields
from .validation import check_field_names, convert_value

MAX_CHARACTERS = 2**20  # of a file
MAX_NODES = 100_000  # values in it, those that aliases repeat included


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
    root = home / _expand("data_root", own.get("data_root") or ".")
    if _is_file_of_weights(own.get("pretrain")):
        own["pretrain"] = str(home / _expand("pretrain", own["pretrain"]))
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
    content = parse_yaml(_read_text(path, f"{path}"), f"{path}")
    if not isinstance(content, dict) or "base" not in content:
        raise ConfigError(f"{path} needs a line `base: ROW`, for example `base: sthv1`")
    return content


def parse_yaml(text: str, subject: str) -> Any:
    """Parse YAML; `subject` begins the sentence of an error.

    Raises:
        ConfigError: it is no YAML, or a mapping has a key twice.
    """
    try:
        if len(text) > MAX_CHARACTERS:
            raise ValueError(f"it has more than {MAX_CHARACTERS} characters")
        return yaml.load(text, _Loader)  # a safe one
    except yaml.YAMLError as error:
        reason = " ".join(str(getattr(error, "problem", None) or error).split())
        if mark := getattr(error, "problem_mark", None):
            reason += f" in line {mark.line + 1}"
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:  # an impossible date or number
        reason = " ".join(str(error).split())
    except (TypeError, LookupError, AttributeError, ArithmeticError):  # as `!!int ""`, `!!bool x`
        reason = "a value does not fit the type (!!) before it"
    raise ConfigError(f"{subject} is not valid YAML: {reason}")


class _Loader(yaml.SafeLoader):
    """Refuses a mapping with a key twice, of which YAML's own loader takes the last.

    It also refuses aliases that stand for more than `MAX_NODES` values, or hold themselves.
    """

    def construct_document(self, node: Any) -> Any:
        if _expanded_size(node, {}) > MAX_NODES:
            raise ValueError(f"its aliases (*) stand for more than {MAX_NODES} values")
        return super().construct_document(node)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag.endswith(":merge"):
                continue
            if (key := self.construct_object(key_node)) in seen:
                problem = f"the key {key!r} is there twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _expanded_size(node: Any, known: dict[int, int]) -> int:
    """Count the values that a node stands for; `known` holds those that were counted."""
    if id(node) not in known:
        known[id(node)] = MAX_NODES + 1  # while it is in itself
        parts = node.value if isinstance(node, yaml.CollectionNode) else ()
        pairs = (part if isinstance(part, tuple) else (part,) for part in parts)
        known[id(node)] = 1 + sum(_expanded_size(part, known) for pair in pairs for part in pair)
    return known[id(node)]


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


def _expand(name: str, path: str) -> Path:
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise ConfigError(f"{name}={path!r}: there is no home folder of that user") from None


def _is_file_of_weights(pretrain: str | None) -> bool:
    """Tell whether `pretrain` is the path of a file; else it is a choice, a row or an address."""
    known = pretrain in (None, "imagenet", "none") or is_row(pretrain)
    return not known and "://" not in pretrain


def _describe_own_data(path: Path, own: dict[str, Any], root: Path) -> dict[str, Any]:
    """Return the fields of a row that the user's own lists change; make list names relative."""
    if is_row(path.stem):
        raise ConfigError(f"{path} has the name of a row; give your own data another one")
    for required in ("val_list", "num_classes"):
        if own.get(required) is None:
            raise ConfigError(f"{path} needs a line `{required}:` (see docs/own-videos.md)")
    for name in {"train_list", "val_list"} & own.keys():  # in the data root, or beside the YAML
        beside = path.resolve().parent / own[name]
        if not _is_file(root / own[name]) and _is_file(beside):
            own[name] = os.path.relpath(beside, root)
    return {
        "name": path.stem, "published": "", "dataset": "custom", "layout": "auto",
        "resolution": None, "num_classes": own["num_classes"], "train_list": "",
        "flip_label_map": None, "train_prefix": None, "val_prefix": None, "data_root": str(root),
    }  # fmt: skip


def _read_class_names(name: str, folders: tuple[Path, ...]) -> tuple[str, ...]:
    """Read class names from a file in one of the folders, one per line."""
    file = next((folder / name for folder in folders if _is_file(folder / name)), None)
    if file is None:
        where = " or ".join(dict.fromkeys(map(str, folders)))
        raise ConfigError(f"class_names: there is no file {name} in {where}")
    lines = _read_text(file, f"class_names: {file}").split("\n")
    return tuple(line.strip() for line in lines if line.strip())
