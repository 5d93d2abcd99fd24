"""Raw frames from video files: the right ones, at the right size, whatever interrupts it."""

import errno
import multiprocessing
import os
import signal

import pytest
import torch
from filelock import FileLock
from PIL import Image
from test_official import TRAIN, VAL, expected, write_annotations

from tsmlib import DataError, get_config
from tsmlib.__main__ import main
from tsmlib.configs import ConfigError
from tsmlib.configs.datasets import SPLITS
from tsmlib.data.annotations import find_list
from tsmlib.data.augmentation import resize
from tsmlib.data.prepare.check import check_data
from tsmlib.data.prepare.extraction import (
    CHUNK,
    PARTIAL,
    extract_frames,
    stored_size,
    videos_folder,
)
from tsmlib.data.prepare.write_lists import write_lists
from tsmlib.data.video import FrameFolder, write_frames, write_video

COUNT = 2 * CHUNK + 3  # more than two chunks, and a rest


def moving(count=COUNT, height=40, width=64):
    """uint8 `[T, H, W, 3]`: a smooth picture whose brightness says which frame it is."""
    ramp = (
        torch.linspace(0, 80, width)[None, None, :, None]
        + torch.linspace(0, 40, height)[None, :, None, None]
    )
    frames = ramp + 4 * torch.arange(count)[:, None, None, None]
    return frames.expand(count, height, width, 3).clamp(0, 255).byte().contiguous()


@pytest.fixture
def prepared(tmp_path):
    """A function that puts a row's annotations and video files on disk, and returns the row."""

    def prepare(row="hmdb51", suffix=".avi", train=TRAIN, **fields):
        cfg = get_config(row, **fields)
        write_annotations(tmp_path, cfg.dataset, train=train)
        for split, videos in zip(SPLITS, (train, VAL), strict=True):
            for item in expected(cfg.dataset, videos):
                file = videos_folder(cfg, tmp_path, split) / f"{item.path}{suffix}"
                file.parent.mkdir(parents=True, exist_ok=True)
                write_video(file, moving(), gop=COUNT)
        return cfg

    return prepare


def files(root):
    """Path to content of all frames."""
    return {str(f.relative_to(root)): f.read_bytes() for f in sorted(root.rglob("*.jpg"))}


def leftovers(root):
    return [*root.rglob(PARTIAL)]


# --- what is extracted ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "suffix"),
    [("hmdb51", ".avi"), ("ucf101", ".avi"), ("sthv2", ".webm"), ("k400", ".mp4")],
)
def test_frames_of_every_video_in_the_layout_of_the_row(tmp_path, prepared, row, suffix):
    """Extracted, listed, and read as training does."""
    cfg = prepared(row, suffix)
    report = extract_frames(cfg, tmp_path, workers=0)
    fillers = 400 if row == "k400" else 0
    assert (report.done, report.skipped, report.failed) == (5, 0, ())
    assert report.missing == fillers
    write_lists(cfg, tmp_path)
    for split, videos in zip(SPLITS, (TRAIN, VAL), strict=True):
        found = find_list(cfg, split, tmp_path)
        assert {e.path for e in found.entries} == {i.path for i in expected(cfg.dataset, videos)}
        assert {e.num_frames for e in found.entries} == {COUNT}
    folder = found.prefix / found.entries[0].path
    assert sorted(f.name for f in folder.iterdir())[::COUNT - 1] == [
        cfg.filename_tmpl.format(i) for i in (1, COUNT)
    ]  # fmt: skip
    size = stored_size(cfg.resolution, 40, 64)
    frames = FrameFolder(folder, COUNT, cfg.filename_tmpl, 1).frames(list(range(COUNT)))
    wanted = resize(moving().permute(0, 3, 1, 2), *size).permute(0, 2, 3, 1)
    assert frames.shape == wanted.shape
    assert (frames.float() - wanted.float()).abs().mean(
        (1, 2, 3)
    ).max() < 3  # 4 from one to the next
    assert check_data(cfg, tmp_path, full=True, workers=0).ready
    assert not leftovers(tmp_path)


