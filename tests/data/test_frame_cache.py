"""Kept frames are the frames: nothing but the time depends on them."""

import errno
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
        monkeypatch.setattr(f"tsmlib.data.loader.{kind.__name__}", not_again)
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


def test_a_full_disk_loses_nothing(media, tmp_path, caplog):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    calls, expected = [], opened(media, tmp_path / "other", []).frames([3])
    with caplog.at_level(logging.WARNING):
        assert opened(media, tmp_path, calls, pwrite=full).frames([3]).equal(expected)
    assert "No space left on device; frames are decoded again" in caplog.text
    assert (
        opened(media, tmp_path, calls, pwrite=full).frames([3]).equal(expected) and len(calls) == 2
    )


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
