"""`tsm detect` and `tsm train-detector`: from a video to a table, COCO's JSON and a video."""

import json
import os
import warnings

import av
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import sliding, stdin_from, write_stream
from PIL import Image

from tsmlib.__main__ import main
from tsmlib.configs import to_dict
from tsmlib.data.video import write_video
from tsmlib.detection.detector import build_detector
from tsmlib.detection.detector_weights import load_detector
from tsmlib.detection.play import detect_frames
from tsmlib.detection.recipes import get_recipe, mini
from tsmlib.online.sources import open_source

NAMES = ("dog", "cat", "bus")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of a detector, and a video of 8 frames."""
    folder = tmp_path_factory.mktemp("detection")
    cfg = mini(get_recipe("vid_r101", class_names=NAMES, width=0.125, min_size=64, max_size=96))
    torch.manual_seed(0)
    torch.save(
        {"model": build_detector(cfg).state_dict(), "config": to_dict(cfg)}, folder / "w.pth"
    )
    write_video(folder / "a.mp4", sliding(8))
    return folder


def run(files, *words: str) -> int:
    source, weights = str(files / "a.mp4"), str(files / "w.pth")
    return main(["detect", source, "--weights", weights, "--device", "cpu", *words])


def test_a_table_a_json_and_a_video(files, tmp_path, capsys):
    table, coco, video = (tmp_path / name for name in ("a.csv", "a.json", "a.mp4"))
    words = ["--csv", table, "--coco", coco, "--video", video, "--threshold", "0.2"]
    assert run(files, *map(str, words)) == 0
    rows, content = pd.read_csv(table), json.loads(coco.read_text())
    detector, _ = load_detector(files / "w.pth")
    with open_source(files / "a.mp4") as source:
        answers = list(detect_frames(detector, source, 0.2))
    assert len(answers) == 8 and len(rows) == sum(len(a.detections["boxes"]) for a in answers) > 0
    expected = np.concatenate([answer.detections["boxes"].numpy() for answer in answers])
    np.testing.assert_allclose(rows[["x1", "y1", "x2", "y2"]], expected, atol=0.01)
    assert set(rows["class"]) <= set(NAMES) and rows["score"].between(0.2, 1).all()
    assert [image["id"] for image in content["images"]] == list(range(8))
    assert [c["name"] for c in content["categories"]] == list(NAMES)
    assert len(content["annotations"]) == len(rows)
    first = content["annotations"][0]
    x1, y1, x2, y2 = expected[0]
    assert first["bbox"] == pytest.approx([x1, y1, x2 - x1, y2 - y1], abs=0.02)
    with av.open(str(video)) as container:
        drawn = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(drawn) == 8 and min(drawn[0].shape[:2]) >= 240
    out = capsys.readouterr().out.splitlines()
    assert out[0].startswith("8 frames; objects in them: ")
    assert out[1:] == [f"written to {file}" for file in (table, coco, video)]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "nothing would be written: name a file by --csv, --coco or --video"),
        (["--csv", "a.csv", "--threshold", "2"], "--threshold 2.0 must lie between 0 and 1"),
        (["--csv", "a", "--coco", "a"], "--coco names the same file as --csv, a; name another"),
        (["--video", "a.nothing"], "a.nothing cannot be written"),
        (["--csv", "x/a"], "x/a cannot be written: No such file or directory; name another"),
        (["--coco", "x/a"], "x/a cannot be written: No such file or directory; name another"),
        (["--video", "x/a.mp4"], "x/a.mp4 cannot be written: No such file or directory; name"),
        (["--coco", "."], ". cannot be written: Is a directory; name another file"),
    ],
)
def test_mistakes_are_a_sentence(files, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert run(files, *words) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1 and not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["linked.mp4", "~/a.mp4", "file://{}/a.mp4"])
def test_a_source_is_not_written_over_under_another_name(
    files, tmp_path, monkeypatch, capsys, name
):
    video, other = tmp_path / "a.mp4", tmp_path / "linked.mp4"
    video.write_bytes(content := (files / "a.mp4").read_bytes())
    os.link(video, other)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    source = name.format(tmp_path)
    assert main(["detect", source, "--weights", str(files / "w.pth"), "--video", "a.mp4"]) == 1
    assert "--video names the same file as the source" in capsys.readouterr().err
    assert video.read_bytes() == content


def test_weights_are_not_written_over(files, tmp_path, capsys):
    weights = tmp_path / "w.pth"
    weights.write_bytes(content := (files / "w.pth").read_bytes())
    words = ["--weights", str(weights), "--csv", str(weights)]
    assert main(["detect", str(files / "a.mp4"), *words]) == 1
    assert "--csv names the same file as --weights" in capsys.readouterr().err
    assert weights.read_bytes() == content


@pytest.mark.parametrize("video", ["keep.mp4", "keep.xyz"])
def test_a_command_that_fails_keeps_what_was_there(files, tmp_path, monkeypatch, video):
    monkeypatch.chdir(tmp_path)
    names = ("keep.csv", "keep.json", "notes.txt", video)
    for name in names:
        (tmp_path / name).write_text("of before")
    source = "notes.txt" if video == "keep.mp4" else str(files / "a.mp4")
    outputs = ["--csv", "keep.csv", "--coco", "keep.json", "--video", video]
    assert main(["detect", source, "--weights", str(files / "w.pth"), *outputs]) == 1
    assert {file.name for file in tmp_path.iterdir()} == set(names)
    assert {file.read_text() for file in tmp_path.iterdir()} == {"of before"}


def test_dropped_frames_are_counted(files, tmp_path, capsys, monkeypatch):
    opened = open_source(sliding(5))
    opened.dropped = 3
    monkeypatch.setattr("tsmlib.online.sources.open_source", lambda source: opened)
    assert run(files, "--csv", str(tmp_path / "a.csv")) == 0
    assert capsys.readouterr().out.startswith("5 frames, 3 dropped; objects in them: ")


def test_a_stream_from_stdin(files, tmp_path, capsys):
    words = ["--weights", str(files / "w.pth"), "--coco", str(tmp_path / "a.json")]
    with stdin_from(write_stream(tmp_path / "a.ts", sliding(20))):
        assert main(["detect", "-", *words]) == 0
    answered = len(json.loads((tmp_path / "a.json").read_text())["images"])
    assert capsys.readouterr().out.startswith(f"{answered} frames")


def test_frames_that_are_too_thin(files, tmp_path, capsys):
    Image.new("RGB", (4000, 2)).save(tmp_path / "thin.png")
    words = ["--weights", str(files / "w.pth"), "--csv", str(tmp_path / "a.csv")]
    assert main(["detect", str(tmp_path / "thin.png"), *words]) == 1
    assert "frames of 4000x2 pixels are too thin for this detector" in capsys.readouterr().err
    assert not (tmp_path / "a.csv").exists()


def test_names_of_classes_are_text(files, tmp_path, capsys):
    content = torch.load(files / "w.pth")
    content["config"]["class_names"] = ["=1+1", "a\nb\x1b[2J", "c"]
    torch.save(content, tmp_path / "w.pth")
    words = ["--weights", str(tmp_path / "w.pth"), "--csv", str(tmp_path / "a.csv")]
    assert main(["detect", str(files / "a.mp4"), "--threshold", "0", *words]) == 0
    assert set(pd.read_csv(tmp_path / "a.csv")["class"]) >= {"'=1+1"}
    out = capsys.readouterr().out.splitlines()
    assert len(out) == 2 and "\x1b" not in out[0] and "a b\\x1b[2J" in out[0]


def test_frames_without_objects_are_drawn_without_a_warning(files, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert run(files, "--threshold", "1", "--video", str(tmp_path / "a.mp4")) == 0
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 8


def test_weights_and_videos_that_are_not_there(files, tmp_path, capsys):
    table = str(tmp_path / "a.csv")
    assert main(["detect", "nothing.mp4", "--weights", "w.pth", "--csv", table]) == 1
    assert "there is no nothing.mp4; a source is a file" in capsys.readouterr().err
    assert main(["detect", str(files / "a.mp4"), "--weights", "w.pth", "--csv", table]) == 1
    assert "the file of weights w.pth does not exist" in capsys.readouterr().err


def test_a_device_that_is_not_there(files, capsys):
    words = ["--weights", str(files / "w.pth"), "--csv", "a.csv", "--device", "foo"]
    assert main(["detect", str(files / "a.mp4"), *words]) == 1
    assert capsys.readouterr().err.startswith("device='foo' is not there; choose device=auto")


def test_recipes_that_are_not_there(capsys):
    assert main(["train-detector", "vid_r50"]) == 1
    assert "there is no detector 'vid_r50'; choose one of vid_r101" in capsys.readouterr().err
    assert main(["train-detector", "vid_r101", "--set", "epoch=3"]) == 1
    assert "there is no configuration field 'epoch'; closest: epochs" in capsys.readouterr().err
    for command in (["train-detector", "vid_r101"], ["train", "sthv1"]):
        assert main([*command, "--set", "name=x"]) == 1
        assert "--set 'name=x': the names of a recipe cannot be set" in capsys.readouterr().err
