"""Motion IoU: beside a slow version, and where an object is rarely seen."""

import numpy as np
import pytest
import torch

from tsmlib.data.annotations import DataError
from tsmlib.detection.motion_iou import SPEEDS, box_iou, motion_iou


def target(**boxes_by_track):
    """Make the objects of a frame: `t3=(x1, y1, x2, y2)` is that of track 3."""
    return {
        "boxes": torch.tensor(list(boxes_by_track.values()), dtype=torch.float32).reshape(-1, 4),
        "labels": torch.ones(len(boxes_by_track), dtype=torch.int64),
        "track_ids": torch.tensor([int(name[1:]) for name in boxes_by_track], dtype=torch.int64),
    }


def inclusive_iou(a, b):
    """Compute the IoU of two boxes given by their last pixels, as FGFA's evaluation does."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return 0.0
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def slow_motion_iou(targets, reach):
    """Average the IoU of every object with itself, pair by pair."""
    result = []
    for t, frame in enumerate(targets):
        values = []
        for box, track in zip(frame["boxes"].tolist(), frame["track_ids"].tolist(), strict=True):
            own = []
            for other in range(max(0, t - reach), min(len(targets), t + reach + 1)):
                ids = targets[other]["track_ids"].tolist()
                if other != t and track in ids:
                    there = targets[other]["boxes"][ids.index(track)].tolist()
                    last = [[b[0], b[1], b[2] - 1, b[3] - 1] for b in (box, there)]
                    own.append(inclusive_iou(*last))
            values.append(sum(own) / len(own) if own else 0.0)
        result.append(values)
    return result


@pytest.mark.parametrize("reach", [1, 3, 10])
def test_equals_the_slow_version(reach):
    rng = np.random.default_rng(reach)
    targets = []
    for t in range(30):
        seen = [track for track in (2, 5, 7) if rng.uniform() < 0.8]
        order = rng.permutation(seen)
        corners = {
            f"t{k}": (k * t, t, k * t + 20 + k, t + 15 + int(rng.integers(4))) for k in order
        }
        targets.append(target(**corners))
    found = motion_iou(targets, reach)
    for values, slow in zip(found, slow_motion_iou(targets, reach), strict=True):
        np.testing.assert_allclose(values, slow)


def test_even_motion_has_a_closed_form():
    step, side, frames = 1.0, 20.0, 41
    targets = [target(t0=(step * t, 0, step * t + side, side)) for t in range(frames)]
    shifts = step * np.arange(1, 11)
    expected = np.mean((side - shifts) / (side + shifts))  # at both sides alike
    assert motion_iou(targets)[20][0] == pytest.approx(expected)
    assert SPEEDS["fast"][0] <= expected <= SPEEDS["fast"][1]


def test_an_object_that_stands_is_slow_and_a_glimpse_is_fast():
    still = (4, 4, 20, 20)
    targets = [target(t0=still) for _ in range(12)]
    targets[6] = target(t1=(0, 0, 9, 9), t0=still)
    found = motion_iou(targets)
    assert found[6].tolist() == [0.0, 1.0]  # in the order of the frame's objects
    assert all(values.tolist() == [1.0] for i, values in enumerate(found) if i != 6)


def test_frames_without_objects():
    assert motion_iou([]) == []
    found = motion_iou([target(), target(), target(t0=(0, 0, 5, 5))])
    assert [len(values) for values in found] == [0, 0, 1]


def test_a_track_twice_in_a_frame():
    twice = target(t0=(0, 0, 5, 5), t1=(5, 5, 9, 9))
    twice["track_ids"][:] = 3
    with pytest.raises(DataError, match=r"frame 1 has two objects of one track: \[3, 3\]"):
        motion_iou([target(), twice])


def test_box_iou_is_torchvisions():
    from torchvision.ops import box_iou as torchvision_iou

    corners = torch.rand(40, 2) * 50
    boxes = torch.cat((corners, corners + 1 + torch.rand(40, 2) * 30), dim=1)
    found = box_iou(boxes.numpy()[:, None], boxes.numpy()[None])
    np.testing.assert_allclose(found, torchvision_iou(boxes, boxes).numpy(), rtol=1e-5, atol=1e-6)
