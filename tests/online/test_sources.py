"""Sources of frames: what is read, what is dropped, and the sentence where there is nothing."""

import http.server
import os
import subprocess
import sys
import threading
import wave
from functools import partial

import av
import numpy as np
import pytest
import torch
from helpers import FakeClock, sliding, stdin_from, write_stream

from tsmlib import ConfigError, VideoError
from tsmlib.data.video import VideoFile, write_video
from tsmlib.online.frame_readers import NewestFrame
from tsmlib.online.sources import Frame, find_input, open_source, pace

COUNT = 9


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    """A file of 9 frames at 30 a second."""
    file = tmp_path_factory.mktemp("clip") / "a.mp4"
    write_video(file, sliding(COUNT), fps=30)
    return file


def read(source, **options) -> list[Frame]:
    with open_source(source, **options) as frames:
        return list(frames)


def read_live(source, **options) -> tuple[list[Frame], int]:
    """The frames that were given, and how many were dropped."""
    with open_source(source, timeout=60, **options) as frames:
        return list(frames), frames.dropped


def times(frames) -> list[float]:
    return [frame.time for frame in frames]


# --- files ----------------------------------------------------------------------------------------


def test_a_file_gives_all_its_frames_as_offline(clip):
    frames = read(clip)
    expected = VideoFile(clip).frames(list(range(COUNT))).numpy()
    assert np.array_equal(np.stack([frame.picture for frame in frames]), expected)
    assert times(frames) == pytest.approx([i / 30 for i in range(COUNT)], abs=1e-3)


def test_every_second_frame_enters(clip):
    whole, part = read(str(clip)), read(str(clip), frame_step=2)
    assert times(part) == times(whole)[::2]
    assert np.array_equal(part[1].picture, whole[2].picture)


def test_times_go_on_where_stamps_jump_back_or_are_missing(tmp_path):
    one = write_stream(tmp_path / "a.ts", sliding(4), fps=25).read_bytes()
    (tmp_path / "twice.ts").write_bytes(2 * one)
    raw = write_stream(tmp_path / "raw.h264", sliding(8), "h264", fps=25)
    for file in (tmp_path / "twice.ts", raw):
        assert times(read(file)) == pytest.approx([i / 25 for i in range(8)], abs=1e-3)


def test_a_stream_may_change_its_size(tmp_path):
    parts = [sliding(3), sliding(2).repeat(1, 2, 1, 1)]
    streams = [write_stream(tmp_path / f"{i}.ts", p).read_bytes() for i, p in enumerate(parts)]
    (tmp_path / "both.ts").write_bytes(b"".join(streams))
    shapes = [frame.picture.shape for frame in read(tmp_path / "both.ts")]
    assert shapes == 3 * [(48, 64, 3)] + 2 * [(96, 64, 3)]


