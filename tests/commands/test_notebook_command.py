"""`tsm notebook`, as make calls it: mistakes are told at once, progress and result as they come."""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from tsmlib.commands.execution import NotebookError, execute
from tsmlib.commands.notebooks import name_copy, next_command
from tsmlib.commands.parameters import find_notebook, format_command, parse_values, read_declared
from tsmlib.configs import ConfigError
from tsmlib.progress import Terminal

ROOT = Path(__file__).parents[2]
DECLARED = {name: read_declared(find_notebook(name)) for name in ("train", "ablate", "compare")}
TINY = ("data=standin", "changes={standin_clips: [40, 20]}", "workers=0", "seed=3")


def environment(results: Path) -> dict[str, str]:
    own = {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS"}
    kept = {name: value for name, value in os.environ.items() if name not in own}
    return {**kept, "TSM_RESULTS": str(results), "PYTHONPATH": str(ROOT)}


@pytest.fixture
def make(tmp_path):
    """A function that runs make as a user does, with this Python as the environment's."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    folder, results = tmp_path / "it's here", tmp_path / "results"
    for name in ("Makefile", "pyproject.toml", "env/requirements-linux-x86_64.txt"):
        (folder / name).parent.mkdir(exist_ok=True, parents=True)
        shutil.copy(ROOT / name, folder / name)
    (folder / ".venv" / "bin").mkdir(parents=True)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (folder / ".venv" / ".ready").touch()

    def run(*words):
        done = subprocess.run(
            ["make", "-s", *words], cwd=folder, env=environment(results), capture_output=True,
            text=True,
        )  # fmt: skip
        assert done.returncode != 0 and not done.stdout
        assert not results.exists()  # nothing is left behind
        *sentence, last = done.stderr.splitlines()
        assert last.startswith("make: *** ")
        return "\n".join(sentence)

    return run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("train", "cfg=sthv2x"), "there is no configuration 'sthv2x'; closest: sthv2, "),
        (("train", "wdith=2"), "'wdith' is no parameter of this notebook; closest: width, "),
        (("train", "epcohs=3"), "'epcohs' is no parameter of this notebook; closest: epochs, "),
        (("train", "epochs=many"), "epochs='many' must be a whole number"),
        (("train", "backbone=resnet51"), "backbone='resnet51' is not possible; choose one of "),
        (("train", "data=rael"), "data='rael' is not possible; choose one of auto, real, standin"),
        (("train", "cfg=it's no file.yaml"), "there is no configuration file it's no file.yaml"),
        (("train", "pretrain=nonne"), "pretrain='nonne' is no file or folder that exists, nor "),
        (("train", "data_root=no such folder"), "data_root='no such folder' is no file or folder"),
        (("evaluate", "checkpoint=its.pth"), "checkpoint='its.pth' is no file or folder that "),
        (("evaluate", "cfg=k400", "protocol=efficient"), "protocol 'efficient' is defined for "),
        (("ablate", "study=shfit"), "there is no study 'shfit'; closest: shift"),
        (("ablate", "study=shift", "only=nnoe"), "study shift has no arm 'nnoe'; closest: none"),
        (("compare", "cfg=sthv1"), "'cfg' is no parameter of this notebook; "),
        (("check", "colour=red"), "make check does not use 'colour'; it uses: cfg data_root args"),
        (("rows", "sede=1"), "make rows does not use 'sede'; it uses: only seed "),
        (("bench", "cfg=sthv1"), "make bench does not use 'cfg'; it uses: args"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(make, words, sentence):
    error = make(*words)
    assert error.startswith(sentence) and "\n" not in error


def test_a_mistake_needs_no_torch(tmp_path):
    code = (
        "import sys; from tsmlib.__main__ import main; status = main(sys.argv[1:]); "
        "assert not {'torch', 'papermill', 'pandas'} & set(sys.modules); sys.exit(status)"
    )
    command = [sys.executable, "-c", code, "notebook", "train", "cfg=sthv2x"]
    done = subprocess.run(command, env=environment(tmp_path), capture_output=True, text=True)
    assert done.returncode == 1 and "Traceback" not in done.stderr


# --- parameters -----------------------------------------------------------------------------------


def test_values_get_the_types_of_the_notebook():
    items = [
        *("lr=1e-3", "epochs=3", "fresh=yes", "cfg=it's mine.yaml", "work_dir=a=b", "dropout=0.2"),
        *("pretrain=none", "batch_size=none", "data=", "changes={width: 0.5}"),
    ]
    assert parse_values(items, DECLARED["train"]) == {
        "lr": 0.001, "epochs": 3, "fresh": True, "cfg": "it's mine.yaml", "work_dir": "a=b",
        "pretrain": "none", "batch_size": None, "changes": {"width": 0.5, "dropout": 0.2},
    }  # fmt: skip
    assert parse_values(["seeds=0 1", "processes=2"], DECLARED["ablate"]) == {
        "seeds": "0 1", "processes": 2,
    }  # fmt: skip


@pytest.mark.parametrize("item", ["lr", "fresh=maybe", "changes=3", "explicit=lr", "changes={a"])
def test_values_that_cannot_be_read(item):
    with pytest.raises(ConfigError, match=item.partition("=")[0]):
        parse_values([item], DECLARED["train"])


def test_an_unknown_notebook_is_named():
    with pytest.raises(ConfigError, match="no notebook 'trian'; closest: train"):
        find_notebook("trian")


@pytest.mark.parametrize(
    ("notebook", "texts", "name"),
    [
        ("train", {"cfg": "sthv1"}, "train-sthv1"),
        ("train", {"cfg": "sthv1", "lr": "0.02"}, "train-sthv1-lr=0.02"),
        ("train", {"cfg": "sthv1", "seed": "0", "fresh": "True", "workers": "1"}, "train-sthv1"),
        ("train", {"cfg": "/a/it's mine.yaml", "width": "2"}, "train-it_s_mine-width=2"),
        ("train", {"videos": "my videos/"}, "train-my_videos"),
        ("ablate", {"study": "shift"}, "ablate-shift"),
        ("compare", {}, "compare"),
    ],
)
def test_copies_are_named_after_what_was_run(notebook, texts, name):
    assert name_copy(notebook, texts, DECLARED[notebook]) == f"{name}.ipynb"


def test_other_runs_have_other_copies_with_possible_names():
    values = ["/a/x", "/b/x", "x" * 300, "x" * 301, "no shift; none"]
    names = {name_copy("train", {"cfg": "sthv1", "work_dir": v}, DECLARED["train"]) for v in values}
    assert len(names) == len(values) and all(len(n) < 160 and "/" not in n for n in names)


@pytest.mark.parametrize("cfg", ["sthv1", "/a/it's mine.yaml", "a $b.yaml"])
def test_the_next_command_can_be_pasted(cfg):
    command = next_command("train", {"cfg": cfg, "lr": "0.02", "num_segments": "4", "seed": "1"})
    pasted = [word.replace("$$", "$") for word in shlex.split(command)]  # by the shell, by make
    assert pasted == ["make", "evaluate", f"cfg={cfg}", "seed=1", "num_segments=4"]
    assert next_command("train", {"videos": "a b"}) == "make predict videos='a b'"
    assert format_command("train", {}) == "make train"


# --- execution ------------------------------------------------------------------------------------


def write_notebook(folder: Path, source: str) -> Path:
    cell = nbformat.v4.new_code_cell(source)
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), folder / "small.ipynb")
    return folder / "small.ipynb"


@pytest.mark.parametrize(
    ("error", "sentence", "kept"),
    [
        ("from tsmlib import DataError; raise DataError('no list')", "no list", False),
        ("1 / 0", "ZeroDivisionError: division by zero", True),
        ("import os; os.kill(os.getpid(), 9)", "the notebook's process was killed", True),
    ],
)
def test_only_a_defect_leaves_a_copy(tmp_path, capsys, error, sentence, kept):
    target = tmp_path / "copies" / "small.ipynb"
    with pytest.raises(NotebookError, match=sentence) as raised:
        execute(write_notebook(tmp_path, error), target, {}, Terminal())
    assert target.exists() == kept == ("as far as it went" in str(raised.value))
    assert "Traceback" not in capsys.readouterr().err


def test_progress_and_result_come_from_the_notebook(tmp_path, capfd):
    source = (
        "import sys\nfrom tsmlib import progress\nprogress.say('half')\n"
        "progress.tell_result('all')\nprint('a table')\nprint('a warning', file=sys.stderr)"
    )
    target = tmp_path / "small.ipynb"
    assert execute(write_notebook(tmp_path, source), target, {}, Terminal()) == "all"
    assert target.is_file()
    out, err = capfd.readouterr()
    lines = [line for line in err.splitlines() if "small.ipynb" not in line]
    assert not out and lines == ["half"]


def start(results: Path, *words: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "tsmlib", "notebook", *words]
    return subprocess.Popen(
        command, cwd=ROOT, env=environment(results), stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip


def test_training_speaks_stops_and_continues(tmp_path):
    words = ("train", *TINY, "epochs=60", "fresh=True")
    running, said = start(tmp_path, *words), []
    for line in running.stderr:
        said.append(line)
        if ", epoch 1 of 60: loss " in line:
            os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C does
            break
    out, rest = running.communicate(timeout=60)
    assert running.returncode == 130 and not out
    *_, last = rest.splitlines()
    again = "make train cfg=sthv1 data=standin 'changes={standin_clips: [40, 20]}'"
    assert last.startswith("the same command continues: make train ")
    assert any(
        "stopped by SIGINT after" in line and " saved in " in line for line in rest.splitlines()
    )
    assert set(shlex.split(again)) < set(shlex.split(last)) and "fresh" not in last
    assert not (tmp_path / "local" / "notebooks").exists()
    (run,) = (tmp_path / "local" / "sthv1").iterdir()
    assert (run / "last.pth").is_file() and not (run / "claim").exists()


def test_a_finished_training_ends_with_its_copy_and_the_next_command(tmp_path):
    running = start(tmp_path, "train", *TINY, "epochs=1")
    out, err = running.communicate(timeout=300)
    assert running.returncode == 0, err
    (copy,) = (tmp_path / "local" / "notebooks").iterdir()
    assert str(copy) in err.splitlines()[0] and str(copy) in out
    assert "make evaluate cfg=sthv1 data=standin seed=3" in out
    assert "sthv1, epoch 1 of 1: loss " in err
    assert "Warning" not in err and "WARNING" not in err and "Traceback" not in err
    outputs = [
        o for cell in nbformat.read(copy, as_version=4).cells for o in cell.get("outputs", [])
    ]
    assert not [o for o in outputs if o.get("name") == "stderr"]
