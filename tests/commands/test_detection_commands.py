"""`tsm detect` and `tsm train-detector`: from a video to a table, COCO's JSON and a video."""

import json

import av
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import sliding

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
    ],
)
def test_mistakes_are_a_sentence(files, tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert run(files, *words) == 1
    assert sentence in capsys.readouterr().err


def test_weights_and_videos_that_are_not_there(files, tmp_path, capsys):
    table = str(tmp_path / "a.csv")
    assert main(["detect", "nothing.mp4", "--weights", "w.pth", "--csv", table]) == 1
    assert "there is no nothing.mp4; a source is a file" in capsys.readouterr().err
    assert main(["detect", str(files / "a.mp4"), "--weights", "w.pth", "--csv", table]) == 1
    assert "there is no file of weights w.pth" in capsys.readouterr().err


def test_recipes_that_are_not_there(capsys):
    assert main(["train-detector", "vid_r50"]) == 1
    assert "there is no detector 'vid_r50'; choose one of vid_r101" in capsys.readouterr().err
    assert main(["train-detector", "vid_r101", "--set", "epoch=3"]) == 1
    assert "there is no configuration field 'epoch'; closest: epochs" in capsys.readouterr().err
    for command in (["train-detector", "vid_r101"], ["train", "sthv1"]):
        assert main([*command, "--set", "name=x"]) == 1
        assert "--set 'name=x': a name cannot be set" in capsys.readouterr().err
