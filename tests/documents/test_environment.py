"""The files that describe the environment agree, and `make env` is all or nothing."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
LOCK = "env/requirements-linux-x86_64.txt"

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text())


def requirements(lines) -> dict[str, Requirement]:
    """Requirement by canonical name; comments and options (`-e .`) are left out."""
    found = {}
    for line in lines:
        line = line.partition("#")[0].strip(" \\\n")
        if line and not line.startswith("-"):
            requirement = Requirement(line)
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is listed twice"
            found[name] = requirement
    return found


def direct() -> dict[str, Requirement]:
    extras = PROJECT["project"]["optional-dependencies"].values()
    return requirements([*PROJECT["project"]["dependencies"], *(r for e in extras for r in e)])


def conda_pip() -> dict[str, Requirement]:
    return requirements(next(d for d in CONDA["dependencies"] if isinstance(d, dict))["pip"])


def locked() -> dict[str, str]:
    """Version by name; everything in the lock is pinned exactly."""
    pins = requirements((ROOT / LOCK).read_text().splitlines())
    for requirement in pins.values():
        assert re.fullmatch(r"==[^,*]+", str(requirement.specifier)), requirement
    return {name: str(requirement.specifier)[2:] for name, requirement in pins.items()}


def supported_pythons() -> list[str]:
    allowed = SpecifierSet(PROJECT["project"]["requires-python"])
    return [f"3.{minor}" for minor in range(40) if allowed.contains(f"3.{minor}.0")]


def test_conda_lists_the_direct_dependencies():
    assert conda_pip().keys() == direct().keys()


@pytest.mark.parametrize("name", sorted(direct()))
def test_lock_satisfies_both_files(name):
    version = locked()[name]
    assert direct()[name].specifier.contains(version, prereleases=True)
    assert conda_pip()[name].specifier.contains(version, prereleases=True)


@pytest.mark.parametrize("name", ["torch", "torchvision"])
def test_torch_pair_is_pinned_alike(name):
    assert str(conda_pip()[name].specifier) == f"=={locked()[name]}"


def test_every_package_of_the_lock_has_hashes_and_nothing_else():
    text = (ROOT / LOCK).read_text()
    pins = (
        re.sub(r"^#.*\n", "", text, flags=re.M).replace(" \\\n    --hash=", " --hash=").splitlines()
    )
    for pin in pins:
        assert re.fullmatch(r"[\w.-]+==[\w.]+( --hash=sha256:[0-9a-f]{64})+", pin), pin
    assert len(pins) == len(locked())


def test_lock_leaves_out_the_project():
    assert canonicalize_name(PROJECT["project"]["name"]) not in locked()


@pytest.mark.parametrize("names", [direct, conda_pip, locked])
def test_one_decord_is_asked_for(names):
    assert [name for name in names() if "decord" in name] == ["decord2"]


def test_one_decord_is_installed():
    assert set(importlib.metadata.packages_distributions()["decord"]) == {"decord2"}


def test_python_versions_agree():
    pythons = supported_pythons()
    makefile = re.search(r"^PYTHONS := (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    assert makefile == pythons

    workflow = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text())
    tested = workflow["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert tested == [pythons[0], pythons[-1]]

    image = re.search(r"^FROM python:([\d.]+)", (ROOT / "env/Dockerfile").read_text(), re.M)[1]
    assert image in pythons
    conda = next(d for d in CONDA["dependencies"] if str(d).startswith("python="))
    assert conda.removeprefix("python=") in pythons
    assert PROJECT["tool"]["ruff"]["target-version"] == "py" + pythons[0].replace(".", "")


def test_docker_installs_by_make_env():
    assert re.search(r"^RUN .*\bmake env$", (ROOT / "env/Dockerfile").read_text(), re.M)


def in_locked_environment() -> bool:
    on_lock_platform = (platform.system(), platform.machine()) == ("Linux", "x86_64")
    return on_lock_platform and Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()


@pytest.mark.skipif(not in_locked_environment(), reason="the lock is for .venv on Linux x86-64")
@pytest.mark.parametrize("name", sorted(direct()))
def test_installed_version_is_the_locked_one(name):
    installed = importlib.metadata.version(name)
    assert installed.partition("+")[0] == locked()[name]


# `make env`, with a stand-in for Python: it reports a version, makes a "virtual environment" that
# holds a copy of itself, logs what pip is asked for, and fails at the call that contains FAIL.
FAKE_PYTHON = """\
#!/bin/sh
case "$*" in
  *version_info*) echo "${VERSION:-3.12}" ;;
  "-m venv --clear "*) rm -rf "$4"; mkdir -p "$4/bin"; echo venv >> log; cp "$0" "$4/bin/python" ;;
  *"pip"*"install"*) echo "install $*" >> log ;;
