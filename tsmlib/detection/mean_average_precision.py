"""Mean average precision of detectors at IoU 0.5, overall and by speed, with intervals over videos.

Average precision is COCO's, the mean of the precision at 101 recalls, as mmtracking's `box AP@50`.
FGFA's is the whole area under the same curve. All figures are in percent.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from torch import Tensor
from torchmetrics.detection import MeanAveragePrecision

from .motion_iou import SPEEDS, box_iou
from .vid_annotations import Target

IOU = 0.5  # of a detection with its object, at least
RECALLS = np.linspace(0, 1, 101)
Prediction = dict[str, Tensor]  # boxes [K, 4], scores [K], labels [K], as torchvision's detectors


def average_precision(
    predictions: Sequence[Prediction], targets: Sequence[Target], num_classes: int
) -> dict:
    """Compute the mAP of a detector by torchmetrics, over all frames together.

    Args:
        predictions: of each frame, as torchvision's detectors return them; at most 100 of a frame
            and a class count.
        targets: the objects of each frame.
        num_classes: labels are from 1 to it.

    Returns:
        `map`, the mean over the classes that occur in `targets`, and `per_class`, float
        `[num_classes]`, NaN for the others.
    """
    metric = MeanAveragePrecision(
        iou_thresholds=[IOU], rec_thresholds=RECALLS.tolist(), class_metrics=True,
        backend="faster_coco_eval",
    )  # fmt: skip
    metric.update(list(predictions), [{k: t[k] for k in ("boxes", "labels")} for t in targets])
    found = metric.compute()
    per_class = np.full(num_classes, -1.0)  # -1: no object of the class
    per_class[found["classes"].numpy() - 1] = found["map_per_class"].numpy()
    per_class = 100 * np.where(per_class < 0, np.nan, per_class)
    return {"map": float(np.nanmean(per_class)), "per_class": per_class}


@dataclass(frozen=True)
class Matches:
    """All detections of a test, matched with the objects, the most confident first.

    The V clusters, which a bootstrap draws (videos, or renderings), are numbered from 0.
    """

    clusters: np.ndarray  # int [D]
    labels: np.ndarray  # int [D], from 1
    hits: np.ndarray  # float [D], 1 for the detection of an object that counts
    false_alarms: np.ndarray  # float [D], 1 for a detection that counts as none, or a part of it
    positives: np.ndarray  # int [V, num_classes], objects that count


def match_detections(
    predictions: Sequence[Prediction], targets: Sequence[Target], clusters: Sequence[Hashable],
    num_classes: int, motion_ious: Sequence[np.ndarray] | None = None, speed: str | None = None,
) -> Matches:  # fmt: skip
    """Match detections with the objects of their frame, as FGFA's evaluation by speed does.

    The most confident detection chooses first, the free object of its class that it overlaps most.
    Objects of other speeds are neither hits nor misses. A detection without an object is no false
    alarm if it overlaps such a one most; where nothing is in the frame, it counts as the share of
    objects that have the speed (FGFA's lib/dataset/imagenet_vid_eval_motion.py, without its
    lower IoU for small objects, which MEGA leaves out too).

    Args:
        predictions, targets, num_classes: see `average_precision`.
        clusters: of each frame, the unit that a bootstrap draws: its video, for example.
        motion_ious: of each frame, `[K]` for its objects; needed for a speed.
        speed: `slow`, `medium` or `fast`; None: all objects count.
    """
    overlaps = [_overlap(*frame) for frame in zip(predictions, targets, strict=True)]
    return _match(overlaps, targets, clusters, num_classes, motion_ious, speed)


def match_by_speed(
    predictions: Sequence[Prediction], targets: Sequence[Target], clusters: Sequence[Hashable],
    num_classes: int, motion_ious: Sequence[np.ndarray],
) -> dict[str, Matches]:  # fmt: skip
    """Match detections for `all` objects and for those of each speed."""
    overlaps = [_overlap(*frame) for frame in zip(predictions, targets, strict=True)]
    return {
        speed or "all": _match(overlaps, targets, clusters, num_classes, motion_ious, speed)
        for speed in (None, *SPEEDS)
    }


class Overlaps(NamedTuple):
    """The detections of a frame, the most confident first, and how they overlap its objects."""

    labels: np.ndarray  # int [K]
    scores: np.ndarray  # float [K]
    iou: np.ndarray  # float [K, objects]
    fits: np.ndarray  # bool [K, objects], of the same class, and enough


def _overlap(prediction: Prediction, target: Target) -> Overlaps:
    order = np.argsort(-prediction["scores"].numpy(), kind="stable")
    boxes, labels, scores = (prediction[k].numpy()[order] for k in ("boxes", "labels", "scores"))
    iou = box_iou(boxes[:, None], target["boxes"].numpy()[None])
    fits = (labels[:, None] == target["labels"].numpy()) & (iou >= IOU)
    return Overlaps(labels, scores, iou, fits)


def _match(
    overlaps: Sequence[Overlaps], targets: Sequence[Target], clusters: Sequence[Hashable],
    num_classes: int, motion_ious: Sequence[np.ndarray] | None, speed: str | None,
) -> Matches:  # fmt: skip
    """Match as `match_detections` says, from the overlaps of each frame."""
    names, numbers = np.unique(np.asarray(clusters), return_inverse=True)
    low, high = SPEEDS[speed] if speed else (-np.inf, np.inf)
    motion_ious = motion_ious if speed else [np.zeros(len(t["labels"])) for t in targets]
    counted = [(low <= values) & (values <= high) for values in motion_ious]
    empty_weight = float(np.concatenate(counted).mean()) if targets else 0.0
    positives = np.zeros((len(names), num_classes), int)
    parts = []
    for found, target, number, counts in zip(overlaps, targets, numbers, counted, strict=True):
        np.add.at(positives[number], target["labels"].numpy()[counts] - 1, 1)
        hits, alarms = _match_frame(found, counts, empty_weight)
        cluster = np.full(len(found.labels), number)
        parts.append((cluster, found.labels, found.scores, hits, alarms))
    cluster, labels, scores, hits, alarms = map(np.concatenate, zip(*parts, strict=True))
    order = np.argsort(-scores, kind="stable")
    return Matches(cluster[order], labels[order], hits[order], alarms[order], positives)


def _match_frame(
    found: Overlaps, counts: np.ndarray, empty_weight: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return hits and false alarms `[K]` of a frame's detections."""
    hits, alarms = np.zeros((2, len(found.labels)))
    if not len(counts):
        return hits, alarms + empty_weight
    free = np.ones(len(counts), bool)
    for i, overlaps in enumerate(found.iou):
        candidates = found.fits[i] & free
        if candidates.any():
            chosen = np.argmax(np.where(candidates, overlaps, -1))
            free[chosen], hits[i] = False, counts[chosen]
        else:
            alarms[i] = _false_alarm(overlaps, counts)
    return hits, alarms


