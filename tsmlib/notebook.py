"""What the notebooks share: checked parameters, visible messages, the configuration as a table.

`python -m tsmlib.notebook NOTEBOOK...` tidies executed notebooks for git (`make notebooks`).
"""

import ast
import dataclasses
import logging
import re
import sys
import types
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pandas as pd
from IPython import get_ipython
from IPython.display import display

from .configs import (
    FIELD_TYPES,
    UNHASHED_FIELDS,
    Config,
    ConfigError,
    get_config,
    is_row,
    is_video_folder,
    to_dict,
)
from .progress import LogHandler, Sink, TextFormatter, runner_file, show_in
from .text import name_closest

INJECTED = "# Parameters"  # first line of the cell that papermill adds
KEPT_METADATA = ("tags", "jupyter")  # of a cell: its tags, and whether its source is folded
BAR = re.compile(r"\d+%\|.*\|")  # of a progress bar
MAIN_FIELDS = (
    "dataset", "num_classes", "backbone", "width", "depth", "pretrain", "num_segments", "is_shift",
    "shift_div", "shift_place", "sampling", "crop_size", "batch_size", "lr", "schedule", "epochs",
)  # fmt: skip


def parameters(namespace: dict[str, Any]) -> dict[str, Any]:
    """The declared parameters of a notebook, checked; call it as `parameters(globals())`.

    papermill only warns of a name that the notebook does not declare; here it is an error.

    Raises:
        ConfigError: an unknown parameter (with the closest names), or a value of another type.
    """
    _show_messages()
    declared = namespace["__annotations__"]
    for cell in namespace.get("In", []):
        if cell.startswith(INJECTED):
            for name in _assigned(cell):
                if name not in declared:
                    near = name_closest(name, declared)
                    raise ConfigError(f"the notebook has no parameter {name!r}; {near}")
    values = {name: namespace[name] for name in declared}
    for name, value in values.items():
        kind = declared[name]
        if isinstance(value, bool) and kind is not bool or not isinstance(value, _accepted(kind)):
            raise ConfigError(f"parameter {name}={value!r} must be of type {kind.__name__}")
    return values


def configuration(values: dict[str, Any]) -> Config:
    """The configuration that parameters ask for: `cfg`, fields that are set, and `changes`.

    `videos`, or a `cfg` that is a folder or a csv, is one's own data: see `configure_videos`.
    """
    fields = {k: v for k, v in values.items() if k in FIELD_TYPES and v is not None}
    fields |= values.get("changes") or {}
    cfg, videos = values["cfg"], values.get("videos")
    if is_video_folder(cfg) and not videos:
        videos = cfg
    if not isinstance(videos, str):  # of parity.ipynb it is a number
        if folds := values.get("folds"):
            raise ConfigError(f"folds={folds} is for a folder of videos or a csv, not for {cfg}")
        return get_config(cfg, **fields)
    from .own_videos.training_set import configure_videos  # which imports torch

    return configure_videos(videos, values.get("workers"), values.get("folds"), **fields)


def choice(name: str, value: str, allowed: Collection[str]) -> None:
    """Raise `ConfigError` for a parameter that is none of the allowed values."""
    if value not in allowed:
        near = name_closest(str(value), allowed)
        raise ConfigError(f"parameter {name}={value!r} is not possible; {near}")


def options(values: dict[str, Any]) -> Any:
    """Return the options of a run (`RunOptions`) that a notebook's parameters ask for."""
    from .engine.options import RunOptions  # which imports torch: only where a run is asked for

    names = (field.name for field in dataclasses.fields(RunOptions))
    return RunOptions(**{name: values[name] for name in names if name in values})


