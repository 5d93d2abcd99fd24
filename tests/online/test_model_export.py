"""Exported models compute what the models compute, and say how they are used."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from helpers import decisive, lively, seeded, tiny

from tsmlib import ConfigError, ResultsError, build_model, get_config, predict
from tsmlib.__main__ import main
from tsmlib.configs import replace, to_dict
from tsmlib.data.sampling import sample_indices
from tsmlib.data.video import VideoFile
from tsmlib.models.recognizer import MEAN, STD
from tsmlib.online.exported_metadata import ExportError, describe_model
from tsmlib.online.model_export import export_model
from tsmlib.online.onnx_runner import OnnxClip, OnnxFile, OnnxStream
from tsmlib.online.quantization import quantize

CLIPS = ["resnet50 with non-local blocks", "mobilenetv2 two-way"]
STREAMS = ["resnet50", "mobilenetv2"]


def clips(n: int = 2, seed: int = 7) -> torch.Tensor:
    """`[N, T, 3, H, W]`, of the size of the exported files."""
    return seeded(torch.randn, n, 4, 3, 32, 32, seed=seed)


def largest_difference(found, expected) -> float:
    """In deviations of the expected logits."""
    return float((found - expected).abs().max() / expected.std())


def offline(model, x):
    with torch.no_grad():
        return model(x), model.frame_logits(x)


# --- the same function ----------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLIPS)
def test_a_clip_file_gives_the_logits_of_the_model(export_once, name):
    case = export_once(name)
    session = onnxruntime.InferenceSession(case.exported.path)
    for n in (1, 2, 5):
        x = clips(n)
        (found,) = session.run(["logits"], {"clips": x.numpy()})
        assert largest_difference(torch.from_numpy(found), offline(case.model, x)[0]) < 1e-5
    assert session.get_inputs()[0].shape == ["N", 4, 3, 32, 32]
    assert case.exported.difference < 1e-5


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_file_gives_the_whole_clip_frame_by_frame(export_once, name):
    case = export_once(name, stream=True)
    session = onnxruntime.InferenceSession(case.exported.path)
    state = case.exported.metadata["state"]
    assert len(state) > 1
    for n in (1, 3):
        x = clips(n)
        caches = {cache["input"]: np.zeros((n, *cache["shape"]), "float32") for cache in state}
        found = []
        for frame in x.unbind(1):
            logits, *after = session.run(None, {"frame": frame.numpy(), **caches})
            found.append(torch.from_numpy(logits))
            caches = {cache["input"]: after[i] for i, cache in enumerate(state)}
        assert largest_difference(torch.stack(found, 1), offline(case.model, x)[1]) < 1e-5
    names = [value.name for value in session.get_outputs()]
    assert names == ["logits", *(cache["output"] for cache in state)]


@pytest.mark.parametrize(
    "name",
    ["resnet50 with non-local blocks", "resnet18 with temporal pooling"],
)
def test_programs_of_clips(export_once, name):
    case = export_once(name, "pt2")
    files = {"metadata.json": ""}
    program = torch.export.load(case.exported.path, extra_files=files).module()
    for n in (1, 4):  # rounding alone costs this network 0.7e-5 on some processors
        assert largest_difference(program(clips(n)), offline(case.model, clips(n))[0]) < 2e-5
    assert json.loads(files["metadata.json"]) == case.exported.metadata
    assert case.exported.metadata["opset"] is None


@pytest.mark.parametrize("name", ["mobilenetv2", "in front of blocks", "no shift"])
def test_programs_of_streams(export_once, name):
    case = export_once(name, "pt2", stream=True)
    program, x = torch.export.load(case.exported.path).module(), clips(3)
    caches = [torch.zeros(3, *cache["shape"]) for cache in case.exported.metadata["state"]]
    assert bool(caches) == case.cfg.is_shift
    found = []
    for frame in x.unbind(1):
        logits, *caches = program(frame, *caches)
        found.append(logits)
    assert largest_difference(torch.stack(found, 1), offline(case.model, x)[1]) < 1e-5


def test_the_model_stays_as_it_is(tmp_path):
    cfg = tiny(val_crop_size=32, is_shift=False)
    model = lively(build_model(cfg)).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    export_model(model, cfg, tmp_path / "a.pt2", "pt2")
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_files_name_no_folder_of_this_machine(export_once):
    for layout in ("onnx", "pt2"):
        content = export_once("mobilenetv2", layout, stream=True).exported.path.read_bytes()
        assert str(Path(torch.__file__).parent).encode() not in content


# --- metadata -------------------------------------------------------------------------------------

BY_HAND = """
import json, sys
import numpy as np, onnxruntime

session = onnxruntime.InferenceSession(sys.argv[1])
meta = json.loads(session.get_modelmeta().custom_metadata_map["tsmlib"])
video, prep = np.load(sys.argv[2]), meta["preprocessing"]          # uint8 [n, H, W, 3]
numbers = eval(meta["sampling"]["frames"], {"n": len(video)})

