"""Train a detector on windows of consecutive frames: the visible loop.

One GPU or CPU:   python -m tsmlib train-detector vid_r101 --set epochs=3
All GPUs here:    torchrun --nproc_per_node gpu -m tsmlib train-detector vid_r101
"""

import hashlib
import logging
import math
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from ..configs import ConfigError, scaled_lr
from ..engine.checkpointing import Saver, State, finished_record
from ..engine.devices import SMALL_INPUT, make_fabric, set_deterministic, threads_for
from ..engine.fabric import Fabric, seed_everything
from ..engine.optimizer import accumulation, lr_factor
from ..engine.options import RunOptions, check_used, make_options
from ..engine.run_folder import RunFolder, run_folder_lock
from ..paths import display_path, results_folder
from ..progress import Progress, track
from ..records import read_record
from ..results import write_atomic
from .data import resolve_detection
from .detector import VideoDetector, build_detector
from .detector_weights import load_pretrained_detector
from .evaluate_detector import detection_record, measure_detector, write_record
from .recipes import OPTIONS_OF_TRAININGS, DetectorConfig, get_recipe
from .standin import DetectionStandin
from .windows import TrainingWindows, make_window_loader, to_detector_input

log = logging.getLogger(__name__)

WARMUP_START = 1 / 3  # of the rate, at the first step (mmtracking, warmup_ratio)


def train_detector(
    cfg: DetectorConfig | str,
    options: RunOptions | None = None,
    standin: DetectionStandin | None = None,
    **keywords,
) -> dict[str, Any]:
    """Train a detector with its recipe, and test the last weights frame by frame.

    The same call continues an interrupted run, exactly where it stopped, and returns the record of
    a finished one.

    Args:
        cfg: a configuration, or the name of a recipe.
        options: those of `OPTIONS_OF_TRAININGS`; keywords change them, as in
            `train_detector("vid_r101", seed=1)`.
        standin: what the stand-in is drawn from; None: its defaults.

    Returns:
        The run record, as in `metrics.json`; `run_dir` is its folder.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: with a sentence on what to do.
    """
    options = make_options(options, keywords)
    check_used(options, OPTIONS_OF_TRAININGS, "detectors are trained")
    if options.precision != "32-true":
        raise ConfigError(
            f"precision={options.precision} would round the edges of boxes to several pixels; "
            "detectors are trained in 32-true"
        )
    cfg = get_recipe(cfg)
    setup = resolve_detection(cfg, options, standin)
    digest = hashlib.sha256(f"{setup.cfg.hash} {setup.data_id} {options.precision}".encode())
    name = f"{setup.data}-{setup.scale}-seed{options.training_seed}-{digest.hexdigest()[:8]}"
    folder = results_folder() / "local" / "detection" / setup.cfg.name / name
    folder = Path(options.work_dir or folder)
    run = RunFolder(folder, name, setup, options.training_seed)
    with run_folder_lock(folder):  # two processes may start the same run
        finished = None if options.fresh else finished_record(run, read_record)
        if finished is None:
            with threads_for(SMALL_INPUT if setup.scale == "mini" else cfg.min_size):
                return _train(run, options)
    log.info("%s is finished; fresh=True starts over", display_path(folder))
    return finished


