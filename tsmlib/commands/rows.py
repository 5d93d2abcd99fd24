"""Commands for one row: train, evaluate, predict, export.

The rooms are imported inside the functions: help and misspelt names need no torch.
"""

import json
import logging
import os
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from cyclopts import Parameter

from ..configs import (
    Config,
    ConfigError,
    get_config,
    is_video_folder,
    list_configs,
    list_own_configs,
)
from ..engine.options import RunOptions
from ..paths import display_path

Changes = Annotated[
    list[str] | None, Parameter(name="--set", help="configuration fields, FIELD=VALUE ...")
]


Options = Annotated[RunOptions | None, Parameter(name="*")]


def train(row: str, /, *, changes: Changes = None, options: Options = None) -> None:
    """Train a row with its published recipe; the same command continues an interrupted run.

    On a stand-in, a row that starts from another one's weights has that one trained first. A folder
    of your own videos, with one sub-folder for each class, gets lists and a recipe for few clips.

    Args:
        row: name of a row, a YAML file, or a folder of your own videos.
    """
    cfg = _configure(row, parse_changes(changes))
    from ..engine import train as training
    from ..engine.parents import train_parent

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    if not cfg.port_of:  # such a row is never trained
        train_parent(cfg, options)
    record = training.train(cfg, options)
    print_record(record, "cfg", "top1", "num_videos", "run_dir")
    if cfg.dataset == "custom":
        _print_beside_chance(record)


def evaluate(
    row: str,
    /,
    *,
    checkpoint: str = "auto",
    protocol: str = "published",
    changes: Changes = None,
    out: Path | None = None,
    options: Options = None,
) -> None:
    """Measure the accuracy of weights under a test protocol.

    Args:
        row: name of a row, or a YAML file.
        checkpoint: file of weights; published; or auto: the newest run of the row.
        protocol: published, efficient, accurate or validation.
        out: JSON file for the scores of each video.
    """
    cfg = get_config(row, **parse_changes(changes))
    from ..engine import evaluate as evaluation

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    record = evaluation.evaluate(cfg, checkpoint, protocol, options, out=out)
    print_record(record, "cfg", "protocol", "top1", "num_videos", "run_dir")


def predict(
    paths: list[str],
    /,
    *,
    weights: str | None = None,
    cfg: str | None = None,
    protocol: str = "published",
    top: int = 5,
    names: str | None = None,
    device: str = "auto",
    out: Path | None = None,
) -> None:
    """Classify videos: files, folders of them, and folders of numbered JPEG frames.

    Args:
        paths: video files and folders; an exported ONNX file may precede them.
        weights: file of weights, or exported ONNX file (default: weights of the newest run, on real
            data if there is one).
        cfg: row or YAML file, where the weights do not say of what they are.
        protocol: published, efficient, accurate or validation.
        top: number of classes for each video.
        names: file with one class name per line.
        device: auto, cpu, cuda or mps.
        out: CSV file to write (default: a new one in results/local/predictions).
    """
    if out and out.is_dir():
        raise ConfigError(f"--out names a folder, {out}; name a file")
    if weights is None and paths[0].lower().endswith(".onnx"):
        weights, *paths = paths
    exported = weights is not None and weights.lower().endswith(".onnx")
    if exported and (cfg or names or protocol != "published" or device not in ("auto", "cpu")):
        raise ConfigError(
            f"{weights} says itself how it is used, and runs on the CPU: leave out --cfg, "
            "--protocol, --names and --device"
        )
    config = get_config(cfg) if cfg else None
    from ..engine.predict import describe
    from ..engine.predict import predict as predict_videos
    from ..online.onnx_predict import predict_exported
    from ..results import write_predictions

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    if exported:
        table = predict_exported(paths, weights, top)
    else:
        table = predict_videos(
            paths, weights, config, protocol, top=top, names=names, device=device
        )
    print("\n".join(describe(table)))
    out = write_predictions(table, paths[0], out)
    print(f"{table['path'].nunique()} videos classified, written to {display_path(out)}")


