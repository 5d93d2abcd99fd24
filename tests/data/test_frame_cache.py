"""Kept frames are the frames: nothing but the time depends on them."""

import errno
import json
import logging
import os
from pathlib import Path

import pytest
import torch
from helpers import sliding

from tsmlib import VideoError, get_config
from tsmlib.data.annotations import VideoEntries, VideoEntry, VideoList
from tsmlib.data.frame_cache import CachedVideo
from tsmlib.data.loader import ClipDataset
from tsmlib.data.video import FrameFolder, VideoFile, encode_frames, write_frames, write_video

FIELDS = {"num_segments": 4, "short_side": 40, "crop_size": 32, "val_crop_size": 32,
          "test_crop_size": 32, "pretrain": "none"}  # fmt: skip


@pytest.fixture(scope="module")
def media(tmp_path_factory) -> Path:
    """A video, and a folder of frames."""
    folder = tmp_path_factory.mktemp("media")
    write_video(folder / "a.mp4", sliding(30), gop=12)
    (folder / "b").mkdir()
    write_frames(folder / "b", encode_frames(sliding(20, 3)), "{:05}.jpg", 1)
    return folder


def dataset(media: Path, layout: str, protocol: str | None, **changes) -> ClipDataset:
    entry = VideoEntry("a.mp4", None, 1) if layout == "video" else VideoEntry("b", 20, 0)
    videos = VideoList(media / "list.txt", "", layout, media, VideoEntries([entry]))
    return ClipDataset(videos, get_config("sthv1", **FIELDS, **changes), protocol)


@pytest.mark.parametrize("layout", ["video", "rawframes"])
@pytest.mark.parametrize("protocol", [None, "validation", "accurate"])
@pytest.mark.parametrize("train_crop", ["multiscale", "random_resized"])
def test_clips_are_the_same_from_the_video_and_from_the_cache(
    media, tmp_path, monkeypatch, layout, protocol, train_crop
):
    of = dataset(media, layout, protocol, train_crop=train_crop)
    keys = [(epoch, 0) for epoch in range(4)]
    expected = [of[key] for key in keys]
    monkeypatch.setenv("TSM_FRAME_CACHE", str(tmp_path))
    for _ in range(2):
        for key, (_, label, clips, reason) in zip(keys, expected, strict=True):
            found = of[key]
            assert not found[3]
            assert found[2].equal(clips) and (found[1], found[3]) == (label, reason)

    def not_again(*args):
        raise AssertionError("all frames are there")

    for kind in (VideoFile, FrameFolder):
        monkeypatch.setattr(kind, "frames", not_again)
    assert of[keys[0]][2].equal(expected[0][2])


def opened(
    media: Path, tmp_path: Path, calls: list, short_side: int | None = 24, **options
) -> CachedVideo:
    def open_video():
        calls.append(1)
        return VideoFile(media / "a.mp4")

    return CachedVideo(tmp_path, media / "a.mp4", "", open_video, short_side, **options)


def test_frames_are_decoded_once_and_only_what_is_missing(media, tmp_path):
    calls, plain = [], VideoFile(media / "a.mp4")
    first = opened(media, tmp_path, calls, None)
    assert first.frames([5, 2, 5]).equal(plain.frames([5, 2, 5]))
    second = opened(media, tmp_path, calls, None)
    assert second.num_frames == plain.num_frames and len(calls) == 1
    assert second.frames([2, 5]).equal(plain.frames([2, 5])) and len(calls) == 1
    assert second.frames([2, 6]).equal(plain.frames([2, 6])) and len(calls) == 2
    files = [f for f in tmp_path.rglob("*") if f.is_file()]
    assert len(files) == 1
    room = files[0].stat().st_blocks * 512
    assert room < files[0].stat().st_size / 2  # three frames of thirty


def test_a_changed_video_or_size_has_frames_of_its_own(media, tmp_path):
    video = tmp_path / "v.mp4"
    video.write_bytes((media / "a.mp4").read_bytes())
    names = set()
    for time, short_side in ((1, 24), (2, 24), (2, 32), (2, None)):
        os.utime(video, (time, time))
        names.add(CachedVideo(tmp_path, video, "", lambda: VideoFile(video), short_side).file)
    assert len(names) == 4


def test_a_damaged_file_is_made_again(media, tmp_path):
    calls = []
    cached = opened(media, tmp_path, calls)
    expected = cached.frames([1, 2])
    cached.file.write_bytes(cached.file.read_bytes()[:300])
    assert opened(media, tmp_path, calls).frames([1, 2]).equal(expected)
    assert opened(media, tmp_path, calls).frames([1, 2]).equal(expected) and len(calls) == 2


@pytest.mark.parametrize("place", [0, 100, 1000, 2000])
def test_a_flipped_bit_is_noticed(media, tmp_path, place):
    calls = []
    cached = opened(media, tmp_path, calls)
    expected = cached.frames([0, 1])
    content = bytearray(cached.file.read_bytes())
    kept = [i for i in range(256, len(content)) if content[i]]  # checksums first, then frames
    for position in (kept[min(place, len(kept) - 1)], 256 + 4):
        content[position] ^= 4
        cached.file.write_bytes(content)
        assert opened(media, tmp_path, calls).frames([0, 1]).equal(expected)
        content[position] ^= 4
    assert len(calls) == 3