def test_damaged_packets_are_skipped(tmp_path, caplog):
    data = bytearray(write_stream(tmp_path / "a.h264", sliding(20), "h264").read_bytes())
    data[len(data) // 2 : len(data) // 2 + 400] = os.urandom(400)
    (tmp_path / "a.h264").write_bytes(data)
    assert len(read(tmp_path / "a.h264")) >= 5


# --- sources that do not wait ---------------------------------------------------------------------


def test_a_named_pipe(clip, tmp_path):
    stream, pipe = write_stream(tmp_path / "a.ts", sliding(20)), tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = subprocess.Popen(["sh", "-c", 'cat "$1" > "$2"', "sh", str(stream), str(pipe)])
    frames, dropped = read_live(pipe)
    assert writer.wait() == 0
    assert len(frames) + dropped == 20 and times(frames) == sorted(times(frames))
    assert np.array_equal(frames[-1].picture, read(stream)[-1].picture)


def test_stdin(tmp_path):
    with stdin_from(write_stream(tmp_path / "a.ts", sliding(20))):
        frames, dropped = read_live("-")
    assert len(frames) + dropped == 20


def test_an_address(clip):
    quiet = type("Quiet", (http.server.SimpleHTTPRequestHandler,), {"log_message": lambda *_: None})
    handler = partial(quiet, directory=clip.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        frames, dropped = read_live(f"http://127.0.0.1:{server.server_port}/a.mp4")
        server.shutdown()
    assert len(frames) + dropped == COUNT


def test_frames_are_paced_at_their_times():
    clock, slept = FakeClock(), []

    def sleep(seconds):
        slept.append(seconds)
        clock.now += seconds

    clock.now = 100.0
    given = []
    frames = (Frame(None, moment, 0.0) for moment in (2.0, 2.25, 2.5, 2.75, 4.0))
    for frame in pace(frames, clock, sleep):
        given.append((frame.time, frame.arrived))
        clock.now += 0.5 if frame.time == 2.25 else 0.125  # one that takes longer
    assert given == [(2.0, 100.0), (2.25, 100.25), (2.5, 100.75), (2.75, 100.875), (4.0, 102.0)]
    assert slept == [0.125, 1.0]


def test_a_source_of_thirty_frames_a_second_and_a_slow_network():
    """A step takes 105 ms, in which about three frames come."""
    clock, given = FakeClock(), []

    def frames():
        for number in range(31):
            yield np.full((4, 4, 3), number, np.uint8)
        clock.end()

    with open_source(frames(), paced=True, fps=30, timeout=60, clock=clock, sleep=clock.sleep) as f:
        for frame in f:
            clock.advance(0.105)
            given.append((int(frame.picture[0, 0, 0]), f.dropped))
    due = [0]
    while due[-1] < 30:  # the newest one when a step ends
        due.append(min(30, int(0.105 * len(due) * 30)))
    assert [number for number, _ in given] == due
    assert given[-1] == (30, 31 - len(due))


def test_the_end_of_the_source_is_no_stall():
    source = open_source([np.zeros((4, 4, 3), np.uint8)], paced=True, timeout=60)
    with source as frames:
        assert len(list(frames)) == 1


def test_a_source_that_stalls():
    forever = threading.Event()

    def frames():
        yield 1
        forever.wait()

    with NewestFrame(frames(), "camera 0", timeout=0.05) as reader:
        iterator = iter(reader)
        assert next(iterator) == 1
        with pytest.raises(VideoError, match=r"camera 0 has stalled: no frame for 0.05 seconds"):
            next(iterator)
        forever.set()


def test_a_source_that_breaks_off_gives_its_last_frame_first():
    def frames():
        yield 1
        raise VideoError("broke off")

    iterator = iter(NewestFrame(frames(), "it", timeout=60))
    assert next(iterator) == 1
    with pytest.raises(VideoError, match="broke off"):
        next(iterator)


def test_closing_ends_a_wait():
    closed = threading.Event()

    def frames():
        yield 1
        reader.close()  # as a handler of Ctrl-C would, while a frame is waited for
        closed.wait()

    with NewestFrame(frames(), "it", timeout=60) as reader:
        assert list(reader) in ([], [1])
        closed.set()


# --- arrays ---------------------------------------------------------------------------------------


def test_arrays_and_tensors_are_a_source():
    video = sliding(5)
    frames = read(video, fps=10)
    assert times(frames) == [0, 0.1, 0.2, 0.3, 0.4]
    assert np.array_equal(np.stack([frame.picture for frame in frames]), video.numpy())
    assert times(read(frames, frame_step=2)) == [0, 0.2, 0.4]
    (turned,) = read([video[0].numpy()[..., ::-1]])  # BGR to RGB, as people do
    assert torch.equal(torch.as_tensor(turned.picture), video[0].flip(-1))
    with pytest.raises(VideoError, match="the source has no frame"):
        read([])


@pytest.mark.parametrize(
    "frame", [torch.zeros(4, 4, 3), torch.zeros(4, 4, dtype=torch.uint8), np.zeros((4, 4, 4), "u1")]
)
def test_arrays_of_another_kind(frame):
    with pytest.raises(VideoError, match=r"frame 1 is .*; frames are uint8 \[H, W, 3\], RGB"):
        read([np.zeros((4, 4, 3), np.uint8), frame])


# --- nothing to read ------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{"frame_step": 0}, {"timeout": 0}, {"fps": -1}])
def test_numbers_that_are_not_positive(options):
    with pytest.raises(ConfigError, match="must be larger than 0"):
        open_source([], **options)


@pytest.fixture
def bad(tmp_path):
    """Files that hold no frames."""
    (tmp_path / "notes.txt").write_text("not a video\n")
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "folder").mkdir()
    with wave.open(str(tmp_path / "sound.wav"), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))
    whole = write_stream(tmp_path / "whole.mkv", sliding(2), "matroska").read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: whole.index(b"\x1f\x43\xb6\x75")])  # no Cluster
    write_video(tmp_path / "zeros.mp4", sliding(2))
    data = (tmp_path / "zeros.mp4").read_bytes()
    begin, end = data.index(b"mdat") + 4, data.index(b"moov") - 4
    (tmp_path / "zeros.mp4").write_bytes(data[:begin] + bytes(end - begin) + data[end:])
    return tmp_path


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("nowhere.mp4", "there is no .*nowhere.mp4; a source is a file, the number of a camera"),
        ("folder", "folder is a folder; a source is a file"),
        ("empty.mp4", "empty.mp4 is an empty file; name another one"),
        ("notes.txt", "notes.txt cannot be opened: Invalid data.*; name a video file"),
        ("sound.wav", "sound.wav holds no video that can be decoded; name a video file"),
        ("cut.mkv", "cut.mkv cannot be opened: End of file; name a video file"),
        ("zeros.mp4", "zeros.mp4 has no frame that can be decoded; name a video file"),
    ],
)
def test_files_without_frames(bad, name, sentence):
    with pytest.raises(VideoError, match=sentence) as error:
        read(bad / name)
    assert "\n" not in str(error.value)


