"""Annotated clips of real videos: stored once, and no recording or person on both sides."""

import logging
from pathlib import Path

import pytest

from tsmlib import DataError
from tsmlib.configs import ConfigError
from tsmlib.data.annotations import find_list
from tsmlib.data.loader import ClipDataset
from tsmlib.data.video import FrameFolder
from tsmlib.study import stored_frames
from tsmlib.study.annotated_videos import TASKS, Task, count_folds, fold_config, list_recordings
from tsmlib.study.plan import Folds
from tsmlib.study.stored_frames import (
    BACKWARDS,
    TEMPLATE,
    prepare_frames,
    recording_of,
    stored_recording,
)

SMALL = {
    "backbone": "resnet18", "width": 0.125, "depth": (1, 1, 1, 1), "pretrain": "none",
    "num_segments": 4, "short_side": 32, "crop_size": 32, "val_crop_size": 32,
    "test_crop_size": 32, "batch_size": 8, "videos_per_device": 8, "epochs": 2, "lr": 0.01,
}  # fmt: skip
ORDER3 = Folds("order3", "height 24")


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def dataset(cfg, split="val"):
    return ClipDataset(find_list(cfg, split, Path(cfg.data_root)), cfg, "validation")


# --- stored frames --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "recording"),
    [
        ("walk/walk_20200627-190147_f01709.mp4", "20200627-190147"),
        ("videos/walk/walk_20200627-190147_f01709.mp4", "20200627-190147"),
        ("v_ApplyEyeMakeup_g01_c01.avi", "v_ApplyEyeMakeup_g01"),
        ("abseiling/0347ZoDXyP0_000095_000105.mp4", "0347ZoDXyP0"),
        ("holiday/VID_20240101_1.mov", "VID_20240101_1"),
        ("walk/walk_f01.mp4", "walk"),
    ],
)
def test_recording_of(path, recording):
    assert recording_of(path) == recording


def test_frames_are_those_of_the_video_and_know_their_recording(videos, cache):
    store = prepare_frames(videos, cache, "32x32")
    assert sorted(clip.frames for clip in store.clips) == list(range(27, 34))
    for clip in store.clips:
        files = sorted((store.root / "rawframes" / clip.path).iterdir())
        assert [f.name for f in files] == [f"img_{i + 1:05}.jpg" for i in range(clip.frames)]
        assert recording_of(clip.source) == stored_recording(clip.path) == clip.recording
        folder = FrameFolder(files[0].parent, clip.frames, TEMPLATE, 1)
        columns = folder.frames([0])[0].float().mean((0, 2))
        start = 5 * (clip.frames - 27)  # of the bar of 8 in 64 pixels: 4 in 32
        assert columns.argmax() * 2 in range(start % 64 - 1, start % 64 + 8)


def test_the_same_videos_give_the_same_files_and_are_decoded_once(
    videos, cache, tmp_path, monkeypatch
):
    stores = [prepare_frames(videos, folder, "32x32") for folder in (cache, tmp_path)]
    assert stores[0].clips == stores[1].clips and stores[0].root.name == stores[1].root.name
    contents = [
        {p.relative_to(store.root): p.read_bytes() for p in store.root.rglob("*.jpg")}
        for store in stores
    ]
    assert contents[0] == contents[1] and len(contents[0]) == 2 * sum(range(27, 34))
    monkeypatch.setattr(stored_frames, "VideoFile", None)  # nothing is decoded again
    assert prepare_frames(videos, cache, "32x32") == stores[0]


def test_backwards_are_the_same_files_in_opposite_numbering(videos, cache):
    store = prepare_frames(videos, cache, "32x32")
    for clip in store.clips:
        folders = [store.root / "rawframes" / (clip.path + end) for end in ("", BACKWARDS)]
        first, second = ([f.read_bytes() for f in sorted(folder.iterdir())] for folder in folders)
        assert first == second[::-1] != second
        assert stored_recording(clip.path + BACKWARDS) == clip.recording


def test_an_interrupted_call_continues(videos, tmp_path, monkeypatch):
    opened, video_file = [], stored_frames.VideoFile

    def interrupted(path):
        opened.append(path.name)
        if len(opened) == 3:
            raise KeyboardInterrupt
        return video_file(path)

    monkeypatch.setattr(stored_frames, "VideoFile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_frames(videos, tmp_path, "32x32")
    store = prepare_frames(videos, tmp_path, "32x32")
    assert len(store.clips) == 7 and len(opened) == 7 + 1  # only the third one twice
    assert not list(tmp_path.rglob("*.tmp"))


def test_bad_videos_are_left_out_and_named(videos, tmp_path, caplog):
    for name in ("c.avi", "a_f00500.mp4"):
        (tmp_path / name).write_bytes((videos / name).read_bytes())
    (tmp_path / "broken.mp4").write_bytes((videos / "c.avi").read_bytes()[:1000])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "twin.mp4").write_bytes((videos / "c.avi").read_bytes())
    with caplog.at_level(logging.WARNING):
        store = prepare_frames(tmp_path, tmp_path / "cache", "32x32")
    assert {clip.source for clip in store.clips} == {"c.avi", "a_f00500.mp4"}
    for sentence in ("broken.mp4: ", "empty.mp4: the file is empty",
                     "twin.mp4: the same content as c.avi"):  # fmt: skip
        assert sentence in caplog.text


