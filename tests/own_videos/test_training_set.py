"""From a folder of class folders to a trained model, and to answers for a new video."""

import dataclasses
import json
import re
import shutil
from urllib.error import URLError

import pandas as pd
import pytest
import torch
import yaml
from helpers import save_run, sliding, tiny

import tsmlib
from tsmlib import CheckpointError, ConfigError, DataError, ResultsError, build_model, get_config
from tsmlib.__main__ import main
from tsmlib.commands.parameters import check_values, find_notebook, read_declared
from tsmlib.configs import MODEL_FIELDS
from tsmlib.data.annotations import find_list
from tsmlib.data.loader import ClipDataset
from tsmlib.data.video import encode_frames, write_frames, write_video
from tsmlib.engine.find_model import find_weights, newest_weights
from tsmlib.engine.optimizer import log_lr
from tsmlib.models import downloads
from tsmlib.models.recognizer import normalize
from tsmlib.notebook import configuration
from tsmlib.online.hub import export_to_hub
from tsmlib.own_videos.training_set import configure_videos, fold_configs
from tsmlib.results import read_record, read_run_scores, write_record

TINY = {"width": 0.125, "depth": [1, 1, 1, 1], "num_segments": 4, "short_side": 36,
        "crop_size": 32, "val_crop_size": 32, "test_crop_size": 32}  # fmt: skip


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


@pytest.fixture
def folder(tmp_path):
    """Bars that move to the left or to the right, and a file that is no video."""
    root = tmp_path / "it's my vidéos"
    for i in range(4):
        frames = sliding(10 + i, 9 * i)
        for name, shown in (("to the right", frames), ("to the left", frames.flip(0))):
            (root / name).mkdir(parents=True, exist_ok=True)
            write_video(root / name / f"clip {i}.mp4", shown)
    (root / "to the left" / "notes.txt").write_text("no video")
    return root


def test_from_a_folder_to_an_answer(folder, results, tmp_path, capsys, caplog):
    before = sorted(folder.rglob("*"))
    fields = [f"{name}={json.dumps(value)}" for name, value in TINY.items()]
    words = ["--set", "epochs=2", "pretrain=none", *fields, "--workers", "0", "--device", "cpu"]
    assert main(["train", str(folder), *words]) == 0
    printed = capsys.readouterr().out
    assert "Chance is 50.0 %" in printed and "THIS IS NO BETTER" in printed  # of 2 videos
    assert "left out: to the left/notes.txt: it is no video" in caplog.text
    assert "8 videos of 2 classes (to the left 4, to the right 4): 6 to train on" in caplog.text
    assert sorted(folder.rglob("*")) == before

    (yaml_file,) = (results / "local/datasets").glob("*/*.yaml")
    cfg = get_config(yaml_file)
    assert (cfg.name, cfg.num_segments, cfg.flip) == ("it's my vidéos", 4, 0)
    assert main(["evaluate", str(yaml_file), "--workers", "0"]) == 0  # as any configuration
    assert "THIS IS NO BETTER" not in capsys.readouterr().out

    shutil.copy(folder / "to the left" / "clip 1.mp4", tmp_path / "new one.mp4")
    assert main(["predict", str(tmp_path / "new one.mp4")]) == 0
    table = pd.read_csv(results / "local/predictions/new one-1.csv")
    assert set(table["name"]) == {"to the left", "to the right"} and len(table) == 2
    assert "GENERATED" not in caplog.text


@pytest.fixture
def trained(folder, results, capsys):
    """A run of one epoch on the folder: how to train it again, its YAML file and its folder."""
    fields = [f"{name}={json.dumps(value)}" for name, value in TINY.items()]
    words = ["--set", "epochs=1", "pretrain=none", *fields, "--workers", "0", "--device", "cpu"]
    command = ["train", str(folder), *words]
    assert main(command) == 0
    (yaml_file,) = (results / "local/datasets").glob("*/*.yaml")
    (run,) = (results / "local").glob("*/real-*")
    capsys.readouterr()
    return command, yaml_file, run


def test_more_devices_than_there_are_write_nothing(folder, results, capsys):
    assert main(["train", str(folder), "--devices", "400", "--device", "cpu"]) == 1
    assert "400 processes of a run need as many devices" in capsys.readouterr().err
    if not torch.cuda.is_available():
        assert main(["train", str(folder), "--devices", "4", "--device", "cuda"]) == 1
        assert "and this process sees 0 GPUs" in capsys.readouterr().err
    assert not results.exists()


