"""Evaluate weights under a test protocol. Nothing is trained here: `study.parents` does that.

One GPU or CPU:    python -m tsmlib evaluate sthv1 --checkpoint last.pth --protocol accurate
Eight GPUs here:   python -m tsmlib evaluate sthv1 --devices 8
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ..configs import (
    DATASETS,
    Config,
    class_names,
    from_dict,
    get_config,
    output_names,
    replace,
    views,
)
from ..models.checkpoint_files import CheckpointError, state_sha256
from ..models.checkpoints import LoadReport, is_of_run, run_facts, saved_epoch
from ..models.inference_runtime import optimize_for_inference
from ..models.recognizer import channels_last, load_model
from ..paths import file_sha256
from ..results import write_record, write_scores
from . import interruption, launch
from .devices import make_fabric, threads_for
from .fabric import Fabric
from .options import RunOptions, sort_keywords
from .run_folder import RunFolder, run_folder_lock
from .seen_videos import count_seen
from .setup import Setup, evaluation_name, prepare
from .stored_checkpoints import check_no_training
from .test_loop import common_record, predict_scores
from .trained_weights import find_trained

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Evaluation:
    """Weights and the setup and protocol of their test, whose data are not made yet."""

    setup: Setup
    file: Path
    content: dict[str, Any]  # of the file
    protocol: str


class TrainedModel(NamedTuple):
    """A model with trained weights, and the data it is to be tested on."""

    setup: Setup  # of the test; prepared
    model: nn.Module
    content: dict[str, Any]  # of the file of weights
    report: LoadReport


def evaluate(
    cfg: Config | str, checkpoint: str | Path = "auto", protocol: str = "published",
    options: RunOptions | None = None, out: str | Path | None = None, **keywords,
) -> dict[str, Any]:  # fmt: skip
    """Measure the accuracy of weights under a test protocol.

    Args:
        cfg: a configuration or its name. With a checkpoint of ours, scale and model are the
            checkpoint's; fields that the user set and the validation list, of the same class names,
            are the caller's.
        checkpoint: weights in any layout; `published`: the row's, which are downloaded; or `auto`:
            of the newest run of the row on the same data and scale.
        protocol: `published`, of the row; `efficient`, `accurate` (Something-Something and Jester);
            `validation`, as during training.
        options: see `RunOptions`. `work_dir` is the folder of the record (None:
            results/local/ROW/CONDITIONS), `seed` that of the run which `auto` takes.
        out: also write path, label and averaged scores of each video to this JSON file.
        keywords: changes of options or fields.

    Returns:
        The run record; `run_dir` is its folder, which also holds `scores.json`.

    Raises:
        ConfigError, DataError, CheckpointError, DownloadError, ResultsError: say what to do.
    """
    fields, options = sort_keywords(options, keywords)
    cfg = get_config(cfg, **fields)
    views(cfg, protocol)  # an impossible protocol fails before any work
    if launch.is_needed(options):
        return launch.launch(options.devices, evaluate, cfg, checkpoint, protocol, options, out)
    fabric = make_fabric(options.device, options.precision)
    if options.work_dir:
        check_no_training(Path(options.work_dir))
    setup, file, content = find_trained(cfg, checkpoint, options)  # fails before any data are made
    evaluation = Evaluation(setup, file, content, protocol)
    return _evaluate(fabric, evaluation, options, out)


def _evaluate(
    fabric: Fabric, evaluation: Evaluation, options: RunOptions, out: str | Path | None
) -> dict[str, Any]:
    """Load the weights, score the validation list, and write the record."""
    file, content, protocol = evaluation.file, evaluation.content, evaluation.protocol
    model, report = load_model(evaluation.setup.cfg, content, file)
    setup = prepare(evaluation.setup, ("val",), options.workers)
    permutation, facts = class_permutation(setup.cfg, report, content), run_facts(content)
    weights = state_sha256(content["model"]) if facts else file_sha256(file)
    name = evaluation_name(setup, protocol, weights, options.precision)
    folder = Path(options.work_dir or setup.runs / name)
    seen = count_seen(facts, setup.val_list)
    with threads_for(setup.cfg.crop_size), interruption.noted_signals():
        model = fabric.to_device(channels_last(model))
        model = optimize_for_inference(model, options.precision, options.runtime)
        outcome = predict_scores(fabric, setup, model, options, protocol, permutation)

    run = RunFolder(folder, name, setup, facts.get("seed"))
    record = common_record(run, protocol, outcome, options.precision) | {
        "kind": "evaluation",
        "checkpoint": file.name,
        "checkpoint_of": facts.get("run"),
        "checkpoint_layout": report.layout,
        "label_order": report.label_order,
        "checkpoint_epoch": saved_epoch(content),
        "checkpoint_sha256": file_sha256(file),
        "weights": weights[:8],
        "num_trained_on": seen,
        "runtime": model.runtime,
    }
    if fabric.is_global_zero:
        with run_folder_lock(folder):  # the same evaluation may run twice
            for target in filter(None, (folder / "scores.json", out)):
                write_scores(Path(target), outcome)
            record["scores_sha256"] = file_sha256(folder / "scores.json")
            write_record(folder, setup.cfg, record, [])
    return {**record, "run_dir": str(folder)}


def load_trained(
    cfg: Config | str,
    checkpoint: str | Path = "auto",
    options: RunOptions | None = None,
    **keywords,
) -> TrainedModel:
    """Load the model that `evaluate` tests, and make its data ready; arguments as there."""
    fields, options = sort_keywords(options, keywords)
    setup, file, content = find_trained(get_config(cfg, **fields), checkpoint, options)
    model, report = load_model(setup.cfg, content, file)
    setup = prepare(setup, ("val",), options.workers)
    return TrainedModel(setup, channels_last(model), content, report)


def class_permutation(cfg: Config, report: LoadReport, content: dict[str, Any]) -> list[int] | None:
    """Find the output column of each of the data's classes.

    Args:
        cfg: of the data.
        report, content: of the file of weights.

    Returns:
        The columns; None where outputs are in the data's order, or where names differ, so that
        numbers are trusted (with a warning).

    Raises:
        CheckpointError: the weights number the classes by name, and the data's have none.
    """
    names, weights_names = class_names(cfg), _names_of_weights(cfg, report, content)
    if report.label_order == "mit" and DATASETS[cfg.dataset].renumbered and names[0] == "class 0":
        raise CheckpointError(
            f"the weights number the classes of {cfg.dataset} by name, and the data's have no "
            "names; set class_names"
        )
    if weights_names == names:
        return None
    if sorted(weights_names) != sorted(names):
        log.warning("the weights' classes have other names than the data's: matched by number")
        return None
    log.info("the weights number the classes differently: outputs are matched by class name")
    return [weights_names.index(name) for name in names]


def _names_of_weights(cfg: Config, report: LoadReport, content: dict[str, Any]) -> tuple[str, ...]:
    """List class names in the order of the outputs: as trained, or as others publish them."""
    if report.layout == "tsmlib":
        return class_names(from_dict(content["config"]) if is_of_run(content) else cfg)
    published = replace(cfg, class_names=None)
    if report.label_order and sorted(class_names(published)) == sorted(class_names(cfg)):
        cfg = published  # the data may number the published classes in an order of their own
    return output_names(cfg, report.label_order)
