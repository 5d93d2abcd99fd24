"""Reading encoded videos and folders of JPEG frames, and what may be wrong with them."""

import csv
import multiprocessing
import os
import threading
import time
from functools import partial

import av
import numpy as np
import pytest
import torch
from PIL import Image

from tsmlib import VideoError, sample_indices
from tsmlib.data.video import (
    FrameFolder,
    VideoFile,
    encode_frames,
    map_threads,
    write_frames,
    write_video,
)

COLOURS = torch.tensor([(200, 30, 30), (30, 200, 30), (30, 30, 200), (200, 200, 40)])


def clip(t: int = 12, height: int = 48, width: int = 64) -> torch.Tensor:
    """uint8 `[T, H, W, 3]`: one colour a quarter of the clip, and a bar that says the frame."""
    frames = COLOURS[torch.arange(t) * 4 // t][:, None, None].expand(t, height, width, 3).clone()
    for i in range(t):
        frames[i, :, 4 * i : 4 * i + 4] = 255
    return frames.byte()


def near(found: torch.Tensor, expected: torch.Tensor, levels: float = 6) -> bool:
    """Lossy codecs keep the mean and most pixels."""
    difference = (found.float() - expected.float()).abs()
    return found.shape == expected.shape and float(difference.mean()) < levels


def encode(container, codec: str, frames: torch.Tensor) -> None:
    """Every frame a key frame, into a container that `write_video` does not make."""
    stream = container.add_stream(codec, rate=10)
    stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
    stream.options = {"g": "1"}
    for frame in frames.numpy():
        container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
    container.mux(stream.encode())


@pytest.fixture
def video(tmp_path):
    write_video(tmp_path / "clip.mp4", clip())
    return tmp_path / "clip.mp4"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "frames").mkdir()
    write_frames(tmp_path / "frames", encode_frames(clip()), "img_{:05}.jpg", 1)
    return tmp_path / "frames"


def opened(path, t: int = 12):
    return FrameFolder(path, t, "img_{:05}.jpg", 1) if path.is_dir() else VideoFile(path)


# --- what is read ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_frames_come_back(kind, request):
    """The right ones, in the order asked for, repeated where asked for, and in RGB."""
    reader = opened(request.getfixturevalue(kind))
    assert reader.num_frames == 12
    for indices in ([0, 5, 11], [11, 3, 3, 0], list(range(12)), [7]):
        found = reader.frames(indices)
        assert found.dtype == torch.uint8
        assert near(found, clip()[indices])
        # each is nearer to its own frame than to any other
        distances = (found[:, None].float() - clip()[None].float()).abs().mean((2, 3, 4))
        assert distances.argmin(1).tolist() == indices


@pytest.mark.parametrize("kind", ["video", "folder"])
def test_channels_are_red_green_blue(kind, request):
    found = opened(request.getfixturevalue(kind)).frames([1, 4, 7])
    for frame, colour in zip(found, COLOURS, strict=False):
        corner = frame[:, -8:].float().mean((0, 1))
        assert (corner - colour).abs().max() < 12


@pytest.mark.parametrize("gop", [1, 12])
def test_seeking_does_not_depend_on_the_order(tmp_path, gop):
    """With one key frame for all, late frames must be decoded through the early ones."""
    write_video(tmp_path / "clip.mp4", clip(), gop=gop)
    whole = VideoFile(tmp_path / "clip.mp4").frames(list(range(12)))
    reader = VideoFile(tmp_path / "clip.mp4")
    for index in (11, 2, 7, 0, 11):
        assert torch.equal(reader.frames([index])[0], whole[index])


@pytest.mark.parametrize(
    ("template", "start"), [("{:05}.jpg", 1), ("img_{:05}.jpg", 0), ("{}.jpg", 9)]
)
def test_names_of_frames(tmp_path, template, start):
    write_frames(tmp_path, encode_frames(clip(3)), template, start)
    names = sorted(file.name for file in tmp_path.iterdir())
    assert names == sorted(template.format(start + i) for i in range(3))
    assert near(FrameFolder(tmp_path, 3, template, start).frames([0, 2]), clip(3)[[0, 2]])


def test_grey_frames_become_three_channels(tmp_path):
    Image.fromarray(np.full((16, 20), 90, np.uint8)).save(tmp_path / "img_00001.jpg")
    found = FrameFolder(tmp_path, 1, "img_{:05}.jpg", 1).frames([0])
    assert found.shape == (1, 16, 20, 3) and near(found, torch.full((1, 16, 20, 3), 90))


@pytest.mark.parametrize(("suffix", "codec"), [("avi", "mpeg4"), ("mp4", "libx264")])
def test_title_in_another_encoding(tmp_path, suffix, codec):
    """Some clips of HMDB51 name their source in Latin-1."""
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w", format=suffix, metadata_encoding="latin-1") as container:
        container.metadata["title"] = "wrd_\u00d3"
        encode(container, codec, clip(8))
    assert VideoFile(path).num_frames == 8


# --- what is wrong --------------------------------------------------------------------------------


def test_video_that_is_not_there(tmp_path):
    with pytest.raises(VideoError, match="absent.mp4: No such file"):
        VideoFile(tmp_path / "absent.mp4")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"this is no video\n" * 50, "."), (bytes(5000), ".")],
    ids=["empty", "text", "zeros"],
)
def test_file_that_is_no_video(tmp_path, content, reason):
    (tmp_path / "clip.mp4").write_bytes(content)
    with pytest.raises(VideoError, match=f"clip.mp4: .*{reason}") as error:
        VideoFile(tmp_path / "clip.mp4")
    assert "\n" not in str(error.value)  # one sentence, not the decoder's stack