def test_a_test_on_training_videos_says_so(trained, caplog):
    _, yaml_file, run = trained
    own = tsmlib.evaluate(str(yaml_file), run / "last.pth", workers=0)
    assert own["num_trained_on"] == 0 and "TRAINED ON" not in caplog.text
    cfg = get_config(str(yaml_file), val_list=str(yaml_file.with_name("train.txt")))
    record = tsmlib.evaluate(cfg, run / "last.pth", workers=0)
    assert record["num_trained_on"] == record["num_videos"] == 6
    assert "6 OF 6 TEST VIDEOS WERE ALSO TRAINED ON" in caplog.text
    assert read_record(own["run_dir"])["num_videos"] == 2  # neither took the place of the other


def test_videos_that_changed_since_a_run_are_named(trained, folder, caplog):
    command, *_ = trained
    assert main(command) == 0 and "is finished" in caplog.text
    assert "changed after this run" not in caplog.text
    write_video(folder / "to the left/clip 2.mp4", sliding(12, 3).flip(2))  # as many frames
    assert main(command) == 0
    assert "1 of the videos changed after this run ended, first" in caplog.text


def test_lists_of_ones_own_videos_are_taken_by_other_commands(trained, tmp_path, capsys):
    _, yaml_file, run = trained
    assert main(["predict", str(yaml_file.with_name("val.txt")), "--weights", str(run / "last.pth")
                 ]) == 0  # fmt: skip
    assert "2 videos classified" in capsys.readouterr().out
    assert main(["data", "shard", str(yaml_file), str(tmp_path / "shards")]) == 0
    cfg = get_config(str(yaml_file))
    for split, name in (("train", "train.txt"), ("val", "val.txt")):
        listed = find_list(cfg, split, tmp_path / "shards")
        assert listed.sharded and ClipDataset(listed, cfg)[(0, 0)][2] is not None
        assert (tmp_path / "shards" / name).read_text() == yaml_file.with_name(name).read_text()


def test_the_card_of_ones_own_weights(trained, tmp_path):
    pytest.importorskip("safetensors")
    _, yaml_file, run = trained
    export_to_hub(run / "last.pth", tmp_path / "hub", 'a "licence": ours')
    card = (tmp_path / "hub/README.md").read_text()
    assert yaml.safe_load(card.split("---\n")[1])["license"] == 'a "licence": ours'
    assert "evaluate DATA.yaml --checkpoint FOLDER" in card
    assert f"`train.txt` of own videos, `{yaml_file.stem}`" in card
    assert "| `balanced_sampling` | False |" in card
    export_to_hub(run / "last.pth", tmp_path / "hub")  # an earlier export is replaced
    (tmp_path / "hub/README.md").write_text("notes")
    with pytest.raises(
        ResultsError, match="holds model.safetensors, config.json, README.md of som"
    ):
        export_to_hub(run / "last.pth", tmp_path / "hub")
    assert (tmp_path / "hub/README.md").read_text() == "notes"
    with pytest.raises(ResultsError, match="README.md is a file: name a folder"):
        export_to_hub(run / "last.pth", tmp_path / "hub/README.md")


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("./nowhere", "there is no folder or file ./nowhere"),
        ("nowhere/", "there is no folder or file nowhere/"),
        (".", ". is a folder: `tsm train` takes it, and writes a YAML file to use elsewhere"),
    ],
)
def test_folders_that_are_no_configuration(name, sentence):
    with pytest.raises(ConfigError) as error:
        get_config(name)
    assert str(error.value) == sentence


def test_more_videos_a_step_than_the_recipe_has(caplog):
    cfg = dataclasses.replace(get_config("few_clips"), dataset="custom")
    on_eight = "set videos_per_device=1 on at most 4 devices"
    for batch, world, advice in [(4, 1, ""), (8, 2, "set videos_per_device=2"), (32, 8, on_eight)]:
        caplog.clear()
        log_lr(cfg, batch, world)
        assert advice in caplog.text and ("can cost accuracy" in caplog.text) == bool(advice)


