"""The one command: every mistake is one sentence, said before torch is loaded."""

import dataclasses
import pickle
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tsmlib.__main__ import main
from tsmlib.configs import ConfigError, list_configs, list_own_configs
from tsmlib.engine.options import RunOptions

QUICKLY = """
import sys
from tsmlib.__main__ import main
status = main(sys.argv[1:])
assert "torch" not in sys.modules and "pandas" not in sys.modules
sys.exit(status)
"""


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train sthv2x", "there is no configuration 'sthv2x'; closest: sthv2"),
        ("trian sthv1", 'Unknown command "trian". Did you mean "train"?'),
        ("train", 'Command "train" parameter ROW requires an argument.'),
        ("train sthv1 --seed x", 'Invalid value for --seed: unable to convert "x" into int.'),
        ("train sthv1 --sede 1", "Unknown option: --sede. Did you mean --seed?"),
        ("train sthv1 --scale tiny", "scale='tiny' is not possible; choose one of auto, full"),
        ("train sthv1 --set epcohs=3", "there is no configuration field 'epcohs'; closest: epochs"),
        ("train sthv1 --set epochs", "--set 'epochs' is not of the form FIELD=VALUE"),
        ("train sthv1 --set epochs=[1", "--set 'epochs=[1': the value is not valid YAML: "),
        ("train sthv1 --set epochs=many", "epochs"),
        ("evaluate sthv2x", "there is no configuration 'sthv2x'"),
        ("profile sthv2x", "there is no configuration 'sthv2x'"),
        ("reproduce sthv2x", "there is no configuration 'sthv2x'"),
        ("data check sthv2x", "there is no configuration 'sthv2x'"),
        ("study rows --only sthv2x", "there is no configuration 'sthv2x'"),
        ("train sthv1 --devices 0", "devices=0 must be at least 1"),
        ("study rows --only sthv1 --shard 3/3", "shard=3/3 is out of range: 3 shards are 0 to 2"),
        ("study rows --only sthv1 --slurm gpus=1", "slurm=... is for executor=slurm"),
        ("online", 'Command "online" parameter --source requires an argument.'),
        ("online --source 0 --smooth 0", "--smooth 0 must be at least 1"),
        ("online --source nowhere.mp4", "there is no nowhere.mp4; a source is a file, the number"),
        ("export last.pth out.pth --layout tf", 'Invalid value "tf" for --layout'),
    ],
)
def test_a_mistake_is_a_sentence(capsys, words, sentence):
    assert main(words.split()) == 1
    error = capsys.readouterr().err
    assert error.startswith(sentence) or sentence in error
    assert error.count("\n") == 1 and "Traceback" not in error


@pytest.mark.parametrize(
    "words", ["--help", "train --help", "online --help", "list", "train sthv2x"]
)
def test_it_answers_without_torch(words):
    command = [sys.executable, "-c", QUICKLY, *words.split()]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == (1 if "sthv2x" in words else 0), done.stderr
    assert "Traceback" not in done.stderr


def test_the_rows_are_listed(capsys):
    assert main(["list"]) == 0
    assert capsys.readouterr().out.split() == list_configs()
    assert main(["list", "--own"]) == 0
    assert capsys.readouterr().out.split() == list_own_configs()


