"""mAP: beside torchmetrics and slow versions, by speed, and its intervals."""

import numpy as np
import pytest
import torch

from tsmlib.detection.mean_average_precision import (
    RECALLS,
    average_precision,
    map_interval,
    match_by_speed,
    match_detections,
    per_class_precision,
)
from tsmlib.detection.motion_iou import SPEEDS

CLASSES = 3


def boxes_of(rng, count):
    corner = rng.uniform(0, 60, (count, 2))
    return np.concatenate((corner, corner + rng.uniform(10, 40, (count, 2))), axis=1)


def draw_test(seed, frames=40, shift=2.0):
    """Draw predictions, objects, videos and motion IoU of a test with hits, misses and alarms."""
    rng = np.random.default_rng(seed)
    predictions, targets, motion = [], [], []
    for _ in range(frames):
        count = int(rng.integers(0, 5))
        boxes, labels = boxes_of(rng, count), rng.integers(1, CLASSES + 1, count)
        kept = np.repeat(np.arange(count), rng.integers(0, 3, count))  # missed, or found twice
        strays = int(rng.integers(0, 3))
        found = np.concatenate(
            (boxes[kept] + rng.normal(0, shift, (len(kept), 4)), boxes_of(rng, strays))
        )
        found[:, 2:] = np.maximum(found[:, 2:], found[:, :2] + 1)
        confused = np.where(rng.uniform(size=len(kept)) < 0.8, labels[kept], 1)
        named = np.concatenate((confused, rng.integers(1, CLASSES + 1, strays)))
        predictions.append({
            "boxes": torch.tensor(found, dtype=torch.float32),
            "labels": torch.tensor(named),
            "scores": torch.tensor(rng.uniform(size=len(found)), dtype=torch.float32),
        })  # fmt: skip
        targets.append({
            "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
            "labels": torch.tensor(labels), "track_ids": torch.arange(count),
        })  # fmt: skip
        motion.append(rng.uniform(0.4, 1, count))
    return predictions, targets, [f"video {i // 5}" for i in range(frames)], motion


def slow_iou(a, b):
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def slow_precision(predictions, targets, label, motion=None, speed=None):
    """Compute the average precision of a class in percent, detection by detection, by the rules."""
    low, high = SPEEDS[speed] if speed else (-1, 2)
    motion = motion or [np.ones(len(t["labels"])) for t in targets]
    inside = [[low <= value <= high for value in values] for values in motion]
    everything = [value for values in inside for value in values]
    share = sum(everything) / len(everything)
    total = sum(
        counts and own == label
        for t, values in zip(targets, inside, strict=True)
        for counts, own in zip(values, t["labels"].tolist(), strict=True)
    )
    if total == 0:
        return float("nan")
    detections = [
        (-float(score), i, k)
        for i, p in enumerate(predictions)
        for k, (score, found) in enumerate(zip(p["scores"], p["labels"], strict=True))
        if found == label
    ]
    taken, hits, alarms, points = set(), 0.0, 0.0, []
    for _, i, k in sorted(detections):
        box = predictions[i]["boxes"][k].tolist()
        overlaps = [slow_iou(box, other) for other in targets[i]["boxes"].tolist()]
        best, chosen = 0.5, None
        for g, overlap in enumerate(overlaps):
            if targets[i]["labels"][g] == label and (i, g) not in taken and overlap >= best:
                best, chosen = overlap, g
        if chosen is not None:
            taken.add((i, chosen))
            hits += inside[i][chosen]
        elif not overlaps:
            alarms += share
        else:
            counted = max((o for g, o in enumerate(overlaps) if inside[i][g]), default=-1)
            others = max((o for g, o in enumerate(overlaps) if not inside[i][g]), default=-1)
            if counted > others:
                alarms += 1
            elif counted == others:
                alarms += sum(not counts for counts in inside[i]) / len(inside[i])
        if hits + alarms:
            points.append((hits / total, hits / (hits + alarms)))
    reached = [max((p for r, p in points if r >= level), default=0.0) for level in RECALLS]
    return 100 * sum(reached) / len(reached)


@pytest.mark.parametrize("seed", range(3))
def test_equals_torchmetrics_and_the_slow_version(seed):
    pytest.importorskip("faster_coco_eval")
    predictions, targets, videos, _ = draw_test(seed)
    found = average_precision(predictions, targets, CLASSES)
    ours = per_class_precision(match_detections(predictions, targets, videos, CLASSES))
    slow = [slow_precision(predictions, targets, label) for label in range(1, CLASSES + 1)]
    np.testing.assert_allclose(ours, slow)
    np.testing.assert_allclose(found["per_class"], slow, atol=1e-4)
    assert found["map"] == pytest.approx(np.mean(slow), abs=1e-4)
    assert 10 < found["map"] < 90


@pytest.mark.parametrize("speed", SPEEDS)
def test_by_speed_equals_the_slow_version(speed):
    predictions, targets, videos, motion = draw_test(5, frames=80)
    found = match_by_speed(predictions, targets, videos, CLASSES, motion)
    slow = [slow_precision(predictions, targets, c, motion, speed) for c in range(1, CLASSES + 1)]
    np.testing.assert_allclose(per_class_precision(found[speed]), slow)
    overall = match_detections(predictions, targets, videos, CLASSES)
    np.testing.assert_array_equal(found["all"].hits, overall.hits)


def frame(boxes, labels, scores=None):
    made = {
        "boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(labels, dtype=torch.int64),
    }
    return made if scores is None else made | {"scores": torch.tensor(scores)}


