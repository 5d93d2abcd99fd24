"""Folders of the tests: results of their own, and no real data, so that the stand-in is used."""

import os
from pathlib import Path

import pytest

import tsmlib  # noqa: F401  before torch, as it says how threads wait


@pytest.fixture(scope="session", autouse=True)
def own_folders(tmp_path_factory):
    """TSM_RESULTS and TSM_DATA are folders of the tests, those of `make test` or temporary ones.

    TSM_CACHE stays, to draw clips only once.
    """
    if "PYTEST_FOLDERS" not in os.environ:
        for name in ("TSM_RESULTS", "TSM_DATA"):
            os.environ[name] = str(tmp_path_factory.mktemp(name.lower()))


@pytest.fixture(scope="session")
def shared() -> Path:
    """Real clips and published outputs beside the repository; tests that need them may skip."""
    folder = Path(__file__).resolve().parents[2] / "shared"
    if not folder.is_dir():
        pytest.skip("there is no folder `shared` beside the repository")
    return folder


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Processes share the work by files, as fixtures of a module are made once; notebooks stay
    together, as one reads what another has written."""
    for item in items:
        group = "notebooks" if item.path.suffix == ".ipynb" else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
