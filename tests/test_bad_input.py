"""Bad input ends in one clear sentence, before work where possible, and damages nothing."""

import logging
import resource
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from papermill.iorw import load_notebook_node
from papermill.parameterize import parameterize_notebook

from tsmlib.__main__ import main
from tsmlib.configs import ConfigError, get_config, standin_config
from tsmlib.data.annotations import DataError
from tsmlib.data.standin.generate import prepare_standin
from tsmlib.engine.evaluate import evaluate
from tsmlib.engine.setup import resolve
from tsmlib.engine.train import train
from tsmlib.models.checkpoint_files import CheckpointError
from tsmlib.results import ResultsError

NOTEBOOKS = Path(__file__).parents[1] / "notebooks"


def run_cells(name, parameters, monkeypatch):
    """Run the code cells of a notebook here, with parameters injected as papermill does it."""
    logger = logging.getLogger("tsmlib")
    for attribute, value in (("handlers", []), ("propagate", True), ("level", logger.level)):
        monkeypatch.setattr(logger, attribute, value)  # a notebook shows messages its own way
    injected = parameterize_notebook(load_notebook_node(str(NOTEBOOKS / name)), parameters)
    namespace = {"In": []}
    for cell in injected.cells:
        if cell.cell_type == "code":
            namespace["In"].append(cell.source)
            exec(cell.source, namespace)


@pytest.mark.parametrize(
    ("notebook", "parameters", "sentence"),
    [
        ("train.ipynb", {"cfg": "sthv2x"}, "no configuration 'sthv2x'; closest: sthv2"),
        ("train.ipynb", {"epcohs": 3}, "no parameter 'epcohs'; closest: epochs"),
        ("train.ipynb", {"changes": {"segments": 4}}, "no configuration field 'segments'"),
        ("train.ipynb", {"fresh": "yes"}, "parameter fresh='yes' must be of type bool"),
        ("train.ipynb", {"videos": "nowhere"}, "there is no folder nowhere; name one with"),
        ("train.ipynb", {"folds": 3}, "folds=3 is for a folder of videos or a csv, not for sthv1"),
        ("train.ipynb", {"group": "("}, "group='\\(' is not a regular expression"),
        ("predict.ipynb", {"weight": "last.pth"}, "no parameter 'weight'; closest: weights"),
        ("predict.ipynb", {"videos": "a.mp4"}, "no trained weights in .*make train videos=FOLDER"),
        ("evaluate.ipynb", {"metrics": "top_1"}, "no metric 'top_1'"),
        ("evaluate.ipynb", {"cfg": "k400", "protocol": "efficient"}, "not for k400"),
    ],
)
def test_notebooks_stop_with_a_sentence(monkeypatch, tmp_path, notebook, parameters, sentence):
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    with pytest.raises((ValueError, DataError, CheckpointError), match=sentence):
        run_cells(notebook, parameters, monkeypatch)
    assert not list(tmp_path.iterdir())  # before any work


def test_papermill_ends_with_the_sentence(tmp_path):
    """As `make train` calls it: parameters are words, and the status is not 0."""
    command = [sys.executable, "-m", "papermill", NOTEBOOKS / "train.ipynb", tmp_path / "out.ipynb",
               *("-k", "python3", "--no-progress-bar"), *("-p", "epcohs", "3"),
               *("-y", "changes: {segments: 4}")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode != 0
    assert "no parameter 'epcohs'; closest: epochs" in done.stderr


@pytest.fixture
def own(tmp_path):
    """A function that writes a YAML file of one's own data, and the text of its two lists."""
    row = standin_config(get_config("sthv1"))
    root = prepare_standin(row, workers=2)

    def write(train_lines=None, val_lines=None, **fields):
        for split, lines in (("train", train_lines), ("val", val_lines)):
            whole = (root / getattr(row, f"{split}_list")).read_text().splitlines()
            (tmp_path / f"{split}.txt").write_text("\n".join(lines or whole[:6]) + "\n")
        fields = {
            "base": "sthv1", "data_root": str(root / "sthv1" / "rawframes"), "num_classes": 10,
            "train_list": str(tmp_path / "train.txt"), "val_list": str(tmp_path / "val.txt"),
            "epochs": 1, **fields,
        }  # fmt: skip
        (tmp_path / "own.yaml").write_text(yaml.safe_dump(fields))
        return get_config(tmp_path / "own.yaml")

    return write


def run(cfg, folder, **options):
    return train(cfg, **{"scale": "mini", "workers": 0, "work_dir": folder, **options})


def test_a_data_root_that_does_not_exist(tmp_path):
    with pytest.raises(DataError, match="data root .*nowhere does not exist"):
        run(get_config("sthv1"), tmp_path, data="real", data_root=tmp_path / "nowhere")
    with pytest.raises(DataError, match="no list file .*sthv1_train_list_rawframes.txt"):
        run(get_config("sthv1"), tmp_path, data="real", data_root=tmp_path)


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("100001 30", "train.txt, line 2: expected `directory num_frames label`"),
        ("100001 30 x", "train.txt, line 2: the label 'x' is not a whole number"),
        ("100001 30 10", "train.txt, line 2: label 10 is out of range for 10 classes"),
        ("100001 0 1", "train.txt, line 2: the video has 0 frames"),
        (f"{90 * '字'} 20 1", "train.txt, line 2: names of files have at most 255 bytes"),
        (f"{2000 * 'a/'} 20 1", "train.txt, line 2: names of files .*, paths 3000"),
    ],
)
def test_a_broken_line_is_named(own, tmp_path, line, sentence):
    with pytest.raises(DataError, match=sentence):
        run(own(train_lines=["100001 20 0", line]), tmp_path / "run")


