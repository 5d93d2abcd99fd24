"""The command that runs a notebook, as `make train` does: checked first, shown as it goes."""

import hashlib
import sys
from pathlib import Path

from ..configs import MODEL_FIELDS, is_video_folder
from ..engine.interruption import Interrupted
from ..paths import display_path, file_name, results_folder
from ..text import to_terminal
from .parameters import (
    Parameter,
    check_values,
    find_notebook,
    format_command,
    parse_values,
    read_declared,
)

SUBJECTS = ("videos", "study", "cfg")  # the parameter after which a copy is named, the first one
WHERE = ("cfg", "data", "scale", "seed", "data_root")  # what the next command needs as well
SAME_RUN = ("fresh", "workers")  # no result depends on them
LONGEST = 120  # characters of a file's name
NEXT = {
    "train": ("evaluate", (*WHERE, *MODEL_FIELDS)),
    "evaluate": ("compare", ()),
    "data": ("train", ("cfg", "data", "data_root")),
    "ablate": ("compare", ()),
    "compare": ("ablate study=shift", ()),
    "predict": ("lab", ()),
    "shift": ("train cfg=sthv1", ()),
}


def notebook(name: str, /, *values: str) -> int:
    """Run a notebook of the project: tsm notebook train cfg=sthv1 lr=0.02.

    Wrong parameters are reported before anything runs. The executed copy is in
    results/local/notebooks.

    Args:
        name: train, evaluate, data, ablate, compare, ... (see the folder notebooks).
        values: parameters of the notebook, or fields of the configuration, as NAME=VALUE.
    """
    file = find_notebook(name)
    declared = read_declared(file)
    parameters = parse_values(values, declared)
    check_values(parameters, declared)
    texts = {key: text for key, _, text in (item.partition("=") for item in values) if text}
    if "videos" not in texts:
        texts = {k: declared[k].default for k in ("study", "cfg") if k in declared} | texts
    target = results_folder() / "local" / "notebooks" / name_copy(name, texts, declared)
    from ..progress import Terminal
    from .execution import NotebookError, execute

    print(f"running {display_path(file)}; its copy will be {display_path(target)}", file=sys.stderr)
    again = format_command(name, {k: v for k, v in texts.items() if k != "fresh"})
    try:
        result = execute(file, target, parameters, Terminal())
    except NotebookError as error:
        print(to_terminal(str(error)), file=sys.stderr)
        return 1
    except Interrupted as stop:
        print(f"{stop}\nthe same command continues: {again}", file=sys.stderr)
        return stop.status
    if result:
        print(to_terminal(result))
    print(f"notebook  {display_path(target)}  (to look at it: make lab)")
    print(to_terminal(f"next      {next_command(name, texts)}"))
    return 0


def name_copy(notebook: str, texts: dict[str, str], declared: dict[str, Parameter]) -> str:
    """Name the executed copy after the parameters that make it another run: `train-sthv1-lr=0.02`.

    Args:
        notebook: its name.
        texts: parameters as they were typed.
        declared: see `read_declared`.
    """
    subject = next((s for s in SUBJECTS if s in texts), "")
    value = texts.get(subject, "")
    parts = [notebook, *([file_name(Path(value).stem or value)] if value else [])]
    others = {k: v for k, v in sorted(texts.items()) if k not in (subject, *SAME_RUN)}
    others = {k: v for k, v in others.items() if not _is_default(v, declared.get(k))}
    parts += [f"{k}={file_name(Path(v).name)}" for k, v in others.items()]
    stem = "-".join(parts)
    if len(stem) > LONGEST or any(file_name(v) != v for v in others.values()):
        digest = hashlib.sha256(repr((value, others)).encode()).hexdigest()[:8]
        stem = f"{stem[:LONGEST]}-{digest}"
    return f"{stem}.ipynb"


def next_command(notebook: str, texts: dict[str, str]) -> str:
    """Name the command that usually follows a notebook, with the parameters that it shares."""
    target, names = NEXT.get(notebook, ("compare", ()))
    videos = texts.get("videos") or texts.get("cfg")
    if notebook == "train" and videos and ("videos" in texts or is_video_folder(videos)):
        beside = str(Path(videos).parent) if videos.lower().endswith(".csv") else videos
        target, names, texts = "predict", ("videos",), {"videos": beside}
    elif work_dir := texts.get("work_dir"):  # where no other command looks
        texts = {**texts, "checkpoint": str(Path(work_dir) / "last.pth")}
        names = ("cfg", "data", "data_root", "checkpoint")
    return format_command(target, {k: texts[k] for k in names if k in texts})


def _is_default(text: str, parameter: Parameter | None) -> bool:
    return parameter is not None and text == str(parameter.default)
