"""Test a detector as it is used: frame by frame, with the features of the past in its caches."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from ..engine.devices import device_name, gather_lists, make_fabric
from ..engine.options import RunOptions, make_options
from ..models.downloads import file_sha256
from ..models.safe_loading import CheckpointError, read_checkpoint
from ..progress import track
from ..results import environment
from .data import DetectionSetup, resolve_detection
from .detector import Detection, VideoDetector, to_unit_range
from .detector_weights import load_detector
from .mean_average_precision import average_precision
from .online_detector import OnlineDetector
from .standin import DetectionStandin
from .vid_dataset import VidDataset


def evaluate_detector(
    weights: str | Path,
    options: RunOptions | None = None,
    standin: DetectionStandin | None = None,
    **keywords,
) -> dict[str, Any]:
    """Measure the mean average precision of weights on the validation videos.

    Args:
        weights: see `load_detector`.
        options: `data`, `data_root`, `cache` and `device` are used; keywords change them.
        standin: what the stand-in is drawn from; None: its defaults.

    Returns:
        A record; `detections` are those of each frame of each video.

    Raises:
        CheckpointError: weights that cannot be read, or are of other classes than the data.
        DataError: data that cannot be read.
    """
    options = make_options(options, keywords).with_changes(scale="full")  # no size is reduced here
    detector, cfg = load_detector(weights)
    setup = resolve_detection(cfg, options, standin)
    if cfg.class_names != setup.cfg.class_names:
        raise CheckpointError(
            f"{weights} is of a detector of the classes {_shorten(cfg.class_names)}, the data have "
            f"{_shorten(setup.cfg.class_names)}; name weights of the same classes in their order"
        )
    fabric = make_fabric(options.device)
    outcome = test_detector(fabric, fabric.to_device(detector), setup.validation)
    return detection_record(setup, outcome) | {
        "kind": "evaluation",
        "scale": read_checkpoint(weights).get("scale", "full"),
        "weights": file_sha256(weights)[:8],
        "detections": outcome["detections"],
    }


@torch.no_grad()
def detect_videos(
    fabric: Fabric, detector: VideoDetector, dataset: VidDataset
) -> list[list[Detection]]:
    """Detect in each frame of each video, as they come; the processes share the videos."""
    stream, device, found = OnlineDetector(detector), fabric.device, []
    mine = range(len(dataset.videos))[fabric.global_rank :: fabric.world_size]
    for number in track(mine, "testing", "videos", part=True, quiet=not fabric.is_global_zero):
        stream.reset()
        for frame in range(dataset.videos[number].num_frames):
            picture = to_unit_range(dataset.read(number, [frame])[0].to(device))
            found.append((number, frame, {k: v.cpu() for k, v in stream.step(picture)[0].items()}))
    videos: list[list[Detection]] = [[] for _ in dataset.videos]
    for number, _, detections in sorted(gather_lists(fabric, found), key=lambda item: item[:2]):
        videos[number].append(detections)
    return videos


def test_detector(fabric: Fabric, detector: VideoDetector, dataset: VidDataset) -> dict[str, Any]:
    """Return the mean average precision over the videos of a data set, and the detections."""
    started = time.perf_counter()
    detections = detect_videos(fabric, detector, dataset)
    targets = [dataset.read_targets(number) for number in range(len(dataset.videos))]
    scores = average_precision(_join(detections), _join(targets), len(dataset.classes))
    return {
        "map50": round(scores["map"], 4),
        "detections": detections,
        "num_videos": len(dataset.videos),
        "num_frames": sum(map(len, detections)),
        "device": device_name(fabric),
        "evaluation_seconds": round(time.perf_counter() - started, 1),
    }


def detection_record(setup: DetectionSetup, outcome: dict[str, Any]) -> dict[str, Any]:
    """Return the fields that the records of training and evaluation have in common."""
    return {
        "cfg": setup.cfg.name,
        "data": setup.data,
        "scale": setup.scale,
        **{name: value for name, value in outcome.items() if name != "detections"},
        "config_hash": setup.cfg.hash,
        "data_id": setup.data_id,
        "class_names": list(setup.cfg.class_names),
        **environment(),
    }


def _join(videos: Sequence[list]) -> list:
    return [frame for video in videos for frame in video]


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" ... ({len(names)})" if len(names) > 4 else "")