def test_a_missing_frame_is_named(own, tmp_path):
    with pytest.raises(DataError, match=r"/100001/00\d+.jpg: the frame is missing.* 400 frames"):
        run(own(train_lines=["100001 400 0", "100002 20 1"]), tmp_path / "run")


@pytest.mark.parametrize(
    ("content", "sentence"),
    [(b"", "clip.mp4: the file is empty"), (b"hello, I am no video\n" * 20, "clip.mp4: ")],
)
def test_a_file_that_is_no_video(own, tmp_path, content, sentence):
    (tmp_path / "clip.mp4").write_bytes(content)
    cfg = own(train_lines=["clip.mp4 20 0"], val_lines=["clip.mp4 20 0"], data_root=str(tmp_path))
    with pytest.raises(DataError, match=f"1 of 1 videos cannot be read.*{sentence}"):
        run(cfg, tmp_path / "run")


def test_a_converted_row_is_not_trained(tmp_path):
    with pytest.raises(ConfigError, match="conversion of published weights and was never trained"):
        run(get_config("k400_mobilenetv2_port"), tmp_path)
    assert not list(tmp_path.iterdir())


def test_keywords_that_nothing_has():
    with pytest.raises(ConfigError, match="no option or field 'epoch'; closest: epochs"):
        train("sthv1", epoch=1)
    with pytest.raises(ConfigError, match="set epochs before `resolve`"):
        resolve(resolve("sthv1"), epochs=1)


def test_choices(tmp_path):
    for option in ({"data": "fake"}, {"scale": "tiny"}, {"precision": "8"}, {"runtime": "foo"}):
        with pytest.raises(ConfigError, match=next(iter(option))):
            run(get_config("sthv1"), tmp_path, **option)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ("evaluate sthv1 --resume x.pth", "resume=x.pth would change nothing: weights are tested"),
        ("evaluate sthv1 --compiled", "compiled=True would change nothing: weights are tested"),
        ("evaluate sthv1 --deterministic", "deterministic=True would change nothing: weights are "),
        ("train sthv1 --runtime eager", "runtime=eager would change nothing: rows are trained"),
        ("train sthv1 --runtime foo", "runtime='foo' is not possible; choose one of auto, "),
        ("profile sthv1 --runtimes foo", "runtimes='foo' is not possible; choose one of auto, "),
    ],
)  # fmt: skip
def test_commands_refuse_what_would_change_nothing(capsys, words, sentence):
    assert main(words.split()) == 1
    assert capsys.readouterr().err.startswith(sentence)


def test_a_list_that_is_named_is_not_replaced_by_generated_clips(tmp_path):
    with pytest.raises(DataError, match=f"no list file {tmp_path}/mine.txt"):
        resolve("sthv1", train_list=f"{tmp_path}/mine.txt", data_root=tmp_path)
    assert resolve("sthv1", data_root=tmp_path).data == "standin"


def test_a_results_folder_that_cannot_be_written(own, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ResultsError, match=r"run cannot be written: .*choose another results"):
        run(own(), tmp_path / "file" / "run")


def test_a_full_disk_leaves_no_part_of_a_file(own, tmp_path):
    folder = tmp_path / "run"
    run(own(), folder, seed=0)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:  # no file may become longer than this: what a full disk does, without one
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        with pytest.raises(
            ResultsError, match=r"(best|last).pth cannot be written: .*free some space"
        ):
            run(own(), folder, seed=0, fresh=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert not (folder / "last.pth").exists() and not list(folder.glob("*.tmp"))
    assert run(own(), folder, seed=0)["num_videos"] > 0


def test_evaluating_what_is_not_there(own, tmp_path):
    with pytest.raises(CheckpointError, match="file of weights .*nothing.pth does not exist"):
        evaluate(own(), tmp_path / "nothing.pth", scale="mini", workers=0)
    with pytest.raises(CheckpointError, match="no finished run of own on real data"):
        evaluate(own(), scale="mini", workers=0)
    record = run(own(), tmp_path / "run")
    with pytest.raises(CheckpointError, match="was trained for 10 classes, the data have 11"):
        evaluate(own(num_classes=11), Path(record["run_dir"]) / "last.pth", scale="mini", workers=0)
