"""Test a detector as it is used: frame by frame, with the features of the past in its caches."""

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..configs import ConfigError, to_dict
from ..engine.devices import device_name, gather_lists, make_fabric
from ..engine.fabric import Fabric
from ..engine.options import RunOptions, check_used, make_options
from ..engine.run_folder import run_folder_lock
from ..engine.stored_checkpoints import check_no_training
from ..models.checkpoint_files import CheckpointError, read_checkpoint
from ..paths import file_sha256
from ..progress import track
from ..results import environment, make_folder, write_atomic
from .compare_detectors import GroundTruth, match_parts
from .data import DetectionSetup, resolve_detection
from .detections import write_detections
from .detector import Detection, VideoDetector, to_unit_range
from .detector_weights import find_weights, load_detector
from .mean_average_precision import average_precision, per_class_precision
from .online_detector import OnlineDetector
from .recipes import OPTIONS_OF_TESTS
from .standin import DetectionStandin
from .vid_dataset import VidDataset

IN_ORDER, SHUFFLED = PROTOCOLS = ("frame by frame", "shuffled frames")


def evaluate_detector(
    weights: str | Path,
    options: RunOptions | None = None,
    standin: DetectionStandin | None = None,
    protocol: str = IN_ORDER,
    **keywords,
) -> dict[str, Any]:
    """Measure the mean average precision of weights on the validation videos.

    Args:
        weights: see `load_detector`.
        options: those of `OPTIONS_OF_TESTS`; into `work_dir` the record is written, if it is
            named. Keywords change them.
        standin: what the stand-in is drawn from; None: its defaults.
        protocol: of `PROTOCOLS`; see `detect_videos`.

    Returns:
        A record; `detections` are those of each frame of each video.

    Raises:
        ConfigError: an unknown protocol, or one that the data do not allow; an option that would
            change nothing.
        CheckpointError: weights that cannot be read, or are of other classes than the data.
        DataError: data that cannot be read.
        ResultsError: `work_dir` cannot be written, or holds a training.
    """
    options = make_options(options, keywords)
    check_used(options, OPTIONS_OF_TESTS, "a detector is tested")
    if protocol not in PROTOCOLS:
        raise ConfigError(f"there is no protocol {protocol!r}; choose {' or '.join(PROTOCOLS)}")
    file = find_weights(weights)
    detector, cfg = load_detector(file)
    facts = _describe_weights(file)
    options = options.with_changes(scale="full")  # no size is reduced here
    setup = resolve_detection(cfg, options, standin, trains=False)
    if protocol == SHUFFLED and setup.data == "real":
        raise ConfigError(f"{SHUFFLED} are of a stand-in: frames of real videos differ in size")
    if cfg.class_names != setup.cfg.class_names:
        raise CheckpointError(
            f"{weights} is of a detector of the classes {_shorten(cfg.class_names)}, the data have "
            f"{_shorten(setup.cfg.class_names)}; name weights of the same classes in their order"
        )
    fabric = make_fabric(options.device)
    with _claim(options.work_dir):
        outcome = measure_detector(fabric, fabric.to_device(detector), setup.validation, protocol)
        record = detection_record(setup, outcome) | {"kind": "evaluation", **facts}
        if options.work_dir and fabric.is_global_zero:
            write_record(Path(options.work_dir), setup, record, outcome)
    return record | {"detections": outcome["detections"]}


def _describe_weights(file: Path) -> dict[str, Any]:
    """Return what a record says of the weights; the file may be gone when the test ends."""
    content = read_checkpoint(file)
    return {
        "scale": content.get("scale", "full"),
        "seed": content.get("seed"),
        "weights": file_sha256(file)[:8],
    }


@contextmanager
def _claim(folder: str | Path | None) -> Iterator[None]:
    """Claim the folder of a record before the test, which would be lost if it cannot be written."""
    if not folder:
        yield
        return
    check_no_training(Path(folder))
    make_folder(Path(folder))
    with run_folder_lock(Path(folder)):
        yield


@torch.no_grad()
def detect_videos(
    fabric: Fabric, detector: VideoDetector, dataset: VidDataset, protocol: str = IN_ORDER
) -> list[list[Detection]]:
    """Detect in each frame of each video, as they come; the processes share the videos.

    Args:
        protocol: `frame by frame`; or `shuffled frames`: all frames of all videos are one stream in
            random order, in which what comes before a frame says nothing of it.
    """
    stream, device, found = OnlineDetector(detector), fabric.device, []
    mine = range(len(dataset.videos))[fabric.global_rank :: fabric.world_size]
    frames = [(number, t) for number in mine for t in range(dataset.videos[number].num_frames)]
    if protocol == SHUFFLED:
        np.random.default_rng(0).shuffle(frames)
    quiet = not fabric.is_global_zero
    for number, t in track(frames, "testing", "frames", part=True, quiet=quiet):
        if protocol == IN_ORDER and t == 0:
            stream.reset()
        picture = to_unit_range(dataset.read(number, [t])[0].to(device))
        found.append((number, t, {k: v.cpu() for k, v in stream.step(picture)[0].items()}))
    videos: list[list[Detection]] = [[] for _ in dataset.videos]
    for number, _, detections in sorted(gather_lists(fabric, found), key=lambda item: item[:2]):
        videos[number].append(detections)
    return videos


def measure_detector(
    fabric: Fabric, detector: VideoDetector, dataset: VidDataset, protocol: str = IN_ORDER
) -> dict[str, Any]:
    """Return the mean average precision over the videos of a data set, and the detections."""
    started = time.perf_counter()
    detections = detect_videos(fabric, detector, dataset, protocol)
    return {
        "protocol": protocol,
        **score_detections(detections, dataset),
        "detections": detections,
        "num_videos": len(dataset.videos),
        "num_frames": sum(map(len, detections)),
        "device": device_name(fabric),
        "evaluation_seconds": round(time.perf_counter() - started, 1),
    }


def score_detections(
    videos: Sequence[Sequence[Detection]], dataset: VidDataset
) -> dict[str, float | None]:
    """Compute `map50`, that of each speed, and on a stand-in those of clean and degraded frames.

    All in percent; None where there is no such object.
    """
    truth = GroundTruth.read(dataset)
    frames = [frame for video in videos for frame in video]
    overall = average_precision(frames, truth.objects, truth.num_classes)
    scores = {"map50": overall["map"]}
    for part, matches in match_parts(videos, truth).items():
        if part != "all":
            there = matches.positives.any()
            scores[f"map_{part}"] = np.nanmean(per_class_precision(matches)) if there else math.nan
    return {name: None if math.isnan(v) else round(float(v), 4) for name, v in scores.items()}


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


def write_record(
    folder: Path, setup: DetectionSetup, record: dict[str, Any], outcome: dict[str, Any]
) -> None:
    """Write `config.json`, the detections and, last, `metrics.json`."""
    write_atomic(folder / "config.json", json.dumps(to_dict(setup.cfg), indent=1) + "\n")
    write_detections(folder / "detections.csv.gz", outcome["detections"], setup.validation)
    write_atomic(folder / "metrics.json", json.dumps(record, indent=1) + "\n")


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" ... ({len(names)})" if len(names) > 4 else "")
