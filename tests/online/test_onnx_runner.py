"""Exported ONNX files in place of models and streams, and files that are none."""

import json
import logging
import random
import re
import sys

import onnx
import pytest
import torch
from helpers import seeded

from tsmlib import DataError, OnlineTSM, predict, preprocess
from tsmlib.__main__ import main
from tsmlib.data.video import VideoFile
from tsmlib.models.recognizer import normalize
from tsmlib.online.exported_metadata import ExportError, config_of
from tsmlib.online.onnx_runner import OnnxClip, OnnxFile, OnnxStream
from tsmlib.own_videos.onnx_predict import predict_exported

CLIP, STREAM = "mobilenetv2 two-way", "mobilenetv2"


@pytest.fixture
def clip(export_once):
    return export_once(CLIP)


@pytest.fixture
def stream(export_once):
    return export_once(STREAM, stream=True)


def frames(n: int = 2, t: int = 6, seed: int = 5) -> list[torch.Tensor]:
    """T frames `[N, 3, H, W]`."""
    return [*seeded(torch.randn, t, n, 3, 32, 32, seed=seed)]


def close(found, expected) -> None:
    torch.testing.assert_close(found, expected, atol=1e-5 * float(expected.std()), rtol=1e-4)


# --- in place of a model --------------------------------------------------------------------------


def test_a_clip_file_in_place_of_the_model(clip):
    model, x = OnnxClip(clip.exported.path), torch.stack(frames(t=4), 1)
    with torch.no_grad():
        close(model.eval()(x), clip.model(x))
    with pytest.raises(ValueError, match=re.escape("takes clips [N, 4, 3, H, W]")):
        model(x[:, :3])
    with pytest.raises(ValueError, match=re.escape("[..., 3, 32, 32], not [2, 4, 3, 32, 30]")):
        model(x[..., :30])
    with pytest.raises(TypeError, match="normalised floats"):
        model(x.byte())


def test_a_stream_file_in_place_of_online_tsm(stream):
    ours, other = OnlineTSM(stream.model), OnnxStream(stream.exported.path)
    assert other.state == []
    for frame in frames():
        close(other.step(frame), ours.step(frame))
        assert len(other.state) == len(ours.state)
        for cache, expected in zip(other.state, ours.state, strict=True):
            torch.testing.assert_close(cache, expected, atol=1e-4, rtol=1e-4)


def test_the_state_goes_to_another_stream(stream):
    first, second, x = *(OnnxStream(stream.exported.path) for _ in range(2)), frames()
    for frame in x[:3]:
        first.step(frame)
    second.state, ours = first.state, OnlineTSM(stream.model)
    ours.state = first.state
    kept = [cache.clone() for cache in first.state]
    expected = first.step(x[3])
    assert torch.equal(second.step(x[3]), expected)
    close(ours.step(x[3]), expected)
    second.state = kept
    assert torch.equal(second.step(x[3]), expected)


def test_some_streams_begin_anew(stream):
    online, x = OnnxStream(stream.exported.path), frames(n=3)
    for frame in x[:2]:
        online.step(frame)
    kept = online.state
    before = [cache.clone() for cache in kept]
    online.reset([1])
    found = torch.stack([online.step(frame) for frame in x[2:]])
    assert all(torch.equal(a, b) for a, b in zip(kept, before, strict=True))
    alone, whole = OnnxStream(stream.exported.path), OnnxStream(stream.exported.path)
    close(found[:, 1:2], torch.stack([alone.step(frame[1:2]) for frame in x[2:]]))
    expected = torch.stack([whole.step(frame) for frame in x])[2:]
    close(found[:, [0, 2]], expected[:, [0, 2]])
    for rows in ([3], [-1]):
        with pytest.raises(ValueError, match=rf"the batch has the streams 0 to 2, not \[{rows[0]}"):
            online.reset(rows)
    online.reset()
    online.reset([0])  # no stream has begun
    assert online.state == []
    online.step(frames(n=1)[0])  # of any number


def test_frames_that_do_not_fit(stream):
    online, x = OnnxStream(stream.exported.path), frames()
    expected = OnnxStream(stream.exported.path)
    online.step(x[0]), expected.step(x[0])
    for frame, error, sentence in (
        (x[0][:1], ValueError, "batches of 2, this one is of 1; reset()"),
        (x[0][..., :30], ValueError, "takes frames [..., 3, 32, 32], not [2, 3, 32, 30]"),
        (x[0][0], ValueError, "a step takes frames [N, C, H, W], not [3, 32, 32]"),
        (x[0].byte(), TypeError, "normalised floats"),
    ):
        with pytest.raises(error, match=re.escape(sentence)):
            online.step(frame)
    assert torch.equal(online.step(x[1]), expected.step(x[1]))  # as if nothing had been
    with pytest.raises(ValueError, match=r"has \d caches, not 1"):
        online.state = online.state[:1]
    with pytest.raises(ValueError, match="a cache is"):
        online.state = [cache[..., :1] for cache in online.state]


# --- predict --------------------------------------------------------------------------------------


