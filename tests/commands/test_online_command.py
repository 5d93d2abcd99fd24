"""`tsm online`: from a source to a table, a video and a summary."""

import re
import signal

import av
import numpy as np
import pandas as pd
import pytest
import torch
from helpers import decisive, save_run, sliding, stdin_from, tiny_stream, write_stream

from tsmlib import VideoError, build_model
from tsmlib.__main__ import main
from tsmlib.data.video import write_video
from tsmlib.online.networks import StreamNetwork, load_network
from tsmlib.online.play import play
from tsmlib.online.sources import open_source


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Weights of a one-way network, and a video of 40 frames at 12 a second."""
    folder = tmp_path_factory.mktemp("online")
    cfg = tiny_stream(num_segments=4)
    torch.manual_seed(0)
    save_run(folder / "last.pth", cfg, decisive(build_model(cfg)))
    write_video(folder / "a.mp4", sliding(40))
    return folder


def run(files, *words: str, source: str = "") -> int:
    source = source or str(files / "a.mp4")
    return main(["online", "--source", source, "--weights", str(files / "last.pth"), *words])


def count_frames(path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_a_table_a_video_and_a_summary(files, tmp_path, capsys):
    table, video = tmp_path / "a.csv", tmp_path / "b.mp4"
    assert run(files, "--csv", str(table), "--video", str(video)) == 0
    out = capsys.readouterr().out.splitlines()
    rows = pd.read_csv(table)
    with open_source(files / "a.mp4") as source:
        answers = list(play(load_network(files / "last.pth"), source))
    assert list(rows["class"]) == [answer.name for answer in answers]
    expected = [answer.probability for answer in answers]
    np.testing.assert_allclose(rows["probability"], expected, atol=1e-4)
    assert len(rows) == count_frames(video) == 40
    assert [line.split()[0] for line in out[:4]] == ["0.0", "1.0", "2.0", "3.0"]  # each second
    counts, latency = out[4].split("; ")
    assert re.fullmatch(r"40 frames in .* s \(.* a second\), 0 dropped", counts)
    assert re.fullmatch(r"latency .* ms \(median\), 95 % within .* ms", latency)
    assert out[5:] == [f"written to {table}", f"written to {video}"]


def test_options_of_the_source_and_of_smoothing(files, tmp_path):
    words = (
        "--frame-step",
        "2",
        "--frames",
        "5",
        "--smooth",
        "1",
        "--csv",
        str(tmp_path / "a.csv"),
    )
    assert run(files, *words) == 0
    rows = pd.read_csv(tmp_path / "a.csv")
    assert list(rows["time"]) == pytest.approx([i / 6 for i in range(5)], abs=2e-3)
    network = load_network(files / "last.pth")
    with open_source(files / "a.mp4", frame_step=2) as source:
        for probability, frame in zip(rows["probability"], source, strict=False):
            logits = network.step(frame.picture)[0]
            assert probability == pytest.approx(float(logits.softmax(0).max()), abs=1e-3)


def test_a_stream_from_stdin(files, tmp_path, capsys):
    with stdin_from(write_stream(tmp_path / "a.ts", sliding(20))):
        assert run(files, "--paced", "--csv", str(tmp_path / "a.csv"), source="-") == 0
    rows = pd.read_csv(tmp_path / "a.csv")
    assert 1 <= len(rows) <= 20 and rows["dropped"].iloc[-1] <= 20 - len(rows)
    assert f"{len(rows)} frames in" in capsys.readouterr().out


def test_no_file_is_written_over(files, tmp_path, capsys):
    source, content = files / "a.mp4", (files / "a.mp4").read_bytes()
    assert run(files, "--video", str(files / ".." / files.name / "a.mp4")) == 1
    assert capsys.readouterr().err.startswith("--video names the same file as --source")
    both = str(tmp_path / "x.mp4")
    assert run(files, "--csv", both, "--video", both) == 1
    assert "--video names the same file as --csv" in capsys.readouterr().err
    assert source.read_bytes() == content and not list(tmp_path.iterdir())


def test_weights_and_rows_are_not_written_over(files, tmp_path, capsys):
    for option in ("--weights", "--row"):
        file = tmp_path / "a"
        file.write_text("of before")
        words = ["online", "--source", str(files / "a.mp4"), option, str(file)]
        assert main([*words, "--csv", str(file)]) == 1
        assert f"--csv names the same file as {option}" in capsys.readouterr().err
        assert file.read_text() == "of before"


def test_a_command_that_fails_keeps_what_was_there(files, tmp_path):
    names = ("a.csv", "a.mp4", "notes.txt")
    for name in names:
        (tmp_path / name).write_text("of before")
    words = ["--csv", str(tmp_path / "a.csv"), "--video", str(tmp_path / "a.mp4")]
    assert run(files, *words, source=str(tmp_path / "notes.txt")) == 1
    assert {file.name for file in tmp_path.iterdir()} == set(names)
    assert {file.read_text() for file in tmp_path.iterdir()} == {"of before"}


def test_an_end_before_the_first_frame(files, tmp_path, capsys, monkeypatch):
    ended = open_source([np.zeros((8, 8, 3), np.uint8)])
    ended.close()
    monkeypatch.setattr("tsmlib.online.sources.open_source", lambda *_, **__: ended)
    assert run(files, "--video", str(tmp_path / "a.mp4")) == 0
    assert capsys.readouterr().out == "no frame was answered\n" and not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_leaves_whole_files(files, tmp_path, capsys, monkeypatch, number):
    step, before = StreamNetwork.step, signal.getsignal(number)

    def interrupted(self, picture):
        interrupted.calls += 1
        if interrupted.calls == 7:
            signal.raise_signal(number)
        return step(self, picture)

    interrupted.calls = 0
    monkeypatch.setattr(StreamNetwork, "step", interrupted)
    table, video = tmp_path / "a.csv", tmp_path / "b.mp4"
    assert run(files, "--csv", str(table), "--video", str(video)) == 0
    assert len(pd.read_csv(table)) == count_frames(video) == 7
    assert "7 frames in" in capsys.readouterr().out
    assert signal.getsignal(number) is before


def test_a_second_ctrl_c_interrupts(files, monkeypatch, request):
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may ignore it
    request.addfinalizer(lambda: signal.signal(signal.SIGINT, before))

    def interrupted(self, picture):
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(StreamNetwork, "step", interrupted)
    assert run(files) == 130


def test_what_was_answered_stays_when_the_source_breaks_off(files, tmp_path, capsys, monkeypatch):
    def broken(*args, **options):
        def frames():
            yield from sliding(3)
            raise VideoError("the camera broke off")

        return open_source(frames())

    monkeypatch.setattr("tsmlib.online.sources.open_source", broken)
    assert run(files, "--csv", str(tmp_path / "a.csv")) == 1
    output = capsys.readouterr()
    assert "3 frames in" in output.out and output.err.endswith("the camera broke off\n")
    assert len(pd.read_csv(tmp_path / "a.csv")) == 3


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--smooth", "0"], "--smooth 0 must be at least 1"),
        (["--frames", "0"], "--frames 0 must be at least 1"),
        (["--frame-step", "0"], "frame_step=0 must be larger than 0"),
        (["--window"], "there is no display for a window"),
        (["--video", "a.nothing"], "a.nothing cannot be written"),
        (["--row", "sthv2x"], "there is no configuration 'sthv2x'"),
        (["--row", "jester_online"], "is a checkpoint of sthv1_online, not of jester_online"),
    ],
)
def test_mistakes_are_a_sentence(files, capsys, monkeypatch, tmp_path, words, sentence):
    monkeypatch.chdir(tmp_path)
    assert run(files, *words) == 1
    error = capsys.readouterr().err
    assert sentence in error and error.count("\n") == 1 and not list(tmp_path.iterdir())
