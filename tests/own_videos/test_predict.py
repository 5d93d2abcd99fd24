"""Classes of videos on disk: what is found, what cannot be read, and the probabilities."""

import logging
import re
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
import yaml

from tsmlib import CheckpointError, ConfigError, DataError, build_model, get_config, preprocess
from tsmlib.__main__ import main
from tsmlib.configs import class_names, output_names, standin_config
from tsmlib.data.video import VideoFile, encode_frames, write_frames, write_video
from tsmlib.engine.checkpointing import Saver, State
from tsmlib.engine.devices import make_fabric
from tsmlib.engine.run_folder import RunFolder
from tsmlib.engine.setup import Setup
from tsmlib.models.recognizer import normalize
from tsmlib.models.state_dict_layouts import to_layout
from tsmlib.own_videos.predict import predict, scan_paths

SMALL = {
    "backbone": "resnet18", "width": 0.125, "depth": (1, 1, 1, 1), "num_segments": 4,
    "short_side": 36, "test_crop_size": 36, "val_crop_size": 32, "crop_size": 32,
    "pretrain": "none",
}  # fmt: skip
NAMES = ("wave, left", "wave, right", "clap", "jump", "sit")
OWN = get_config("sthv1", num_classes=5, class_names=NAMES, **SMALL)
JESTER = {"base": "jester", **SMALL, "depth": [1, 1, 1, 1]}  # as a YAML file
SIZES = {"a": (10, 56, 64), "b": (14, 64, 56), "c": (3, 40, 72)}  # frames, height, width


def lively(cfg):
    """A model whose answers differ between classes and videos."""
    torch.manual_seed(0)
    model = build_model(cfg)
    torch.nn.init.normal_(model.head.weight)
    return model.eval()


def save_ours(folder: Path, cfg, model, data: str = "real") -> Path:
    """`last.pth` as a training run writes it."""
    setup = Setup(cfg, data, "mini", folder, "as asked for")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    run = RunFolder(folder, "a-run", setup, 0)
    saver = Saver(make_fabric("cpu"), run, model, optimizer, save_seconds=600)
    saver.save(State())
    return folder / "last.pth"


