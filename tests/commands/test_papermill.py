"""papermill by itself: redirected to a file it prints no warnings, in an environment of make."""

import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def environment(tmp_path):
    """What `make env` installs: the package's entry points, and the configuration of kernels."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["entry-points"]
    (information := tmp_path / "site" / "tsmtest-0.dist-info").mkdir(parents=True)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: tsmtest\nVersion: 0\n")
    lines = [f"{name} = {value}" for name, value in scripts["papermill.engine"].items()]
    (information / "entry_points.txt").write_text("\n".join(["[papermill.engine]", *lines, ""]))
    (profile := tmp_path / "ipython" / "profile_default").mkdir(parents=True)
    shutil.copy(ROOT / "env" / "ipython_kernel_config.json", profile)
    path = os.pathsep.join([str(tmp_path / "site"), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "IPYTHONDIR": str(tmp_path / "ipython")}


@pytest.mark.parametrize("output", [[], ["out.ipynb", "--no-progress-bar", "--log-level", "ERROR"]])
def test_there_are_no_warnings(tmp_path, environment, output):
    cells = [
        nbformat.v4.new_code_cell("cfg: str = 'k400'"),
        nbformat.v4.new_code_cell("print(cfg)"),
    ]
    cells[0].metadata["tags"] = ["parameters"]
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=cells, metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "small.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "papermill", "small.ipynb", *output, "-p", "cfg", "sthv1"],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    text = (tmp_path / output[0]).read_text() if output else done.stdout
    assert nbformat.reads(text, as_version=4).cells[-1].outputs[0].text == "sthv1\n"


def test_a_schedulers_signal_reaches_the_notebook(tmp_path, environment):
    """It is interrupted, has time to save, and papermill ends with the status of the commands."""
    cell = nbformat.v4.new_code_cell(SAVE)
    kernel = {"name": "python3", "language": "python", "display_name": "Python 3"}
    notebook = nbformat.v4.new_notebook(cells=[cell], metadata={"kernelspec": kernel})
    nbformat.write(notebook, tmp_path / "small.ipynb")
    running = subprocess.Popen(
        [sys.executable, "-m", "papermill", "small.ipynb", "out.ipynb"],
        cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not (tmp_path / "begun").exists():
        assert running.poll() is None
        time.sleep(0.1)
    running.send_signal(signal.SIGUSR1)
    assert running.wait(120) == 75 and (tmp_path / "saved").exists()


SAVE = """
import pathlib, time
pathlib.Path("begun").touch()
try:
    time.sleep(600)
except KeyboardInterrupt:
    pathlib.Path("saved").touch()
"""
