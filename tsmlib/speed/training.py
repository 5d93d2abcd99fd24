"""Measure how fast a row trains: its step and memory, its loader, the parts of an epoch.

TSN, the same network without shifts, is measured beside it.
"""

import time
from collections.abc import Callable
from functools import partial

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from ..configs import Config, scaled_lr, views
from ..data.loader import ClipDataset, make_generator, make_loader
from ..data.sampling import sample_indices
from ..engine.devices import default_workers, usable_cores
from ..engine.fabric import Fabric
from ..engine.optimizer import make_optimizer
from ..engine.setup import Setup
from ..engine.test_loop import to_device, view_logits
from ..models.recognizer import build_model, channels_last, normalize
from .inference import random_clips, timing_row, with_and_without_shift
from .timing import MIN_ROUNDS, Laps, interleave, no_collection, synchronizer

SETTLING_BATCHES = 3  # until a loader has no store of ready ones


class Trainer:
    """Takes training steps as `engine` does, on weights and batches of its caller.

    Args:
        weights: state_dict to start from; None: random ones.
        videos: per step; the learning rate follows it.
    """

    def __init__(self, cfg: Config, fabric: Fabric, videos: int, weights: dict | None = None):
        model = channels_last(build_model(cfg))
        if weights:
            model.load_state_dict(weights)
        self.cfg, self.fabric = cfg, fabric
        fused = fabric.device.type == "cuda"
        optimizer = make_optimizer(cfg, model, scaled_lr(cfg, videos), fused)
        self.model, self.optimizer = fabric.setup(model, optimizer)
        self.model.train()

    def __call__(self, clips: Tensor, labels: Tensor, lap: Callable = lambda part: None) -> Tensor:
        """Train on clips `[N, T, 3, H, W]` and labels `[N]`, return the loss; `lap` ends a part."""
        loss = F.cross_entropy(self.model(clips), labels, reduction="sum") / len(labels)
        lap("forward")
        self.fabric.backward(loss)
        lap("backward")
        self.fabric.clip_gradients(self.model, self.optimizer, max_norm=self.cfg.clip_grad)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        lap("clipped step")
        return loss.detach()


def measure_step(
    cfg: Config, fabric: Fabric, videos: int | None = None, rounds: int = 10, seconds: float = 60.0
) -> pd.DataFrame:
    """Measure a training step of `videos` (None: the row's per device) and its peak memory.

    Returns:
        One row per network: `median`, `q25`, `q75` in ms, videos `per_second`, TSM `over_tsn`; on a
        CUDA device `allocated`, the most MiB at one time (`gpu_mem` of the published tables).
    """
    videos, paths, allocated = videos or cfg.videos_per_device, {}, {}
    clips = random_clips(cfg, videos, cfg.crop_size, fabric)
    labels = torch.arange(videos, device=fabric.device) % cfg.num_classes
    for name, one in with_and_without_shift(cfg).items():
        before = _allocated_mib(fabric.device)
        paths[name] = partial(Trainer(one, fabric, videos), clips, labels)
        paths[name]()
        paths[name]()  # with momentum
        most = _allocated_mib(fabric.device, peak=True)
        allocated[name] = most - before + clips.nbytes / 2**20  # the clips were there before
    table = interleave(paths, rounds, seconds, wait=synchronizer(fabric.device))
    return pd.DataFrame(
        {"videos": videos, **timing_row(table, name, videos), "allocated": allocated[name]}
        for name in table
    )


def _allocated_mib(device: torch.device, peak: bool = False) -> float:
    """Read the MiB of tensors on a CUDA device, now or at most since the last call; else NaN."""
    if device.type != "cuda":
        return float("nan")
    size = torch.cuda.max_memory_allocated(device) if peak else torch.cuda.memory_allocated(device)
    torch.cuda.reset_peak_memory_stats(device)
    return size / 2**20


def measure_epoch(
    setup: Setup,
    fabric: Fabric,
    steps: int = 20,
    seconds: float = 60.0,
    workers: int | None = None,
) -> pd.DataFrame:
    """Measure the parts of an epoch, extrapolated from some steps.

    `waiting for clips` is time that the loader's processes do not hide behind the training;
    `validation` is one pass over the validation list, divided by the epochs between two. The device
    is waited for after each part.

    Args:
        steps: of training, and as many batches of validation.
        seconds: no step begins later, but a few are made.
        workers: loader processes; None: as many as `train` takes.

    Returns:
        One row per network and part: `seconds` per epoch, `share` (%), and `ms` per step.
    """
    rows, workers = [], default_workers() if workers is None else workers
    for name, cfg in with_and_without_shift(setup.cfg).items():
        train = ClipDataset(setup.train_list, cfg)
        val = ClipDataset(setup.val_list, cfg, "validation")
        trainer = Trainer(cfg, fabric, cfg.videos_per_device)
        per_video = _measure_parts(train, (steps, seconds), workers, fabric, trainer)
        parts = {part: len(train) * seconds for part, seconds in per_video.items()}
        tested = sum(_measure_parts(val, (steps, seconds), workers, fabric, trainer).values())
        parts["validation"] = len(val) * tested / cfg.eval_interval
        per_step = 1000 * cfg.videos_per_device / len(train)
        rows += [
            {"network": name, "part": part, "seconds": seconds, "ms": seconds * per_step,
             "share": 100 * seconds / sum(parts.values())}
            for part, seconds in parts.items()
        ]  # fmt: skip
    return pd.DataFrame(rows)


