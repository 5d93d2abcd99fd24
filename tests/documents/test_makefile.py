"""The targets of the Makefile call what they should, whatever characters a path has."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PRINT_ARGUMENTS = '#!/bin/sh\nprintf "[%s]" "$@"\necho\n'


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
    (notebook,) = make("train", f"cfg={path}", "scale=mini", "lr=0.02")
    assert notebook[:4] == ["-m", "tsmlib", "notebook", "train"]
    assert sorted(notebook[4:]) == sorted([f"cfg={path}", "scale=mini", "lr=0.02"])
    assert make("lists", f"cfg={path}") == [["-m", "tsmlib", "data", "lists", path]]


def test_values_are_passed_on(make):
    (evaluate,) = make("evaluate", "checkpoint=it's/last .pth", "any_name=$$5", "PYTHON=python3")
    assert evaluate[2:4] == ["notebook", "evaluate"]
    assert sorted(evaluate[4:]) == ["any_name=$5", "checkpoint=it's/last .pth"]
    assert make("compare") == [["-m", "tsmlib", "notebook", "compare"]]
    (ablate,) = make("ablate", "study=shift", "only=no shift; none", "data_root=a b")
    assert sorted(ablate[4:]) == ["data_root=a b", "only=no shift; none", "study=shift"]
    assert make("frames", "cfg=k400") == [["-m", "tsmlib", "data", "extract", "k400"]]
    (lists,) = make("lists", "data_root=a b's", "args=--split val")
    assert lists[2:] == ["data", "lists", "sthv1", "--data-root", "a b's", "--split", "val"]
    assert make("publish", "run=a b's") == [["-m", "tsmlib", "report", "publish", "a b's"]]
    (rows,) = make("rows", "only=sthv1 k400", "seed=3")
    assert rows[2:] == ["study", "rows", "--only", "sthv1", "k400", "--seed", "3"]


def test_clean_keeps_downloaded_weights(make, tmp_path):
    cache = tmp_path / "it's a folder" / ".cache"
    for name in ("weights/a.pth", "standin/clip/img_00001.jpg", "test/log"):
        (cache / name).parent.mkdir(parents=True)
        (cache / name).touch()
    for name in ("tsmlib", "tests", "notebooks"):
        (cache.parent / name).mkdir()
    make("clean")
    assert [str(f.relative_to(cache)) for f in cache.rglob("*.*")] == ["weights/a.pth"]
    assert [folder.name for folder in cache.iterdir()] == ["weights"]
