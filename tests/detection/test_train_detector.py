"""Training and testing of a detector on a tiny stand-in: seeds, resuming, the record."""

import dataclasses
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from conftest import tiny_recipe
from helpers import assert_same_state, seeded

from tsmlib import CheckpointError, ConfigError, DataError
from tsmlib.detection import train_detector as training
from tsmlib.detection.detections import read_detections
from tsmlib.detection.detector import build_detector, to_unit_range
from tsmlib.detection.detector_weights import load_detector
from tsmlib.detection.evaluate_detector import evaluate_detector
from tsmlib.detection.recipes import get_recipe, mini
from tsmlib.detection.standin import STANDIN_CLASSES, DetectionStandin, prepare_detection_standin
from tsmlib.detection.vid_annotations import VID_CLASSES
from tsmlib.detection.vid_dataset import VidDataset
from tsmlib.detection.windows import TrainingWindows, mirror

STANDIN = DetectionStandin(renderings=(2, 1), num_frames=(4, 4))
OPTIONS = {"workers": 0, "device": "cpu", "standin": STANDIN}


@pytest.fixture(scope="module")
def cfg():
    sizes = {"min_size": 64, "max_size": 96, "num_segments": 3, "windows_per_video": 2}
    changes = {"width": 0.125, "epochs": 2, "windows_per_device": 2, "batch_size": 4, "warmup": 2}
    return get_recipe("vid_r101", **sizes, **changes)


@pytest.fixture(scope="module")
def run(cfg, tmp_path_factory):
    return training.train_detector(cfg, work_dir=tmp_path_factory.mktemp("run"), **OPTIONS)


def test_the_record(run, cfg):
    assert run["cfg"] == "vid_r101" and (run["data"], run["scale"]) == ("standin", "mini")
    assert run["class_names"] == list(STANDIN_CLASSES.values()) and run["seed"] == 0
    assert (run["num_training_windows"], run["num_videos"], run["num_frames"]) == (8, 2, 8)
    assert 0 <= run["map50"] <= 100 and run["batch"] == 4
    folder = Path(run["run_dir"])
    assert json.loads((folder / "metrics.json").read_text())["map50"] == run["map50"]
    history = pd.read_csv(folder / "history.csv")
    assert list(history["epoch"]) == [1, 2] and history["loss"].gt(0).all()
    config = json.loads((folder / "config.json").read_text())
    assert config["epochs"] == 2 and config["flip"] == 0.5


def test_a_finished_run_is_not_trained_again(run, cfg, monkeypatch):
    monkeypatch.setattr(training, "_train", None)
    again = training.train_detector(cfg, work_dir=run["run_dir"], **OPTIONS)
    assert again == run


def test_an_interrupted_run_continues_exactly(run, cfg, tmp_path, monkeypatch):
    step, count = torch.optim.AdamW.step, 0

    def interrupted(self, *args, **options):
        nonlocal count
        count += 1
        if count == 4:  # of two steps an epoch
            raise KeyboardInterrupt
        return step(self, *args, **options)

    monkeypatch.setattr(torch.optim.AdamW, "step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        training.train_detector(cfg, work_dir=tmp_path, save_seconds=0.0, **OPTIONS)
    monkeypatch.undo()
    continued = training.train_detector(cfg, work_dir=tmp_path, **OPTIONS)
    assert continued["map50"] == run["map50"]
    one, other = (load_detector(f"{r['run_dir']}/last.pth")[0] for r in (run, continued))
    assert_same_state(one.state_dict(), other.state_dict())


def test_recorded_detections_give_the_accuracy_again(run, cfg):
    root = prepare_detection_standin(STANDIN)
    videos = VidDataset(root, "val", classes=STANDIN_CLASSES)
    found = read_detections(f"{run['run_dir']}/detections.csv.gz", videos)
    assert [len(frames) for frames in found] == [4, 4]
    detector, _ = load_detector(f"{run['run_dir']}/last.pth")
    frames, _ = videos.read(0)
    with torch.no_grad():
        clip = detector(list(to_unit_range(frames)))
    for one, other in zip(found[0], clip, strict=True):
        assert torch.equal(one["labels"], other["labels"])
        torch.testing.assert_close(one["boxes"], other["boxes"], atol=0.051, rtol=0)


def test_the_test_of_a_checkpoint(run):
    record = evaluate_detector(f"{run['run_dir']}/last.pth", device="cpu", standin=STANDIN)
    assert record["map50"] == pytest.approx(run["map50"], abs=1e-3)
    assert (record["data"], record["scale"]) == ("standin", "mini")


def test_weights_of_other_classes_are_not_tested(tmp_path):
    cfg = tiny_recipe()
    content = {"model": build_detector(cfg).state_dict(), "config": dataclasses.asdict(cfg)}
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="of the classes dog, cat, bus, the data have bus,"):
        evaluate_detector(tmp_path / "a.pth", device="cpu", standin=STANDIN)