def _train(run: RunFolder, options: RunOptions) -> dict[str, Any]:
    """Train from where a run stands to its end, and write its record."""
    setup, cfg = run.setup, run.setup.cfg
    fabric = make_fabric(options.device, options.precision)
    rank, world = fabric.global_rank, fabric.world_size
    seed_everything(run.seed, verbose=False)
    set_deterministic(options.deterministic)

    # `accumulate` batches on each device share a step; the rate is linear in their windows
    accumulate = accumulation(cfg.batch_size, setup.at_once * world)
    batch = accumulate * cfg.windows_per_device * world
    detector = build_detector(cfg)
    pretrained = load_pretrained_detector(detector, cfg)
    detector.num_segments = cfg.num_segments
    optimizer = make_optimizer(cfg, detector, scaled_lr(cfg, batch))
    model, optimizer = fabric.setup(detector, optimizer)
    dataset = TrainingWindows(setup.training, cfg.flip, run.seed)
    loader = make_window_loader(
        dataset, cfg.windows_per_device, options.loader_workers, rank, world
    )
    saver = Saver(fabric, run, model, optimizer, options.save_seconds)
    if options.fresh:
        saver.remove_earlier()
    state = saver.restore()

    epochs = Progress(cfg.name, cfg.epochs, "epochs", done=state.epoch, part=True, quiet=rank > 0)
    with epochs:
        epochs.say(f"{cfg.name}: {setup.data} data, {setup.scale} scale; {len(dataset)} windows")
        while state.epoch < cfg.epochs:
            row = train_epoch(fabric, cfg, model, optimizer, loader, accumulate, state, saver)
            state.history.append(row)
            saver.save(state)
            epochs.advance()
            epochs.say(f"{cfg.name}, epoch {state.epoch} of {cfg.epochs}: loss {row['loss']:.3f}")
        outcome = measure_detector(fabric, detector, setup.validation)
        epochs.say(f"{cfg.name}: mAP {outcome['map50']:.1f} % on {outcome['num_videos']} videos")

    record = detection_record(setup, outcome) | {
        "kind": "training",
        "seed": run.seed,
        "precision": options.precision,
        "batch": batch,
        "lr": scaled_lr(cfg, batch),
        "processes": world,
        "pretrained": pretrained,
        "parameters": sum(p.numel() for p in detector.parameters()),
        "num_training_windows": len(dataset),
        "training_seconds": round(state.seconds, 1),
    }
    if rank == 0:
        write_atomic(run.folder / "history.csv", pd.DataFrame(state.history).to_csv(index=False))
        write_record(run.folder, setup, record, outcome)
    return {**record, "run_dir": str(run.folder)}


def train_epoch(
    fabric: Fabric, cfg: DetectorConfig, model, optimizer, loader, accumulate: int, state: State,
    saver: Saver,
) -> dict[str, float]:  # fmt: skip
    """Train the rest of an epoch, and return its row of the history."""
    model.train()
    loader.batch_sampler.start(state.epoch, state.step)
    batches = state.step + len(loader.batch_sampler)
    steps = math.ceil(batches / accumulate)
    started, quiet = time.perf_counter(), fabric.global_rank > 0
    for windows in track(loader, f"epoch {state.epoch + 1}", "batches", part=True, quiet=quiet):
        done = state.step // accumulate  # steps of this epoch
        rise = warmup(cfg, state.epoch * steps + done)
        factor = rise * lr_factor(cfg, state.epoch + done / steps)
        for group in optimizer.param_groups:
            group["lr"] = group["base_lr"] * factor
        state.step += 1
        closing = state.step % accumulate == 0 or state.step == batches
        with fabric.no_backward_sync(model, enabled=not closing):
            # of the last step a process may have no part: it shares gradients that are zero
            images, targets = to_detector_input(windows or [loader.dataset[0, 0]], fabric.device)
            losses = model(images, targets)
            losses["loss_box_reg"] = cfg.box_loss * losses["loss_box_reg"]
            loss = sum(losses.values()) * bool(windows)
            fabric.backward(loss / accumulate)
        state.loss_sum += float(loss.detach()) * len(windows)
        state.seen += len(windows)
        if closing:
            fabric.clip_gradients(model, optimizer, max_norm=cfg.clip_grad)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if saver.is_due():
                saver.save_in_epoch(state, started)
    state.seconds += time.perf_counter() - started
    row = {
        "epoch": state.epoch + 1,
        "lr": optimizer.param_groups[0]["lr"],
        "loss": state.loss_sum / state.seen,
        "seconds": round(state.seconds, 2),
    }
    state.epoch, state.step, state.loss_sum, state.seen = state.epoch + 1, 0, 0.0, 0
    return row


def make_optimizer(
    cfg: DetectorConfig, detector: VideoDetector, lr: float
) -> torch.optim.Optimizer:
    """Make the optimizer of the parameters that learn."""
    learning = [p for p in detector.parameters() if p.requires_grad]
    group = {"params": learning, "base_lr": lr}
    if cfg.optimizer == "adamw":
        return torch.optim.AdamW([group], lr=lr, weight_decay=cfg.weight_decay)
    return torch.optim.SGD([group], lr=lr, momentum=cfg.momentum, weight_decay=cfg.weight_decay)


def warmup(cfg: DetectorConfig, step: int) -> float:
    """Return the factor of the rate at a step of the training: it rises linearly to 1."""
    return 1 - (1 - WARMUP_START) * max(0.0, 1 - step / cfg.warmup) if cfg.warmup else 1.0