def test_over_folds_every_video_is_tested_once(folder, results, capsys, caplog):
    """Groups, here clips of one number, are on one side; what is finished is only read."""
    fields = [f"{name}={json.dumps(value)}" for name, value in TINY.items()]
    fields += ["epochs=1", "pretrain=none", "class_weights=balanced", "balanced_sampling=true"]
    words = ["--folds", "2", "--group", r"clip (\d)", "--set", *fields, "--workers", "0"]
    assert main(["train", str(folder), *words, "--device", "cpu"]) == 0
    printed, answer = capsys.readouterr().out.strip().splitlines()
    record = read_record(json.loads(printed)["run_dir"])
    assert (record["folds"], record["recordings"], record["num_videos"]) == (2, 4, 8)
    assert "of 8 videos (95 % interval over 4 groups" in answer
    tested, _, _ = read_run_scores(json.loads(printed)["run_dir"])
    assert sorted(tested) == sorted(f"{p.parent.name}/{p.name}" for p in folder.rglob("*.mp4"))
    lists = {file.name: file.read_text() for file in results.rglob("fold*.txt")}
    assert sorted(lists) == [f"fold{i}of2-{side}.txt" for i in (1, 2) for side in ("train", "val")]
    for fold in ("fold1of2", "fold2of2"):
        train, val = (
            {*re.findall(r"clip \d", lists[f"{fold}-{side}.txt"])} for side in ("train", "val")
        )
        assert train and val and not train & val
    caplog.clear()
    assert main(["train", str(folder), *words, "--device", "cpu"]) == 0
    assert caplog.text.count("is finished") == 2


def test_folds_are_for_videos_of_ones_own(results):
    with pytest.raises(ConfigError, match="folds=3 is for a folder of videos or a csv, not for k4"):
        configuration({"cfg": "k400", "folds": 3})
    assert main(["train", "k400", "--folds", "3"]) == 1
    with pytest.raises(ConfigError, match="k400 is not split into 3 folds"):
        fold_configs(get_config("k400"), 3)


def test_a_checkpoint_of_ours_brings_its_network(folder, results, tmp_path):
    trained = tiny("sthv1", num_segments=4, shift_div=4, num_classes=7)
    file = save_run(tmp_path / "last.pth", trained, build_model(trained))
    cfg = configure_videos(folder, workers=0, pretrain=str(file))
    assert all(getattr(cfg, f) == getattr(trained, f) for f in MODEL_FIELDS if f != "num_classes")
    assert cfg.num_classes == 2 and cfg.pretrain == str(file)
    build_model(cfg, pretrained=True)
    with pytest.raises(CheckpointError, match="name that too, for example backbone"):
        configure_videos(folder, workers=0, pretrain=str(file), backbone="resnet50")


def test_without_weights_it_says_so_and_starts_from_scratch(
    folder, results, tmp_path, monkeypatch, caplog
):
    def no_network(*args, **kwargs):
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("TSM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(downloads, "urlopen", no_network)
    cfg = configure_videos(folder, workers=0)
    assert cfg.pretrain == "none" and "NO PRETRAINED WEIGHTS" in caplog.text
    text = (results / "local/datasets" / cfg.name / f"{cfg.name}.yaml").read_text()
    assert "# NO PRETRAINED WEIGHTS" in text and "(seed 0)" in text


def test_a_file_of_weights_is_taken(folder, results, tmp_path, monkeypatch, caplog):
    image = build_model(get_config("k400", backbone="mobilenetv2"))
    torch.save({f"module.{k}": v for k, v in image.state_dict().items()}, tmp_path / "w.pth")
    monkeypatch.chdir(tmp_path)
    cfg = configure_videos(folder, workers=0, pretrain="w.pth", num_segments=4)
    assert (cfg.backbone, cfg.pretrain) == ("mobilenetv2", str(tmp_path / "w.pth"))
    assert cfg.num_segments == 4 and "NO PRETRAINED" not in caplog.text
    build_model(cfg, pretrained=True)


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"epcohs": 3}, ConfigError, "there is no configuration field 'epcohs'; closest: epochs"),
        ({"pretrain": "nowhere.pth"}, CheckpointError, "nowhere.pth"),
        ({"epochs": 0}, ConfigError, "epochs=0 must be at least 1"),
    ],
)
def test_mistakes_are_told_before_any_video_is_read(results, tmp_path, changes, error, sentence):
    with pytest.raises(error, match=sentence):
        configure_videos(tmp_path / "nowhere", **changes)
    with pytest.raises(DataError, match="there is no folder"):
        configure_videos(tmp_path / "nowhere")
    assert not results.exists()


