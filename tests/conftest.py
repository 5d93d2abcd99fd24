"""Folders of the tests: results of their own, and no real data, so that the stand-in is used."""

import os
from pathlib import Path

import pytest

import tsmlib  # noqa: F401  before torch, as it says how threads wait


def pytest_configure(config: pytest.Config) -> None:
    """Processes that share the work share the cores as well; notebooks inherit it."""
    if workers := int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", 0)):
        threads = max(1, (os.cpu_count() or 1) // workers)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # torch is not imported yet


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