def config_table(cfg: Config, whole: bool = True) -> pd.DataFrame:
    """Tabulate a configuration beside the values of its row.

    Args:
        cfg: of the run.
        whole: every field; else those that matter most, and those that differ from the row.
    """
    row = to_dict(get_config(cfg.name)) if is_row(cfg.name) else {}
    rows = []
    for name, value in to_dict(cfg).items():
        published = row.get(name, "")
        changed = bool(row) and value != published and name not in UNHASHED_FIELDS
        if whole or changed or name in MAIN_FIELDS:
            difference = "differs" if changed else ""
            rows.append((name, _text(value), _text(published), difference))
    kind = "published row" if cfg.published else "row"
    columns = ["field", "this run", kind, "difference"]
    table = pd.DataFrame(rows, columns=columns).set_index("field")
    if whole:
        return table
    order = [*MAIN_FIELDS, *table.index.difference(MAIN_FIELDS, sort=False)]
    return table.loc[order]


class CellStatus(Sink):
    """Shows progress under the running cell, and removes it at the end."""

    def __init__(self):
        self.handle, self.line = None, ""

    def say(self, text: str) -> None:
        """Show a line above the status; a notebook's own output is what stays."""
        self.line = text

    def status(self, text: str) -> None:
        """Set the status, '' for none."""
        shown = {"text/plain": "\n".join(filter(None, (self.line, text))) if text else ""}
        if self.handle is not None:
            self.handle.update(shown, raw=True)
        elif text:
            self.handle = display(shown, raw=True, display_id=True)
        if not text:
            self.handle, self.line = None, ""


def tidy(path: Path) -> None:
    """Prepare an executed notebook for git: no progress bars, one output per stream."""
    import nbformat  # takes 3 seconds, which no notebook shall wait for

    notebook = nbformat.read(path, as_version=4)
    notebook.metadata.pop("papermill", None)
    for cell in notebook.cells:
        cell.metadata = {k: v for k, v in cell.metadata.items() if k in KEPT_METADATA}
        if "outputs" in cell:
            cell.outputs = _tidy_outputs(cell.outputs)
    nbformat.write(notebook, path)


def _tidy_outputs(outputs: list) -> list:
    merged: list = []
    for output in outputs:
        if merged and output.output_type == "stream" == merged[-1].output_type \
                and output.name == merged[-1].name:  # fmt: skip
            merged[-1].text += output.text
        else:
            merged.append(output)
    for output in merged:
        if output.output_type == "stream":
            lines = (line.split("\r")[-1] for line in output.text.split("\n"))
            output.text = "".join(f"{line}\n" for line in lines if not BAR.search(line)).strip("\n")
            output.text += "\n" * bool(output.text)
    removed = {"text/plain": ""}  # a status, at its end
    return [o for o in merged if o.get("text", o) and o.get("data") != removed]


def _accepted(kind: type) -> tuple[type, ...]:
    """Types of a parameter; None means "not set", and papermill reads 1 as an int."""
    return (kind, int, types.NoneType) if kind is float else (kind, types.NoneType)


def _assigned(source: str) -> list[str]:
    targets = [node.targets[0] for node in ast.parse(source).body if isinstance(node, ast.Assign)]
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        parts = [f"{k}: {v}" for k, v in value.items()] if isinstance(value, dict) else value
        return f"{len(parts)} values" if len(parts) > 8 else ", ".join(map(str, parts))
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "" if value is None else str(value)


def _show_messages() -> None:
    """Show messages of the library as plain output of the notebook, and progress as it goes.

    Where `tsm notebook` runs it, progress is shown in the terminal, and warnings there too.
    """
    logger = logging.getLogger("tsmlib")
    logger.setLevel(logging.INFO)
    if not logger.handlers:
        if runner := runner_file():
            runner.status("")  # the notebook has started
            logger.addHandler(LogHandler(logging.WARNING))
        elif get_ipython():
            show_in(CellStatus())
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(TextFormatter("%(message)s"))
        logger.addHandler(handler)
        logger.propagate = False


if __name__ == "__main__":
    for name in sys.argv[1:]:
        tidy(Path(name))