def test_a_folder_in_place_of_a_row(folder, results, monkeypatch):
    """The command checks it before any notebook starts; the notebook configures it."""
    declared = {name: read_declared(find_notebook(name)) for name in ("train", "predict")}
    check_values({"cfg": str(folder)}, declared["train"])
    check_values({"videos": str(folder)}, declared["predict"])
    with pytest.raises(ConfigError, match="videos='nowhere' is no file or folder"):
        check_values({"videos": "nowhere"}, declared["predict"])
    fields = {"workers": 0, "pretrain": "none", "num_segments": 4, "changes": {"dropout": 0.2}}
    by_cfg = configuration({"cfg": str(folder), **fields})
    assert by_cfg == configuration({"cfg": "sthv1", "videos": str(folder), **fields})
    assert (by_cfg.name, by_cfg.num_segments, by_cfg.dropout) == (folder.name, 4, 0.2)
    monkeypatch.chdir(folder.parent)
    folder.rename("sthv1")  # a row's name is the row
    assert configuration({"cfg": "sthv1"}).dataset == "sthv1"


# --- the newest weights ---------------------------------------------------------------------------


def record_run(results, row: str, data: str, kind: str = "training"):
    folder = results / "local" / row / f"{data}-{kind}"
    record = {"cfg": row, "data": data, "scale": "mini", "protocol": "validation", "kind": kind,
              "date": "today", "seed": 0, "top1": 50.0}  # fmt: skip
    write_record(folder, dataclasses.replace(get_config("sthv1"), name=row), record, [])
    (folder / "last.pth").touch()
    return folder / "last.pth"


def test_weights_of_real_videos_come_first(results, caplog):
    with pytest.raises(CheckpointError, match="no trained weights in .*make train videos=FOLDER"):
        newest_weights()
    standin = record_run(results, "sthv1", "standin")
    assert newest_weights()[0] == find_weights() == standin
    assert "THESE WEIGHTS ARE OF GENERATED CLIPS (the stand-in of sthv1)" in caplog.text
    mine = record_run(results, "mine", "real")
    record_run(results, "k400", "standin")
    record_run(results, "mine", "real", "evaluation")
    assert newest_weights()[0] == mine and newest_weights("sthv1")[0] == standin
    with pytest.raises(CheckpointError, match="no trained weights of jester"):
        newest_weights("jester")


# --- load_clip ------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol", ["published", "efficient", "accurate", "validation"])
def test_a_clip_is_what_evaluate_sees(folder, protocol):
    fields = TINY | {"test_crop_size": 36, "num_classes": 2, "class_names": ["a", "b"]}
    cfg = get_config("sthv1", **fields)
    path = folder / "to the left" / "clip 1.mp4"
    (folder / "list.txt").write_text(f"{path} 0\n")
    cfg = get_config(cfg, layout="video", val_list="list.txt", val_prefix="")
    dataset = ClipDataset(find_list(cfg, "val", folder), cfg, protocol)
    expected = normalize(dataset[0, 0][2].movedim(-1, -3))
    clip = tsmlib.load_clip(path, cfg, protocol)
    views = {"accurate": 6, "published": 6}.get(protocol, 1)
    assert clip.dtype == torch.float32 and clip.shape[:3] == (views, 4, 3)
    assert torch.equal(clip, expected) and clip.min() > -2.2 and clip.max() < 2.7
    assert build_model(cfg).eval()(clip).shape == (views, 2)


def test_names_and_frame_folders_do_as_well(folder, tmp_path):
    frames = tmp_path / "frames.mp4"  # a folder, whatever its name
    frames.mkdir()
    write_frames(frames, encode_frames(sliding(9)), "img_{:05}.jpg", 1)
    assert tsmlib.load_clip(frames, "k400").shape == (1, 8, 3, 224, 224)
    with pytest.raises(DataError, match="holds 4 videos; name one of them"):
        tsmlib.load_clip(folder / "to the right", "k400")
    with pytest.raises(DataError, match="there is no such file or folder"):
        tsmlib.load_clip(folder / "nowhere.mp4", "k400")
    with pytest.raises(DataError, match="no video: there is no such"):  # it is read as a list
        tsmlib.load_clip(folder / "to the left" / "notes.txt", "k400")
    with pytest.raises(ConfigError, match="protocol 'best' is unknown"):
        tsmlib.load_clip(frames, "k400", "best")