def frames_of(name: str) -> torch.Tensor:
    """uint8 `[T, H, W, 3]`: a pattern that moves, another one for each name."""
    t, height, width = SIZES[name]
    generator = torch.Generator().manual_seed(ord(name))
    picture = torch.randint(0, 256, (height // 8, width // 8, 3), generator=generator)
    picture = picture.repeat_interleave(8, 0).repeat_interleave(8, 1).byte()
    return torch.stack([picture.roll(3 * i, 1) for i in range(t)])


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    """A checkpoint of ours, and its model."""
    model = lively(OWN)
    return save_ours(tmp_path_factory.mktemp("ours"), OWN, model), model


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Videos at two depths, a folder of frames, and files that are none."""
    root = tmp_path_factory.mktemp("media")
    (root / "more" / "frames").mkdir(parents=True)
    (root / "empty").mkdir()
    write_video(root / "a.mp4", frames_of("a"))
    write_video(root / "more" / "b.MP4", frames_of("b"))
    write_frames(root / "more" / "frames", encode_frames(frames_of("c"), 95), "{:05}.jpg", 1)
    (root / "notes.txt").write_text("not a video\n")
    return root


@pytest.fixture(scope="module")
def mit(tmp_path_factory):
    """Weights of 27 Jester classes in MIT's layout, their YAML file, and the model."""
    folder = tmp_path_factory.mktemp("mit")
    (folder / "gestures.yaml").write_text(yaml.safe_dump(JESTER))
    model = lively(get_config(folder / "gestures.yaml"))
    torch.save({"arch": "resnet18", "state_dict": to_layout(model, "mit")}, folder / "mit.pth")
    return folder / "mit.pth", folder / "gestures.yaml", model


def direct(model, frames: torch.Tensor, clips: list[list[int]], protocol: str) -> torch.Tensor:
    """Probabilities `[K]`, one view after the other."""
    views = []
    for clip in clips:
        for crop in preprocess(frames[clip], OWN, "test", protocol):
            with torch.no_grad():
                views.append(model(normalize(crop)[None])[0].softmax(0))
    return sum(views) / len(views)


def expected_clips(t: int, twice: bool) -> list[list[int]]:
    """The middle frames of 4 segments, and the first ones."""
    middles = [int(k * t / 4 + t / 8) for k in range(4)]
    return [middles, [int(k * t / 4) for k in range(4)]] if twice else [middles]


def probabilities(table, path) -> list[float]:
    """By label."""
    return table[table["path"] == str(path)].sort_values("label")["probability"].tolist()


# --- probabilities --------------------------------------------------------------------------------


@pytest.mark.parametrize(("protocol", "twice"), [("published", True), ("efficient", False)])
def test_probabilities_are_those_of_the_views(ours, media, protocol, twice):
    weights, model = ours
    table = predict(media, weights, protocol=protocol, workers=0)
    decoded = {
        media / "a.mp4": VideoFile(media / "a.mp4").frames(list(range(10))),
        media / "more" / "b.MP4": VideoFile(media / "more" / "b.MP4").frames(list(range(14))),
        media / "more" / "frames": None,
    }
    assert list(table["path"].unique()) == [str(path) for path in decoded]
    for path, frames in decoded.items():
        if frames is not None:
            wanted = direct(model, frames, expected_clips(len(frames), twice), protocol)
            assert probabilities(table, path) == pytest.approx(wanted.tolist(), abs=1e-5)
        ranked = table[table["path"] == str(path)]
        assert ranked["rank"].tolist() == [1, 2, 3, 4, 5]
        assert ranked["probability"].is_monotonic_decreasing
        assert ranked["probability"].sum() == pytest.approx(1, abs=1e-5)
        assert ranked["name"].tolist() == [NAMES[k] for k in ranked["label"]]
    tops = table[table["rank"] == 1]["probability"]
    assert tops.nunique() == 3 and tops.between(0.21, 0.99).all()  # the weights say something


def test_frames_and_the_video_of_them_are_alike(ours, tmp_path):
    (tmp_path / "frames").mkdir()
    write_frames(tmp_path / "frames", encode_frames(frames_of("a"), 100), "{:05}.jpg", 1)
    write_video(tmp_path / "a.mp4", frames_of("a"), qp=4)
    table = predict([tmp_path / "frames", tmp_path / "a.mp4"], ours[0], workers=0)
    paths = [tmp_path / "frames", tmp_path / "a.mp4"]
    assert list(table["path"].unique()) == [str(path) for path in paths]
    found = [probabilities(table, path) for path in paths]
    assert found[0] == pytest.approx(found[1], abs=0.1)


def test_means_of_logits_become_probabilities(media, tmp_path):
    cfg = replace(OWN, average_clips="score")
    model = lively(cfg)
    table = predict(media / "a.mp4", save_ours(tmp_path, cfg, model), workers=0)
    frames, logits = VideoFile(media / "a.mp4").frames(list(range(10))), []
    for clip in expected_clips(10, True):
        with torch.no_grad():
            logits.append(model(normalize(preprocess(frames[clip], cfg, "test"))))
    wanted = torch.cat(logits).mean(0).softmax(0).tolist()
    assert probabilities(table, media / "a.mp4") == pytest.approx(wanted, abs=1e-5)


def test_many_videos_in_batches_by_workers(ours, media, tmp_path):
    copies = [tmp_path / f"{i}.mp4" for i in range(4)]
    for i, copy in enumerate(copies):
        copy.write_bytes((media / ("more/b.MP4" if i % 2 else "a.mp4")).read_bytes())
    alone = predict(media, ours[0], workers=0)
    table = predict(tmp_path, ours[0], top=2, workers=1)
    assert table["path"].tolist() == [str(copy) for copy in copies for _ in range(2)]
    for i, copy in enumerate(copies):
        same = alone[alone["path"] == str(media / ("more/b.MP4" if i % 2 else "a.mp4"))][:2]
        found = table[table["path"] == str(copy)]
        assert found["label"].tolist() == same["label"].tolist()
        assert found["probability"].tolist() == pytest.approx(
            same["probability"].tolist(), abs=1e-5
        )


# --- weights, configurations, names ---------------------------------------------------------------


def test_weights_in_another_layout(mit, media):
    weights, yaml_file, model = mit
    table = predict(media / "a.mp4", weights, yaml_file, "efficient", top=99, workers=0)
    frames = VideoFile(media / "a.mp4").frames(list(range(10)))
    crops = preprocess(frames[expected_clips(10, False)[0]], get_config(yaml_file), "val")
    with torch.no_grad():
        wanted = model(normalize(crops))[0].softmax(0).tolist()
    names = class_names(get_config("jester"))
    assert table["name"].tolist() == [names[k] for k in table["label"]] and len(table) == 27
    by_mit = sorted(names)  # as MIT numbers them
    wanted = [wanted[by_mit.index(name)] for name in names]
    assert probabilities(table, media / "a.mp4") == pytest.approx(wanted, abs=1e-5)
    assert table["label"].iloc[0] == max(range(27), key=wanted.__getitem__)


def test_names_are_in_the_order_of_the_outputs():
    jester = get_config("jester")
    assert output_names(jester, "mmaction2")[:2] == ("Swiping Left", "Swiping Right")
    by_mit = output_names(jester, "mit")  # the list in MIT's online_demo/main.py
    assert (by_mit[0], by_mit[2], by_mit[16]) == (
        "Doing other things",
        "No gesture",
        "Swiping Left",
    )
    assert by_mit[26] == "Zooming Out With Two Fingers" and len(by_mit) == 27
    sthv1 = get_config("sthv1")
    assert output_names(sthv1, None) == output_names(sthv1, "mmaction2") == class_names(sthv1)
    assert list(output_names(sthv1, "mit")) == sorted(class_names(sthv1))
    for row in ("sthv2", "k400", "ucf101", "hmdb51", "diving48"):
        assert output_names(get_config(row), "mit") == class_names(get_config(row))


def test_classes_without_names_in_another_numbering(mit, media):
    weights, yaml_file, _ = mit
    names = [f"class {k}" for k in range(27)]
    cfg = get_config(yaml_file, class_names=names)
    with pytest.raises(CheckpointError, match="number the classes of jester by name.*class_names"):
        predict(media / "a.mp4", weights, cfg, "efficient", workers=0)


def test_names_of_the_users_own(ours, mit, media, tmp_path):
    names = ["eins", "zwei", "drei", "vier", "fünf"]
    (tmp_path / "names.txt").write_text("\n".join(names) + "\n\n", encoding="utf-8")
    for given in (names, tmp_path / "names.txt", str(tmp_path / "names.txt")):
        table = predict(media / "a.mp4", ours[0], names=given, workers=0)
        assert table["name"].tolist() == [names[k] for k in table["label"]]
    own = [f"gesture {27 - k:02}" for k in range(27)]  # in the order of the outputs: not sorted
    table = predict(media / "a.mp4", *mit[:2], "efficient", names=own, workers=0)
    assert table["name"].tolist() == [own[k] for k in table["label"]]


def test_weights_of_ours_with_a_given_configuration(media, tmp_path):
    """The model is that of the weights; what the user sets counts."""
    standin = replace(standin_config(get_config("sthv1")), **SMALL)
    weights = save_ours(tmp_path, standin, lively(standin), data="standin")
    plain = predict(media / "a.mp4", weights, workers=0)
    pd.testing.assert_frame_equal(predict(media / "a.mp4", weights, "sthv1", workers=0), plain)
    assert set(plain["name"]) <= set(standin.class_names)
    sizes = {"short_side": 40, "test_crop_size": 40, "val_crop_size": 32}
    larger = predict(media / "a.mp4", weights, get_config("sthv1", **sizes), workers=0)
    assert larger["probability"].tolist() != plain["probability"].tolist()
    with pytest.raises(CheckpointError, match="trained with num_segments=4, not num_segments=8"):
        predict(media / "a.mp4", weights, get_config("sthv1", num_segments=8))
    with pytest.raises(CheckpointError, match="is a checkpoint of sthv1, not of sthv2"):
        predict(media / "a.mp4", weights, "sthv2")


def test_other_classes_are_refused(ours, media, tmp_path):
    weights = save_ours(tmp_path, OWN, lively(OWN))
    other = get_config("sthv1", num_classes=5, class_names=[*NAMES[:4], "stand"], **SMALL)
    with pytest.raises(CheckpointError, match="other classes than sthv1: not 'stand', but 'wave,"):
        predict(media / "a.mp4", weights, other)
    for names in (NAMES[::-1], [NAMES[1], "a", "b", "c", "d"]):  # all, or one, at another place
        with pytest.raises(ConfigError, match=r"at place 1, which is class \d of the weights"):
            predict(media / "a.mp4", weights, names=names)
    moved = get_config("sthv1", num_classes=5, class_names=NAMES[::-1], **SMALL)
    by_name = predict(media / "a.mp4", weights, moved, workers=0)[["name", "probability"]]
    plain = predict(media / "a.mp4", weights, workers=0)[["name", "probability"]]
    pd.testing.assert_frame_equal(by_name, plain)


# --- what is found --------------------------------------------------------------------------------


def test_each_video_once_in_the_order_of_the_paths(media):
    inside = [media / "a.mp4", media / "more/b.MP4", media / "more/frames"]
    for paths, expected in [
        ([media], inside),
        ([media / "more", media], [*inside[1:], inside[0]]),
        ([media / "more/frames", media / "a.mp4", media / "a.mp4"], [inside[2], inside[0]]),
        ([media / "empty" / ".." / "a.mp4"], [media / "empty" / ".." / "a.mp4"]),
    ]:
        found, bad = scan_paths(paths, OWN)
        assert [entry.path for entry in found] == [str(path) for path in expected] and not bad
        assert {e.num_frames for e in found if e.path.endswith("frames")} <= {3}


def test_frames_are_named_as_the_configuration_says(media):
    found, bad = scan_paths([media / "more/frames"], get_config("k400"))
    assert not found and re.search("more/frames: it holds no video, .* img_00001.jpg", bad[0])


def test_folders_are_in_the_order_of_their_names(tmp_path):
    names = [f"{letter}/{letter}.mp4" for letter in "fbdace"]
    for name in names:
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"x")
    found, _ = scan_paths([tmp_path], OWN)
    assert [entry.path for entry in found] == [str(tmp_path / name) for name in sorted(names)]


def test_links_are_followed_and_may_lead_back(media, tmp_path):
    (tmp_path / "top" / "inner").mkdir(parents=True)
    (tmp_path / "top" / "inner" / "back").symlink_to(tmp_path / "top")
    (tmp_path / "top" / "more").symlink_to(media / "more")
    found, bad = scan_paths([tmp_path / "top"], OWN)
    names = [str(tmp_path / "top/more" / name) for name in ("b.MP4", "frames")]
    assert [entry.path for entry in found] == names and not bad


def test_a_gap_ends_a_folder_of_frames(tmp_path, caplog):
    for number in (1, 2, 3, 5):
        (tmp_path / f"{number:05}.jpg").write_bytes(encode_frames(frames_of("c")[:1])[0])
    (entry,), bad = scan_paths([tmp_path], OWN)
    assert entry.num_frames == 3 and not bad
    assert f"{tmp_path}: only the 3 frames before a gap" in caplog.text


@pytest.fixture
def broken(media, tmp_path):
    """Videos that cannot be read, by the reason, and one that can."""
    whole = (media / "a.mp4").read_bytes()
    damage = {
        "empty.mp4": b"", "text.avi": b"hello, I am no video\n" * 20, "cut.mp4": whole[:-200],
        "half.mkv": whole[: len(whole) // 2],
    }  # fmt: skip
    for name, content in damage.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "whole.mp4").write_bytes(whole)
    for name in ("late", "torn"):
        (tmp_path / name).mkdir()
    (tmp_path / "late" / "00007.jpg").write_bytes(encode_frames(frames_of("c")[:1])[0])
    for number in (1, 2, 3):
        (tmp_path / "torn" / f"{number:05}.jpg").write_bytes(b"no picture")
    reasons = {
        "empty.mp4": "the file is empty", "text.avi": "", "cut.mp4": "", "half.mkv": "",
        "late": "the first of its frames, 00001.jpg, is missing", "torn/00001.jpg": "",
        "nowhere.mp4": "there is no such file or folder",
    }  # fmt: skip
    return tmp_path, reasons


def test_what_cannot_be_read_stops_nothing(ours, media, broken, caplog):
    folder, reasons = broken
    table = predict([folder / "nowhere.mp4", folder], ours[0], workers=0)
    assert set(table["path"]) == {str(folder / "whole.mp4")}
    alone = predict(media / "a.mp4", ours[0], workers=0)
    assert table["probability"].tolist() == pytest.approx(alone["probability"].tolist(), abs=1e-5)
    lines = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    for name, reason in reasons.items():
        (line,) = [text for text in lines if f"{folder / name}: " in text]
        assert line.startswith("not read: ") and reason in line
        assert len(line) > len(f"not read: {folder / name}: ") and "\n" not in line
    assert len(lines) == len(reasons)


def test_names_that_no_decoder_takes(tmp_path):
    (tmp_path / "caf\udce9.mp4").write_bytes(b"x")
    (tmp_path / "café.mp4").write_bytes(b"x")
    found, (reason,) = scan_paths([tmp_path], OWN)
    assert [Path(entry.path).name for entry in found] == ["café.mp4"]
    assert reason.encode() and "the name is not UTF-8" in reason


# --- choices --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "error", "sentence"),
    [
        ({"top": 0}, ConfigError, "top=0 must be at least 1"),
        ({"device": "abacus"}, ConfigError, "device='abacus' is not possible"),
        ({"protocol": "best", "paths": "nowhere"}, ConfigError, "protocol 'best' is unknown"),
        ({"names": ["a", "b"]}, ConfigError, "lists 2 names, num_classes is 5"),
        ({"names": "nowhere.txt"}, ConfigError, "nowhere.txt cannot be read: No such file"),
        (
            {"weights": "nowhere.pth"},
            CheckpointError,
            "file of weights nowhere.pth does not",
        ),
        ({"cfg": "sthv3"}, ConfigError, "no configuration 'sthv3'; closest: sthv"),
        ({"paths": []}, DataError, "no video could be read.*no path is given"),
        ({"paths": "nowhere"}, DataError, "no video.*: nowhere: there is no such file or folder"),
    ],
)
def test_choices(ours, media, options, error, sentence):
    given = {"paths": media / "a.mp4", "weights": ours[0], "workers": 0, **options}
    with pytest.raises(error, match=sentence):
        predict(**given)


