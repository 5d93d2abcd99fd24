"""Two detectors on the same videos, by part: answers that are known."""

import numpy as np
import pytest
import torch

from tsmlib.detection.compare_detectors import GroundTruth, compare, match_parts
from tsmlib.detection.evaluate_detector import score_detections
from tsmlib.detection.standin import STANDIN_CLASSES, prepare_detection_standin
from tsmlib.detection.standin_scenes import PAIRS, DetectionStandin
from tsmlib.detection.vid_dataset import VidDataset

NAMES = list(STANDIN_CLASSES.values())
OTHER = {NAMES.index(a) + 1: NAMES.index(b) + 1 for p in PAIRS.values() for a, b in (p, p[::-1])}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    standin = DetectionStandin(renderings=(1, 10), num_frames=(4, 8))
    root = prepare_detection_standin(standin, tmp_path_factory.mktemp("cache"))
    return VidDataset(root, "val", classes=STANDIN_CLASSES)


def answer(dataset, guess_degraded: bool):
    """Find every object, of degraded frames in both classes of its pair if it is guessed."""
    videos = []
    for number, entry in enumerate(dataset.videos):
        frames = []
        for kind, target in zip(entry.degradations, dataset.read_targets(number), strict=True):
            boxes, labels = target["boxes"], target["labels"]
            if kind and guess_degraded:
                other = torch.tensor([OTHER[int(label)] for label in labels])
                boxes, labels = boxes.repeat(2, 1), torch.cat((labels, other))
            scores = torch.full((len(labels),), 0.5 if kind and guess_degraded else 0.9)
            frames.append({"boxes": boxes, "labels": labels, "scores": scores})
        videos.append(frames)
    return videos


def test_a_guess_costs_degraded_frames_alone(dataset):
    knows, guesses = (answer(dataset, guess) for guess in (False, True))
    table = compare([knows, knows], [guesses, guesses], dataset, replicates=20)
    assert list(table.index) == ["all", "slow", "medium", "fast", "clean", "degraded"]
    assert table.loc["clean", ["detector", "baseline", "gain"]].tolist() == [100, 100, 0]
    assert 45 < table.loc["degraded", "baseline"] < 70  # half of it is wrong, in any order
    assert table.loc["degraded", "gain_low"] > 20
    assert 0 < table.loc["all", "gain"] < table.loc["degraded", "gain"]


def test_a_rendering_is_drawn_as_a_whole(dataset):
    matches = match_parts(answer(dataset, True), GroundTruth.read(dataset))["all"]
    assert len(dataset.videos) == 20 and len(matches.positives) == 10


def test_scores_of_a_record(dataset):
    scores = score_detections(answer(dataset, True), dataset)
    parts = match_parts(answer(dataset, True), GroundTruth.read(dataset))
    assert scores["map_clean"] == 100 and scores["map_degraded"] < 70
    assert scores.keys() == {"map50"} | {f"map_{part}" for part in parts if part != "all"}
    assert scores["map_clean"] > scores["map50"] > scores["map_degraded"]
    assert np.isfinite([v for v in scores.values() if v is not None]).all()