@pytest.mark.parametrize(
    ("resolution", "size", "stored"),
    [
        (None, (241, 320), (241, 320)),
        ("short-side 256", (512, 1000), (256, 500)),
        ("short-side 256", (1000, 513), (499, 256)),
        ("short-side 256", (240, 320), (240, 320)),  # not made larger
        ("height 100", (240, 427), (100, 178)),
        ("height 256", (240, 320), (256, 341)),
        ("340x256", (720, 1280), (256, 340)),
        ("340x256", (640, 480), (256, 340)),
    ],
)
def test_stored_size(resolution, size, stored):
    assert stored_size(resolution, *size) == stored


def test_start_index_and_names(tmp_path, prepared):
    cfg = prepared(filename_tmpl="{:06}.jpg", start_index=0, resolution="height 20")
    extract_frames(cfg, tmp_path, split="val", workers=0, quality=70)
    folder = tmp_path / cfg.val_prefix / expected("hmdb51", VAL)[0].path
    assert sorted(f.name for f in folder.iterdir()) == [f"{i:06}.jpg" for i in range(COUNT)]
    assert Image.open(folder / "000000.jpg").size == (32, 20)
    train = [tmp_path / cfg.train_prefix / item.path for item in expected("hmdb51", TRAIN)]
    assert not any(path.exists() for path in train)


def test_workers_change_nothing(tmp_path, prepared):
    cfg = prepared()
    (tmp_path / "hmdb51/videos/chew/aa.avi").write_bytes(b"no video")
    reports, contents = [], []
    for workers in (0, 2):
        reports.append(extract_frames(cfg, tmp_path, workers=workers))
        contents.append(files(tmp_path / cfg.train_prefix))
        (tmp_path / cfg.train_prefix).rename(tmp_path / f"frames{workers}")
    assert reports[0] == reports[1] and reports[0].done == 4
    assert len(contents[0]) == 4 * COUNT and contents[0] == contents[1]


# --- interruptions --------------------------------------------------------------------------------


def test_a_second_call_does_what_is_missing(tmp_path, prepared):
    cfg = prepared()
    extract_frames(cfg, tmp_path, split="val", workers=0)
    times = {f: f.stat().st_mtime_ns for f in tmp_path.rglob("*.jpg")}
    report = extract_frames(cfg, tmp_path, workers=0)
    assert (report.done, report.skipped) == (3, 2)
    assert {f: f.stat().st_mtime_ns for f in times} == times
    assert extract_frames(cfg, tmp_path, workers=0).skipped == 5


def _die_in_the_third(cfg, root):
    """Killed while the second of three chunks of the third video is written."""
    written = []

    def write(folder, jpegs, template, first):
        write_frames(folder, jpegs, template, first)
        written.append(first)
        if written.count(1) == 3 and first > 1:
            os.kill(os.getpid(), signal.SIGKILL)

    extract_frames(cfg, root, workers=0, write=write)


def test_a_killed_extraction_is_continued(tmp_path, prepared):
    cfg = prepared()
    process = multiprocessing.get_context("fork").Process(
        target=_die_in_the_third, args=(cfg, tmp_path)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list(leftovers(tmp_path)[0].rglob("*.jpg"))) == 2 * CHUNK
    report = extract_frames(cfg, tmp_path, workers=0)
    assert (report.done, report.skipped) == (3, 2) and not leftovers(tmp_path)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_full_disk_stops_it(tmp_path, prepared, workers):
    """In the middle of a video: its folder does not appear, complete ones stay."""
    cfg = prepared()
    extract_frames(cfg, tmp_path, split="val", workers=0)

    def write(folder, jpegs, template, first):
        write_frames(folder, jpegs[:1], template, first)
        if first > 1:
            raise OSError(errno.ENOSPC, "No space left on device")

    before = files(tmp_path)
    sentence = "rawframes/.* cannot be written: No space left on device; free some space"
    with pytest.raises(DataError, match=sentence):
        extract_frames(cfg, tmp_path, workers=workers, write=write)
    assert files(tmp_path) == before and not leftovers(tmp_path)
    assert extract_frames(cfg, tmp_path, workers=0).done == 3


# --- what is wrong --------------------------------------------------------------------------------