def test_nothing_to_store(tmp_path):
    with pytest.raises(DataError, match="no video files in .*nowhere; set data_root"):
        prepare_frames(tmp_path / "nowhere", tmp_path, "32x32")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(DataError, match="none of the 1 videos in .* can be read"):
        prepare_frames(tmp_path, tmp_path / "cache", "32x32")
    with pytest.raises(ConfigError, match="resolution='big'"):
        prepare_frames(tmp_path, tmp_path / "cache", "big")


# --- folds ----------------------------------------------------------------------------------------


def test_leave_one_recording_out(annotated, cache):
    assert list_recordings(annotated) == ("a", "b", "c")
    validated = {}
    for fold, recording in enumerate(list_recordings(annotated)):
        cfg = fold_config(annotated, fold, ORDER3, cache=cache, **SMALL)
        train_side, val_side = (dataset(cfg, s).videos.entries for s in ("train", "val"))
        assert {stored_recording(e.path) for e in val_side} == {recording}
        assert recording not in {stored_recording(e.path) for e in train_side}
        assert len(train_side) + len(val_side) == 4
        validated |= {e.path.split("/")[1]: (e.num_frames, e.label) for e in val_side}
    assert (cfg.name, cfg.class_names) == ("order3", ("up", "down", "round"))
    assert sorted(validated.values()) == [(27, 2), (28, 0), (30, 1), (32, 1)]
    assert dataset(cfg)[0, 0][2].shape == (1, 4, 32, 32, 3)


def test_leave_one_recording_out_needs_its_files(annotated, cache):
    with pytest.raises(ConfigError, match="task='order4' is none of actions8, order3"):
        fold_config(annotated, 0, Folds("order4", "height 24"), cache=cache)
    with pytest.raises(DataError, match="classes.txt"):
        list_recordings(annotated, "actions8")
    with pytest.raises(ConfigError, match="fold=3 does not exist"):
        fold_config(annotated, 3, ORDER3, cache=cache, **SMALL)
    (annotated / "val_order3.txt").write_text("walk/gone_f1.mp4 30 0\n")
    with pytest.raises(DataError, match="order3 lists walk/gone_f1.mp4"):
        fold_config(annotated, 0, ORDER3, cache=cache, **SMALL)


@pytest.mark.parametrize("backwards", [(), (1, 0, 2)])
def test_lists_that_are_the_split(annotated, cache, monkeypatch, backwards):
    task = Task(*TASKS["order3"][:2], split=True, reversed_labels=backwards)
    monkeypatch.setitem(TASKS, "pushups2", task)
    folds = Folds("pushups2", "height 24", group="[a-b]|c")
    assert count_folds(annotated, "pushups2") == 1 and count_folds(annotated, "order3") == 3
    cfg = fold_config(annotated, 0, folds, cache=cache, **SMALL)
    assert cfg.name == "pushups2"
    for split in ("train", "val"):
        listed = (annotated / f"{split}_order3.txt").read_text().split("\n")
        labels = [int(line.split()[2]) for line in listed if line]
        found = {e.path: e.label for e in dataset(cfg, split).videos.entries}
        if split == "val" and backwards:  # in both directions
            assert all(found[p + BACKWARDS] == backwards[found[p]] for p in list(found)[:2])
            labels += [backwards[label] for label in labels]
        assert sorted(found.values()) == sorted(labels)
    with pytest.raises(ConfigError, match="fold=1 does not exist; there are 1"):
        fold_config(annotated, 1, folds, cache=cache, **SMALL)


def test_a_network_blind_to_order_is_right_on_one_of_two_directions(annotated, cache, monkeypatch):
    task = Task(*TASKS["order3"][:2], split=True, reversed_labels=(1, 0, 2))
    monkeypatch.setitem(TASKS, "pushups2", task)
    cfg = fold_config(annotated, 0, Folds("pushups2", "height 24"), cache=cache, **SMALL)
    clips, mirrored = dataset(cfg), {}
    numbers = {entry.path: i for i, entry in enumerate(clips.videos.entries)}
    for path in (path for path in numbers if path + BACKWARDS in numbers):
        count = clips.videos.entries[numbers[path]].num_frames
        both = [clips[0, numbers[path + end]][2] for end in ("", BACKWARDS)]
        mirrored[count] = both[0].equal(both[1].flip(1))  # [views, T, H, W, 3]
    assert mirrored == {28: True, 32: False}  # not where 2 T = 8 divides the number of frames


def test_tuning_sees_no_clip_that_is_reported(annotated, cache, monkeypatch):
    monkeypatch.setitem(TASKS, "pushups2", Task(*TASKS["order3"][:2], split=True))
    cfg = fold_config(
        annotated, 0, Folds("pushups2", "height 24", tuning=True), cache=cache, **SMALL
    )
    sides = [dataset(cfg, split).videos.entries for split in ("train", "val")]
    sources = [{entry.path.split("/")[0] for entry in side} for side in sides]
    assert sources == [{"b"}, {"a"}]  # the groups of the training list


def test_groups_of_recordings():
    folds = Folds("pushups2", "height 24", group=r"g\d+")
    assert folds.group_of("g01_correct102") == "g01" and folds.group_of("other") == "other"
    assert Folds("order3", "height 24").group_of("g01_correct102") == "g01_correct102"
