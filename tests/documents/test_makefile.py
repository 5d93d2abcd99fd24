"""The targets of the Makefile call what they should, whatever characters a path has."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRINT_ARGUMENTS = '#!/bin/sh\nprintf "[%s]" "$@"\necho\n'
COPIES = "results/local/notebooks"


@pytest.fixture
def make(tmp_path):
    """A function that runs make where the environment's Python only prints its arguments."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    folder = tmp_path / "it's a folder"
    (folder / ".venv" / "bin").mkdir(parents=True)
    for name in ("Makefile", "pyproject.toml", "env/requirements-linux-x86_64.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(PRINT_ARGUMENTS)
    python.chmod(0o755)
    (folder / ".venv" / ".ready").touch()
    own = {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", "PYTHON"}
    environment = {name: value for name, value in os.environ.items() if name not in own}

    def run(*words):
        done = subprocess.run(
            ["make", *words], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return [line.removeprefix("[").removesuffix("]").split("][") for line in
                done.stdout.splitlines()]  # fmt: skip

    return run


@pytest.mark.parametrize("path", ["/a/my data/my actions.yaml", "it's mine.yaml", 'a "b" (c).yaml'])
def test_a_path_reaches_the_notebook_as_it_is(make, path):
    copy = f"{COPIES}/train-{Path(path).stem}.ipynb"
    notebook, last = make("train", f"cfg={path}", "scale=mini", "args=-p lr 0.02")
    assert notebook == [
        *("-m", "papermill", "-k", "python3", "notebooks/train.ipynb", copy),
        *("-p", "cfg", path, "-p", "scale", "mini", "-p", "lr", "0.02"),
    ]
    assert last == ["-m", "tsmlib", "report", "last", "--notebook", copy]
    assert make("lists", f"cfg={path}") == [["-m", "tsmlib", "data", "lists", path]]


def test_values_are_passed_on(make):
    (evaluate, _) = make("evaluate", "checkpoint=it's/last .pth", "protocol=efficient")
    assert evaluate[5:] == [
        *(f"{COPIES}/evaluate-sthv1.ipynb", "-p", "cfg", "sthv1"),
        *("-p", "checkpoint", "it's/last .pth", "-p", "protocol", "efficient"),
    ]
    assert make("frames", "cfg=k400") == [["-m", "tsmlib", "data", "extract", "k400"]]
    assert make("publish", "run=a b's") == [["-m", "tsmlib", "report", "publish", "a b's"]]
    assert make("rows", "only=sthv1 k400")[0][2:] == ["study", "rows", "--only", "sthv1", "k400"]
    ablate, said = make("ablate", "study=shift", "only=no shift; none", "data_root=a b")
    assert ablate[5:] == [
        *(f"{COPIES}/ablate-shift.ipynb", "-p", "study", "shift"),
        *("-p", "data_root", "a b", "-p", "only", "no shift; none"),
    ]
    assert said == [f"notebook {COPIES}/ablate-shift.ipynb; or look at it: make lab"]
    assert make("compare")[0][4:] == ["notebooks/compare.ipynb", f"{COPIES}/compare.ipynb"]
