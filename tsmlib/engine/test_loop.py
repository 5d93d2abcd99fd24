"""The test loop: scores of a validation list under a test protocol, and what follows from them."""

import logging
import time
from collections.abc import Collection, Iterable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from .. import metrics
from ..configs import views
from ..data.annotations import DataError
from ..data.loader import ClipDataset, make_loader
from ..models.checkpoints import check_scores
from ..models.recognizer import normalize
from ..progress import track
from ..results import DECIMALS, environment
from . import interruption
from .devices import device_name, gather_lists
from .fabric import Fabric
from .options import RunOptions
from .run_folder import RunFolder
from .setup import Setup

log = logging.getLogger(__name__)

CHUNK_FRAMES = 256  # frames of 64x64 that are evaluated at once; fewer when they are larger


def to_device(fabric: Fabric, clips: Tensor) -> Tensor:
    """Move uint8 clips `[..., h, w, 3]` to the device, as a channels-last view `[..., 3, h, w]`."""
    return fabric.to_device(clips).movedim(-1, -3)


def check_unreadable(reasons: Collection[str], listed: int, max_bad: float) -> None:
    """Raise `DataError` if the videos that were not read, with their reasons, are too many."""
    if len(reasons) > max_bad * listed or len(reasons) == listed:
        raise DataError(
            f"{len(reasons)} of {listed} videos cannot be read, more than max_bad={max_bad:.0%} "
            f"allows; mend them or take their lines from the list. The first: {next(iter(reasons))}"
        )


def log_unreadable(reasons: Iterable[str]) -> None:
    """Log why videos were not read."""
    for reason in reasons:
        log.warning("not read: %s", reason)


@torch.inference_mode()
def predict_scores(
    fabric: Fabric, setup: Setup, model, options: RunOptions, protocol: str = "validation",
    permutation: list[int] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Score the validation list under a protocol, and compute everything that follows.

    Args:
        fabric, setup: launched, as its processes share the list; and prepared.
        model: from `[N, T, 3, H, W]` to logits `[N, num_classes]`.
        options: `workers` and `max_bad` count.
        protocol: the views of each video, see `configs.views`.
        permutation: column of each class in the model's output, if it numbers classes otherwise.

    Returns:
        Accuracies in percent, `paths`, `labels` `[N]`, averaged `scores` `[N, K]`, views, counts.

    Raises:
        DataError: more videos than `max_bad` allows cannot be read.
        CheckpointError: the model gives scores that are not finite.
    """
    cfg, video_list = setup.cfg, setup.val_list
    dataset, num_views = ClipDataset(video_list, cfg, protocol), views(cfg, protocol)
    batch = max(1, cfg.videos_per_device // (num_views["clips"] * num_views["crops"]))
    loader = make_loader(
        dataset, batch, options.loader_workers, False, fabric.global_rank, fabric.world_size
    )
    model.eval()
    parts: list[tuple[Tensor, ...]] = []  # index, labels, scores and loss of some videos
    bad: dict[int, str] = {}  # why videos cannot be read, by their positions in the list
    started = time.perf_counter()
    quiet = protocol == "validation" or not fabric.is_global_zero  # trainings show their own
    for item in track(loader, f"evaluating {cfg.name}", "batches", quiet=quiet):
        interruption.stop_if_asked(" during an evaluation; the same command does it again")
        bad |= dict(item.bad)
        log_unreadable(reason for _, reason in item.bad)
        check_unreadable(bad.values(), len(dataset), options.max_bad)
        if len(item.labels):
            logits = view_logits(fabric, model, item.clips).cpu()  # [N, views, K]
            logits = logits if permutation is None else logits[..., permutation]
            loss = F.cross_entropy(logits.mean(1), item.labels, reduction="none")
            scores = metrics.average_views(logits, cfg.average_clips)  # [N, K]
            parts.append((item.index, item.labels, scores, loss))
    bad = dict(gather_lists(fabric, list(bad.items())))
    check_unreadable(bad.values(), len(dataset), options.max_bad)
    index, labels, scores, loss = map(torch.cat, zip(*gather_lists(fabric, parts), strict=True))
    order = index.argsort()  # as in the list, whichever process had a video
    labels, scores = labels[order].numpy(), scores[order].numpy().round(DECIMALS)
    return {
        **accuracies(scores, labels, setup.reversed_labels),
        "paths": [video_list.entries[i].path for i in index[order].tolist()],
        "labels": labels,
        "scores": scores,
        "loss_val": float(loss.mean()),
        "views": num_views,
        "num_listed": len(dataset),
        "num_bad": len(bad),
        "val_list_sha256": video_list.sha256,
        "device": device_name(fabric),
        "seconds": round(time.perf_counter() - started, 1),
    }


def view_logits(fabric: Fabric, model, clips: Tensor) -> Tensor:
    """Compute float logits `[N, views, K]` of uint8 clips `[N, views, T, h, w, 3]`, in chunks.

    Raises:
        CheckpointError: they are not finite.
    """
    flat = clips.flatten(0, 1)
    frames = CHUNK_FRAMES * 64 * 64 // (clips.shape[3] * clips.shape[4])
    chunks = flat.split(max(1, frames // clips.shape[2]))
    plain = getattr(model, "module", model)  # processes have parts of different lengths: alone
    with fabric.autocast():
        parts = [plain(normalize(to_device(fabric, chunk))).float() for chunk in chunks]
    logits = torch.cat(parts).unflatten(0, clips.shape[:2])
    check_scores(logits)
    return logits


def accuracies(
    scores: np.ndarray, labels: np.ndarray, reversed_labels: tuple[int, ...] | None = None
) -> dict[str, float]:
    """Compute the accuracies of averaged scores `[N, K]`, in percent.

    `reversed_labels`: of a stand-in, the label of each class played backwards, -1 for none.
    """
    top1 = metrics.top_k_accuracy(scores, labels, 1)
    values = {
        "top1": top1,
        "top1_se": metrics.standard_error(top1, len(labels)),
        "top5": metrics.top_k_accuracy(scores, labels, 5),
        "mean_class_accuracy": metrics.mean_class_accuracy(scores, labels),
        "num_videos": len(labels),
    }
    if reversed_labels is not None:
        pairs = np.array(reversed_labels)
        values["within_pair"] = metrics.within_pair_accuracy(scores, labels, pairs)
    return values


def common_record(
    run: RunFolder, protocol: str, outcome: dict[str, Any], precision: str
) -> dict[str, Any]:
    """Return the fields that the records of training and evaluation have in common."""
    setup, arrays = run.setup, ("paths", "labels", "scores", "loss_val", "seconds")
    numbers = {k: round(v, 4) if isinstance(v, float) else v for k, v in outcome.items()
               if k not in arrays}  # fmt: skip
    return {
        "cfg": setup.cfg.name,
        "data": setup.data,
        "scale": setup.scale,
        "seed": run.seed,
        "protocol": protocol,
        **numbers,
        "evaluation_seconds": outcome["seconds"],
        "config_hash": setup.cfg.hash,
        "data_id": setup.data_id,
        "class_names": list(setup.class_names),
        "precision": precision,
        **environment(),
    }
