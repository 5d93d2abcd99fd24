"""Train a row: the training loop, in plain code.

One GPU or CPU:    python -m tsmlib train sthv1 --set epochs=3
Eight GPUs here:   python -m tsmlib train sthv1 --devices 8
Several machines:  torchrun or srun, see docs/clusters.md
"""

import logging
import math
import time
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader

from ..configs import Config, ConfigError, scaled_lr, validation_protocol
from ..data.blending import blend
from ..data.class_balance import loss_weights
from ..data.loader import BLEND, ClipDataset, make_generator, make_loader
from ..models.checkpoint_files import CheckpointError, weights_hash
from ..models.recognizer import normalize
from ..paths import display_path
from ..progress import Progress, track
from ..results import mark_latest, write_record, write_scores
from . import interruption, launch
from .checkpointing import RunningSums, Saver, State, finished_record
from .devices import gather_lists, make_fabric, set_deterministic, threads_for
from .divergence import DivergedError, advise, describe_step, find_divergence
from .event_files import open_event_log
from .fabric import Fabric, seed_everything
from .optimizer import accumulation, log_lr, make_optimizer, set_lr
from .options import RunOptions, sort_keywords
from .ranks import is_restarted
from .run_folder import RunFolder, run_folder_lock, tidy_finished
from .seen_videos import trained_on, warn_of_changes
from .setup import Setup, prepare, resolve, run_name
from .test_loop import check_unreadable, common_record, log_unreadable, predict_scores, to_device
from .trained_weights import parent_weights, starting_model

log = logging.getLogger(__name__)


def train(
    cfg: Config | str | Setup, options: RunOptions | None = None, **keywords
) -> dict[str, Any]:
    """Train a row with its published recipe, and evaluate the last weights.

    The same call continues an interrupted run from its last checkpoint, and returns the record of a
    finished one. A row that starts from another one's weights needs these (study/parents.py).

    Args:
        cfg: a configuration, its name, or what `resolve` or `prepare` made of it.
        options: see `RunOptions`.
        keywords: changes of options or fields: `train("sthv1", epochs=1, seed=1)`.

    Returns:
        The run record, as in `metrics.json`; `run_dir` is its folder.

    Raises:
        ConfigError, DataError, CheckpointError, ResultsError: with a sentence on what to do.
        DivergedError: a loss, a gradient or weights are not finite; the last checkpoint is good.
        Interrupted: a signal asked to stop; what was trained is saved.
    """
    fields, options = sort_keywords(options, keywords)
    if options.fresh and is_restarted():  # the first start has begun anew
        log.warning("fresh is ignored: these processes were started again, so the run continues")
        options = options.with_changes(fresh=False)
    several = launch.is_needed(options)
    if not several:
        make_fabric(options.device, options.precision)  # a device that is not there ends it here
    setup = resolve(cfg, options, **fields)
    if setup.cfg.port_of:
        raise ConfigError(
            f"{setup.cfg.name} is a conversion of published weights and was never trained; "
            f"evaluate it, or train {setup.cfg.port_of}"
        )
    weights = parent_weights(setup, options)  # fails before any data are made, as all above
    if options.resume:
        weights_hash(options.resume)
    setup = prepare(setup, workers=options.workers)
    name = run_name(setup, options, weights)
    folder = Path(options.work_dir or setup.runs / name)
    run = RunFolder(folder, name, setup, options.training_seed, options.max_bad, weights)
    finished = None if options.fresh else finished_record(run)  # maybe where nothing can be written
    if finished is None:
        with run_folder_lock(folder):  # two processes may start the same run
            finished = None if options.fresh else finished_record(run)
            if finished is None:
                if several:
                    return launch.launch(options.devices, _train, run, options)
                return _train(run, options)
    log.info("%s is finished; fresh=True starts over", display_path(folder))
    warn_of_changes(run)
    tidy_finished(folder)
    mark_latest(folder)
    return finished


def _train(run: RunFolder, options: RunOptions) -> dict[str, Any]:
    """Train from where a run stands to its end, and write its record; signals wait for a step."""
    with threads_for(run.setup.cfg.crop_size), interruption.noted_signals():
        return _train_to_the_end(run, options)


