"""The detection stand-in: exact boxes, and degraded frames whose past alone tells the classes."""

import numpy as np
import pytest
import torch

from tsmlib.configs import ConfigError
from tsmlib.data.annotations import DataError
from tsmlib.detection.motion_iou import SPEEDS, motion_iou
from tsmlib.detection.standin import STANDIN_CLASSES, prepare_detection_standin
from tsmlib.detection.standin_scenes import (
    DEGRADATIONS,
    FIRST_OF_VAL,
    PAIRS,
    DetectionStandin,
    Rendering,
    draw_videos,
    plan_rendering,
)
from tsmlib.detection.vid_dataset import VidDataset, find_faults

NAMES = list(STANDIN_CLASSES.values())
OTHER = {a: b for pair in PAIRS.values() for a, b in (pair, pair[::-1])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(folder):
    """The validation videos of a smaller stand-in: 20 renderings, two of each."""
    root = prepare_detection_standin(DetectionStandin(renderings=(2, 20)), folder)
    return VidDataset(root, "val", classes=STANDIN_CLASSES)


@pytest.fixture(scope="module")
def videos(dataset):
    """Frames and objects of all videos."""
    return [dataset.read(i) for i in range(len(dataset.videos))]


def test_the_layout_is_vids(dataset, folder):
    assert [v.name for v in dataset.videos[:2]] == [
        "ILSVRC2015_val_00000000", "ILSVRC2015_val_00000001",
    ]  # fmt: skip
    assert len(dataset.videos) == 40
    assert VidDataset(dataset.root, "train", classes=STANDIN_CLASSES).videos[3].num_frames == 8
    assert not list(find_faults(dataset.root, "val", STANDIN_CLASSES))
    assert VidDataset(dataset.root, "val").classes[6] == "car"  # its annotations are VID's, too
    assert len((dataset.root / "ImageSets/VID/val.txt").read_text().splitlines()) == 40 * 24
    assert prepare_detection_standin(DetectionStandin(renderings=(2, 20)), folder) == dataset.root


def test_speeds_and_classes_are_all_there(dataset, videos):
    values = np.concatenate([v for _, targets in videos for v in motion_iou(targets)])
    for low, high in SPEEDS.values():
        assert np.mean((low <= values) & (values <= high)) > 0.15
    labels = torch.cat([t["labels"] for _, targets in videos for t in targets])
    counts = {name: int((labels == i).sum()) for i, name in enumerate(dataset.classes, 1)}
    assert all(counts[a] == counts[b] > 0 for a, b in PAIRS.values())


@pytest.mark.parametrize("share, spell", [(0.0, 2), (0.25, 3), (0.5, 1), (0.5, 2), (1.0, 8)])
def test_the_share_of_degraded_frames_is_a_dial(share, spell):
    standin = DetectionStandin(degraded_share=share, spell=spell)
    for number in (*range(5), *range(FIRST_OF_VAL, FIRST_OF_VAL + 5)):
        kinds = plan_rendering(standin, number).degradations
        assert len(kinds) == standin.num_frames[number >= FIRST_OF_VAL]
        assert sum(map(bool, kinds)) == round(share * len(kinds))
        assert set(kinds) - {""} <= set(DEGRADATIONS)
        runs = [len(run) for run in "".join("cd"[bool(k)] for k in kinds).split("c")]
        assert share == 1 or max(runs) <= spell


def test_objects_stay_in_the_picture_and_apart():
    standin = DetectionStandin()
    for number in range(40):
        objects = plan_rendering(standin, number).objects
        boxes = torch.stack([item.boxes for item in objects])  # [objects, T, 4]
        assert (boxes >= 0).all()
        assert (boxes[..., 2:] <= torch.tensor([standin.width, standin.height])).all()
        if len(objects) == 2:
            assert (boxes[0, :, 3] <= boxes[1, :, 1]).all()


def test_boxes_are_exact():
    standin = DetectionStandin(degraded_share=0.0)
    for number in range(4):
        rendering = plan_rendering(standin, number)
        frames, _ = draw_videos(standin, number, rendering)
        empty, _ = draw_videos(standin, number, Rendering([], rendering.degradations))
        changed = (frames != empty).any(dim=-1)  # [T, H, W]
        for t in (0, 3, 7):
            inside = torch.zeros_like(changed[t])
            for item in rendering.objects:
                x1, y1, x2, y2 = item.boxes[t].tolist()
                inside[y1:y2, x1:x2] = True
                part = changed[t, y1:y2, x1:x2]
                for side in (part[0], part[-1], part[:, 0], part[:, -1]):
                    assert side.any()
            assert not (changed[t] & ~inside).any()


def test_a_degraded_frame_is_the_same_picture_in_both_classes_of_a_pair(dataset, videos):
    degraded = 0
    for first, second in zip(range(0, 40, 2), range(1, 40, 2), strict=True):
        assert dataset.videos[first].rendering == dataset.videos[second].rendering
        kinds = dataset.videos[first].degradations
        assert kinds == dataset.videos[second].degradations
        (frames, targets), (again, swapped) = videos[first], videos[second]
        for t, kind in enumerate(kinds):
            assert torch.equal(targets[t]["boxes"], swapped[t]["boxes"])
            names, others = (
                [dataset.classes[label - 1] for label in each[t]["labels"]]
                for each in (targets, swapped)
            )
            assert others == [OTHER[name] for name in names]
            assert torch.equal(frames[t], again[t]) == bool(kind)
            degraded += bool(kind)
    assert degraded == 20 * 24 // 2


def level_stripes(frame, target):
    """Tell for each object whether its stripes are level: rows then differ more than columns."""
    grey, found = frame.float().mean(0), []
    for x1, y1, x2, y2 in target["boxes"].int().tolist():
        part = grey[y1 + 4 : y2 - 4, x1 + 4 : x2 - 4]
        found.append(float(part.mean(1).std() - part.mean(0).std()))
    return found


def recognised(dataset, videos, past):
    """Answer degraded frames by the stripes of a frame of the past; return the share that is right.

    Args:
        past: of a video and a frame, the video and the frame that are taken for the one before.
    """
    right = []
    for number, (_, targets) in enumerate(videos):
        kinds = dataset.videos[number].degradations
        for t in (t for t in range(1, 24) if kinds[t]):
            video, frame = past(number, t)
            seen = level_stripes(videos[video][0][frame], targets[t])
            first = [dataset.classes[k - 1] in ("dog", "bus") for k in targets[t]["labels"]]
            right += [(s > 0) == f for s, f in zip(seen, first, strict=True)]
    return np.mean(right)


def test_the_past_alone_tells_the_classes_of_degraded_frames(dataset, videos):
    def last_clean(video, frame):
        kinds = dataset.videos[video].degradations
        return video, next((t for t in range(frame, -1, -1) if not kinds[t]), frame)

    rng = np.random.default_rng(0)
    shuffled = {
        (n, t): (int(rng.integers(40)), int(rng.integers(24))) for n in range(40) for t in range(24)
    }
    assert recognised(dataset, videos, last_clean) > 0.9
    assert recognised(dataset, videos, lambda video, frame: (video, frame)) == 0.5  # repeated
    assert abs(recognised(dataset, videos, lambda *key: shuffled[key]) - 0.5) < 0.1


def test_a_stand_in_depends_on_all_its_dials(folder):
    small = {"renderings": (1, 1)}
    changes = ({}, {"seed": 2}, {"degraded_share": 0.2}, {"spell": 4})
    roots = [prepare_detection_standin(DetectionStandin(**small | c), folder) for c in changes]
    assert len(set(roots)) == len(changes)


def test_drawing_is_reproducible_and_validation_is_drawn_anew():
    standin = DetectionStandin(num_frames=(8, 8))
    first, again, other = (
        draw_videos(standin, number, plan_rendering(standin, number))
        for number in (0, 0, FIRST_OF_VAL)
    )
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])
    assert not torch.equal(first[0], other[0])


def test_dials_out_of_range():
    with pytest.raises(ConfigError, match="degraded_share=1.5 is no share: choose 0 to 1"):
        DetectionStandin(degraded_share=1.5)
    with pytest.raises(ConfigError, match="spell=0 must be at least 1 frame"):
        DetectionStandin(spell=0)
    with pytest.raises(ConfigError, match="frames of 64 x 128 are too small for two objects"):
        DetectionStandin(height=64)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "standin").write_text("a file")
    with pytest.raises(DataError, match=r"the stand-in cannot be written to .* \(free some space"):
        prepare_detection_standin(DetectionStandin(renderings=(1, 1)), tmp_path)
