"""Commands for one row: train, evaluate, export.

Packages are imported inside the functions: help and misspelt names need no torch.
"""

import dataclasses
import json
import logging
from collections.abc import Collection
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from ..configs import (
    Config,
    ConfigError,
    get_config,
    is_video_folder,
    list_configs,
    list_own_configs,
    parse_yaml,
)
from ..engine.options import RunOptions, check_used
from ..engine.ranks import global_rank
from ..paths import display_path
from ..text import to_terminal

Changes = Annotated[
    list[str] | None, Parameter(name="--set", help="configuration fields, FIELD=VALUE ...")
]
ALL = {field.name for field in dataclasses.fields(RunOptions)}
OF_TRAININGS = ALL - {"runtime"}
OF_TESTS = ALL - {
    "fresh", "resume", "save_seconds", "validate", "log", "deterministic", "compiled", "recompute",
}  # fmt: skip
PROGRAMS = ("onnx", "pt2")  # layouts of models, not of weights alone
Layout = Annotated[
    Literal["hub", "mmaction2", "mit", "torchvision", "onnx", "pt2"] | None,
    Parameter(name=["--layout", "--to"]),
]


def options_of(used: Collection[str], **help: str) -> Any:
    """Annotate options of a command: help shows those in use; `check_options` refuses others.

    `help`: texts in place of those of `RunOptions`.
    """
    fields = {field.name: field for field in dataclasses.fields(RunOptions)}
    shown = {name: Parameter(show=False) for name in fields if name not in used}
    shown |= {name: Parameter(help=text) for name, text in help.items()}
    types = {name: Annotated[fields[name].type, shown[name]] for name in shown}
    body = {name: fields[name].default for name in shown} | {
        "__annotations__": types,
        "__doc__": RunOptions.__doc__,
        "__module__": __name__,
    }
    options = dataclasses.dataclass(frozen=True)(type("RunOptions", (RunOptions,), body))
    return Annotated[options | None, Parameter(name="*")]


def check_options(options: RunOptions | None, used: Collection[str], deed: str) -> RunOptions:
    """Return what was read for `options_of` as the class that the package knows.

    Raises:
        ConfigError: an option that `deed`, part of a sentence, does not use.
    """
    options = RunOptions(**vars(options)) if options else RunOptions()
    check_used(options, used, deed)
    return options


def train(
    row: str,
    /,
    *,
    group: str | None = None,
    folds: int | None = None,
    changes: Changes = None,
    options: options_of(OF_TRAININGS) = None,
) -> None:
    """Train a row with its published recipe; the same command continues an interrupted run.

    On a stand-in, a row that starts from another one's weights has that one trained first. A folder
    of your own videos, with one sub-folder for each class, gets lists and a recipe for few clips.

    Args:
        row: name of a row, a YAML file, a folder of your own videos, or a csv of them, path,label.
        group: regular expression; own videos whose paths agree in it (a recording, a person) stay
            on one side of the split.
        folds: cross-validation of own videos: each is tested once, by a network that has not seen
            it.
    """
    fields = parse_changes(changes) | ({"group": group} if group else {})
    options = check_options(options, OF_TRAININGS, "rows are trained")
    if options.devices and is_video_folder(row):  # before its lists are written
        from ..engine.devices import check_devices

        check_devices(options.devices, options.device)
    cfg = _configure(row, folds, fields)
    from ..engine import train as training
    from ..study.cross_validation import cross_validate_videos
    from ..study.parents import train_parent

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    if not cfg.port_of:  # such a row is never trained
        train_parent(cfg, options)
    if folds:
        record = cross_validate_videos(cfg, folds, options)
    else:
        record = training.train(cfg, options)
    print_record(record, "cfg", "top1", "mean_class_accuracy", "num_videos", "run_dir")
    if cfg.dataset == "custom":
        _print_beside_chance(record, cfg.group)


def evaluate(
    row: str,
    /,
    *,
    checkpoint: str = "auto",
    protocol: str = "published",
    changes: Changes = None,
    out: Path | None = None,
    options: options_of(OF_TESTS) = None,
) -> None:
    """Measure the accuracy of weights under a test protocol.

    Args:
        row: name of a row, or a YAML file.
        checkpoint: file of weights; published; or auto: the newest run of the row.
        protocol: published, efficient, accurate or validation.
        out: JSON file for the scores of each video.
    """
    cfg = get_config(row, **parse_changes(changes))
    options = check_options(options, OF_TESTS, "weights are tested")
    if out and out.is_dir():
        raise ConfigError(f"out={out} is a folder; name a JSON file")
    from ..engine import evaluate as evaluation

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    record = evaluation.evaluate(cfg, checkpoint, protocol, options, out=out)
    print_record(record, "cfg", "protocol", "top1", "num_videos", "run_dir")


