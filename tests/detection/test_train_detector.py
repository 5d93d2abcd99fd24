"""Training and testing of a detector on a tiny stand-in: seeds, resuming, the record."""

import dataclasses
import json
import shutil
import tracemalloc
from pathlib import Path

import pandas as pd
import pytest
import torch
from helpers import assert_same_state, seeded
from tiny_detector import tiny_recipe

from tsmlib import CheckpointError, ConfigError, DataError, ResultsError
from tsmlib.detection import evaluate_detector as evaluation
from tsmlib.detection import train_detector as training
from tsmlib.detection.data import resolve_detection
from tsmlib.detection.detections import read_detections, write_detections
from tsmlib.detection.detector import build_detector, to_unit_range
from tsmlib.detection.detector_weights import load_detector
from tsmlib.detection.evaluate_detector import evaluate_detector
from tsmlib.detection.recipes import get_recipe, mini
from tsmlib.detection.standin import STANDIN_CLASSES, DetectionStandin, prepare_detection_standin
from tsmlib.detection.vid_annotations import VID_CLASSES
from tsmlib.detection.vid_dataset import VidDataset
from tsmlib.detection.windows import TrainingWindows, mirror
from tsmlib.engine.options import RunOptions
from tsmlib.models.checkpoint_files import read_checkpoint
from tsmlib.paths import file_sha256

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


@pytest.mark.parametrize(
    ("row", "sentence"),
    [
        ("other,0,1,0.5000,1.0,2.0,3.0,4.0", "which have no frame 0 of a video other; name the"),
        ("{},4,1,0.5000,1.0,2.0,3.0,4.0", "which have no frame 4 of a video {}; name the data"),
    ],
)
def test_detections_of_other_videos(tmp_path, row, sentence):
    videos = VidDataset(prepare_detection_standin(STANDIN), "val", classes=STANDIN_CLASSES)
    name = videos.videos[0].name
    file = tmp_path / "detections.csv"
    file.write_text("video,frame,label,score,x1,y1,x2,y2\n" + row.format(name) + "\n")
    with pytest.raises(ResultsError, match=f"is of other data than .*{sentence.format(name)}"):
        read_detections(file, videos)


def test_detections_take_little_memory_and_videos_without_are_named(tmp_path, caplog):
    videos = VidDataset(prepare_detection_standin(STANDIN), "val", classes=STANDIN_CLASSES)
    count = 5000
    some = {"boxes": seeded(torch.rand, count, 4), "scores": seeded(torch.rand, count)}
    found = {**some, "labels": torch.ones(count, dtype=torch.int64)}
    none = {name: value[:0] for name, value in found.items()}
    tracemalloc.start()
    file = write_detections(tmp_path / "a.csv.gz", [[found] * 4, [none] * 4], videos)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 150 * 4 * count
    again = write_detections(tmp_path / "b.csv.gz", [[found] * 4, [none] * 4], videos)
    assert file.read_bytes() == again.read_bytes()
    read = read_detections(file, videos)
    assert [[len(frame["boxes"]) for frame in frames] for frames in read] == [[count] * 4, [0] * 4]
    torch.testing.assert_close(read[0][3]["boxes"], found["boxes"], atol=0.051, rtol=0)
    assert f"no detections in 1 of 2 videos, as {videos.videos[1].name}" in caplog.text


def test_the_test_of_a_checkpoint(run):
    record = evaluate_detector(f"{run['run_dir']}/last.pth", device="cpu", standin=STANDIN)
    assert record["map50"] == pytest.approx(run["map50"], abs=1e-3)
    assert (record["data"], record["scale"]) == ("standin", "mini")


def test_a_test_does_not_overwrite_a_training(run, cfg, tmp_path, monkeypatch):
    folder = shutil.copytree(run["run_dir"], tmp_path / "run")
    file = folder / "last.pth"
    before = (folder / "metrics.json").read_text()
    options = {"device": "cpu", "standin": STANDIN, "work_dir": folder}
    with pytest.raises(ResultsError, match="is the folder of a training, whose metrics.json a"):
        evaluate_detector(file, **options)
    moved = file.rename(tmp_path / "last.pth")
    with pytest.raises(ResultsError, match="is the folder of a training"):
        evaluate_detector(moved, **options)
    assert (folder / "metrics.json").read_text() == before

    # a record of a test that lies there is not the training's
    moved.rename(file)
    (folder / "metrics.json").write_text(before.replace('"training"', '"evaluation"'))
    again = training.train_detector(cfg, work_dir=folder, **OPTIONS)
    assert (again["kind"], again["map50"]) == ("training", run["map50"])
    assert json.loads((folder / "metrics.json").read_text())["kind"] == "training"