def test_a_source_without_a_name():
    with pytest.raises(VideoError, match="the name of the source is empty; a source is a file"):
        open_source("")


def test_a_file_by_its_address_is_a_file(clip):
    assert find_input(f"file://{clip}") == find_input(clip)
    with pytest.raises(VideoError, match="there is no ~nobody/a.mp4; a source is a file"):
        open_source("~nobody/a.mp4")


@pytest.mark.skipif(sys.platform != "linux", reason="other systems name cameras otherwise")
@pytest.mark.parametrize("camera", ["97", 97, "/dev/video97"])
def test_a_camera_that_is_not_there(camera):
    with pytest.raises(VideoError, match=r"camera 97 \(/dev/video97\) cannot be opened: No such"):
        read(camera)


def test_cameras_of_other_systems(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    found = find_input("1")
    assert (found.file, found.format, found.live) == ("1:none", "avfoundation", True)
    monkeypatch.setattr(sys, "platform", "win32")
    devices = [("Microphone", ["audio"]), ("Webcam", ["video"])]
    listed = [av.device.DeviceInfo(name, name, False, kinds) for name, kinds in devices]
    monkeypatch.setattr(av, "enumerate_input_devices", lambda form: listed)
    found = find_input("0")
    assert (found.file, found.format) == ("video=Webcam", "dshow")
    with pytest.raises(VideoError, match="there is no camera 1 among 1; connect"):
        find_input("1")


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_an_address_that_cannot_be_reached(scheme):
    with pytest.raises(VideoError, match="cannot be opened: .*; check the address") as error:
        read(f"{scheme}://user:secret@127.0.0.1:9/video.mp4")
    assert f"{scheme}://127.0.0.1:9/video.mp4 " in str(error.value)  # without the password


def test_nothing_is_piped_into_stdin(monkeypatch):
    monkeypatch.setattr(os, "isatty", lambda number: True)
    with pytest.raises(VideoError, match="reads a video from stdin, but nothing is piped into it"):
        open_source("-")
