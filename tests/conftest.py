"""Folders of the tests: results of their own, and no real data, so that the stand-in is used."""

import os
from pathlib import Path

import pytest

import tsmlib  # noqa: F401  before torch, as it says how threads wait


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """TSM_RESULTS and TSM_DATA are temporary folders; TSM_CACHE stays, to draw clips only once."""
    before = dict(os.environ)
    for name in ("TSM_RESULTS", "TSM_DATA"):
        os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))
    yield
    for name in ("TSM_RESULTS", "TSM_DATA"):
        os.environ.pop(name)
        if name in before:
            os.environ[name] = before[name]


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real clips and published outputs beside the repository; tests that need them may skip."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder `shared` beside the repository")
    return folder