def _train_to_the_end(run: RunFolder, options: RunOptions) -> dict[str, Any]:
    setup, cfg = run.setup, run.setup.cfg
    fabric = make_fabric(options.device, options.precision)
    rank, world = fabric.global_rank, fabric.world_size
    seed_everything(run.seed, verbose=False)
    set_deterministic(options.deterministic)

    # `accumulate` batches on each device share a step; the rate is linear in their videos
    accumulate = accumulation(cfg.batch_size, setup.at_once * world)
    batch = accumulate * cfg.videos_per_device * world
    log_lr(cfg, batch, world)
    model, pretrained = starting_model(cfg, run.parent_weights, options)
    optimizer = make_optimizer(cfg, model, scaled_lr(cfg, batch), fabric.device.type == "cuda")
    model, optimizer = fabric.setup(model, optimizer)
    dataset = ClipDataset(setup.train_list, cfg, seed=run.seed)
    loader = make_loader(dataset, cfg.videos_per_device, options.loader_workers, True, rank, world)
    facts = trained_on(cfg, setup.train_list)
    saver = Saver(fabric, run, model, optimizer, options.save_seconds, facts)
    state = _first_state(saver, options)

    outcome = None
    epochs = Progress(cfg.name, cfg.epochs, "epochs", done=state.epoch, part=True, quiet=rank > 0)
    events = open_event_log(run.folder, options.log if rank == 0 else "csv", state.history)
    with epochs, events as write_event:
        epochs.say(f"{cfg.name}: {setup.decision}; {len(dataset)} videos, {cfg.epochs} epochs")
        while state.epoch < cfg.epochs:
            train_epoch(fabric, cfg, model, optimizer, loader, accumulate, state, saver)
            state.bad = dict(gather_lists(fabric, list(state.bad.items())))
            unread = dict(gather_lists(fabric, list(state.unread.items())))
            check_unreadable(unread.values(), len(dataset), run.max_bad)
            if validated := _is_validated(cfg, options, state.epoch + 1):
                saver.save(state)  # a validation that is stopped begins again
            row = close_epoch(fabric, cfg, state, optimizer)  # `state` is at the next epoch now
            if validated:
                outcome = _validate(fabric, run, model, options, saver)
                row |= {k: outcome[k] for k in ("top1", "top5", "mean_class_accuracy", "loss_val")}
                saver.keep_best(state, outcome["top1"])
            state.history.append(row)
            saver.save(state)
            write_event(row)
            epochs.advance()
            epochs.say("; ".join(filter(None, (_describe_epoch(cfg, row), epochs.time_left()))))

    outcome = outcome or predict_scores(fabric, setup, model, options)
    record = _training_record(run, options, state, outcome) | {
        "batch": batch,
        "lr": scaled_lr(cfg, batch),
        "processes": world,
        "pretrained": pretrained,
        "parameters": sum(p.numel() for p in model.parameters()),
        "num_training_videos": len(dataset),
    }
    if rank == 0:
        write_scores(run.folder / "scores.json", outcome)
        write_record(run.folder, cfg, record, state.history)
    return {**record, "run_dir": str(run.folder)}