def test_a_header_that_is_not_of_the_frames(media, tmp_path):
    calls = []
    cached = opened(media, tmp_path, calls)
    expected = cached.frames([1, 2])
    count, height, width = expected.shape[0], *expected.shape[1:3]
    for shape in ([30, width, height], [30.0, height, width], [[30], height, width], {}, 3, None):
        content = json.dumps(shape).encode().ljust(256) + cached.file.read_bytes()[256:]
        cached.file.write_bytes(content)
        assert opened(media, tmp_path, calls).frames([1, 2]).equal(expected)
    assert count == 2


@pytest.fixture
def numbered(tmp_path, monkeypatch):
    """A function that reads the grey levels of a folder of frames, through a cache."""
    folder = tmp_path / "clip"
    folder.mkdir()
    monkeypatch.setenv("TSM_FRAME_CACHE", str(tmp_path / "cache"))

    def put(number: int, grey: int, template: str = "img_{:05}.jpg") -> Path:
        frame = torch.full((1, 40, 56, 3), grey, dtype=torch.uint8)
        file = folder / template.format(number)
        file.write_bytes(encode_frames(frame)[0])
        return file

    def read(**fields) -> list[int]:
        videos = VideoList(
            tmp_path, "", "rawframes", tmp_path, VideoEntries([VideoEntry("clip", 10, 0)])
        )
        cfg = get_config("k400", **{**FIELDS, "num_segments": 8, **fields})
        _, _, clips, reason = ClipDataset(videos, cfg, "validation")[0, 0]
        assert not reason
        return clips.float().mean((0, 2, 3, 4)).round().int().tolist()

    for number in range(11):
        put(number, 20 * number)
    return put, read


def test_another_first_frame_has_frames_of_its_own(numbered):
    _, read = numbered
    assert read(start_index=1) == [20, 40, 80, 100, 120, 140, 180, 200]
    assert read(start_index=0) == [0, 20, 60, 80, 100, 120, 160, 180]
    assert read(start_index=1) == [20, 40, 80, 100, 120, 140, 180, 200]


def test_another_template_has_frames_of_its_own(numbered):
    put, read = numbered
    read()
    for number in range(11):
        put(number, 10, "{}.jpg")
    assert read(filename_tmpl="{}.jpg") == [10] * 8


@pytest.mark.parametrize("restored", [False, True])
def test_frames_that_are_written_anew_in_place(numbered, restored):
    put, read = numbered
    assert read()[2] == 80
    before = put(4, 80).stat()
    assert read()[2] == 80
    file = put(4, 200)
    if restored:  # as rsync and cp -p do; of another size they would be noticed as well
        with file.open("ab") as opened:
            opened.write(b"\0" * (before.st_size - file.stat().st_size))
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert read() == [20, 40, 200, 100, 120, 140, 180, 200]


def test_a_frame_that_is_gone_is_missed(numbered):
    put, read = numbered
    read()
    put(4, 80).unlink()
    with pytest.raises(AssertionError, match="img_00004.jpg: the frame is missing"):
        read()


@pytest.mark.parametrize("problem", ["full", "read-only", "not permitted", "a file"])
def test_a_cache_that_cannot_be_written_is_only_slower(media, tmp_path, caplog, problem):
    codes = {"full": errno.ENOSPC, "read-only": errno.EROFS, "not permitted": errno.EACCES}

    def fail(*args):
        raise OSError(code := codes[problem], os.strerror(code))

    calls, expected = [], opened(media, tmp_path / "other", []).frames([3])
    cache, options = tmp_path / problem, {"pwrite": fail}
    if problem == "a file":
        cache.write_text("in the way")
        options = {}
    with caplog.at_level(logging.WARNING):
        for _ in range(3):
            assert opened(media, cache, calls, **options).frames([3]).equal(expected)
    assert len(calls) == 3
    said = [line for line in caplog.messages if "frames are decoded again" in line]
    assert len(said) == 1 and str(cache) in said[0]


def test_what_cannot_be_read_is_not_kept(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match="empty"):
        CachedVideo(
            tmp_path, tmp_path / "empty.mp4", "", lambda: VideoFile(tmp_path / "empty.mp4"), 24
        )
    assert not list(tmp_path.rglob("*.frames"))


def test_entries_share_one_memory():
    listed = [VideoEntry("a/é.mp4", None, 3), VideoEntry("b", 12, 0), VideoEntry("c", 1, 2)]
    entries = VideoEntries(listed)
    assert list(entries) == listed
    assert (entries[-1], len(entries)) == (listed[-1], 3)
    with pytest.raises(IndexError):
        entries[3]
    assert not any(isinstance(v, list | tuple | dict) for v in vars(entries).values())
    assert torch.tensor([e.label for e in entries]).tolist() == [3, 0, 2]