def resize(x, height, width):
    def weights(new, old):
        at = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
        matrix = np.zeros((new, old))
        low = np.floor(at).astype(int)
        np.add.at(matrix, (np.arange(new), low), 1 - (at - low))
        np.add.at(matrix, (np.arange(new), np.minimum(low + 1, old - 1)), at - low)
        return matrix
    rows, columns = weights(height, x.shape[1]), weights(width, x.shape[2])
    return np.einsum("ah,thwc,bw->tabc", rows, x, columns).round()

clips = []
for clip in numbers:
    x = video[clip].astype(float)
    scale = prep["short_side"] / min(x.shape[1:3])
    x = resize(x, *(int(side * scale + 0.5) for side in x.shape[1:3]))
    size = prep["crop_size"]
    top, left = ((side - size) // 2 for side in x.shape[1:3])
    x = x[:, top : top + size, left : left + size]
    clips.append(((x - prep["mean"]) / prep["std"]).transpose(0, 3, 1, 2))
logits, = session.run(None, {"clips": np.stack(clips).astype("float32")})
odds = np.exp(logits - logits.max(1, keepdims=True))
assert meta["average"] == "prob" and prep["channel_order"] == "RGB"
assert not any(name.startswith(("tsmlib", "torch")) for name in sys.modules)
print(json.dumps(dict(zip(meta["classes"], (odds / odds.sum(1, keepdims=True)).mean(0).tolist()))))
"""


def test_the_metadata_are_enough_without_this_package(export_once, videos, tmp_path):
    case = export_once("mobilenetv2 two-way")
    video = videos / "a_f00500.mp4"
    file = VideoFile(video)
    np.save(tmp_path / "frames.npy", file.frames([*range(file.num_frames)]).numpy())
    command = [sys.executable, "-c", BY_HAND, case.exported.path, tmp_path / "frames.npy"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    table = predict(video, case.weights, protocol="validation", workers=0)
    expected = dict(zip(table["name"], table["probability"], strict=True))
    found = json.loads(done.stdout)
    assert len(found) == 5 and found == pytest.approx(expected, abs=0.02)  # a grey level


def test_what_the_metadata_say(export_once):
    case = export_once("mobilenetv2", stream=True)
    metadata = OnnxFile(case.exported.path).metadata
    assert metadata == case.exported.metadata
    assert metadata["classes"] == list(case.cfg.class_names)
    assert (metadata["preprocessing"]["mean"], metadata["preprocessing"]["std"]) == (
        list(MEAN), list(STD),
    )  # fmt: skip
    assert metadata["trained"] == {
        "dataset": "sthv1", "data": "standin", "scale": "mini", "run": "a-run",
    }  # fmt: skip
    assert metadata["model"]["row"] == "sthv1" and metadata["opset"] == 18
    assert metadata["sampling"]["frame_interval"] == 1


@pytest.mark.parametrize(("row", "clips"), [("sthv1", 1), ("k400_dense", 10)])
def test_frame_numbers_are_those_of_the_test(row, clips):
    cfg = get_config(row)
    sampling = describe_model(cfg, "clip")["sampling"]
    for n in range(1, 400, 7):
        expected = sample_indices(n, 8, cfg.eval_sampling, clips=clips)
        assert eval(sampling["frames"], {"n": n}) == expected.tolist()
    interval = describe_model(cfg, "stream")["sampling"]["frame_interval"]
    assert interval == (8 if row == "k400_dense" else 1)  # as in training
    uniform = get_config("k400_online_mobilenetv2")  # trained uniform, tested dense
    assert describe_model(uniform, "stream")["sampling"]["frame_interval"] == 1
    assert describe_model(cfg, "stream", interval=3)["sampling"]["frame_interval"] == 3


# --- int8 -----------------------------------------------------------------------------------------


def test_int8_of_a_clip_and_of_a_stream(export_once):
    for case, runner in (
        (export_once("resnet50 with non-local blocks"), OnnxClip),
        (export_once("resnet50", stream=True), OnnxStream),
    ):
        content = case.exported.path.read_bytes()
        quantized = quantize(content, [clips(1, seed) for seed in range(8)])
        assert b"QuantizeLinear" in quantized and b"QuantizeLinear" not in content
        found, expected = runner(quantized), runner(content)
        assert found.metadata == expected.metadata
        x = clips(8, seed=3)
        if runner is OnnxStream:
            found, expected = (torch.stack([*map(r.step, x.unbind(1))]) for r in (found, expected))
        else:
            found, expected = found(x), expected(x)
        assert 1e-4 < largest_difference(found, expected) < 1


@pytest.fixture
def own(videos, tmp_path):
    """A checkpoint on lists of one's own."""
    for split in ("train", "val"):
        lines = [
            f"{file.relative_to(videos)} {i % 2}" for i, file in enumerate(videos.rglob("*.mp4"))
        ]
        (tmp_path / f"{split}.txt").write_text("\n".join(lines) + "\n")
    cfg = tiny(
        "sthv1", dataset="custom", layout="video", num_segments=4, num_classes=2,
        class_names=("a", "b"), data_root=str(tmp_path), train_list="train.txt",
        val_list="val.txt", train_prefix=str(videos), val_prefix=str(videos), short_side=36,
        crop_size=32, val_crop_size=32, test_crop_size=32, pretrain="none", is_shift=False,
    )  # fmt: skip
    content = {"model": decisive(build_model(cfg)).state_dict(), "config": to_dict(cfg)}
    torch.save({**content, "data": "real", "scale": "full", "run": "r"}, tmp_path / "last.pth")
    return tmp_path / "last.pth"


def test_the_loss_of_int8_is_measured_and_written(own, tmp_path, capsys):
    words = [str(own), str(tmp_path / "int8.onnx"), "--layout", "onnx", "--int8"]
    assert main(["export", *words]) == 0
    int8 = OnnxClip(tmp_path / "int8.onnx").metadata["int8"]
    assert int8["num_videos"] == 4 and 0 <= int8["top1_int8"] <= 100
    said = capsys.readouterr().out
    assert f"in int8, top-1 is {int8['top1_int8']} %, in fp32 {int8['top1_fp32']} %" in said
    (tmp_path / "train.txt").unlink()
    assert main(["export", *words]) == 1
    assert "train.txt" in capsys.readouterr().err


# --- what cannot be exported ----------------------------------------------------------------------


def test_a_sentence_says_what_was_written(export_once, tmp_path, capsys):
    case = export_once("no shift", "pt2", stream=True)
    out = tmp_path / "new" / "a.pt2"
    assert main(["export", case.weights, str(out), "--stream", "--interval", "3"]) == 0  # by suffix
    said = capsys.readouterr().out
    content = torch.export.load(out, extra_files=(files := {"metadata.json": ""})) and files
    assert json.loads(content["metadata.json"])["sampling"]["frame_interval"] == 3
    assert f"wrote {out}: a stream of sthv1; logits are within" in said and out.is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("--layout onnx --stream", "shift_direction=bidirectional needs the next frame"),
        ("--layout onnx --interval 2", "interval=2 is for streams"),
        ("--layout pt2 --int8", "int8 is for layout=onnx, not pt2"),
        ("--layout mit --stream", "--int8 are for --layout onnx and pt2"),
        ("--layout onnx --cfg sthv2", "is a checkpoint of sthv1, not of sthv2"),
    ],
)
def test_options_that_do_not_fit(export_once, tmp_path, capsys, words, sentence):
    weights = export_once("resnet18 with temporal pooling", "pt2").weights
    assert main(["export", weights, str(tmp_path / "a"), *words.split()]) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1 and not [*tmp_path.iterdir()]