def test_an_absent_device(ours, media):
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    with pytest.raises(ConfigError, match="device='cuda' is not there; choose device=auto"):
        predict(media, ours[0], device="cuda")


def test_weights_that_do_not_say_of_what_they_are(mit, ours, media):
    with pytest.raises(ConfigError, match=r"mit.pth does not say which row.*--cfg ROW"):
        predict(media, mit[0])
    with pytest.raises(CheckpointError, match="mit.pth does not fit the model"):
        predict(media, mit[0], replace(OWN, num_classes=4, class_names=None))


# --- command line ---------------------------------------------------------------------------------


def test_the_table_and_the_csv(ours, media, tmp_path, capsys):
    out = tmp_path / "new" / "found.csv"
    assert (
        main(["predict", str(media), "--weights", str(ours[0]), "--top", "2", "--out", str(out)])
        == 0
    )
    written = pd.read_csv(out)
    assert list(written.columns) == ["path", "start", "end", "rank", "label", "name", "probability"]
    table = predict(media, ours[0], top=2)
    pd.testing.assert_frame_equal(written, table, atol=2e-6)
    lines = capsys.readouterr().out.splitlines()
    assert lines[::3][:3] == [str(p) for p in table["path"].unique()]
    first = table.iloc[0]
    assert lines[1].split(maxsplit=3) == ["1", f"{100 * first.probability:.2f}", "%", first["name"]]
    assert lines[-1] == f"3 videos classified, written to {out}" and len(lines) == 10


