"""Train and evaluate: the visible loops.

One GPU or CPU:   python -m tsmlib.engine sthv1 --set epochs=3
All GPUs here:    torchrun --nproc_per_node gpu -m tsmlib.engine sthv1
"""

import argparse
import json
import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
import yaml
from lightning_fabric import Fabric, seed_everything
from torch.utils.data import DataLoader
from tqdm import tqdm

from .configs import Config, get_config, scaled_lr, validation_protocol, views
from .data.annotations import find_list
from .data.loader import ClipDataset, make_loader
from .distributed import (
    PRECISIONS,
    be_deterministic,
    default_workers,
    gather_lists,
    make_fabric,
)  # fmt: skip
from .evaluation import check_bad, record_of, run_test, to_device
from .models.checkpoints import CheckpointError, file_sha256, load_checkpoint, read_checkpoint
from .models.recognizer import build_model, normalize
from .optimization import lr_factor, make_optimizer, say_lr
from .paths import results_folder, shown
from .results import point_to, write_record, write_scores
from .runs import (
    Saver,
    State,
    check_choice,
    finished_record,
    for_evaluation,
    newest_checkpoint,
    resolve,
    run_name,
)  # fmt: skip

log = logging.getLogger(__name__)


# --- training -------------------------------------------------------------------------------------


def train(
    cfg: Config,
    *,
    data: str = "auto",
    scale: str = "auto",
    seed: int = 0,
    fresh: bool = False,
    validate: bool = True,
    deterministic: bool = False,
    work_dir: str | Path | None = None,
    data_root: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    device: str = "auto",
    precision: str = "32-true",
    max_bad: float = 0.01,
) -> dict[str, Any]:
    """Train a row with its published recipe, and evaluate the last weights.

    The same call continues an interrupted run, exactly where it stopped, and returns the record of
    a finished one.

    Args:
        cfg, data, scale, data_root, cache: see `resolve`.
        seed: of weights, order and augmentation.
        fresh: start over although there is a run to continue.
        validate: evaluate at the row's interval, not only at the end.
        deterministic: refuse operations that are not deterministic on this device.
        work_dir: folder of the run; None: results/local/ROW/CONDITIONS.
        workers: loader processes; the result does not depend on it.
        device: `auto`, `cpu`, `cuda` ...
        precision: `32-true`, as published, or `bf16-mixed`, `16-mixed`; the record names it.
        max_bad: the run ends with an error when a larger share of the videos cannot be read.

    Returns:
        The run record, as in `metrics.json`; `run_dir` is its folder.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: with a sentence on what to do.
    """
    check_choice("precision", precision, PRECISIONS)
    setup = resolve(cfg, data, scale, data_root=data_root, cache=cache, workers=workers)
    cfg, workers = setup.cfg, default_workers() if workers is None else workers
    run = run_name(setup, seed, precision)
    folder = Path(work_dir or results_folder() / "local" / cfg.name / run)
    finished = None if fresh else finished_record(folder, cfg, run)
    if finished:
        log.info("%s is finished; fresh=True starts over", shown(folder))
        point_to(folder)
        return finished

    fabric = make_fabric(device, precision)
    seed_everything(seed, verbose=False)
    be_deterministic(deterministic)
    accumulate = max(1, round(cfg.batch_size / (cfg.videos_per_device * fabric.world_size)))
    batch = accumulate * cfg.videos_per_device * fabric.world_size
    say_lr(cfg, batch, fabric.world_size)
    model = build_model(cfg, pretrained=True).to(memory_format=torch.channels_last)
    pretrained = model.pretrained
    model, optimizer = fabric.setup(model, make_optimizer(cfg, model, scaled_lr(cfg, batch)))
    videos = ClipDataset(find_list(cfg, "train", setup.data_root), cfg, seed=seed)
    rank, world = fabric.global_rank, fabric.world_size
    loader = make_loader(videos, cfg.videos_per_device, workers, True, rank, world)
    saver = Saver(fabric, folder, setup, run, seed, model, optimizer)
    state = State() if fresh else saver.restore()
    if fresh and rank == 0:  # an old record must not stand beside new weights
        (folder / "metrics.json").unlink(missing_ok=True)

    outcome = None
    with tqdm(total=cfg.epochs, initial=state.epoch, desc=cfg.name, unit="epoch",
              mininterval=1, disable=rank > 0) as bar:  # fmt: skip
        while state.epoch < cfg.epochs:
            _train_epoch(fabric, cfg, model, optimizer, loader, accumulate, state, saver)
            _check_training_videos(fabric, state, len(videos), max_bad)
            row = _close_epoch(fabric, state, optimizer)
            if validate and state.epoch % cfg.eval_interval == 0 or state.epoch == cfg.epochs:
                outcome = run_test(fabric, setup, model, workers, max_bad)
                row |= {k: outcome[k] for k in ("top1", "top5", "mean_class_accuracy", "loss_val")}
                saver.keep_best(state, outcome["top1"])
            state.history.append(row)
            saver.save(state)
            bar.update()
            bar.set_postfix(loss=f"{row['loss']:.3f}", top1=f"{row.get('top1', math.nan):.1f}")

    outcome = outcome or run_test(fabric, setup, model, workers, max_bad)
    record = {
        **record_of(fabric, setup, seed, validation_protocol(cfg), outcome, precision),
        "kind": "training",
        "validated": validate,
        "deterministic": deterministic,
        "batch": batch,
        "lr": scaled_lr(cfg, batch),
        "processes": world,
        "pretrained": pretrained,
        "parameters": sum(p.numel() for p in model.parameters()),
        "best_top1": round(state.best, 4),
        "num_training_videos": len(videos),
        "num_bad_training": len(state.bad),
        "train_list_sha256": videos.videos.sha256,
        "training_seconds": round(state.seconds, 1),
    }
    if rank == 0:
        write_scores(folder / "scores.json", outcome)
        write_record(folder, cfg, record, state.history)
    return {**record, "run_dir": str(folder)}


