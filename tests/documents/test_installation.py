"""The wheel holds all that is needed: it works from any folder, without the repository."""

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())

TRAIN = """
import torch, tsmlib
from pathlib import Path
from tsmlib import results
import tsmlib.parity.compare
from tsmlib.report import claims, tables
from tsmlib.study.plan import read_plan

assert Path(tsmlib.__file__).is_relative_to(Path("../site").resolve()), tsmlib.__file__
assert len(tsmlib.list_configs()) == 36
cfg = tsmlib.get_config("sthv1", standin_clips=[8, 4], epochs=2, crop_size=32)
model = tsmlib.build_model(tsmlib.get_config("hmdb51", backbone="resnet18"))
assert model(torch.zeros(1, 8, 3, 32, 32)).shape == (1, 51)
run = tsmlib.train(cfg, workers=0, device="cpu")
assert Path(run["run_dir"]).is_relative_to(Path("results/local").resolve()), run["run_dir"]
assert run["commit"] == "unknown"
ours = results.read_runs(Path("results/local"))
table = tables.beside_published(ours)
assert len(table) == 36 and table["top1"].notna().all() and len(ours) == 1
assert len(read_plan()) > 5 and len(claims.read_claims()) > 50
"""


def test_every_room_is_packaged():
    rooms = {p.parent.relative_to(ROOT) for p in (ROOT / "tsmlib").rglob("__init__.py")}
    names = {".".join(room.parts) for room in rooms}
    assert set(PROJECT["tool"]["setuptools"]["packages"]) == names | {"tsmlib.published"}


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder with the installed wheel, beside an empty folder to work in."""
    folder = tmp_path_factory.mktemp("installation")
    source = folder / "source"
    shutil.copytree(ROOT / "tsmlib", source / "tsmlib", ignore=shutil.ignore_patterns("*.pyc"))
    (source / "results" / "census").mkdir(parents=True)
    for pattern in ("*.toml", "README.md", "LICENSE", "NOTICE", "results/*.*", "results/census/*"):
        for file in ROOT.glob(pattern):
            shutil.copy(file, source / file.relative_to(ROOT))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    wheel = ["wheel", "--no-deps", "--no-build-isolation", "-w", folder / "wheel", source]
    subprocess.run([*pip, *wheel], check=True, capture_output=True)
    (built,) = (folder / "wheel").iterdir()
    shutil.rmtree(source)
    subprocess.run([*pip, "install", "--no-deps", "--target", folder / "site", built], check=True)
    (folder / "empty").mkdir()
    return folder / "site"


def run_installed(site, *command):
    environment = {k: v for k, v in os.environ.items() if k not in ("TSM_RESULTS", "TSM_DATA")}
    return subprocess.run(
        command, cwd=site.parent / "empty", env={**environment, "PYTHONPATH": str(site)},
        capture_output=True, text=True,
    )  # fmt: skip


def test_an_installed_wheel_trains_and_compares(site):
    done = run_installed(site, sys.executable, "-c", TRAIN)
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_installed_command(site):
    done = run_installed(site, site / "bin" / "tsm", "list")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == 36
    done = run_installed(site, site / "bin" / "tsm", "train", "sthv2x")
    assert done.returncode == 1 and done.stderr.startswith("there is no configuration 'sthv2x'")