def test_a_layout_and_a_suffix_that_contradict(tmp_path, capsys):
    assert main(["export", "last.pth", str(tmp_path / "a.onnx"), "--layout", "mit"]) == 1
    assert "--layout mit does not go with" in capsys.readouterr().err


def test_a_configuration_of_another_model(tmp_path):
    cfg = tiny(val_crop_size=32, is_shift=False)
    for other in (build_model(cfg, num_classes=3), build_model(replace(cfg, num_segments=2))):
        with pytest.raises(ConfigError, match="give the configuration that it was built with"):
            export_model(other, cfg, tmp_path / "a.pt2", "pt2")


def test_a_file_that_differs_is_not_written(tmp_path, monkeypatch):
    cfg, right = tiny(val_crop_size=32, is_shift=False), torch.export.export

    def wrong(network, *args, **kwargs):
        with torch.no_grad():
            [*network.parameters()][-1][0] += 1e-3  # the bias of the first class
        return right(network, *args, **kwargs)

    monkeypatch.setattr(torch.export, "export", wrong)
    with pytest.raises(ExportError, match="computes other logits than the model.*nothing was"):
        export_model(build_model(cfg), cfg, tmp_path / "a.pt2", "pt2")
    assert not [*tmp_path.iterdir()]


def test_models_and_places_that_are_refused(tmp_path, monkeypatch):
    cfg = tiny(val_crop_size=32, is_shift=False)
    with pytest.raises(ConfigError, match="a model of build_model, not Linear"):
        export_model(torch.nn.Linear(2, 2), cfg, tmp_path / "a.pt2", "pt2")
    with pytest.raises(ConfigError, match="layout='tf' is not possible; choose one of onnx, pt2"):
        export_model(build_model(cfg), cfg, tmp_path / "a.tf", "tf")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match="cannot be written"):
        export_model(build_model(cfg), cfg, tmp_path / "file" / "a.pt2", "pt2")
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(ExportError, match=r"onnxscript is not installed: pip install 'tsmlib\[onn"):
        export_model(build_model(cfg), cfg, tmp_path / "a.onnx")