def test_every_option_of_a_run_can_be_given(monkeypatch, capsys):
    """All options of a training and any configuration field reach `train` as they were typed."""
    calls = []

    def fake_train(cfg, options):
        calls.append((cfg, options))
        return {"cfg": cfg.name, "top1": 1.0, "mean_class_accuracy": 1.0, "num_videos": 2,
                "run_dir": "folder"}  # fmt: skip

    monkeypatch.setattr("tsmlib.engine.train.train", fake_train)
    monkeypatch.setattr("tsmlib.study.parents.train_parent", lambda cfg, options: None)
    monkeypatch.setattr("tsmlib.engine.options.find_spec", lambda name: name)  # an extra
    given = RunOptions(
        data="standin", scale="mini", seed=3, device="cpu", precision="bf16-mixed", workers=0,
        data_root="a b", cache="c", work_dir="d", max_bad=0.5, fresh=True, save_seconds=1.0,
        validate=False, deterministic=True, compiled=True, recompute=True,
        log="tensorboard", devices=2, resume="e.pth",
    )  # fmt: skip
    words = []
    for field in dataclasses.fields(RunOptions):
        if field.name == "runtime":  # of an evaluation
            continue
        value, name = getattr(given, field.name), field.name.replace("_", "-")
        assert value != field.default, f"{field.name} is not tested"
        flag = {True: [f"--{name}"], False: [f"--no-{name}"]}
        words += flag[value] if isinstance(value, bool) else [f"--{name}", str(value)]
    assert main(["train", "sthv1", "--set", "epochs=2", "dropout=0.25", *words]) == 0
    ((cfg, options),) = calls
    assert options == given and (cfg.epochs, cfg.dropout) == (2, 0.25)
    assert capsys.readouterr().out == (
        '{"cfg": "sthv1", "top1": 1.0, "mean_class_accuracy": 1.0, "num_videos": 2, '
        '"run_dir": "folder"}\n'
    )


def test_options_of_a_test(monkeypatch, capsys):
    """Help leaves out those of a training; what is read can be sent to other processes."""
    calls, said = [], ("cfg", "protocol", "top1", "num_videos", "run_dir")

    def fake_evaluate(cfg, checkpoint, protocol, options, out):
        calls.append(pickle.loads(pickle.dumps(options)))
        return dict.fromkeys(said)

    monkeypatch.setattr("tsmlib.engine.evaluate.evaluate", fake_evaluate)
    assert main(["evaluate", "sthv1", "--devices", "2", "--runtime", "eager"]) == 0
    assert calls == [RunOptions(devices=2, runtime="eager")]
    main(["evaluate", "--help"])
    text = capsys.readouterr().out
    assert "--work-dir" in text and "--max-bad" in text
    assert not [name for name in ("--fresh", "--compiled", "--deterministic") if name in text]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("train sthv1 --set", "--set needs at least one FIELD=VALUE"),
        ("train sthv1 --set epochs=3 epochs=4", "--set gives epochs twice"),
        ("train sthv1 --set published=mine", "the names of a recipe cannot be set"),
        ("train sthv1 --set lr=[1", "not valid YAML: expected ',' or ']', but got .* in line 1"),
        ("train sthv1 --set num_classes=5", "needs real data: the stand-in of sthv1 has 10 class"),
        ("train sthv1 --device tpu9", "device='tpu9' is not there"),
        ("train sthv1 --set pretrain=no.pth", "the file of weights no.pth does not exist"),
        ("train own.yaml --data standin", "there is no stand-in of videos of your own"),
        ("evaluate sthv1 --device tpu9", "device='tpu9' is not there"),
        ("evaluate sthv1 --out .", "out=. is a folder; name a JSON file"),
        ("predict nofile.mp4", "there is no video nofile.mp4"),
        ("verify .", ". holds no record"),
        ("list foo", "^not expected: foo; see --help"),
        ("study run digits --only later", "no arm 'later'; choose one of: 'none', 'residual 1/8'"),
    ],
)
def test_what_cannot_be_is_said_before_any_data_are_made(
    words, sentence, monkeypatch, tmp_path, capsys
):
    monkeypatch.chdir(tmp_path)
    for name in ("TSM_CACHE", "TSM_RESULTS"):
        monkeypatch.setenv(name, str(tmp_path / name))
    lists = "train_list: t.txt\nval_list: v.txt\nnum_classes: 3\n"
    Path("own.yaml").write_text(f"base: sthv1\n{lists}")
    for name in ("t.txt", "v.txt"):
        Path(name).touch()
    assert main(words.split()) == 1
    assert re.search(sentence, capsys.readouterr().err)
    assert not list(tmp_path.glob("TSM_*"))


def test_defects_keep_their_traceback(monkeypatch):
    monkeypatch.setattr("tsmlib.commands.rows.list_configs", lambda: [1 / 0])
    with pytest.raises(ZeroDivisionError):
        main(["list"])
    monkeypatch.setattr("tsmlib.commands.rows.list_configs", lambda: int("x"))
    with pytest.raises(ValueError, match="invalid literal"):
        main(["list"])
    assert issubclass(ConfigError, ValueError)
