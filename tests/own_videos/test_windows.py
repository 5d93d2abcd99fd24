"""Windows of long recordings, against a version that decodes everything and cuts it."""

import re
import weakref

import av
import pytest
import torch
from helpers import sliding, tiny, write_stream

from tsmlib import ConfigError, VideoError, preprocess, sample_indices
from tsmlib.data.annotations import VideoEntry
from tsmlib.data.video import VideoFile, encode_frames, write_frames, write_video
from tsmlib.own_videos.video_stream import TimedFrame, Timing, stream_video, video_timing
from tsmlib.own_videos.window_clips import Recording, WindowDataset, sample_times, slide

SIZES = {"short_side": 40, "crop_size": 32, "val_crop_size": 32, "test_crop_size": 40}
CFG = tiny("sthv1", num_segments=4, **SIZES)
DENSE = tiny("k400_dense", num_segments=8, **SIZES)


def windows_of(path, window, stride, cfg=CFG, num_frames=None, fps=10.0):
    recording = Recording(VideoEntry(str(path), num_frames, 0), Timing(9.0, fps), window, stride)
    items = list(WindowDataset([recording], cfg))
    assert all(number == 0 for number, _, _ in items)
    return [item[1] for item in items if item[1]], [item[2] for item in items if item[2]]


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """A video of 83 frames, 10 a second, and its frames."""
    path = tmp_path_factory.mktemp("recording") / "long.mp4"
    write_video(path, sliding(83, 3), fps=10, gop=12)
    return path, VideoFile(path).frames(list(range(83)))


@pytest.mark.parametrize(("window", "stride"), [(2.0, 1.0), (2.0, 2.0), (3.0, 0.5), (1.6, 0.7)])
def test_windows_are_clips_of_the_sliced_video(recording, window, stride):
    path, frames = recording
    found, bad = windows_of(path, window, stride)
    assert not bad and found[0].start == 0 and found[-1].end == pytest.approx(8.3)
    count = round(10 * window)
    for number, own in enumerate(found):
        assert own.start == pytest.approx(number * stride)
        first = round(10 * own.start)
        part = frames[first : first + count]
        if len(part) < count:
            assert own is found[-1]
            part = torch.cat([part, part[-1:].expand(count - len(part), -1, -1, -1)])
        else:
            assert own.end == pytest.approx(own.start + window)
        clip = part[sample_indices(count, 4)[0]]
        wanted = preprocess(clip, CFG, "val")[0].movedim(1, 3)
        assert torch.equal(own.frames, wanted)
    assert found[-2].end < 8.3  # no window beyond the first that reaches the end


def test_each_frame_is_read_once_and_only_if_it_is_wanted():
    read = []

    def frame(number):
        def take():
            read.append(number)
            return torch.full((1, 1, 3), number, dtype=torch.uint8)

        return TimedFrame(number / 10, take)

    offsets = sample_times(CFG, 2.0, 10.0)
    found = list(slide(map(frame, range(100)), offsets, 2.0, 0.5, lambda x: x))
    assert read == sorted(set(read)) and len(read) < 100
    numbers = [own.frames[:, 0, 0, 0].tolist() for own in found]
    assert numbers[0] == [2, 7, 12, 17] and numbers[3] == [17, 22, 27, 32] and len(found) == 17


def test_memory_does_not_grow_with_the_recording():
    """Of a million frames no more than those of the open windows are held at a time."""
    alive = weakref.WeakSet()

    def frame(number):
        def take():
            picture = torch.zeros(1, 1, 3, dtype=torch.uint8)
            alive.add(picture)
            return picture

        return TimedFrame(number / 10, take)

    most = 0
    for _ in slide(map(frame, range(50_000)), [0.1, 0.9], 1.0, 0.5, lambda x: x):
        most = max(most, len(alive))
    assert most <= 8


def test_frames_that_come_unevenly_are_taken_by_time():
    times = [0.0, 0.1, 0.2, 1.5, 1.6, 3.9]

    def frame(number):
        return TimedFrame(times[number], lambda: torch.full((1, 1, 3), number, dtype=torch.uint8))

    found = list(slide(map(frame, range(6)), [0.5, 1.5], 2.0, 2.0, lambda x: x))
    assert [own.frames[:, 0, 0, 0].tolist() for own in found] == [[2, 3], [4, 4]]


def test_dense_windows(recording):
    path, frames = recording
    found, _ = windows_of(path, 6.4, 1.0, DENSE)
    wanted = preprocess(frames[sample_indices(64, 8, "dense")[0]], DENSE, "val")[0]
    assert torch.equal(found[0].frames, wanted.movedim(1, 3))
    longer = windows_of(path, 7.0, 1.0, DENSE)[0]
    moved = preprocess(frames[sample_indices(64, 8, "dense")[0] + 3], DENSE, "val")[0]
    assert torch.equal(longer[0].frames, moved.movedim(1, 3))
    with pytest.raises(ConfigError, match=r"window=2 s is shorter than a clip of k400_dense.*64"):
        sample_times(DENSE, 2.0, 10.0)


def test_folders_of_frames_have_windows_too(recording, tmp_path):
    frames = recording[1]
    write_frames(tmp_path, encode_frames(frames, 100), CFG.filename_tmpl, CFG.start_index)
    found, bad = windows_of(tmp_path, 2.0, 1.0, num_frames=83)
    assert len(found) == 8 and not bad
    reference = windows_of(recording[0], 2.0, 1.0)[0]
    for one, two in zip(found, reference, strict=True):
        assert (one.frames.int() - two.frames.int()).abs().max() < 40 and one.start == two.start


def test_a_recording_that_breaks_off_keeps_its_windows(recording, tmp_path):
    cut = tmp_path / "cut.mkv"
    with av.open(str(recording[0])) as source, av.open(str(cut), "w") as target:
        stream = target.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = stream
                target.mux(packet)
    content = cut.read_bytes()
    cut.write_bytes(content[: len(content) * 2 // 3])
    found, (reason,) = windows_of(cut, 2.0, 1.0)
    assert 2 <= len(found) < 7 and re.search(r"cut.mkv: truncated: its frames end after \d", reason)


@pytest.mark.parametrize(("name", "content"), [("text.mp4", b"no video"), ("empty.mp4", b"")])
def test_what_is_no_video_is_a_sentence(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    assert video_timing(tmp_path / name) is None
    with pytest.raises(VideoError, match=rf"{name}: \w"):
        list(stream_video(tmp_path / name))


def test_times_and_frames_of_a_stream_are_those_of_the_file(recording):
    path, frames = recording
    found = [(frame.time, frame.read()) for frame in stream_video(path)]
    assert [time for time, _ in found] == pytest.approx([i / 10 for i in range(83)])
    assert torch.equal(torch.stack([picture for _, picture in found]), frames)
    assert video_timing(path) == pytest.approx((8.3, 10.0))


def test_a_stream_without_a_length_is_measured(tmp_path):
    write_stream(tmp_path / "a.ts", sliding(45), fps=15)
    write_stream(tmp_path / "a.h264", sliding(45), "h264", fps=15)
    assert video_timing(tmp_path / "a.ts").seconds == pytest.approx(3, abs=0.1)
    assert len(list(stream_video(tmp_path / "a.h264"))) == 45