def _train_epoch(
    fabric: Fabric, cfg: Config, model, optimizer, loader: DataLoader, accumulate: int,
    state: State, saver: "Saver",
) -> None:  # fmt: skip
    """The rest of an epoch: gradients of `accumulate` batches, one clip, one step.

    Batch norms see one batch at a time, `videos_per_device` videos, as on each published GPU.
    """
    model.train()
    sampler = loader.batch_sampler
    sampler.start(state.epoch, state.step)
    videos, batches = sampler.length, state.step + len(sampler)
    group = accumulate * cfg.videos_per_device * fabric.world_size
    started = time.perf_counter()
    for item in loader:
        factor = lr_factor(cfg, state.epoch + state.step / batches)
        for g in optimizer.param_groups:
            g["lr"] = g["base_lr"] * factor
        first = state.step // accumulate * group  # of the videos that share this step
        expected = min(group, videos - first)
        state.step += 1
        closing = state.step % accumulate == 0 or state.step == batches
        for position, reason in item.bad:
            state.bad[loader.dataset.videos.entries[position].path] = reason
        with fabric.no_backward_sync(model, enabled=not closing):
            if len(item.labels):
                clips, labels = to_device(fabric, item.clips)[:, 0], fabric.to_device(item.labels)
                logits = model(normalize(clips))
                loss = F.cross_entropy(logits, labels, reduction="sum")
                fabric.backward(loss * fabric.world_size / expected)
                state.loss_sum += float(loss.detach())
                state.hits += int((logits.detach().argmax(1) == labels).sum())
                state.seen += len(labels)
            elif fabric.world_size > 1:  # the others wait for this process's gradients
                size = (1, cfg.num_segments, 3, cfg.crop_size, cfg.crop_size)
                fabric.backward(0 * model(torch.zeros(size, device=fabric.device)).sum())
        if closing:
            fabric.clip_gradients(model, optimizer, max_norm=cfg.clip_grad)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            saver.save_sometimes(state, started)
    state.seconds += time.perf_counter() - started


def _close_epoch(fabric: Fabric, state: State, optimizer) -> dict[str, float]:
    """The epoch's row of the history; the next epoch begins."""
    sums = torch.tensor([state.loss_sum, state.hits, state.seen], dtype=torch.float64)
    loss, hits, seen = fabric.all_reduce(fabric.to_device(sums), reduce_op="sum").tolist()
    state.epoch += 1
    row = {
        "epoch": state.epoch,
        "lr": optimizer.param_groups[0]["lr"],
        "loss": loss / max(seen, 1),
        "train_top1": 100 * hits / max(seen, 1),
        "seconds": round(state.seconds, 2),
    }
    state.step, state.loss_sum, state.hits, state.seen = 0, 0.0, 0, 0
    return row