def test_a_test_is_not_lost_at_its_end(run, tmp_path, monkeypatch):
    file = Path(shutil.copy(Path(run["run_dir"]) / "last.pth", tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    options = {"device": "cpu", "standin": STANDIN}
    record = evaluate_detector("~/last.pth", work_dir=tmp_path / "a" / "b", **options)
    assert record["weights"] == file_sha256(file)[:8] and record["seed"] == 0
    assert json.loads((tmp_path / "a" / "b" / "metrics.json").read_text())["kind"] == "evaluation"
    monkeypatch.setattr(evaluation, "measure_detector", None)
    for work_dir in ("/proc/x", file):
        with pytest.raises(ResultsError, match=f"^{work_dir} cannot be written"):
            evaluate_detector(file, work_dir=work_dir, **options)


@pytest.mark.parametrize("processes", [2, 4])
def test_a_run_continues_with_another_number_of_processes(run, cfg, tmp_path, processes):
    """Two processes take 2 windows at once each, one takes 2 batches of 2; four would take 8."""
    file = Path(shutil.copy(Path(run["run_dir"]) / "last.pth", tmp_path))
    content = read_checkpoint(file)
    content["processes"] = processes
    content["state"] |= {"epoch": 1, "step": 1, "loss_sum": 1.0, "seen": 4}
    torch.save(content, file)
    if processes == 4:
        with pytest.raises(CheckpointError, match="8 videos a step on 4 devices, and 1 devices"):
            training.train_detector(cfg, work_dir=tmp_path, **OPTIONS)
        return
    record = training.train_detector(cfg, work_dir=tmp_path, **OPTIONS)
    assert record["processes"] == 1
    assert list(pd.read_csv(tmp_path / "history.csv")["epoch"]) == [1, 2, 2]


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


@pytest.mark.parametrize(("changes", "windows"), [({}, 15), ({"windows_per_video": 3}, 3)])
def test_real_videos_give_as_many_windows_as_published_or_asked(tmp_path, changes, windows):
    """At every scale: pictures of DET, up to 2,000 a class, stand beside them."""
    root = shutil.copytree(prepare_detection_standin(STANDIN), tmp_path / "ILSVRC2015")
    listed = root / "ImageSets" / "DET_train_30classes.txt"
    listed.write_text("train/a\n")
    for scale in ("mini", "full"):
        cfg = get_recipe("vid_r101", class_names=tuple(VID_CLASSES.values()), **changes)
        setup = resolve_detection(cfg, RunOptions(data="real", scale=scale, data_root=root))
        videos, pictures = setup.training.datasets
        assert (len(videos), len(pictures)) == (windows * len(videos.videos), 1)
        assert setup.cfg.windows_per_video == windows


def test_real_data_that_are_not_there(cfg, tmp_path):
    with pytest.raises(DataError, match="there are no lists of ImageNet VID in"):
        training.train_detector(cfg, data="real", data_root=tmp_path)


@pytest.mark.parametrize(
    "option",
    [
        {"compiled": True}, {"recompute": True}, {"validate": False}, {"max_bad": 0.5},
        {"runtime": "folded"}, {"resume": "last.pth"}, {"log": "tensorboard"}, {"devices": 2},
    ],
)  # fmt: skip
def test_options_that_would_change_nothing(cfg, option):
    [(name, value)] = option.items()
    sentence = f"^{name}={value} would change nothing: detectors are trained without it"
    with pytest.raises(ConfigError, match=sentence):
        training.train_detector(cfg, **option)


@pytest.mark.parametrize(
    "option",
    [
        {"scale": "mini"}, {"seed": 3}, {"fresh": True}, {"resume": "x"}, {"log": "tensorboard"},
        {"compiled": True}, {"runtime": "folded"}, {"precision": "bf16-mixed"}, {"workers": 3},
    ],
)  # fmt: skip
def test_options_that_would_change_nothing_in_a_test(option):
    [(name, value)] = option.items()
    sentence = f"^{name}={value} would change nothing: a detector is tested without it"
    with pytest.raises(ConfigError, match=sentence):
        evaluate_detector("last.pth", **option)


@pytest.mark.parametrize("precision", ["bf16-mixed", "16-mixed"])
def test_boxes_are_not_rounded(cfg, precision):
    with pytest.raises(ConfigError, match=f"precision={precision} would round the edges of boxes"):
        training.train_detector(cfg, precision=precision)


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