def train_epoch(
    fabric: Fabric, cfg: Config, model, optimizer, loader: DataLoader, accumulate: int,
    state: State, saver: Saver,
) -> None:  # fmt: skip
    """Train the rest of an epoch. A step adds up the gradients of `accumulate` batches.

    Batch norms see one batch at a time, `videos_per_device` videos, as on each published GPU.
    """
    model.train()
    sampler = loader.batch_sampler
    sampler.start(state.epoch, state.step)
    videos, batches = sampler.length, state.step + len(sampler)
    share = accumulate * cfg.videos_per_device * fabric.world_size  # videos of a step
    steps = math.ceil(batches / accumulate)
    started, sums = time.perf_counter(), RunningSums(fabric.device)
    epoch, quiet = f"epoch {state.epoch + 1}", fabric.global_rank > 0
    entries, positions = loader.dataset.videos.entries, []  # the latter of a step's videos
    class_weights = fabric.to_device(loss_weights(cfg, [entry.label for entry in entries]))
    for item in track(loader, epoch, "batches", part=True, quiet=quiet):
        set_lr(optimizer, cfg, state.epoch + state.step // accumulate / steps)
        step_videos = min(share, videos - state.step // accumulate * share)  # fewer in the last
        state.step += 1
        ends_step = state.step % accumulate == 0 or state.step == batches
        unread = {entries[position].path: reason for position, reason in item.bad}
        state.bad, state.unread = state.bad | unread, state.unread | unread
        log_unreadable(unread.values())
        check_unreadable(state.unread.values(), videos, saver.run.max_bad)
        positions += item.index.tolist()
        with fabric.no_backward_sync(model, enabled=not ends_step):
            if len(item.labels):
                clips, labels = to_device(fabric, item.clips)[:, 0], fabric.to_device(item.labels)
                clips, targets = normalize(clips), labels  # float [N, T, 3, H, W]
                if cfg.blending:  # one draw for all processes: the published GPUs share a seed
                    step = (state.step - 1) // accumulate
                    random = make_generator(loader.dataset.seed, state.epoch, BLEND + step)
                    clips, targets = blend(clips, labels, cfg, random)
                logits = model(clips)  # [N, num_classes]
                loss = F.cross_entropy(logits, targets, class_weights, reduction="sum")
                # the mean over the videos of the step, read or not: each process has only a part
                fabric.backward(loss * fabric.world_size / step_videos)
                sums.add(loss.detach(), logits.detach().argmax(1) == labels)
            elif fabric.world_size > 1:  # the other ranks wait for this one's gradients
                size = (1, cfg.num_segments, 3, cfg.crop_size, cfg.crop_size)
                fabric.backward(0 * model(torch.zeros(size, device=fabric.device)).sum())
        if ends_step:
            norm = fabric.clip_gradients(
                model, optimizer, max_norm=cfg.clip_grad, error_if_nonfinite=False
            )
            if problem := find_divergence(fabric, norm, sums.values[0]):
                where = f"step {math.ceil(state.step / accumulate)} of {epoch}"
                names, lr = [entries[i].path for i in positions], optimizer.param_groups[0]["lr"]
                raise DivergedError(describe_step(problem, where, lr, names, saver.last))
            positions.clear()
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if saver.is_due():
                sums.flush_to(state)
                saver.save_in_epoch(state, started)
    sums.flush_to(state)
    state.seconds += time.perf_counter() - started


def _validate(fabric: Fabric, run: RunFolder, model, options: RunOptions, saver: Saver) -> dict:
    """Score the validation list; weights that give no scores are not the last checkpoint."""
    try:
        return predict_scores(fabric, run.setup, model, options)
    except CheckpointError as error:
        saver.roll_back()
        raise DivergedError(f"the training diverged: {error}; {advise(saver.last)}") from None


def close_epoch(fabric: Fabric, cfg: Config, state: State, optimizer) -> dict[str, float]:
    """Return the epoch's row of the history, and set `state` to the start of the next epoch."""
    sums = torch.tensor([state.loss_sum, state.hits, state.seen], dtype=torch.float64)
    loss, hits, seen = fabric.all_reduce(fabric.to_device(sums), reduce_op="sum").tolist()
    state.epoch += 1
    row = {
        "epoch": state.epoch,
        "lr": optimizer.param_groups[0]["lr"],
        "loss": loss / max(seen, 1),
        # a blended clip has no single label (MMAction2 computes no training accuracy then)
        "train_top1": math.nan if cfg.blending else 100 * hits / max(seen, 1),
        "seconds": round(state.seconds, 2),  # since the first epoch
    }
    state.step, state.loss_sum, state.hits, state.seen, state.unread = 0, 0.0, 0, 0, {}
    return row


def _training_record(
    run: RunFolder, options: RunOptions, state: State, outcome: dict[str, Any]
) -> dict[str, Any]:
    """Return what the record says of options and of the course of the training."""
    protocol = validation_protocol(run.setup.cfg)
    return common_record(run, protocol, outcome, options.precision) | {
        "kind": "training",
        "validated": options.validate,
        "deterministic": options.deterministic,
        "compiled": options.compiled,
        "resumed_from": state.resumed_from,
        "best_top1": round(state.best, 4),
        "num_bad_training": len(state.bad),
        "train_list_sha256": run.setup.train_list.sha256,
        "training_seconds": round(state.seconds, 1),
    }


def _first_state(saver: Saver, options: RunOptions) -> State:
    """Return the state to start from: the last checkpoint's or, with `fresh`, a new one.

    The new one is saved at once, so that a process that is started again does not continue the old.
    """
    if not options.fresh or is_restarted():
        return saver.restore(options.resume)
    saver.remove_earlier()
    state = saver.restore(options.resume)
    saver.save(state)
    return state


def _is_validated(cfg: Config, options: RunOptions, epoch: int) -> bool:
    """Tell whether the network is evaluated after an epoch, counted from 1."""
    return epoch == cfg.epochs or (options.validate and epoch % cfg.eval_interval == 0)


def _describe_epoch(cfg: Config, row: dict[str, float]) -> str:
    """Say what an epoch gave, from its row of the history."""
    known = {"in training": row["train_top1"], "in validation": row.get("top1", math.nan)}
    parts = [f"{top1:.1f} % {where}" for where, top1 in known.items() if not math.isnan(top1)]
    parts = [f"loss {row['loss']:.3f}", *(["top-1 " + ", ".join(parts)] if parts else [])]
    return f"{cfg.name}, epoch {row['epoch']} of {cfg.epochs}: {', '.join(parts)}"