def _measure_parts(
    dataset: ClipDataset, limits: tuple[int, float], workers: int, fabric: Fabric, trainer: Trainer
) -> dict[str, float]:
    """Measure the seconds per video of each part of some steps, of training or of a test.

    `limits`: steps, and seconds after which no step begins.
    """
    training, videos, laps = dataset.protocol is None, 0, Laps(synchronizer(fabric.device))
    batch = trainer.cfg.videos_per_device
    if not training:
        wanted = views(trainer.cfg, dataset.protocol)
        batch = max(1, batch // (wanted["clips"] * wanted["crops"]))  # as `predict_scores` does
    loader = make_loader(dataset, batch, workers, shuffle=training)
    trainer.model.train(training)
    for i, item in enumerate(loader):
        laps("waiting for clips")
        if training:
            clips = normalize(to_device(fabric, item.clips)[:, 0])
            laps("to the device, normalised")
            trainer(clips, fabric.to_device(item.labels), laps)
        else:
            with torch.inference_mode():
                view_logits(fabric, trainer.model, item.clips)
            laps("forward")
        videos += len(item.labels)
        if i < SETTLING_BATCHES:
            laps.reset()
            videos = 0
        late = sum(laps.seconds.values()) > limits[1] and i >= SETTLING_BATCHES + MIN_ROUNDS
        if i == SETTLING_BATCHES + limits[0] or late:
            break
    return {part: seconds / max(1, videos) for part, seconds in laps.seconds.items()}


# --- loading --------------------------------------------------------------------------------------


def measure_loading(setup: Setup, workers: int | None = None, videos: int = 64) -> pd.DataFrame:
    """Measure how fast training clips are loaded, beside the decoder alone.

    Args:
        setup: the row and its data.
        workers: the most loader processes to try; None: as many as `train` takes.
        videos: of the training list.

    Returns:
        One row per way of loading: clips `per_second`, and their share (%) of the decoder's
        `limit`, which is its speed on one thread times the processes that have a core.
    """
    dataset = ClipDataset(setup.train_list, setup.cfg)
    videos, workers = min(videos, len(dataset)), default_workers() if workers is None else workers
    keys, threads = [(0, i) for i in range(videos)], torch.get_num_threads()
    torch.set_num_threads(1)  # as in a loader's process
    try:
        decoded, whole = _measure_dataset(dataset, keys)
    finally:
        torch.set_num_threads(threads)
    rows = [
        ("decoder alone, 1 thread", decoded, decoded),
        ("whole clips, 1 thread", whole, decoded),
    ]
    for count in sorted({1, workers} - {0}):
        limit = decoded * min(count, usable_cores())
        name = f"loader, {count} process{'es' * (count > 1)}"
        rows.append((name, _measure_loader(dataset, count, videos), limit))
    table = pd.DataFrame(rows, columns=["what", "per_second", "limit"])
    return table.assign(share=100 * table["per_second"] / table["limit"])


def _decode(dataset: ClipDataset, epoch: int, position: int) -> Tensor:
    """Decode the frames of a training clip as `dataset` draws them, and do nothing else."""
    cfg, video = dataset.cfg, dataset.open(dataset.videos.entries[position])
    generator = make_generator(dataset.seed, epoch, position)
    index = sample_indices(
        video.num_frames, cfg.num_segments, cfg.sampling, True, generator=generator
    )
    return video.frames(index[0].tolist())


def _measure_dataset(dataset: ClipDataset, keys: list[tuple[int, int]]) -> tuple[float, float]:
    """Measure clips per second of the decoder alone and of whole items, in turn."""
    for key in keys:  # files are in memory from now on
        _decode(dataset, *key)
    with no_collection():
        laps = Laps()
        for key in keys:
            _decode(dataset, *key)
            laps("decoder")
            dataset[key]
            laps("whole")
    return len(keys) / laps.seconds["decoder"], len(keys) / laps.seconds["whole"]


def _measure_loader(dataset: ClipDataset, workers: int, videos: int) -> float:
    """Measure clips per second of a running loader whose batches are not used."""
    batch = dataset.cfg.videos_per_device
    loader, started, count = make_loader(dataset, batch, workers, True), 0.0, 0
    for i, item in enumerate(loader):
        count += len(item.labels)
        if i <= SETTLING_BATCHES:
            started, count = time.perf_counter(), 0
        elif count >= videos:
            break
    return count / (time.perf_counter() - started) if count else float("nan")