def test_damaged_videos_are_reported_and_the_rest_goes_on(tmp_path, prepared):
    cfg = prepared()
    videos = tmp_path / "hmdb51/videos"
    (videos / "chew/aa.avi").write_bytes(b"")
    (videos / "chew/100218.avi").write_bytes((videos / "chew/100218.avi").read_bytes()[:700])
    (videos / "brush_hair/b.c.avi").unlink()
    (tmp_path / "hmdb51/rawframes/brush_hair/d_d").mkdir(parents=True)
    (tmp_path / "hmdb51/rawframes/brush_hair/d_d/flow_x_00001.jpg").touch()
    report = extract_frames(cfg, tmp_path, workers=0)
    assert (report.done, report.skipped, report.missing) == (1, 0, 1)
    (in_the_way, why), (cut, cut_why), (empty, reason) = report.failed
    assert (empty, reason) == (str(videos / "chew/aa.avi"), "the file is empty")
    assert cut == str(videos / "chew/100218.avi") and cut_why
    assert in_the_way.endswith("d_d.avi") and "is not empty and has no img_00001.jpg" in why
    assert not leftovers(tmp_path)
    assert not (tmp_path / "hmdb51/rawframes/chew/aa").exists()


def test_frames_of_another_size_are_not_mixed(tmp_path, prepared):
    """Three stored sizes of Kinetics share their folders."""
    cfg = prepared("k400", ".mp4")
    extract_frames(cfg, tmp_path, split="val", workers=0)
    sentence = (
        "rawframes_val holds frames stored at short-side 256, k400_ss320 wants short-side 320"
    )
    with pytest.raises(DataError, match=sentence):
        extract_frames(get_config("k400_ss320"), tmp_path, split="val", workers=0)
    assert extract_frames(get_config("k400_dense", resolution="short-side 256"), tmp_path,
                          split="val", workers=0).skipped == 2  # fmt: skip


def test_one_at_a_time(tmp_path, prepared):
    cfg = prepared()
    folder = tmp_path / cfg.train_prefix
    folder.mkdir()
    with FileLock(folder / f"{PARTIAL}.lock"), pytest.raises(
        DataError, match=f"another extraction is writing to {folder}; wait for it"
    ):  # fmt: skip
        extract_frames(cfg, tmp_path, workers=0)


def test_nothing_to_extract(tmp_path, prepared):
    with pytest.raises(
        DataError, match="diving48 reads what is in .*/diving48/videos; there is no"
    ):
        extract_frames(get_config("diving48"), tmp_path)
    with pytest.raises(
        DataError, match=r"no folder .*/jester/videos .* \(its site has frames: put"
    ):
        extract_frames(get_config("jester"), tmp_path)
    with pytest.raises(DataError, match="no folder .*/videos_train with videos of k400$"):
        extract_frames(get_config("k400"), tmp_path)
    (tmp_path / "ucf101/videos").mkdir(parents=True)
    with pytest.raises(DataError, match="no annotation file .*classInd.txt"):
        extract_frames(get_config("ucf101"), tmp_path)
    write_annotations(tmp_path, "ucf101")
    with pytest.raises(DataError, match="none of the 5 annotated videos of ucf101 is in "):
        extract_frames(get_config("ucf101"), tmp_path)
    with pytest.raises(ConfigError, match="resolution='tiny' is none of short-side N, height N"):
        extract_frames(get_config("ucf101", resolution="tiny"), tmp_path)
    with pytest.raises(ValueError, match="quality=0"):
        extract_frames(get_config("ucf101"), tmp_path, quality=0)
    assert not (tmp_path / "ucf101/rawframes").exists()


def test_a_folder_that_cannot_be_written(tmp_path, prepared):
    cfg = prepared()
    (tmp_path / cfg.train_prefix).touch()
    with pytest.raises(DataError, match="hmdb51/rawframes cannot be written: "):
        extract_frames(cfg, tmp_path, workers=0)


def test_from_the_command_line(tmp_path, prepared, capsys):
    prepared()
    (tmp_path / "hmdb51/videos/chew/aa.avi").write_bytes(b"")
    root = ["--data-root", str(tmp_path), "--workers", "0"]
    assert main(["data", "extract", "hmdb51", "--split", "train", *root]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "2 videos extracted, 0 were there, 1 damaged, 0 not on disk"
    assert lines[1].endswith("chew/aa.avi: the file is empty")
