"""The detection stand-in: exact boxes, and degraded frames whose order alone tells the classes."""

import numpy as np
import pytest
import torch

from tsmlib.configs import ConfigError
from tsmlib.data.annotations import DataError
from tsmlib.data.standin.scenes import make_rng
from tsmlib.detection import standin_scenes
from tsmlib.detection.motion_iou import SPEEDS, motion_iou
from tsmlib.detection.standin import STANDIN_CLASSES, prepare_detection_standin
from tsmlib.detection.standin_scenes import (
    DEGRADATIONS,
    FIRST_OF_VAL,
    PAIRS,
    DetectionStandin,
    draw_video,
    plan_degradations,
    plan_objects,
)
from tsmlib.detection.vid_dataset import VidDataset, find_faults

NAMES = list(STANDIN_CLASSES.values())
OTHER = {a: b for pair in PAIRS.values() for a, b in (pair, pair[::-1])}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def dataset(folder):
    """The validation videos of a smaller stand-in: 20 renderings, both ways."""
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
    assert VidDataset(dataset.root, "train", classes=STANDIN_CLASSES).videos[3].num_frames == 24
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


@pytest.mark.parametrize("share, spell", [(0.0, None), (0.25, None), (0.5, 6), (1.0, 8)])
def test_the_share_of_degraded_frames_is_a_dial(share, spell):
    standin = DetectionStandin(degraded_share=share, spell=spell)
    plan = plan_degradations(standin, "train")
    kinds = np.array(plan)
    assert np.mean(kinds != "") == pytest.approx(share, abs=1e-9)
    assert set(kinds.ravel()) - {""} <= set(DEGRADATIONS)
    blocks = kinds.reshape(-1, spell or standin.num_frames)
    assert (blocks == blocks[:, :1]).all()


def test_objects_stay_in_the_picture_and_apart():
    standin = DetectionStandin()
    for number in range(40):
        objects = plan_objects(standin, make_rng(0, number, 1))
        boxes = torch.stack([item.boxes for item in objects])  # [objects, T, 4]
        assert (boxes >= 0).all()
        assert (boxes[..., 2:] <= torch.tensor([standin.width, standin.height])).all()
        if len(objects) == 2:
            assert (boxes[0, :, 3] <= boxes[1, :, 1]).all()


def test_boxes_are_exact(monkeypatch):
    standin, clean = DetectionStandin(), [""] * 24
    for number in range(4):
        frames, objects = draw_video(standin, number, clean, False)
        with monkeypatch.context() as patch:
            patch.setattr(standin_scenes, "_draw_object", lambda *_: None)
            empty, _ = draw_video(standin, number, clean, False)
        changed = (frames != empty).any(dim=-1)  # [T, H, W]
        for t in (0, 11, 23):
            inside = torch.zeros_like(changed[t])
            for item in objects:
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
        assert kinds == dataset.videos[second].degradations[::-1]
        (frames, targets), (again, swapped) = videos[first], videos[second]
        for t, kind in enumerate(kinds):
            a, b = targets[t], swapped[-1 - t]
            assert torch.equal(a["boxes"], b["boxes"])
            names = [dataset.classes[label - 1] for label in a["labels"]]
            assert [dataset.classes[label - 1] for label in b["labels"]] == [
                OTHER[n] for n in names
            ]
            assert torch.equal(frames[t], again[-1 - t]) == bool(kind)
            degraded += bool(kind)
    assert degraded == 20 * 24 // 2


def spot_angles(frames, targets):
    """Find, by brightness, where in its object the spot is: an angle for each `[T, K]`."""
    angles = []
    for frame, target in zip(frames.float().mean(1), targets, strict=True):
        row = []
        for x1, y1, x2, y2 in target["boxes"].int().tolist():
            part = frame[y1:y2, x1:x2]
            y, x = torch.meshgrid(
                torch.linspace(-1, 1, y2 - y1), torch.linspace(-1, 1, x2 - x1), indexing="ij"
            )
            disc = x**2 + y**2 < 0.9
            unusual = (part - part[disc].median()).abs() * disc
            row.append(float(torch.atan2((unusual * y).sum(), (unusual * x).sum())))
        angles.append(row)
    return np.array(angles)


def features_of(dataset, videos, order):
    """Sum the turns of the spots over windows of 8 degraded frames, ordered by `order`."""
    rng, features, labels = np.random.default_rng(0), [], []
    for video, (frames, targets) in zip(dataset.videos, videos, strict=True):
        if not video.degradations[0]:
            continue
        angles = spot_angles(frames, targets)
        for start in (0, 8, 16):
            window = angles[start : start + 8]
            window = {
                "as they are": window,
                "shuffled": rng.permutation(window),
                "repeated": np.repeat(window[-1:], 8, axis=0),
            }[order]
            features += list(np.sin(np.diff(window, axis=0)).sum(axis=0))
            labels += targets[0]["labels"].tolist()
    first = np.array([dataset.classes[label - 1] in ("dog", "bus") for label in labels])
    return np.array(features), first


def test_only_frames_in_order_tell_the_classes_of_degraded_ones(dataset, videos):
    hits = {}
    for order in ("as they are", "shuffled", "repeated"):
        turns, first = features_of(dataset, videos, order)
        hits[order] = np.mean((turns > 0) == first)
    assert hits["as they are"] > 0.9
    assert abs(hits["shuffled"] - 0.5) < 0.15
    assert hits["repeated"] == 0.5


def test_a_stand_in_depends_on_all_its_dials(folder):
    small = {"renderings": (1, 1)}
    changes = ({}, {"seed": 1}, {"degraded_share": 0.2}, {"spell": 4})
    roots = [prepare_detection_standin(DetectionStandin(**small | c), folder) for c in changes]
    assert len(set(roots)) == len(changes)


def test_drawing_is_reproducible_and_validation_is_drawn_anew():
    standin, kinds = DetectionStandin(), ["noise"] * 24
    assert torch.equal(*(draw_video(standin, 3, kinds, True)[0] for _ in range(2)))
    first, other = (draw_video(standin, n, kinds, False)[0] for n in (0, FIRST_OF_VAL))
    assert not torch.equal(first, other)


def test_dials_out_of_range():
    with pytest.raises(ConfigError, match="degraded_share=1.5 is no share: choose 0 to 1"):
        DetectionStandin(degraded_share=1.5)
    with pytest.raises(ConfigError, match="frames of 64 x 128 are too small for two objects"):
        DetectionStandin(height=64)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "standin").write_text("a file")
    with pytest.raises(DataError, match=r"the stand-in cannot be written to .* \(free some space"):
        prepare_detection_standin(DetectionStandin(renderings=(1, 1)), tmp_path)