def test_a_test_needs_no_data_to_train_on(tmp_path):
    root = shutil.copytree(prepare_detection_standin(STANDIN), tmp_path / "ILSVRC2015")
    shutil.rmtree(root / "Data" / "VID" / "train")
    cfg = tiny_recipe(class_names=tuple(VID_CLASSES.values()))
    content = {"model": build_detector(cfg).state_dict(), "config": dataclasses.asdict(cfg)}
    torch.save(content, tmp_path / "a.pth")
    record = evaluate_detector(tmp_path / "a.pth", device="cpu", data_root=root)
    assert (record["data"], record["num_videos"]) == ("real", 2)


def test_real_data_that_are_not_there(cfg, tmp_path):
    with pytest.raises(DataError, match="there are no lists of ImageNet VID in"):
        training.train_detector(cfg, data="real", data_root=tmp_path)


@pytest.mark.parametrize("option", [{"compiled": True}, {"recompute": True}, {"validate": False}])
def test_options_that_detectors_lack(cfg, option):
    with pytest.raises(ConfigError, match="is of recognizers; detectors"):
        training.train_detector(cfg, **option)


def test_windows_are_mirrored_with_their_boxes():
    frames = seeded(torch.rand, 2, 3, 8, 10).mul(255).byte()
    target = {"boxes": torch.tensor([[1.0, 2, 4, 6]]), "labels": torch.tensor([1])}
    mirrored, [first, _] = mirror((frames, [target, target]))
    assert first["boxes"].tolist() == [[6, 2, 9, 6]]
    box = [mirrored[0, :, 2:6, 6:9], frames[0, :, 2:6, 1:4].flip(-1)]
    assert torch.equal(*box)
    back, [first, _] = mirror((mirrored, [first, first]))
    assert torch.equal(back, frames) and torch.equal(first["boxes"], target["boxes"])


def test_the_same_windows_are_mirrored_for_the_same_seed():
    window = (torch.arange(6, dtype=torch.uint8).reshape(1, 1, 1, 6), [{"boxes": torch.ones(1, 4)}])
    drawn = [
        [TrainingWindows([window] * 20, 0.5, seed)[e, i][0][0, 0, 0, 0] > 0 for i in range(20)]
        for seed, e in ((0, 0), (0, 0), (0, 1), (1, 0))
    ]
    assert drawn[0] == drawn[1] and len({tuple(map(bool, d)) for d in drawn}) == 3
    assert 4 < sum(drawn[0]) < 16


def test_the_rate_rises_from_a_third(cfg):
    factors = [training.warmup(mini(cfg), step) for step in (0, 1, 2, 99)]
    assert factors == pytest.approx([1 / 3, 2 / 3, 1, 1])
    assert training.warmup(dataclasses.replace(cfg, warmup=0), 0) == 1


def test_only_what_learns_is_optimized():
    cfg = tiny_recipe(trainable_layers=1, frozen_bn=True)
    [group] = training.make_optimizer(cfg, detector := build_detector(cfg), 0.1).param_groups
    assert {*group["params"]} == {p for p in detector.parameters() if p.requires_grad}
    assert not any(p.requires_grad for p in detector.backbone.body["layer3"].parameters())