def _false_alarm(overlaps: np.ndarray, counts: np.ndarray) -> float:
    """Weigh a detection without an object by the object of any class that it overlaps most."""
    counted = overlaps[counts].max(initial=-1)
    others = overlaps[~counts].max(initial=-1)
    if counted == others:  # it overlaps none; so published, though the share that counts is meant
        return float(np.mean(~counts))
    return float(counted > others)


# --- average precision and its interval -----------------------------------------------------------


def per_class_precision(matches: Matches) -> np.ndarray:
    """Compute average precisions `[num_classes]`, NaN for a class without objects that count."""
    return _precisions(_by_class(matches), matches.positives, np.ones(len(matches.positives)))


def _by_class(matches: Matches) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Split into clusters, hits and false alarms of each class, up to its last hit.

    What is less confident than that changes no precision at a recall that is reached.
    """
    parts = []
    for label in range(1, matches.positives.shape[1] + 1):
        own = np.flatnonzero(matches.labels == label)
        own = own[: np.flatnonzero(matches.hits[own]).max(initial=-1) + 1]
        parts.append((matches.clusters[own], matches.hits[own], matches.false_alarms[own]))
    return parts


def _precisions(by_class: list[tuple], positives: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Compute average precisions of a test that has each cluster as often as `times` `[V]` says."""
    totals = times @ positives
    values = np.full(len(totals), np.nan)
    for i in np.flatnonzero(totals):
        clusters, hits, alarms = by_class[i]
        weights = times[clusters]
        hits, alarms = np.cumsum(weights * hits), np.cumsum(weights * alarms)
        precision = hits / np.maximum(hits + alarms, np.finfo(float).tiny)
        best = np.maximum.accumulate(precision[::-1])[::-1]  # at this recall or a higher one
        reached = np.searchsorted(hits / totals[i], RECALLS)
        values[i] = 100 * np.append(best, 0)[reached].mean()
    return values


def map_interval(
    matches: Matches | Sequence[Matches], baseline: Matches | Sequence[Matches] | None = None,
    replicates: int = 1000, alpha: float = 0.05, seed: int = 0,
) -> tuple[float, float, float]:  # fmt: skip
    """Compute the mAP, or its gain over a baseline, with the ends of a bootstrap interval.

    Clusters are drawn anew, and of several trainings the seeds too; the same ones for both
    detectors (percentiles at 1 - alpha).

    Args:
        matches: of a detector; of several trainings: their mean counts.
        baseline: of another one, with the same seeds in the same order.
        replicates, alpha, seed: of the bootstrap.

    Raises:
        ValueError: the two were tested on different objects, or have different numbers of seeds.
    """
    both = [
        [m] if isinstance(m, Matches) else list(m) for m in (matches, baseline) if m is not None
    ]
    if len({len(runs) for runs in both}) > 1:
        raise ValueError("the two detectors have different numbers of seeds: nothing is paired")
    positives = both[0][0].positives
    if not all(np.array_equal(m.positives, positives) for runs in both for m in runs):
        raise ValueError("the two detectors were tested on different objects: nothing is paired")

    seeds, number, rng = len(both[0]), len(positives), np.random.default_rng(seed)
    detectors = [[_by_class(m) for m in runs] for runs in both]

    def measure(times: np.ndarray, runs: np.ndarray) -> float:
        maps = [[np.nanmean(_precisions(d[i], positives, times)) for i in runs] for d in detectors]
        return float(np.mean(maps[0]) - sum(map(np.mean, maps[1:])))

    draws = rng.multinomial(number, np.full(number, 1 / number), size=replicates)
    chosen = rng.integers(seeds, size=(replicates, seeds))
    values = [measure(*draw) for draw in zip(draws, chosen, strict=True)]
    low, high = np.nanquantile(values, (alpha / 2, 1 - alpha / 2))
    return measure(np.ones(number), np.arange(seeds)), float(low), float(high)
