"""Answers and features of long recordings, against decoding all, slicing, predicting each."""

import json
import logging

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import decisive, lively, save_run, sliding, tiny

from tsmlib import ConfigError, build_model, get_config, load_clip, preprocess, sample_indices
from tsmlib.__main__ import main
from tsmlib.data.annotations import VideoEntry
from tsmlib.data.video import VideoFile, encode_frames, write_frames, write_video
from tsmlib.models.recognizer import normalize
from tsmlib.own_videos.activation import find_activations
from tsmlib.own_videos.features import extract_features
from tsmlib.own_videos.predict import predict
from tsmlib.own_videos.prediction_options import PredictionOptions
from tsmlib.own_videos.prediction_tables import choose_answers, describe, merge_windows
from tsmlib.own_videos.windows import announce_windows, plan_windows, usual_clip_seconds

SIZES = {"short_side": 40, "crop_size": 32, "val_crop_size": 32, "test_crop_size": 40}
NAMES = ("up", "down", "left", "right", "none")
CFG = tiny("sthv1", num_segments=4, class_names=NAMES, **SIZES)
CUT = {"window": 2.0, "stride": 1.0, "workers": 0}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A folder with a long recording and a short clip, weights, and their model."""
    folder = tmp_path_factory.mktemp("world")
    frames = torch.cat([sliding(40, 3), sliding(43, 9).flip(0)])
    write_video(folder / "long.mp4", frames, fps=10, gop=12)
    write_video(folder / "short.mp4", sliding(15, 5), fps=10)
    torch.manual_seed(0)
    model = decisive(lively(build_model(CFG)), seed=2)
    weights = folder.parent / "weights"
    weights.mkdir(exist_ok=True)
    return folder, save_run(weights / "last.pth", CFG, model), model


def slowly(model, path, window: int, stride: int) -> dict[float, torch.Tensor]:
    """Logits `[K]` by the start of each window that fits: all frames in memory, one by one."""
    video = VideoFile(path)
    frames = video.frames(list(range(video.num_frames)))
    logits = {}
    for first in range(0, len(frames) - window + 1, stride):
        clip = frames[first : first + window][sample_indices(window, 4)[0]]
        with torch.no_grad():
            logits[first / 10] = model(normalize(preprocess(clip, CFG, "val")))[0]
    return logits


@pytest.mark.parametrize("workers", [0, 1])
def test_windows_are_answered_as_sliced_clips(world, workers):
    folder, weights, model = world
    table = predict(folder / "long.mp4", weights, top=5, **CUT | {"workers": workers})
    wanted = slowly(model, folder / "long.mp4", 20, 10)
    assert len(wanted) == 7 and table["start"].nunique() == 8  # the last one ends with the video
    for start, logits in wanted.items():
        own = table[table["start"] == start].sort_values("label")
        assert own["probability"].tolist() == pytest.approx(logits.softmax(0).tolist(), abs=1e-4)
        assert own["end"].tolist() == pytest.approx([start + 2] * 5)
    assert table["end"].max() == pytest.approx(8.3) and table["start"].is_monotonic_increasing


def test_short_videos_beside_a_long_one_are_whole(world):
    folder, weights, _ = world
    table = predict(folder, weights, **CUT)
    short = table[table["path"].str.endswith("short.mp4")]
    assert len(short) == 5 and set(short["start"]) == {0.0} and set(short["end"]) == {1.5}
    alone = predict(folder / "short.mp4", weights, workers=0)
    assert short["probability"].tolist() == pytest.approx(alone["probability"].tolist(), abs=1e-5)


def test_what_counts_as_long(world, caplog):
    folder, _, _ = world
    entries = [VideoEntry(str(folder / name), None, 0) for name in ("long.mp4", "short.mp4")]
    plan = plan_windows(entries, CFG, PredictionOptions())
    assert not plan.long and plan.seconds == pytest.approx([8.3, 1.5])  # 3 x 4 s are not exceeded
    assert [r.window for r in plan_windows(entries, CFG, PredictionOptions(1.0)).long] == [1.0] * 2
    jester = tiny("jester", flip_label_map=None, **SIZES)
    assert not plan_windows(entries, jester, PredictionOptions()).long  # 9 s
    folder_of_frames = VideoEntry(str(folder), 600, 0)
    (own,) = plan_windows([folder_of_frames], jester, PredictionOptions(fps=12.0)).long
    assert (own.timing.seconds, own.window, own.stride) == (50.0, 3.0, 1.5)
    dense = tiny("k400_dense", num_segments=8, **SIZES)
    (own,) = plan_windows([folder_of_frames], dense, PredictionOptions(fps=16.0)).long
    assert (own.window, own.stride) == (4.0, 2.0)  # 64 frames
    with pytest.raises(ConfigError, match="stride=5 is longer than the window of 3 s"):
        plan_windows([folder_of_frames], jester, PredictionOptions(stride=5.0))


def test_own_clips_tell_how_long_they_are(world, caplog):
    folder, _, _ = world
    (folder.parent / "train.txt").write_text("short.mp4 0\nshort.mp4 15 1\nnowhere.mp4 1\n")
    fields = {"dataset": "custom", "data_root": str(folder), "layout": "video",
              "train_list": str(folder.parent / "train.txt"), "train_prefix": None}  # fmt: skip
    own = tiny("k400", **fields, **SIZES)
    assert usual_clip_seconds(own) == 1.5
    (recording,) = plan_windows(
        [VideoEntry(str(folder / "long.mp4"), None, 0)], own, PredictionOptions()
    ).long
    assert (recording.window, recording.stride) == (1.5, 0.75)
    moved = get_config("k400", **fields | {"train_list": "nowhere.txt"})
    assert usual_clip_seconds(moved) is None
    plan = plan_windows([VideoEntry("frames", 3000, 0)], moved, PredictionOptions())
    announce_windows(plan, asked=False)
    assert "is not known; 10 s are assumed; set window" in caplog.text


def test_neighbours_with_one_answer_are_a_segment():
    starts = [0.0, 1.0, 2.0, 3.0, 0.0]
    rows = [
        ("a", start, start + 2, 1, label, NAMES[label], p)
        for start, label, p in zip(starts, (0, 0, 1, 0, 0), (0.5, 0.7, 0.9, 0.8, 1.0), strict=True)
    ]
    table = pd.DataFrame(
        rows, columns=["path", "start", "end", "rank", "label", "name", "probability"]
    )
    table.loc[4, "path"] = "b"
    merged = merge_windows(table)
    assert merged["path"].tolist() == ["a", "a", "a", "b"]
    assert merged["start"].tolist() == [0, 2.5, 3.5, 0]
    assert merged["end"].tolist() == [2.5, 3.5, 5, 2]
    assert merged["probability"].tolist() == pytest.approx([0.6, 0.9, 0.8, 1.0])
    assert merged["windows"].tolist() == [2, 1, 1, 1]
    lines = describe(table)
    assert lines[1] == "  0:00:00.0 - 0:00:02.5  60.00 %  up" and lines[-2:] == [
        "b", "   1 100.00 %  up"
    ]  # fmt: skip
    assert choose_answers(table, 2)["start"].tolist() == [2.0, 0.0]  # each video has a turn


def test_features_and_classifier_make_the_logits(world):
    folder, weights, model = world
    found = extract_features(folder, weights, **CUT)
    logits = torch.from_numpy(found.features @ found.weight.T + found.bias)
    assert found.classes == NAMES and logits.shape == (9, 5)
    for start, wanted in slowly(model, folder / "long.mp4", 20, 10).items():
        row = found.spans.index[found.spans["start"] == start][0]
        torch.testing.assert_close(logits[row], wanted, atol=1e-3, rtol=1e-4)
    with torch.no_grad():
        views = model(load_clip(folder / "short.mp4", CFG))
    torch.testing.assert_close(logits[-1], views.mean(0), atol=1e-3, rtol=1e-4)


def test_features_in_a_file(world, tmp_path, capsys):
    folder, weights, _ = world
    command = ["features", str(folder), "--weights", str(weights), "--window", "2"]
    command += ["--workers", "0"]
    assert main([*command, "--out", str(tmp_path / "new" / "f.npz")]) == 0
    assert "9 clips of 64 features, written to" in capsys.readouterr().out
    content = np.load(tmp_path / "new" / "f.npz")
    assert content["features"].shape == (9, 64) and content["classes"].tolist() == list(NAMES)
    assert content["path"][-1].endswith("short.mp4") and content["end"][0] == 2
    assert main([*command, "--out", str(tmp_path / "f.txt")]) == 1
    assert "written as .npz or .parquet, not as" in capsys.readouterr().err


def test_features_for_other_tools(world, tmp_path, monkeypatch):
    folder, weights, _ = world
    found = extract_features(folder / "short.mp4", weights, workers=0)
    monkeypatch.setattr("tsmlib.own_videos.features.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="f.parquet needs pyarrow"):
        found.write(tmp_path / "f.parquet")
    monkeypatch.undo()
    pytest.importorskip("pyarrow")
    found.write(tmp_path / "f.parquet")
    table = pd.read_parquet(tmp_path / "f.parquet")
    assert np.stack(table["features"]) == pytest.approx(found.features)


def test_maps_of_a_video_and_of_a_window(world):
    folder, weights, model = world
    table = predict(folder, weights, **CUT)
    rows = choose_answers(table, 2)
    best = rows[rows["rank"] == 1]
    looks = find_activations(best, weights, **CUT)
    for (_, row), look in zip(best.iterrows(), looks, strict=True):
        if row["path"].endswith("long.mp4"):
            logits = slowly(model, folder / "long.mp4", 20, 10)[row["start"]]
        else:
            with torch.no_grad():
                logits = model(load_clip(row["path"], CFG, "validation"))[0]
        assert look.frames.shape == (4, 32, 32, 3) and len(look.maps) == 4
        wanted = (logits - model.head.bias)[row["label"]].item()
        assert look.maps.mean() == pytest.approx(wanted, abs=1e-3)


def test_the_files_of_a_recording(world, tmp_path, capsys):
    folder, weights, _ = world
    out = tmp_path / "found.json"
    command = ["predict", str(folder / "long.mp4"), "--weights", str(weights), "--window", "2"]
    assert main([*command, "--stride", "1", "--workers", "0", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "0:00:00.0 - 0:00:0" in printed and "found-segments.json" in printed
    rows = json.loads(out.read_text())
    assert len(rows) == 40 and rows[0]["path"] == str(folder / "long.mp4")
    segments = json.loads((tmp_path / "found-segments.json").read_text())
    assert segments[0]["start"] == 0 and segments[-1]["end"] == pytest.approx(8.3)
    assert sum(segment["windows"] for segment in segments) == 8


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"window": 0.0}, "window=0.0 must be a number above 0"),
        ({"fps": -1.0}, "fps=-1.0 must be a number above 0"),
        ({"window": 1.0, "stride": 2.0}, "stride=2 is longer than window=1: what lies between"),
        ({"device": "abacus"}, "device='abacus' is not possible"),
    ],
)
def test_impossible_options(options, sentence):
    with pytest.raises(ConfigError, match=sentence):
        PredictionOptions(**options)


def test_a_broken_recording_is_named(world, tmp_path, caplog):
    _, weights, _ = world
    write_frames(tmp_path, encode_frames(sliding(60)), CFG.filename_tmpl, CFG.start_index)
    torn = CFG.filename_tmpl.format(CFG.start_index + 42)
    (tmp_path / torn).write_bytes(b"no picture")
    with caplog.at_level(logging.WARNING):
        table = predict(tmp_path, weights, fps=10.0, **CUT)
    assert table["end"].max() == 4.0  # what was whole until then
    (message,) = [m for m in caplog.messages if m.startswith("not read: ")]
    assert torn in message
