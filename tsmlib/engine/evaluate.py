"""Evaluate weights under a test protocol.

One GPU or CPU:   python -m tsmlib.engine.evaluate sthv1 --checkpoint last.pth --protocol accurate
All GPUs here:    torchrun --nproc_per_node gpu -m tsmlib.engine.evaluate sthv1
"""

import argparse
import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ..configs import (
    DATASETS,
    Config,
    class_names,
    from_dict,
    get_config,
    names_in_order,
    replace,
    views,
)
from ..models.checkpoints import (
    CheckpointError,
    LoadReport,
    file_sha256,
    load_checkpoint,
    local_file,
    read_checkpoint,
)  # fmt: skip
from ..models.inference_runtime import optimize_for_inference
from ..models.recognizer import build_model, channels_last
from ..models.state_dict_layouts import to_layout
from ..paths import results_folder
from ..results import write_atomic, write_record, write_scores
from .checkpointing import as_bytes
from .devices import PRECISIONS, default_workers, make_fabric
from .published_weights import published_checkpoint
from .setup import (
    Setup,
    check_choice,
    for_evaluation,
    newest_checkpoint,
    resolve,
    weights_hash,
)
from .test_loop import record_of, run_test
from .train import train, weights_of

log = logging.getLogger(__name__)


def evaluate(
    cfg: Config,
    checkpoint: str | Path = "auto",
    protocol: str = "published",
    *,
    data: str = "auto",
    scale: str = "auto",
    seed: int | None = None,
    data_root: str | Path | None = None,
    cache: str | Path | None = None,
    work_dir: str | Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: str = "32-true",
    max_bad: float = 0.01,
    runtime: str = "auto",
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Accuracy of weights under a test protocol.

    Args:
        cfg, data, scale, data_root, cache, workers, device, precision, max_bad: see `train`. With a
            checkpoint of ours, scale and model are the checkpoint's; fields that the user set and
            the validation list are the caller's.
        checkpoint: a file of weights in any layout; `published`: the row's published ones, which
            are downloaded; or `auto`: the newest run of the row on the same data and scale; on a
            stand-in one is trained if there is none.
        seed: of the run that `auto` takes; None: any (0 if one has to be trained).
        protocol: `published`, the row's test pipeline; `efficient`, `accurate` (Something-Something
            and Jester); `validation`, as during training.
        runtime: form of the model, see `optimize_for_inference`; the record names it.
        work_dir: folder of the record; None: beside the run's, or in results/local/ROW.
        out: also write path, label and averaged scores of each video to this JSON file.

    Returns:
        The run record; `run_dir` is its folder, which also holds `scores.json`.

    Raises:
        ConfigError, DataError, CheckpointError, DownloadError, ResultsError: with a sentence on
            what to do.
    """
    check_choice("precision", precision, PRECISIONS)
    views(cfg, protocol)  # an impossible protocol fails before any work
    where = {"data_root": data_root, "cache": cache, "workers": workers}
    loaded = load_trained(
        cfg, checkpoint, data, scale, seed, device=device, precision=precision, **where
    )
    setup, content, file, report = loaded.setup, loaded.content, loaded.file, loaded.report
    fabric = make_fabric(device, precision)
    model = optimize_for_inference(fabric.to_device(loaded.model), precision, runtime)
    workers = default_workers() if workers is None else workers
    columns = columns_of(setup.cfg, report, content)
    outcome = run_test(fabric, setup, model, workers, max_bad, protocol, columns)
    weights = weights_hash(file) if "run" in content else file_sha256(file)
    record = {
        **record_of(fabric, setup, content.get("seed"), protocol, outcome, precision),
        "kind": "evaluation",
        "checkpoint": file.name,
        "checkpoint_of": content.get("run"),
        "checkpoint_layout": report.layout,
        "label_order": report.label_order,
        "checkpoint_epoch": content.get("state", content).get("epoch"),
        "checkpoint_sha256": file_sha256(file),
        "weights": weights[:8],
        "runtime": model.runtime,
    }
    conditions = f"{setup.data}-{setup.scale}-{protocol}-{weights[:8]}"
    folder = Path(work_dir) if work_dir else results_folder() / "local" / cfg.name / conditions
    if fabric.is_global_zero:
        for target in filter(None, (folder / "scores.json", out)):
            write_scores(Path(target), outcome)
        record["scores_sha256"] = file_sha256(folder / "scores.json")
        write_record(folder, setup.cfg, record, [])
    return {**record, "run_dir": str(folder)}


class Loaded(NamedTuple):
    """A trained model, on what data it is to be tested, and where it came from."""

    setup: Setup
    model: nn.Module
    content: dict[str, Any]  # of the file
    file: Path
    report: LoadReport


def load_trained(
    cfg: Config,
    checkpoint: str | Path = "auto",
    data: str = "auto",
    scale: str = "auto",
    seed: int | None = None,
    **options,
) -> Loaded:
    """The model that `evaluate` tests; arguments as there, `options` are those of `train`."""
    where = {k: options.get(k) for k in ("data_root", "cache", "workers")}
    if str(checkpoint) == "published":
        checkpoint = published_checkpoint(cfg.name)
    content = {}
    if str(checkpoint) != "auto":
        checkpoint = local_file(checkpoint)
        content = read_checkpoint(checkpoint)
    if "scale" in content and scale not in ("auto", content["scale"]):
        raise CheckpointError(f"{checkpoint} was trained at {content['scale']} scale, not {scale}")
    scale = content.get("scale", scale)
    setup = resolve(cfg, data, scale, splits=("val",), **where)
    if not content:
        checkpoint = _ported(setup, options) if cfg.port_of else newest_checkpoint(setup, seed)
        if checkpoint is None:
            log.warning("there is no trained run of %s yet: training one first", cfg.name)
            run = train(cfg, data=data, scale=scale, seed=seed or 0, **options)
            checkpoint = Path(run["run_dir"]) / "last.pth"
        content = read_checkpoint(checkpoint)
    if "config" in content:
        setup = for_evaluation(setup, cfg, content, Path(checkpoint))
    model = channels_last(build_model(setup.cfg))
    report = load_checkpoint(model, checkpoint)
    return Loaded(setup, model, content, Path(checkpoint), report)


def columns_of(cfg: Config, report: LoadReport, content: dict[str, Any]) -> list[int] | None:
    """Where the logit of each of the data's classes stands in the weights'; None: in its place.

    Args:
        cfg: of the data.
        report, content: of the file of weights.

    Raises:
        CheckpointError: the weights number the classes by name, and the data's have none.
    """
    names, theirs = class_names(cfg), _names_of_weights(cfg, report, content)
    if report.label_order == "mit" and DATASETS[cfg.dataset].renumbered and names[0] == "class 0":
        raise CheckpointError(
            f"the weights number the classes of {cfg.dataset} by name, and the data's have no "
            "names; set class_names"
        )
    if theirs == names:
        return None
    if sorted(theirs) != sorted(names):
        log.warning("the weights' classes have other names than the data's: taken by number")
        return None
    log.info("the weights number the classes otherwise: their answers are read by class name")
    return [theirs.index(name) for name in names]


def _names_of_weights(cfg: Config, report: LoadReport, content: dict[str, Any]) -> tuple[str, ...]:
    """Class names in the order of the outputs: as trained, or as others publish them."""
    if report.layout == "tsmlib":
        return class_names(from_dict(content["config"]) if "config" in content else cfg)
    published = replace(cfg, class_names=None)
    if report.label_order and sorted(class_names(published)) == sorted(class_names(cfg)):
        cfg = published  # the data may number the published classes in an order of their own
    return names_in_order(cfg, report.label_order)


def _ported(setup: Setup, options: dict[str, Any]) -> Path:
    """A run of the row that this one ports, saved in MIT's layout, as MIT publishes weights."""
    cfg = setup.cfg
    if setup.data == "real":
        raise CheckpointError(
            f"{cfg.name} is a conversion of MIT's published weights: name their file, "
            "checkpoint=FILE"
        )
    trained = weights_of(setup, cfg.port_of, options)
    model = build_model(cfg)
    load_checkpoint(model, trained)
    content = {"arch": cfg.backbone, "state_dict": to_layout(model, "mit")}
    file = results_folder() / "local" / cfg.name / f"mit-{weights_hash(trained)[:8]}.pth"
    write_atomic(file, as_bytes(content))
    return file


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tsmlib.engine.evaluate", description=__doc__)
    parser.add_argument("cfg", help="row, published name or YAML file")
    parser.add_argument("--checkpoint", default="auto", help="file of weights")
    parser.add_argument("--protocol", default="published", help="also efficient, accurate")
    for name, default in (("data", "auto"), ("scale", "auto"), ("precision", "32-true")):
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--out", help="JSON file for every video's scores")
    options = vars(parser.parse_args(arguments))
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    record = evaluate(get_config(options.pop("cfg")), **options)
    print(json.dumps({k: record[k] for k in ("cfg", "protocol", "top1", "num_videos", "run_dir")}))


if __name__ == "__main__":
    main()