def test_a_small_test_by_hand():
    a, b, far = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)
    targets = [frame([a, b], [1, 1])]
    # right, twice the same object, nothing there, right: precision 1, 1/2, 1/3, 1/2
    predictions = [frame([a, a, far, b], [1, 1, 1, 1], [0.9, 0.8, 0.7, 0.6])]
    matches = match_detections(predictions, targets, [0], 1)
    assert matches.hits.tolist() == [1, 0, 0, 1]
    assert matches.false_alarms.tolist() == [0, 1, 1, 0]
    assert per_class_precision(matches)[0] == pytest.approx(100 * (51 * 1 + 50 * 0.5) / 101)


def test_objects_of_another_speed_are_neither_hits_nor_false_alarms():
    slow, fast, far = (0, 0, 10, 10), (20, 0, 30, 10), (50, 50, 60, 60)
    targets = [frame([slow, fast], [1, 1]), frame([], [])]
    predictions = [frame([slow, slow, fast], [1, 1, 1], [0.9, 0.8, 0.7]), frame([far], [1], [0.5])]
    motion = [np.array([0.95, 0.3]), np.zeros(0)]
    found = match_by_speed(predictions, targets, [0, 1], 1, motion)
    assert found["slow"].hits.tolist() == [1, 0, 0, 0]
    assert found["slow"].false_alarms.tolist() == [0, 1, 0, 0.5]  # half of the objects are slow
    assert found["fast"].hits.tolist() == [0, 0, 1, 0]
    assert found["fast"].false_alarms.tolist() == [0, 0, 0, 0.5]
    assert per_class_precision(found["fast"])[0] == pytest.approx(100)


def test_a_class_without_objects_has_no_precision():
    pytest.importorskip("faster_coco_eval")
    box = [[0, 0, 10, 10]]
    predictions, targets = [frame(box * 2, [1, 2], [0.9, 0.8])], [frame(box, [1])]
    found = average_precision(predictions, targets, CLASSES)
    assert found["map"] == pytest.approx(100)
    np.testing.assert_allclose(found["per_class"], [100, np.nan, np.nan])
    matches = match_detections(predictions, targets, [0], CLASSES)
    np.testing.assert_allclose(per_class_precision(matches), [100, np.nan, np.nan])


def test_a_detector_that_finds_nothing():
    pytest.importorskip("faster_coco_eval")
    predictions, targets = [frame([], [], [])] * 2, [frame([[0, 0, 9, 9]], [1])] * 2
    assert average_precision(predictions, targets, 1)["map"] == 0
    assert per_class_precision(match_detections(predictions, targets, [0, 0], 1)).tolist() == [0]


def test_an_interval_is_of_tests_with_other_videos():
    """A replicate is the same test with each video as often as it was drawn."""
    predictions, targets, videos, _ = draw_test(2, frames=20)
    matches = match_detections(predictions, targets, videos, CLASSES)
    found = []
    for times in np.random.default_rng(4).multinomial(4, np.full(4, 1 / 4), size=10):
        again = [i for v, n in enumerate(times) for _ in range(n) for i in range(5 * v, 5 * v + 5)]
        chosen = [[items[i] for i in again] for items in (predictions, targets)]
        found.append(np.mean(per_class_precision(match_detections(*chosen, again, CLASSES))))
    expected = np.quantile(found, (0.25, 0.75))
    ends = map_interval(matches, replicates=10, alpha=0.5, seed=4)[1:]
    # a copy ties with its original, so that the order of hits and alarms may differ
    np.testing.assert_allclose(ends, expected, atol=2)


def test_intervals():
    predictions, targets, videos, _ = draw_test(3, frames=100)
    worse = [p | {"labels": p["labels"] % CLASSES + 1} for p in predictions[:50]] + predictions[50:]
    good = match_detections(predictions, targets, videos, CLASSES)
    bad = match_detections(worse, targets, videos, CLASSES)
    value, low, high = map_interval(good, replicates=200)
    assert value == pytest.approx(np.mean(per_class_precision(good)))
    assert low < value < high
    gain, low, high = map_interval(good, bad, replicates=200)
    assert 0 < low < gain < high
    assert map_interval(good, good, replicates=20) == (0, 0, 0)
    assert map_interval(good, bad, replicates=50) == map_interval(good, bad, replicates=50)


def test_intervals_over_seeds_too():
    runs = [draw_test(seed, frames=60)[0] for seed in (3, 3)]
    _, targets, videos, _ = draw_test(3, frames=60)
    worse = [p | {"labels": p["labels"] % CLASSES + 1} for p in runs[0][:30]] + runs[0][30:]
    good, bad = (match_detections(p, targets, videos, CLASSES) for p in (runs[0], worse))
    value, low, high = map_interval([good, bad], [bad, bad], replicates=100)
    assert value == pytest.approx(map_interval(good, bad, replicates=1)[0] / 2)
    assert low == 0 < value < high  # where the second seed is drawn twice, nothing is gained
    assert map_interval([good], [bad], replicates=20) == map_interval(good, bad, replicates=20)
    with pytest.raises(ValueError, match="different numbers of seeds"):
        map_interval([good, bad], [bad])


def test_unpaired_detectors():
    predictions, targets, videos, _ = draw_test(0)
    first = match_detections(predictions, targets, videos, CLASSES)
    second = match_detections(predictions[:-5], targets[:-5], videos[:-5], CLASSES)
    with pytest.raises(ValueError, match="different objects"):
        map_interval(first, second)
