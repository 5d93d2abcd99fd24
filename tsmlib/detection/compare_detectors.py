"""Compare detectors on the same videos: by the speed of objects, on clean and degraded frames."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import pandas as pd

from .detector import Detection
from .mean_average_precision import Matches, map_interval, match_by_speed, match_detections
from .motion_iou import motion_iou
from .vid_annotations import Target
from .vid_dataset import VidDataset

Videos = Sequence[Sequence[Detection]]  # what a detector finds in each frame of each video


@dataclass(frozen=True)
class GroundTruth:
    """What is in each frame of a data set, its videos one after the other."""

    objects: list[Target]
    clusters: list[int]  # of each frame, what a bootstrap draws: a video; a stand-in's rendering
    speeds: list[np.ndarray]  # motion IoU of each object
    degraded: list[bool]  # of a stand-in; else empty
    num_classes: int

    @classmethod
    def read(cls, dataset: VidDataset) -> Self:
        """Read the annotations of a data set."""
        targets = [dataset.read_targets(number) for number in range(len(dataset.videos))]
        clusters, degraded = [], []
        for number, entry in enumerate(dataset.videos):
            cluster = number if entry.rendering is None else entry.rendering
            clusters += entry.num_frames * [cluster]
            degraded += [bool(kind) for kind in entry.degradations or ()]
        speeds = [values for video in targets for values in motion_iou(video)]
        return cls(_join(targets), clusters, speeds, degraded, len(dataset.classes))


def match_parts(videos: Videos, truth: GroundTruth) -> dict[str, Matches]:
    """Match detections with all objects, with those of each speed, and those of each kind of frame.

    The parts are `all`, `slow`, `medium`, `fast`; of a stand-in also `clean` and `degraded`.
    """
    found, count = _join(videos), truth.num_classes
    parts = match_by_speed(found, truth.objects, truth.clusters, count, truth.speeds)
    if truth.degraded:
        for name, wanted in (("clean", False), ("degraded", True)):
            chosen = [i for i, kind in enumerate(truth.degraded) if kind == wanted]
            part = ([each[i] for i in chosen] for each in (found, truth.objects, truth.clusters))
            if chosen:
                parts[name] = match_detections(*part, count)
    return parts


def compare(
    detectors: Sequence[Videos], baselines: Sequence[Videos], dataset: VidDataset,
    replicates: int = 300,
) -> pd.DataFrame:  # fmt: skip
    """Tabulate the mAP of two detectors by part, with 95 % intervals over seeds and videos.

    Args:
        detectors: what a detector finds, for each of its seeds.
        baselines: what another one finds, for the same seeds.
        dataset: the videos.
        replicates: of the bootstrap, which draws seeds and videos anew, the same for both.

    Returns:
        One row per part of `match_parts`; columns `detector`, `baseline` and `gain`, each also
        with `_low` and `_high`.
    """
    truth = GroundTruth.read(dataset)
    matched = [[match_parts(each, truth) for each in seeds] for seeds in (detectors, baselines)]
    rows = {}
    for part in matched[0][0]:
        ours, theirs = ([each[part] for each in seeds] for seeds in matched)
        values = {"detector": (ours,), "baseline": (theirs,), "gain": (ours, theirs)}
        rows[part] = {
            f"{name}{end}": value
            for name, pair in values.items()
            for end, value in zip(
                ("", "_low", "_high"), map_interval(*pair, replicates=replicates), strict=True
            )
        }
    return pd.DataFrame(rows).T.rename_axis("part")


def _join(videos: Sequence[Sequence]) -> list:
    return [frame for video in videos for frame in video]