def test_the_csv_overwrites_nothing(ours, media, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSM_RESULTS", "results")
    (tmp_path / "names.txt").write_text("\n".join("vwxyz") + "\n")
    assert (
        main(["predict", str(media / "a.mp4"), "--weights", str(ours[0]), "--names", "names.txt"])
        == 0
    )
    assert set(pd.read_csv("results/local/predictions/a-1.csv")["name"]) == set("vwxyz")
    assert main(["predict", str(media / "a.mp4"), "--weights", str(ours[0])]) == 0
    assert set(pd.read_csv("results/local/predictions/a-2.csv")["name"]) == set(NAMES)
    assert set(pd.read_csv("results/local/predictions/a-1.csv")["name"]) == set("vwxyz")


def test_a_row_is_named_where_the_weights_do_not(mit, media, tmp_path, capsys):
    weights, yaml_file, _ = map(str, mit)
    given = [
        "predict",
        str(media / "a.mp4"),
        "--weights",
        weights,
        "--out",
        str(tmp_path / "out.csv"),
    ]
    assert main(given) == 1
    assert "name it (cfg=ROW, or --cfg ROW)" in capsys.readouterr().err
    assert main([*given, "--cfg", yaml_file, "--protocol", "efficient"]) == 0
    assert len(pd.read_csv(tmp_path / "out.csv")) == 5


def test_nothing_to_classify(ours, media, tmp_path, capsys):
    (tmp_path / "text.mp4").write_text("no video")
    out = tmp_path / "out.csv"
    for path, sentence in ((media / "empty", "it holds no video"), (tmp_path, "text.mp4: ")):
        assert main(["predict", str(path), "--weights", str(ours[0]), "--out", str(out)]) == 1
        error = capsys.readouterr().err.splitlines()[-1]
        assert error.startswith("no video could be read") and sentence in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ([], "there are no trained weights in results/local: train on your own videos first"),
        (["--weights", "WEIGHTS", "--top", "many"], '--top: unable to convert "many" into int'),
        (["--weights", "WEIGHTS", "--tops", "2"], "Unknown option: --tops. Did you mean --top?"),
        (["--weights", "WEIGHTS", "--top", "-1"], "top=-1 must be at least 1"),
        (["--weights", "WEIGHTS", "--names", "WEIGHTS"], "cannot be read: it is not UTF-8 text"),
        (
            ["--weights", "WEIGHTS", "--out", "."],
            "predictions are written to a .csv or .json file, not to .",
        ),
    ],
)
def test_bad_arguments_are_a_sentence(
    ours, media, tmp_path, monkeypatch, capsys, arguments, sentence
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path / "results"))
    words = [str(ours[0]) if word == "WEIGHTS" else word for word in arguments]
    assert main(["predict", str(media / "a.mp4"), *words]) == 1
    error = capsys.readouterr().err
    assert sentence in error and len(error.splitlines()) == 1
