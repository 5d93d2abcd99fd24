"""Progress: counts and the time left, in a terminal, in a file, or handed to another process."""

import io
import json
import logging

import pytest
from filelock import FileLock

from tsmlib import progress
from tsmlib.locks import wait_for
from tsmlib.progress import Progress, ProgressFile, Terminal, format_seconds, track


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self):
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """Notes what is shown."""

    def __init__(self):
        self.lines, self.statuses = [], []

    def say(self, text):
        self.lines.append(text)

    def status(self, text):
        self.statuses.append(text)


@pytest.fixture
def shown():
    recorder = Recorder()
    progress.show_in(recorder)
    yield recorder
    progress.show_in(None)


def test_steps_are_counted_and_the_time_left_is_estimated(shown):
    clock = Clock()
    with Progress("extracting", 10, "videos", clock=clock) as work:
        clock.now = 100  # to start: not counted
        work.advance()
        assert shown.statuses[-1] == "extracting: 1 of 10 videos"
        clock.now = 104
        work.advance()
        assert shown.statuses[-1] == "extracting: 2 of 10 videos, 0:32 left"
    assert shown.statuses[-1] == ""


def test_steps_that_run_side_by_side_count_from_the_beginning(shown):
    clock = Clock()
    with Progress("study", 6, "runs", clock=clock) as work:
        work.count_time()
        clock.now = 300  # two at once, and so the second ends soon after the first
        work.advance()
        clock.now = 310
        work.advance()
        assert shown.statuses[-1] == "study: 2 of 6 runs, 10:20 left"


def test_parts_of_a_step_count_in_the_time_left(shown):
    clock = Clock()
    with Progress("sthv1", 3, "epochs", clock=clock) as epochs:
        with Progress("epoch 1", 4, "batches", part=True, clock=clock) as batches:
            batches.advance()
            clock.now = 10
            batches.advance()  # a quarter of an epoch in 10 s, two and a half epochs are left
        expected = "sthv1: 0 of 3 epochs, 1:40 left | epoch 1: 2 of 4 batches"
        assert expected in shown.statuses
        epochs.advance()
        assert str(epochs).startswith("sthv1: 1 of 3 epochs")


def test_lines_of_a_part_are_left_to_the_work_around_it(shown):
    with Progress("study", 2, "runs") as study, Progress("sthv1", 2, "epochs", part=True) as run:
        run.say("an epoch")
        study.say("a run")
    assert shown.lines == ["a run"]
    with Progress("sthv1", 2, "epochs") as run:
        run.say("an epoch")
    assert shown.lines == ["a run", "an epoch"]


def test_items_are_passed_on(shown):
    assert list(track([1, 2], "work", "items")) == [1, 2]
    assert list(track(iter("ab"), "work", "items", 2, quiet=True)) == ["a", "b"]
    assert shown.statuses == ["work: 0 of 2 items", ""]


def test_a_terminal_is_written_over():
    stream, clock = io.StringIO(), Clock()
    terminal = Terminal(stream, live=True, clock=clock)
    clock.now = 5
    terminal.status("working")
    terminal.say("a line")
    terminal.status("")
    assert stream.getvalue() == "\r\x1b[K[0:05] working\r\x1b[Ka line\n\r\x1b[K"


def test_a_file_gets_a_line_after_a_silence():
    stream, clock = io.StringIO(), Clock()
    terminal = Terminal(stream, live=False, clock=clock)
    terminal.status("working")
    for clock.now in range(1, 31):
        terminal.beat()
    assert stream.getvalue().splitlines() == [f"[0:{s:02}] working" for s in (8, 16, 24)]
    stream.truncate(0)
    for clock.now in range(1000, 1130):  # of long work, fewer lines
        terminal.beat()
    assert stream.getvalue().count("working") == 3
    terminal.status("")
    clock.now = 5000
    terminal.beat()
    assert stream.getvalue().count("working") == 3


def test_a_closed_stream_ends_no_work():
    stream = io.StringIO()
    terminal = Terminal(stream, live=True)
    stream.close()
    terminal.say("nobody reads it")


def test_progress_is_handed_over_as_lines(tmp_path, monkeypatch):
    file = tmp_path / "progress"
    ProgressFile(file).say("nobody waits for it")
    assert not file.exists()
    file.touch()
    monkeypatch.setenv(progress.VARIABLE, str(file))
    progress.show_in(None)
    with Progress("work", 2, "items") as work:
        work.say("a line")
    progress.tell_result("91 %")
    progress.show_in(None)
    messages = [json.loads(line) for line in file.read_text().splitlines()]
    assert messages == [
        {"status": "work: 0 of 2 items"}, {"say": "a line"}, {"status": ""}, {"result": "91 %"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("lock", "named"), [("folder/lock", "folder"), ("weights.pth.lock", "weights.pth")]
)
def test_waiting_for_a_lock_is_shown(tmp_path, shown, caplog, lock, named):
    caplog.set_level(logging.INFO, "tsmlib")
    (tmp_path / "folder").mkdir()
    held = FileLock(tmp_path / lock)

    class Freed(FileLock):
        def acquire(self, timeout=None, **options):
            if timeout:
                held.release()  # as the other process does at some time
            return super().acquire(timeout, **options)

    with held.acquire(), wait_for(Freed(tmp_path / lock, is_singleton=False)):
        pass
    place = tmp_path / named
    assert f"another process is at work in {place}:" in shown.statuses[0]
    assert shown.statuses[-1] == ""
    assert "waiting for it" in caplog.text


@pytest.mark.parametrize(("seconds", "text"), [(5.4, "0:05"), (65, "1:05"), (3725, "1:02:05")])
def test_times_are_readable(seconds, text):
    assert format_seconds(seconds) == text
