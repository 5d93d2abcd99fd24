"""Rooms import downwards only, the core is typed, and one version of ruff checks the style."""

import ast
import os
import re
import subprocess
import sys
import tokenize
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


def code_lines(file: Path) -> set[int]:
    """The numbers of the lines that hold code: no docstring, comment or blank line."""
    tree, words = ast.parse(file.read_text()), tokenize.generate_tokens(file.open().readline)
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
              tokenize.ENDMARKER)  # fmt: skip
    lines = {
        line
        for word in words
        if word.type not in layout
        for line in range(word.start[0], word.end[0] + 1)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(
            node
        ):
            text = node.body[0]
            lines -= set(range(text.lineno, text.end_lineno + 1))
    return lines


def test_the_core_modules_functions_and_signatures_are_as_small_as_contributing_says():
    core, apart = ("configs", "models", "data", "engine"), ("prepare", "standin")
    total = 0
    for file in sorted((ROOT / "tsmlib").rglob("*.py")):
        room = file.relative_to(ROOT / "tsmlib").parts
        assert len(file.read_text().splitlines()) <= 300, file
        if room[0] in core and room[1] not in apart:
            total += len(code_lines(file))
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.FunctionDef):
                assert node.end_lineno - node.lineno < 60, (file, node.name)
                given = node.args.posonlyargs + node.args.args + node.args.kwonlyargs
                names = [argument.arg for argument in given if argument.arg not in ("self", "cls")]
                commands = room[0] == "commands"  # a command's arguments are its options
                assert len(names) <= 8 or commands or node.name == "sample_indices", node.name
    assert total <= 6000