esac
[ -z "$FAIL" ] || case "$*" in *"$FAIL"*) exit 1 ;; esac
"""


@pytest.fixture
def make_env(tmp_path):
    """A function that runs `make env` in a copy of the files it reads; `.log` is what it did."""
    if not shutil.which("make"):
        pytest.skip("make is not installed")
    (tmp_path / "env").mkdir()
    configurations = [f"env/{name}_config.json" for name in ("ipython_kernel", "jupyter_nbconvert")]
    for name in ("Makefile", "pyproject.toml", LOCK, *configurations):
        shutil.copy(ROOT / name, tmp_path / name)
    fake = tmp_path / "fake-python"
    fake.write_text(FAKE_PYTHON)
    fake.chmod(0o755)
    # Not the flags and variables of a `make test` that we may be running under.
    own = {"MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", "PYTHON"}
    environment = {name: value for name, value in os.environ.items() if name not in own}

    def run(*arguments, python="./fake-python", **variables):
        (tmp_path / "log").write_text("")
        command = ["make", *arguments, "env", f"PYTHON={python}"]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment | variables, capture_output=True, text=True
        )
        done.log = (tmp_path / "log").read_text()
        return done

    run.folder = tmp_path
    run.stamp = tmp_path / ".venv/.ready"
    return run


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.14", "3.1"])
def test_wrong_python_is_named_and_nothing_is_made(make_env, version):
    done = make_env(VERSION=version)
    assert done.returncode != 0
    assert f"'./fake-python' is {version}" in done.stderr
    assert "make env PYTHON=" in done.stderr
    assert not (make_env.folder / ".venv").exists()


def test_missing_python_is_named(make_env):
    done = make_env(python="no-such-python")
    assert done.returncode != 0
    assert "'no-such-python' is not there" in done.stderr


@pytest.mark.parametrize("version", supported_pythons())
def test_ready_environment_is_left_alone(make_env, version):
    assert make_env("-j", VERSION=version).returncode == 0
    assert make_env.stamp.exists()
    again = make_env()
    assert (again.returncode, again.log) == (0, "")
    assert "Setting up" not in again.stdout


@pytest.mark.parametrize("step", ["venv", "install -r", "install --no-deps", "import torch"])
def test_interrupted_set_up_starts_anew(make_env, step):
    assert make_env(FAIL=step).returncode != 0
    assert (make_env.folder / ".venv").exists() and not make_env.stamp.exists()

    again = make_env()
    assert again.returncode == 0 and make_env.stamp.exists()
    assert again.log.startswith("venv\ninstall")


@pytest.mark.parametrize("name", [LOCK, "pyproject.toml"])
def test_changed_requirements_are_installed(make_env, name):
    make_env()
    later = make_env.stamp.stat().st_mtime + 10
    os.utime(make_env.folder / name, (later, later))

    failed = make_env(FAIL="install -r")
    assert failed.returncode != 0 and not make_env.stamp.exists()
    assert failed.log.startswith("install"), "the environment is kept, only the packages change"


def test_environment_without_its_python_is_made_anew(make_env):
    make_env()
    python = make_env.folder / ".venv/bin/python"
    python.unlink()
    python.symlink_to("removed-python")  # what an upgrade of the system's Python leaves
    done = make_env()
    assert done.returncode == 0
    assert done.log.startswith("venv\ninstall")


def test_half_an_environment_is_not_ready(make_env):
    python = make_env.folder / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    plan = make_env("-n").stdout
    assert f"install -r {LOCK} --require-hashes" in plan and "venv --clear" in plan


def test_lock_is_for_its_platform_only(make_env):
    assert f"-r {LOCK}" in make_env("PLATFORM=Linux x86_64").log
    make_env.stamp.unlink()

    elsewhere = make_env("PLATFORM=Darwin arm64")
    pair = f"torch=={locked()['torch']} torchvision=={locked()['torchvision']}"
    assert f"-e .[notebooks,dev] {pair}" in elsewhere.log and LOCK not in elsewhere.log
    assert "Darwin arm64" in elsewhere.stdout
