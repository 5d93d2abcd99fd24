"""Train a row: the visible loop.

One GPU or CPU:   python -m tsmlib.engine.train sthv1 --set epochs=3
All GPUs here:    torchrun --nproc_per_node gpu -m tsmlib.engine.train sthv1
"""

import argparse
import dataclasses
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

from ..configs import Config, ConfigError, get_config, list_configs, scaled_lr, validation_protocol
from ..data.annotations import find_list
from ..data.blending import blend
from ..data.loader import BLEND, ClipDataset, generator_of, make_loader
from ..models.gradient_checkpointing import recompute_blocks
from ..models.recognizer import build_model, channels_last, init_head, normalize
from ..paths import results_folder, shown
from ..results import point_to, write_record, write_scores
from .checkpointing import Saver, State, Sums, alone_in, finished_record
from .devices import PRECISIONS, be_deterministic, default_workers, gather_lists, make_fabric
from .optimizer import lr_factor, make_optimizer, say_lr
from .setup import MODEL_FIELDS, Setup, check_choice, newest_checkpoint, resolve, run_name
from .test_loop import check_bad, record_of, run_test, to_device

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
    compiled: bool = False,
    recompute: bool = False,
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
        compiled: through torch.compile: faster steps on GPUs, after a minute of waiting.
        recompute: gradient checkpointing: less memory, a third more time, the same numbers.
        max_bad: the run ends with an error when a larger share of the videos cannot be read.

    Returns:
        The run record, as in `metrics.json`; `run_dir` is its folder.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: with a sentence on what to do.
    """
    check_choice("precision", precision, PRECISIONS)
    if cfg.port_of:
        raise ConfigError(
            f"{cfg.name} is a conversion of published weights and was never trained; evaluate it, "
            f"or train {cfg.port_of}"
        )
    setup = resolve(cfg, data, scale, data_root=data_root, cache=cache, workers=workers)
    same = {"data_root": data_root, "cache": cache, "workers": workers, "device": device,
            "precision": precision}  # fmt: skip
    weights = weights_of(setup, setup.cfg.pretrain, same)
    cfg, workers = setup.cfg, default_workers() if workers is None else workers
    run = run_name(setup, seed, precision, weights)
    folder = Path(work_dir or results_folder() / "local" / cfg.name / run)
    options = {"seed": seed, "fresh": fresh, "validate": validate, "deterministic": deterministic,
               "workers": workers, "device": device, "precision": precision, "max_bad": max_bad,
               "compiled": compiled, "recompute": recompute}  # fmt: skip
    with alone_in(folder):  # two processes may want the same run
        finished = None if fresh else finished_record(folder, cfg, run)
        if not finished:
            return _train(setup, folder, run, weights, **options)
    log.info("%s is finished; fresh=True starts over", shown(folder))
    point_to(folder)
    return finished


def _train(
    setup: Setup, folder: Path, run: str, weights: Path | None, *, seed: int, fresh: bool,
    validate: bool, deterministic: bool, workers: int, device: str, precision: str, max_bad: float,
    compiled: bool, recompute: bool,
) -> dict[str, Any]:  # fmt: skip
    """The run in a folder, from where it stands to its record."""
    cfg, fabric = setup.cfg, make_fabric(device, precision)
    seed_everything(seed, verbose=False)
    be_deterministic(deterministic)
    accumulate = max(1, round(cfg.batch_size / (cfg.videos_per_device * fabric.world_size)))
    batch = accumulate * cfg.videos_per_device * fabric.world_size
    say_lr(cfg, batch, fabric.world_size)
    start = dataclasses.replace(cfg, pretrain=str(weights)) if weights else cfg
    model = channels_last(build_model(start, pretrained=True))
    pretrained = model.pretrained
    if weights:  # of other classes, although a stand-in may have as many
        init_head(model)
        pretrained["source"] = "/".join(weights.parts[-3:])  # row, run, file
    if recompute:
        recompute_blocks(model)
    model = torch.compile(model) if compiled else model
    fused = fabric.device.type == "cuda"
    optimizer = make_optimizer(cfg, model, scaled_lr(cfg, batch), fused)
    model, optimizer = fabric.setup(model, optimizer)
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
            row = _close_epoch(fabric, cfg, state, optimizer)
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
        "compiled": compiled,
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


def weights_of(setup: Setup, row: str | None, options: dict[str, Any]) -> Path | None:
    """The last weights of another row, on the same data and scale, with the model of this one.

    One run, of seed 0, serves all runs that start from it; on a stand-in it is made if there is
    none. Returns None where `row` names none.
    """
    if row not in list_configs():
        return None
    cfg = setup.cfg
    fields = {k: getattr(cfg, k) for k in cfg.explicit if k in MODEL_FIELDS and k != "num_classes"}
    parent = get_config(row, **fields)
    where = {k: options.get(k) for k in ("data_root", "cache", "workers")}
    wanted = resolve(parent, setup.data, setup.scale, **where)
    with alone_in(results_folder() / "local" / row):  # several runs may want them
        found = newest_checkpoint(wanted, seed=0)
        if found is None:
            log.warning("%s starts from %s, which is trained first", cfg.name, row)
            run = train(parent, data=setup.data, scale=setup.scale, **options)
            found = Path(run["run_dir"]) / "last.pth"
    log.info("%s starts from %s", cfg.name, shown(found))
    return found


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
    started, sums = time.perf_counter(), Sums(fabric.device)
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
                clips, targets = normalize(clips), labels
                if cfg.blending:  # all processes draw the same, as they do with one published seed
                    step = (state.step - 1) // accumulate
                    random = generator_of(loader.dataset.seed, state.epoch, BLEND + step)
                    clips, targets = blend(clips, labels, cfg, random)
                logits = model(clips)
                loss = F.cross_entropy(logits, targets, reduction="sum")
                fabric.backward(loss * fabric.world_size / expected)
                sums.add(loss.detach(), logits.detach().argmax(1) == labels)
            elif fabric.world_size > 1:  # the others wait for this process's gradients
                size = (1, cfg.num_segments, 3, cfg.crop_size, cfg.crop_size)
                fabric.backward(0 * model(torch.zeros(size, device=fabric.device)).sum())
        if closing:
            fabric.clip_gradients(model, optimizer, max_norm=cfg.clip_grad)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if saver.is_due():
                sums.into(state)
                saver.save_in_epoch(state, started)
    sums.into(state)
    state.seconds += time.perf_counter() - started


def _close_epoch(fabric: Fabric, cfg: Config, state: State, optimizer) -> dict[str, float]:
    """The epoch's row of the history; the next epoch begins."""
    sums = torch.tensor([state.loss_sum, state.hits, state.seen], dtype=torch.float64)
    loss, hits, seen = fabric.all_reduce(fabric.to_device(sums), reduce_op="sum").tolist()
    state.epoch += 1
    row = {
        "epoch": state.epoch,
        "lr": optimizer.param_groups[0]["lr"],
        "loss": loss / max(seen, 1),
        # a blended clip has no one label (MMAction2 computes no training accuracy then)
        "train_top1": math.nan if cfg.blending else 100 * hits / max(seen, 1),
        "seconds": round(state.seconds, 2),
    }
    state.step, state.loss_sum, state.hits, state.seen = 0, 0.0, 0, 0
    return row


def _check_training_videos(fabric: Fabric, state: State, listed: int, max_bad: float) -> None:
    state.bad = dict(gather_lists(fabric, list(state.bad.items())))
    check_bad(list(state.bad.values()), listed, max_bad)


# --- command line ---------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tsmlib.engine.train", description=__doc__)
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