def export(
    weights: str,
    out: Path,
    /,
    *,
    layout: Literal["mmaction2", "mit", "torchvision", "onnx", "pt2"] | None = None,
    cfg: str | None = None,
    stream: bool = False,
    interval: int | None = None,
    int8: bool = False,
) -> None:
    """Write a model as ONNX or torch.export program, or its weights under others' names.

    An exported model is run and compared with the original before it is written, and says how
    frames are prepared: `tsm predict model.onnx clip.mp4`. Other options than the layout are for
    onnx and pt2.

    Args:
        weights: file of weights; for the layouts of others, a checkpoint of a run.
        out: file to write.
        layout: onnx; pt2, of torch.export; or the names of weights of mmaction2, mit, torchvision
            (default: by the suffix .onnx or .pt2, else mmaction2).
        cfg: row or YAML file, where the weights do not say of what they are.
        stream: one frame a call, with the state as inputs and outputs.
        interval: frames of a video between those that enter the stream.
        int8: quantise, and measure what it costs on the validation list.
    """
    suffix = out.suffix.lower().removeprefix(".")
    by_suffix = suffix if suffix in ("onnx", "pt2") else None
    layout = layout or by_suffix or "mmaction2"
    if by_suffix and layout != by_suffix:
        raise ConfigError(f"--layout {layout} does not go with {out}; choose {by_suffix} for it")
    if layout in ("onnx", "pt2"):
        config = get_config(cfg) if cfg else None
        from ..online.model_export import export_checkpoint

        logging.getLogger("tsmlib").setLevel(logging.INFO)
        exported = export_checkpoint(
            weights, out, layout, config, stream=stream, interval=interval, int8=int8
        )
        print(exported.summarize())
        return
    if cfg or stream or interval or int8:
        raise ConfigError("--cfg, --stream, --interval and --int8 are for --layout onnx and pt2")
    from ..engine.export import export as export_weights

    print(f"wrote {display_path(export_weights(weights, out, layout))}")


def list_rows(own: bool = False) -> None:
    """List the names of the published rows, in the order of the published tables.

    Each is a ROW of the other commands, and a cfg of the notebooks.

    Args:
        own: list the rows of ours instead, which train networks for streams.
    """
    print("\n".join(list_own_configs() if own else list_configs()))


def _configure(row: str, changes: dict[str, Any]) -> Config:
    """Return the configuration of a row, a YAML file, or a folder of one's own videos."""
    if not is_video_folder(row):
        return get_config(row, **changes)
    from ..engine.own_videos import configure_videos

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    return configure_videos(row, **changes)


def parse_changes(items: list[str] | None) -> dict[str, Any]:
    """Read `FIELD=VALUE` items; values are YAML, as in a file of one's own.

    Raises:
        ConfigError: an item without a field, or a value that is no YAML.
    """
    changes = {}
    for item in items or ():
        field, equals, value = item.partition("=")
        if not (field and equals):
            raise ConfigError(f"--set {item!r} is not of the form FIELD=VALUE")
        try:
            changes[field] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise ConfigError(f"--set {item!r}: the value cannot be read as YAML") from None
    return changes


def _print_beside_chance(record: dict[str, Any]) -> None:
    """Print the accuracy beside chance, once for all processes of a run."""
    from ..intervals import beside_constant_answer
    from ..results import read_scores

    if os.environ.get("RANK", "0") == "0":
        _, labels, scores = read_scores(Path(record["run_dir"]) / "scores.json")
        print(beside_constant_answer(scores, labels, record["class_names"]))


def print_record(record: dict[str, Any], *names: str) -> None:
    """Print parts of a record as JSON, once for all processes of a run."""
    if os.environ.get("RANK", "0") == "0":
        print(json.dumps({name: record[name] for name in names}, ensure_ascii=False))
