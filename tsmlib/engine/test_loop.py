"""The scores of a validation list under a test protocol, and what follows from them."""

import logging
import time
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from .. import metrics
from ..configs import Config, class_names, views
from ..data.annotations import DataError, find_list
from ..data.loader import ClipDataset, make_loader
from ..data.standin.generate import clips_id, reversed_label
from ..models.recognizer import normalize
from ..results import DECIMALS, environment
from .devices import device_name, gather_lists
from .setup import Setup

log = logging.getLogger(__name__)

CHUNK_FRAMES = 256  # frames of 64x64 that are evaluated at once; fewer when they are larger


def to_device(fabric: Fabric, clips: Tensor) -> Tensor:
    """uint8 `[..., h, w, 3]` to the device, as `[..., 3, h, w]` that is channels last in memory."""
    return fabric.to_device(clips).movedim(-1, -3)


def check_bad(reasons: list[str], listed: int, max_bad: float) -> None:
    for reason in reasons:
        log.warning("not read: %s", reason)
    if len(reasons) > max_bad * listed or len(reasons) == listed:
        raise DataError(
            f"{len(reasons)} of {listed} videos cannot be read, more than max_bad={max_bad:.0%} "
            f"allows; mend them or take their lines from the list. The first: {reasons[0]}"
        )


@torch.inference_mode()
def run_test(
    fabric: Fabric, setup: Setup, model, workers: int, max_bad: float,
    protocol: str = "validation", columns: list[int] | None = None,
) -> dict[str, Any]:  # fmt: skip
    """Scores of the validation list under a protocol, and everything that follows from them.

    `columns`: position of each class in the model's output, where the model numbers them otherwise.
    """
    cfg = setup.cfg
    dataset = ClipDataset(find_list(cfg, "val", setup.data_root), cfg, protocol)
    wanted = views(cfg, protocol)
    per_video = wanted["clips"] * wanted["crops"]
    batch = max(1, cfg.videos_per_device // per_video)
    loader = make_loader(dataset, batch, workers, False, fabric.global_rank, fabric.world_size)
    model.eval()
    parts: list[tuple[Tensor, ...]] = []  # index, labels, scores, loss of some videos
    bad: list[tuple[int, str]] = []
    started = time.perf_counter()
    quiet = protocol == "validation" or not fabric.is_global_zero
    for item in tqdm(loader, desc=f"evaluating {cfg.name}", mininterval=1, disable=quiet):
        bad += item.bad
        if not len(item.labels):
            continue
        logits = view_logits(fabric, model, item.clips).cpu()
        logits = logits if columns is None else logits[..., columns]
        loss = F.cross_entropy(logits.mean(1), item.labels, reduction="none")
        scores = metrics.average_views(logits, cfg.average_clips)
        parts.append((item.index, item.labels, scores, loss))
    reasons = [reason for _, reason in gather_lists(fabric, bad)]
    check_bad(reasons, len(dataset), max_bad)
    index, labels, scores, loss = map(torch.cat, zip(*gather_lists(fabric, parts), strict=True))
    order = index.argsort()
    labels, scores = labels[order].numpy(), scores[order].numpy().round(DECIMALS)
    return {
        **accuracies(scores, labels, setup.data, cfg),
        "paths": [dataset.videos.entries[i].path for i in index[order].tolist()],
        "labels": labels,
        "scores": scores,
        "loss_val": float(loss.mean()),
        "views": wanted,
        "num_listed": len(dataset),
        "num_bad": len(reasons),
        "val_list_sha256": dataset.videos.sha256,
        "seconds": round(time.perf_counter() - started, 1),
    }


def view_logits(fabric: Fabric, model, clips: Tensor) -> Tensor:
    """uint8 `[N, views, T, h, w, 3]` to float logits `[N, views, K]`, a part at a time."""
    flat = clips.flatten(0, 1)
    frames = CHUNK_FRAMES * 64 * 64 // (clips.shape[3] * clips.shape[4])
    chunks = flat.split(max(1, frames // clips.shape[2]))
    plain = getattr(model, "module", model)  # processes have parts of different lengths: alone
    with fabric.autocast():
        logits = [plain(normalize(to_device(fabric, chunk))).float() for chunk in chunks]
    return torch.cat(logits).unflatten(0, clips.shape[:2])


def accuracies(scores: np.ndarray, labels: np.ndarray, data: str, cfg: Config) -> dict[str, float]:
    """The accuracies of averaged scores `[N, K]`, in percent."""
    top1 = metrics.top_k_accuracy(scores, labels, 1)
    found = {
        "top1": top1,
        "top1_se": metrics.standard_error(top1, len(labels)),
        "top5": metrics.top_k_accuracy(scores, labels, 5),
        "mean_class_accuracy": metrics.mean_class_accuracy(scores, labels),
        "num_videos": len(labels),
    }
    if data == "standin":
        pairs = [reversed_label(k, cfg.dataset) for k in range(cfg.num_classes)]
        pairs = np.array([-1 if p is None else p for p in pairs])
        found["within_pair"] = metrics.within_pair_accuracy(scores, labels, pairs)
    return found


def record_of(
    fabric, setup: Setup, seed: int | None, protocol: str, outcome, precision: str
) -> dict:
    """What training and evaluation have in common."""
    arrays = ("paths", "labels", "scores", "loss_val", "seconds")
    numbers = {k: round(v, 4) if isinstance(v, float) else v for k, v in outcome.items()
               if k not in arrays}  # fmt: skip
    return {
        "cfg": setup.cfg.name,
        "data": setup.data,
        "scale": setup.scale,
        "seed": seed,
        "protocol": protocol,
        **numbers,
        "evaluation_seconds": outcome["seconds"],
        "config_hash": setup.cfg.hash,
        "data_id": clips_id(setup.data_root) if setup.data == "standin" else None,
        "class_names": list(class_names(setup.cfg)),
        "device": device_name(fabric),
        "precision": precision,
        **environment(),
    }