def test_predict_by_a_clip_file(clip, videos, tmp_path, capsys, caplog):
    out = tmp_path / "a.csv"
    words = [str(clip.exported.path), str(videos / "a_f00500.mp4"), str(videos / "walk")]
    with caplog.at_level(logging.WARNING):
        assert main(["predict", *words, "--out", str(out)]) == 0
    assert "ARE OF GENERATED CLIPS (the stand-in of sthv1)" in caplog.text
    assert "wave, left" in capsys.readouterr().out and out.is_file()
    found = predict_exported(words[1:], clip.exported.path)
    expected = predict(words[1:], clip.weights, protocol="validation", workers=0)
    assert list(found["name"]) == list(expected["name"]) and len(found) == 4 * 5
    torch.testing.assert_close(
        torch.tensor(found["probability"]), torch.tensor(expected["probability"]),
        atol=1e-5, rtol=1e-4,
    )  # fmt: skip


def test_predict_by_a_stream_file(stream, videos):
    video = videos / "c.avi"
    table = predict_exported(video, stream.exported.path, top=5).sort_values("label")
    file = VideoFile(video)
    crops = preprocess(file.frames([*range(file.num_frames)]), stream.cfg, "val")[0]
    online = OnlineTSM(stream.model)
    logits = torch.stack([online.step(frame) for frame in normalize(crops).split(1)])
    expected = logits.mean(0)[0].softmax(0).double()
    torch.testing.assert_close(
        torch.tensor(table["probability"].to_numpy()), expected, rtol=1e-4, atol=1e-5
    )


def test_predict_says_what_does_not_fit(clip, videos, tmp_path, capsys):
    file, video = str(clip.exported.path), str(videos / "c.avi")
    for words in (["--cfg", "sthv1"], ["--protocol", "accurate"], ["--device", "cuda"]):
        assert main(["predict", file, video, *words]) == 1
        assert "says itself how it is used" in capsys.readouterr().err
    (tmp_path / "bad.mp4").write_text("no video\n" * 9)
    with pytest.raises(DataError, match="no video could be read.*bad.mp4"):
        predict_exported(tmp_path / "bad.mp4", file)
    with pytest.raises(DataError, match="no path is given"):
        predict_exported([], file)


# --- files that are none --------------------------------------------------------------------------


def empty_model(path, **properties):
    """An ONNX file of an identity."""
    value = [onnx.helper.make_tensor_value_info(n, 1, [1]) for n in "ab"]
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("Identity", ["a"], ["b"])], "g", *([v] for v in value)
    )
    model = onnx.helper.make_model(
        graph, opset_imports=[onnx.helper.make_opsetid("", 18)], ir_version=8
    )
    onnx.helper.set_model_props(model, properties)
    onnx.save(model, path)
    return path


def test_files_of_another_kind(clip, stream):
    with pytest.raises(ExportError, match="holds a clip, not a stream: OnnxClip runs clips"):
        OnnxStream(clip.exported.path)
    with pytest.raises(ExportError, match="holds a stream, not a clip"):
        OnnxClip(stream.exported.path)


def test_files_without_metadata_or_damaged(stream, tmp_path):
    with pytest.raises(ExportError, match="plain.onnx does not say how frames are prepared"):
        OnnxClip(empty_model(tmp_path / "plain.onnx"))
    whole = stream.exported.metadata
    for text, sentence in (
        ("{", "damaged metadata"),
        ("[]", "damaged metadata"),
        (json.dumps({**whole, "format": 2}), "metadata of format 2, and .* reads format 1"),
        (json.dumps({k: v for k, v in whole.items() if k != "classes"}), "damaged .*'classes'"),
        (json.dumps({**whole, "average": "median"}), "damaged .*average_clips='median'"),
    ):
        with pytest.raises(ExportError, match=sentence):
            OnnxFile(empty_model(tmp_path / "a.onnx", tsmlib=text))


def test_files_that_are_not_onnx(tmp_path, capsys):
    (tmp_path / "text.onnx").write_text("hello\n")
    (tmp_path / "empty.onnx").write_bytes(b"")
    for name, sentence in (
        ("text.onnx", "text.onnx is no ONNX file, or damaged"),
        ("empty.onnx", "empty.onnx is no ONNX file, or damaged"),
        ("absent.onnx", "there is no file .*absent.onnx"),
    ):
        with pytest.raises(ExportError, match=sentence):
            OnnxFile(tmp_path / name)
        assert main(["predict", str(tmp_path / name), str(tmp_path / "text.onnx")]) == 1
        assert re.search(sentence, capsys.readouterr().err)


def test_onnxruntime_is_optional(clip, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ExportError, match=r"onnxruntime is not installed: pip install 'tsmlib\[on"):
        OnnxClip(clip.exported.path)


def test_the_configuration_loads_videos_as_the_metadata_say(clip):
    cfg = config_of(clip.exported.metadata)
    for name in ("num_segments", "short_side", "val_crop_size", "class_names", "filename_tmpl"):
        assert getattr(cfg, name) == getattr(clip.cfg, name)


def test_every_flipped_bit_of_a_file_is_noticed(clip, tmp_path):
    whole, file = clip.exported.path.read_bytes(), tmp_path / "a.onnx"
    draw, ends = random.Random(0), range(8 * (len(whole) - 100), 8 * len(whole))
    for bit in {*draw.sample(range(8 * len(whole)), 30), *ends[::9]}:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(ExportError, match=r"a\.onnx"):
            OnnxFile(file)
    file.write_bytes(whole)
    onnx.checker.check_model(onnx.load(file))  # others read it as they did
    assert OnnxFile(file).metadata["sealed"]