def _check_training_videos(fabric: Fabric, state: State, listed: int, max_bad: float) -> None:
    state.bad = dict(gather_lists(fabric, list(state.bad.items())))
    check_bad(list(state.bad.values()), listed, max_bad)


# --- evaluation -----------------------------------------------------------------------------------


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
    out: str | Path | None = None,
) -> dict[str, Any]:
    """Accuracy of weights under a test protocol.

    Args:
        cfg, data, scale, data_root, cache, workers, device, precision, max_bad: see `train`. With a
            checkpoint of ours, scale and model are the checkpoint's; fields that the user set and
            the validation list are the caller's.
        checkpoint: a file of weights, or `auto`: the newest run of the row on the same data and
            scale; on a stand-in one is trained if there is none.
        seed: of the run that `auto` takes; None: any (0 if one has to be trained).
        protocol: `published`, the row's test pipeline; `efficient`, `accurate` (Something-Something
            and Jester); `validation`, as during training.
        work_dir: folder of the record; None: beside the run's, or in results/local/ROW.
        out: also write path, label and averaged scores of each video to this JSON file.

    Returns:
        The run record; `run_dir` is its folder, which also holds `scores.json`.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: with a sentence on what to do.
    """
    check_choice("precision", precision, PRECISIONS)
    views(cfg, protocol)  # an impossible protocol fails before any work
    content = {} if str(checkpoint) == "auto" else read_checkpoint(checkpoint)
    if "scale" in content and scale not in ("auto", content["scale"]):
        raise CheckpointError(f"{checkpoint} was trained at {content['scale']} scale, not {scale}")
    scale = content.get("scale", scale)
    same = {"data_root": data_root, "cache": cache, "workers": workers}
    setup = resolve(cfg, data, scale, splits=("val",), **same)
    if not content:
        checkpoint = newest_checkpoint(setup, seed)
        if checkpoint is None:
            log.warning("there is no trained run of %s yet: training one first", cfg.name)
            run = train(cfg, data=data, scale=scale, seed=seed or 0, device=device,
                        precision=precision, **same)  # fmt: skip
            checkpoint = Path(run["run_dir"]) / "last.pth"
        content = read_checkpoint(checkpoint)
    checkpoint = Path(checkpoint)
    if "config" in content:
        setup = for_evaluation(setup, cfg, content, checkpoint)
    fabric = make_fabric(device, precision)
    model = build_model(setup.cfg).to(memory_format=torch.channels_last)
    load_checkpoint(model, checkpoint)
    model = fabric.setup_module(model)
    workers = default_workers() if workers is None else workers
    outcome = run_test(fabric, setup, model, workers, max_bad, protocol)
    weights = file_sha256(checkpoint)
    record = {
        **record_of(fabric, setup, content.get("seed"), protocol, outcome, precision),
        "kind": "evaluation",
        "checkpoint": checkpoint.name,
        "checkpoint_of": content.get("run"),
        "checkpoint_epoch": content.get("state", content).get("epoch"),
        "checkpoint_sha256": weights,
    }
    name = f"{setup.data}-{setup.scale}-{protocol}-{weights[:8]}"
    folder = Path(work_dir) if work_dir else results_folder() / "local" / cfg.name / name
    if fabric.is_global_zero:
        for file in filter(None, (folder / "scores.json", out)):
            write_scores(Path(file), outcome)
        write_record(folder, setup.cfg, record, [])
    return {**record, "run_dir": str(folder)}


# --- command line ---------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tsmlib.engine", description=__doc__)
    parser.add_argument("cfg", help="row, published name or YAML file")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=VALUE", help="change fields")
    for name, default in (("data", "auto"), ("scale", "auto"), ("precision", "32-true")):
        parser.add_argument(f"--{name}", default=default)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fresh", action="store_true")
    options = vars(parser.parse_args(arguments))
    changes = {k: yaml.safe_load(v) for k, v in (item.split("=", 1) for item in options.pop("set"))}
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    record = train(get_config(options.pop("cfg"), **changes), **options)
    print(json.dumps({k: record[k] for k in ("cfg", "top1", "num_videos", "run_dir")}))


if __name__ == "__main__":
    main()