def export(
    weights: str,
    out: Path | None = None,
    /,
    *,
    layout: Layout = None,
    cfg: str | None = None,
    stream: bool = False,
    interval: int | None = None,
    int8: bool = False,
    license: str = "other",
) -> None:
    """Write a model as ONNX or torch.export program, or its weights under others' names.

    `tsm export --to hub FOLDER` writes the weights of the newest run as safetensors, with a model
    card; `tsm export WEIGHTS --to hub FOLDER` those of a file.

    An exported model is run and compared with the original before it is written, and says how
    frames are prepared: `tsm predict model.onnx clip.mp4`. Other options than the layout are for
    onnx and pt2.

    Args:
        weights: file of weights; for the layouts of others, a checkpoint of a run.
        out: file to write; for hub, a folder.
        layout: hub; onnx; pt2, of torch.export; or the names of weights of mmaction2, mit,
            torchvision (default: by the suffix .onnx or .pt2, else mmaction2).
        cfg: row or YAML file, if the file does not say which row it belongs to.
        stream: one frame a call, with the state as inputs and outputs.
        interval: every INTERVAL-th frame of a video enters the stream.
        int8: quantise, and measure what it costs on the validation list.
        license: of the weights, for the model card (apache-2.0, cc-by-nc-4.0 ...).
    """
    suffix = out.suffix.lower().removeprefix(".") if out and layout != "hub" else ""
    by_suffix = suffix if suffix in PROGRAMS else None
    layout = layout or by_suffix or "mmaction2"
    if by_suffix and layout != by_suffix:
        raise ConfigError(f"--layout {layout} does not go with {out}; choose {by_suffix} for it")
    if layout not in PROGRAMS and (cfg or stream or interval or int8):
        raise ConfigError("--cfg, --stream, --interval and --int8 are for --layout onnx and pt2")
    if layout == "hub":
        _export_to_hub(*((weights, out) if out else (None, weights)), license)
        return
    if out is None:
        raise ConfigError(f"name the file to write: tsm export {weights} OUT")
    if layout in PROGRAMS:
        config = get_config(cfg) if cfg else None
        from ..online.model_export import export_checkpoint

        logging.getLogger("tsmlib").setLevel(logging.INFO)
        exported = export_checkpoint(
            weights, out, layout, config, stream=stream, interval=interval, int8=int8
        )
        print(exported.summarize())
        return
    from ..online.checkpoint_export import export as export_weights

    print(f"wrote {display_path(export_weights(weights, out, layout))}")


def _export_to_hub(weights: str | None, folder: str | Path, license: str) -> None:
    """Write the folder of weights; None: those of the newest run."""
    from ..engine.find_model import newest_weights
    from ..online.hub import export_to_hub

    file = weights or newest_weights()[0]
    written = export_to_hub(file, Path(folder), license)
    print(f"wrote {display_path(written)}, of {display_path(file)}")


def list_rows(*, own: bool = False) -> None:
    """List the names of the published rows, in the order of the published tables.

    Each is a ROW of the other commands, and a cfg of the notebooks.

    Args:
        own: list the rows of ours instead, for few clips and for streams.
    """
    print("\n".join(list_own_configs() if own else list_configs()))


def _configure(row: str, folds: int | None, changes: dict[str, Any]) -> Config:
    """Return the configuration of a row, a YAML file, or a folder of one's own videos."""
    if not is_video_folder(row):
        if folds:
            raise ConfigError(f"folds={folds} is for a folder of videos or a csv, not for {row}")
        return get_config(row, **changes)
    from ..own_videos.training_set import configure_videos

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    return configure_videos(row, folds=folds, **changes)


def parse_changes(items: list[str] | None, option: str = "--set") -> dict[str, Any]:
    """Read the `FIELD=VALUE` items of an option; values are YAML, as in a file of one's own.

    Raises:
        ConfigError: an item without a field, a field twice, a name of its own, or a value that is
            no YAML.
    """
    if items == []:
        raise ConfigError(f"{option} needs at least one FIELD=VALUE behind it")
    changes: dict[str, Any] = {}
    for item in items or ():
        field, equals, value = item.partition("=")
        if not (field and equals):
            raise ConfigError(f"{option} {item!r} is not of the form FIELD=VALUE")
        if field in changes:
            raise ConfigError(f"{option} gives {field} twice")
        if option == "--set" and field in ("name", "published"):
            raise ConfigError(f"{option} {item!r}: the names of a recipe cannot be set")
        changes[field] = parse_yaml(value, f"{option} {item!r}: the value")
    return changes


def _print_beside_chance(record: dict[str, Any], group: str | None) -> None:
    """Print the accuracy beside chance, once for all processes of a run."""
    from ..data.prepare.folder_split import name_groups
    from ..intervals import beside_constant_answer
    from ..results import read_scores

    if global_rank() == 0:
        paths, labels, scores = read_scores(Path(record["run_dir"]) / "scores.json")
        groups = name_groups(paths, group)
        answer = beside_constant_answer(scores, labels, record["class_names"], groups)
        print(to_terminal(answer))


def print_record(record: dict[str, Any], *names: str) -> None:
    """Print parts of a record as JSON, once for all processes of a run."""
    if global_rank() == 0:
        chosen = {name: record[name] for name in names}
        print(to_terminal(json.dumps(chosen, ensure_ascii=False)))
