"""Cutting of push-up clips: from made-up source videos whose frames say their number."""

import pytest
import torch

from tsmlib.data.annotations import DataError
from tsmlib.data.prepare.pushups import CLASSES, cut_pushups, read_segments
from tsmlib.data.video import VideoFile, write_video

HEADER = "clip,label,source_video,group,first_frame,last_frame,frames,split\n"
TABLE = (
    HEADER
    + """\
down/g00_one_f0002.mp4,down,one,g00,2,9,8,train
up/g00_one_f0010.mp4,up,one,g00,10,29,20,train
down_up/g00_one_f0002.mp4,down_up,one,g00,2,29,28,train
up/g01_two_f0000.mp4,up,two,g01,0,5,6,val
down/g01_gone_f0000.mp4,down,gone,g01,0,5,6,val
down/g01_two_f0020.mp4,down,two,g01,20,45,26,val
"""
)


def numbered(frames: int, height: int, width: int) -> torch.Tensor:
    """uint8 `[T, H, W, 3]`, 5 grey levels brighter from frame to frame."""
    levels = 5 * torch.arange(frames).view(-1, 1, 1, 1) + 20
    return levels.expand(-1, height, width, 3).to(torch.uint8).contiguous()


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source" / "deep").mkdir(parents=True)
    write_video(tmp_path / "source" / "deep" / "one.mp4", numbered(40, 200, 320), fps=25)
    write_video(tmp_path / "source" / "two.mp4", numbered(40, 180, 100), fps=30)
    (tmp_path / "segments.csv").write_text(TABLE)
    return tmp_path / "source"


def cut(source, name="cut"):
    return cut_pushups(source, source.parent / name, source.parent / "segments.csv")


def test_clips_hold_the_frames_of_the_table(source):
    report = cut(source)
    assert (report.done, report.skipped) == (4, 0)
    videos = source.parent / "cut" / "videos"
    first = {"down/g00_one_f0002": 2, "up/g00_one_f0010": 10, "up/g01_two_f0000": 0}
    for clip, start in first.items():
        video = VideoFile(videos / f"{clip}.mp4")
        frames = video.frames(list(range(video.num_frames))).float().mean((1, 2, 3))
        expected = 5.0 * (start + torch.arange(video.num_frames)) + 20
        torch.testing.assert_close(frames, expected, atol=2.5, rtol=0)
    assert video.num_frames == 6
    assert VideoFile(videos / "down/g00_one_f0002.mp4").frames([0]).shape == (1, 160, 256, 3)


def test_lists_name_the_clips_that_are_there(source):
    cut(source)
    folder = source.parent / "cut"
    texts = {f.name: f.read_text().splitlines() for f in folder.glob("*.txt")}
    assert texts["train.txt"] == [
        "down/g00_one_f0002.mp4 8 0", "down_up/g00_one_f0002.mp4 28 2", "up/g00_one_f0010.mp4 20 1",
    ]  # fmt: skip
    assert texts["train_order2.txt"] == [texts["train.txt"][0], texts["train.txt"][2]]
    assert texts["val.txt"] == ["up/g01_two_f0000.mp4 6 1"] == texts["val_order2.txt"]
    assert texts["classes.txt"] == list(CLASSES) and texts["classes_order2.txt"] == ["down", "up"]


def test_sources_that_are_missing_or_too_short_are_named(source):
    failed = dict(cut(source).failed)
    assert "there is no such video below" in failed["gone"]
    assert "needs frame 45, there are only 40" in failed["two"]


def test_it_goes_on_where_it_stopped(source):
    cut(source)
    kept = source.parent / "cut" / "videos" / "up" / "g00_one_f0010.mp4"
    before = kept.stat().st_mtime_ns
    (kept.parent / "g01_two_f0000.mp4").unlink()
    report = cut(source)
    assert (report.done, report.skipped) == (1, 3) and kept.stat().st_mtime_ns == before


def test_a_folder_without_the_sources(source, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"none of the source videos \(gone.mp4 ...\) is below"):
        cut_pushups(tmp_path / "empty", tmp_path / "cut", tmp_path / "segments.csv")
    assert not (tmp_path / "cut").exists()


def test_the_table_of_the_project():
    segments = read_segments()
    assert len({s.clip for s in segments}) == len(segments) == 877
    assert {s.label for s in segments} == set(CLASSES)
    groups = {split: {s.clip.split("/")[1][:3] for s in segments if s.split == split}
              for split in ("train", "val")}  # fmt: skip
    assert len(groups["train"]) == 26 and len(groups["val"]) == 10
    assert not groups["train"] & groups["val"]
    assert all(s.frames == s.last - s.first + 1 >= 8 for s in segments)
