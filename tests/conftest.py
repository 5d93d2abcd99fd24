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


@pytest.fixture(scope="session")
def videos(tmp_path_factory) -> Path:
    """Four recordings: two clips cut from each of two, and two files; some in folders."""
    from helpers import sliding  # torch only now, when its threads are settled

    from tsmlib.data.video import write_video

    folder = tmp_path_factory.mktemp("videos")
    (folder / "walk").mkdir()
    names = ["walk/walk_a_f00010.mp4", "walk/walk_a_f00300.mp4", "a_f00500.mp4", "b_c01.mp4",
             "b_c02.MP4", "c.avi", "walk/d.mkv"]  # fmt: skip
    for i, name in enumerate(names):
        write_video(folder / "video.mp4", sliding(27 + i, 5 * i))
        (folder / "video.mp4").rename(folder / name)
    (folder / "notes.txt").write_text("no video\n")
    return folder


@pytest.fixture
def annotated(videos, tmp_path) -> Path:
    """A folder as overhead_actions: videos, the lists of a split, and class names."""
    from helpers import annotate

    return annotate(videos, tmp_path)