def test_truncated_video_without_its_table(video):
    """The table of an MP4 file is at its end by default."""
    content = video.read_bytes()
    video.write_bytes(content[: len(content) // 2])
    with pytest.raises(VideoError, match="clip.mp4: "):
        VideoFile(video)


def test_truncated_video_whose_header_promises_more(tmp_path):
    """With the table in front the file opens, and the decoder shortens it without a word."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randint(0, 256, (40, 64, 64, 3), generator=generator, dtype=torch.uint8)
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w", format="mp4", options={"movflags": "faststart"}) as container:
        encode(container, "libx264", frames)
    assert VideoFile(path).num_frames == 40
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    path.write_bytes(content[: len(content) * 6 // 10])
    with pytest.raises(VideoError, match=r"clip.mp4: truncated: \d+ of 40 frames"):
        VideoFile(path)
    with pytest.raises(VideoError, match=r"clip.mp4: truncated: \d+ of 39 frames"):
        VideoFile(path, listed_frames=39)


def test_video_shorter_than_its_list_says(video):
    assert VideoFile(video, listed_frames=12).num_frames == 12
    with pytest.raises(VideoError, match="clip.mp4: truncated: 12 of 20 frames"):
        VideoFile(video, listed_frames=20)


def test_frame_past_the_end(video):
    with pytest.raises(VideoError, match=r"clip.mp4: frames \[12\]"):
        VideoFile(video).frames([12])


def test_missing_frame(folder):
    (folder / "img_00004.jpg").unlink()
    reader = opened(folder)
    assert near(reader.frames([0, 4]), clip()[[0, 4]])  # the others can be read
    with pytest.raises(
        VideoError, match="img_00004.jpg: the frame is missing .*promises 12 frames"
    ):
        reader.frames([0, 3])


@pytest.mark.parametrize(
    "content", [b"", b"no picture", encode_frames(clip(1))[0][:20]], ids=["empty", "text", "cut"]
)
def test_damaged_frame(folder, content):
    (folder / "img_00002.jpg").write_bytes(content)
    with pytest.raises(VideoError, match="img_00002.jpg: "):
        opened(folder).frames([1])


def test_png_frames_by_the_name_of_jpeg(folder):
    (folder / "img_00002.jpg").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    with pytest.raises(VideoError, match="img_00002.jpg: not a JPEG file, and frames must be JPEG"):
        opened(folder).frames([1])


def test_frames_of_different_sizes(folder):
    write_frames(folder, encode_frames(clip(1, 32, 64)), "img_{:05}.jpg", 5)
    with pytest.raises(VideoError, match=r"frames: frames differ in size: .*32, 64.*48, 64"):
        opened(folder).frames([0, 4])


# --- threads ------------------------------------------------------------------------------------


@pytest.fixture
def three_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("three_threads")
def test_threads_work_at_the_same_time():
    meeting = threading.Barrier(3, timeout=30)  # is passed only by three at the same time

    def work(item: int) -> int:
        if item < 3:
            meeting.wait()
        return item * item

    assert map_threads(work, range(20)) == [i * i for i in range(20)]
    assert map_threads(work, []) == []


@pytest.mark.usefixtures("three_threads")
def test_threads_within_threads():
    def outer(i: int) -> list[int]:
        return map_threads(lambda j: 10 * i + j, range(10))

    assert map_threads(outer, range(40)) == [[10 * i + j for j in range(10)] for i in range(40)]


@pytest.mark.usefixtures("three_threads")
def test_an_error_waits_for_the_other_threads():
    working = []

    def work(item: int) -> None:
        working.append(item)
        time.sleep(0.01)
        working.remove(item)
        if item == 4:
            raise ValueError("item 4")

    with pytest.raises(ValueError, match="item 4"):
        map_threads(work, range(9))
    assert not working


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
@pytest.mark.usefixtures("three_threads")
def test_threads_after_a_fork():
    assert map_threads(str, range(5)) == list("01234")
    child = multiprocessing.get_context("fork").Process(target=_forked)
    child.start()
    child.join(30)
    assert child.exitcode == 0


def _forked() -> None:
    work = partial(map_threads, lambda i: time.sleep(0.01) or str(i))
    assert work(range(5)) == list("01234")


# --- real clips -----------------------------------------------------------------------------------


def test_real_clips_are_read(shared):
    """MPEG-4 and H.264, AVI and MP4, as the data sets come."""
    clips = shared / "data/benchmark_clips"
    with (clips / "labels.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 9
    for row in rows:
        reader = VideoFile(clips / row["clip"])
        assert abs(reader.num_frames - int(row["frames"])) <= 1, row["clip"]
        frames = reader.frames(sample_indices(reader.num_frames, 8)[0].tolist())
        assert frames.shape == (8, int(row["height"]), int(row["width"]), 3), row["clip"]
        assert frames.float().std() > 10  # a picture, not one colour
        assert not torch.equal(frames[0], frames[-1])


def test_real_frames_are_read(shared):
    folder = shared / "data/rawframes_sample/jumping/0001"
    frames = FrameFolder(folder, 17, "img_{:05}.jpg", 1).frames([0, 8, 16])
    assert frames.shape[0] == 3 and frames.float().std() > 10
