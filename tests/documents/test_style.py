"""Rooms import downwards only, the core is typed, and one version of ruff checks the style."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
LOCK = ROOT / "env" / "requirements-linux-x86_64.txt"
LINT_IMPORTS = "from importlinter.cli import lint_imports_command; lint_imports_command()"


@pytest.mark.parametrize(
    "command",
    [
        ["-c", LINT_IMPORTS, "--no-cache"],
        ["-m", "mypy", "--cache-dir", os.devnull],
        ["-m", "ruff", "check", "--no-cache", "."],
        ["-m", "ruff", "format", "--no-cache", "--check", "."],
    ],
    ids=["layers", "types", "lint", "format"],
)
def test_contracts_of_pyproject_are_kept(command):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_hooks_before_a_commit_are_those_of_the_tests():
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = {hook["id"]: repo for repo in repos for hook in repo["hooks"]}
    assert {"ruff-check", "ruff-format", "lint-imports", "mypy"} <= set(hooks)
    version = re.search(r"^ruff==(\S+)", LOCK.read_text(), re.M)[1]
    assert hooks["ruff-check"]["rev"] == f"v{version}"
