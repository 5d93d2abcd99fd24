"""Parameters of notebooks, read from their first cell and checked before anything is run."""

import ast
import json
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ..configs import (
    FIELD_TYPES,
    ConfigError,
    get_config,
    is_video_folder,
    list_configs,
    list_own_configs,
    parse_yaml,
    views,
)
from ..engine.options import RunOptions
from ..paths import HOME
from ..text import name_closest

INTERNAL = ("name", "published", "explicit")  # fields that are nobody's to set
# parameters that name a file or a folder, and the other values that they take
PATHS = {
    "checkpoint": ("auto", "published"),
    "clips": (),
    "data_root": (),
    "names": (),
    "pretrain": ("imagenet", "none", *list_configs(), *list_own_configs()),
    "published_log": ("none", "published"),
    "videos": (),
    "weights": ("auto", "published"),
}
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
NUMBERS = {"int": (int, "a whole number"), "float": (float, "a number")}


class Parameter(NamedTuple):
    """A parameter that a notebook declares: `epochs: int = None`."""

    kind: str
    default: Any


def find_notebook(name: str) -> Path:
    """Find a notebook of the project by its name.

    Raises:
        ConfigError: there is none; the closest names are listed.
    """
    known = sorted(file.stem for file in (HOME / "notebooks").glob("*.ipynb"))
    if not known:
        raise ConfigError(f"there are no notebooks in {HOME}; call this in a clone of the project")
    if name not in known:
        raise ConfigError(f"there is no notebook {name!r}; {name_closest(name, known)}")
    return HOME / "notebooks" / f"{name}.ipynb"


def read_declared(notebook: Path) -> dict[str, Parameter]:
    """Read the parameters that a notebook declares, with their types and defaults."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    tagged = (c for c in cells if "parameters" in c["metadata"].get("tags", ()))
    source = "".join(next(tagged)["source"])
    return {
        line.target.id: Parameter(ast.unparse(line.annotation), ast.literal_eval(line.value))
        for line in ast.parse(source).body
        if isinstance(line, ast.AnnAssign)
    }


def parse_values(items: Iterable[str], declared: dict[str, Parameter]) -> dict[str, Any]:
    """Read `NAME=VALUE` items: parameters of a notebook, or fields of the configuration.

    Returns:
        Values of parameters; fields that are no parameter are in `changes`.

    Raises:
        ConfigError: an unknown name (the closest ones are listed), or a value of another type.
    """
    fields = set(FIELD_TYPES) - set(INTERNAL) if "changes" in declared else set()
    values: dict[str, Any] = {}
    changes: dict[str, Any] = {}
    for item in items:
        name, equals, text = item.partition("=")
        if not equals:
            raise ConfigError(f"{item!r} is not of the form NAME=VALUE")
        if name not in declared and name not in fields:
            known = sorted({*declared, *fields})
            near = name_closest(name, known)
            raise ConfigError(f"{name!r} is no parameter of this notebook; {near}")
        if not text:  # `data=`: not set
            continue
        if name in declared:
            values[name] = _convert(name, text, declared[name].kind)
        else:
            changes[name] = parse_yaml(text, f"{name}={text!r}: the value")
    if changes:
        values["changes"] = {**values.get("changes", {}), **changes}
    return values


def check_values(values: dict[str, Any], declared: dict[str, Parameter]) -> None:
    """Check what can be checked without data and without torch: names, choices, files.

    Raises:
        ConfigError: a value that the notebook would refuse.
    """
    for name, other in PATHS.items():
        value = values.get(name)
        if value is None or value in other or "://" in value or Path(value).expanduser().exists():
            continue
        choices = f", nor one of {', '.join(other[:2])}" if other else ""
        raise ConfigError(f"{name}={value!r} is no file or folder that exists{choices}")
    RunOptions(**{name: values[name] for name in ("data", "scale", "precision") if name in values})
    row = _value("cfg", values, declared) if "cfg" in declared else None
    if row is not None:
        row = "few_clips" if is_video_folder(row) else row  # the recipe of a folder
        fields = {k: v for k, v in values.items() if k in FIELD_TYPES and v is not None}
        cfg = get_config(row, **fields, **values.get("changes", {}))
        if "protocol" in values:
            views(cfg, values["protocol"])
    if "study" in declared:
        _check_study(_value("study", values, declared), values.get("only", "all"))


def format_command(target: str, values: dict[str, str]) -> str:
    """Write a call of make that a shell takes as it is."""
    words = (f"{name}={shlex.quote(text.replace('$', '$$'))}" for name, text in values.items())
    return " ".join(("make", target, *words))


def _check_study(study: str, only: str) -> None:
    from ..study.plan import get_study, read_plan

    if study == "rows":
        for row in [] if only == "all" else only.split():
            get_config(row)
        return
    if study not in read_plan():
        near = name_closest(study, ["rows", *read_plan()])
        raise ConfigError(f"there is no study {study!r}; {near}")
    arms = get_study(study).arms
    for arm in [] if only == "all" else (name.strip() for name in only.split(";")):
        if arm not in arms:
            raise ConfigError(f"study {study} has no arm {arm!r}; {name_closest(arm, arms)}")


def _value(name: str, values: dict[str, Any], declared: dict[str, Parameter]) -> Any:
    return values.get(name, declared[name].default)


def _convert(name: str, text: str, kind: str) -> Any:
    """Convert what was typed to the type of a parameter."""
    if kind == "str":
        return text
    if text.lower() == "none":
        return None
    if kind == "bool":
        if text.lower() not in BOOLEANS:
            raise ConfigError(f"{name}={text!r} must be True or False")
        return BOOLEANS[text.lower()]
    if kind == "dict":
        value = parse_yaml(text, f"{name}={text!r}: the value")
        if not isinstance(value, dict):
            raise ConfigError(f"{name}={text!r} must be fields and values: '{{dropout: 0.2}}'")
        return value
    number, meaning = NUMBERS[kind]
    try:
        return number(text)
    except ValueError:
        raise ConfigError(f"{name}={text!r} must be {meaning}") from None
