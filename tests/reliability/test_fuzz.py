"""A short form of `make fuzz`; and it notices what is wrong."""

import os
import signal
import time

import damaged
import pytest
import torch
from damaged import Case, check, damaged_files, read_in_processes, write_whole_files

from tsmlib.data.video import VideoFile

pytest.importorskip("hypothesis")

from fuzz import flip_bits, read_texts  # noqa: E402
from texts import configurations_in_weights, ends_well, fuzz  # noqa: E402


@pytest.fixture(autouse=True)
def threads():
    """One thread, as other processes are forks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def quiet(text):
    """Say nothing."""


def test_texts_and_values():
    assert all(number > 0 for number in read_texts(12, 0, quiet).values())


def test_models_are_built_as_weights_say():
    counts = fuzz(configurations_in_weights, 40, 0)
    assert counts["works"] > 2 and counts["is refused"] > 2


def test_bits_of_weights():
    assert set(flip_bits(40, 1).values()) == {40}


def test_damaged_files(tmp_path):
    wrong = []
    counts = read_in_processes(list(damaged_files(52, 1, tmp_path)), wrong, quiet)
    assert not wrong and counts["refused"] + counts["right"] == 52
    assert counts["refused"] > 5 and counts["right"] > 5


def test_whole_files_are_right(tmp_path):
    for name in write_whole_files(tmp_path):
        assert check(Case(tmp_path / name, name)) == "right"


def test_another_frame_a_crash_and_a_hang_are_noticed(tmp_path, monkeypatch):
    write_whole_files(tmp_path)
    cases = [Case(tmp_path / "mpeg4.mp4", f"{i}") for i in range(4)]
    read = VideoFile.frames
    monkeypatch.setattr(VideoFile, "frames", lambda self, n: read(self, n).flip(2))
    assert check(cases[0]).startswith("wrong: frame")
    monkeypatch.undo()

    def fail(case):
        if case.story == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        if case.story == "2":
            time.sleep(60)
        return "right"

    monkeypatch.setattr(damaged, "check", fail)
    wrong = []
    counts = read_in_processes(cases, wrong, quiet, seconds=2)
    assert (counts["right"], counts["crashes"], counts["hangs"]) == (2, 1, 1)
    assert [text[0] for text in wrong] == ["1", "2"]


def test_other_exceptions_and_many_lines_are_no_good_end():
    def fail(error):
        raise error

    assert ends_well(lambda: fail(ValueError("no")), ValueError) == "is refused"
    assert ends_well(lambda: None, ValueError) == "works"
    with pytest.raises(KeyError):
        ends_well(lambda: fail(KeyError("a")), ValueError)
    with pytest.raises(AssertionError, match="no sentence"):
        ends_well(lambda: fail(ValueError("two\nlines")), ValueError)
