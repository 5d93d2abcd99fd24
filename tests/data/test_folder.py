"""A folder of class folders: what is found, left out and refused, and the lists that follow."""

from pathlib import Path

import pytest
from helpers import sliding

from tsmlib import DataError, get_config
from tsmlib.data.annotations import find_list
from tsmlib.data.prepare.folder import read_folder
from tsmlib.data.prepare.folder_lists import summarise_folder, write_folder_lists
from tsmlib.data.prepare.folder_split import split_clips
from tsmlib.data.video import encode_frames, write_frames, write_video


def write_videos(folder: Path, *names: str) -> None:
    """Write videos that differ from each other, whatever their suffix."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        write_video(file.with_suffix(".mp4"), sliding(6, sum(map(ord, str(file)))))
        file.with_suffix(".mp4").rename(file)


def write_frame_folder(folder: Path, template: str, start: int, count: int, seed: int) -> None:
    folder.mkdir(parents=True)
    write_frames(folder, encode_frames(sliding(count, seed)), template, start)


def paths(found) -> list[str]:
    return [clip.path for clip in found.clips]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes with odd names, four videos each, one in a folder of its own."""
    root = tmp_path / "it's my vidéos"
    for name in ("jump up", "L'été"):
        write_videos(root / name, "a 1.mp4", "b.MOV", "c 2 3.mkv", "session 1/d.mts")
    return root


def test_videos_of_any_container_and_depth_are_found(folder):
    found = read_folder(folder, workers=0)
    assert found.classes == ("L'été", "jump up") and not found.left_out
    assert len(found.clips) == 8 and "jump up/session 1/d.mts" in paths(found)
    assert {clip.num_frames for clip in found.clips} == {6}
    assert (found.frames, found.pixels) == (6, 48 * 64)


def test_lists_and_yaml_are_read_back(folder, tmp_path):
    """A list beside the videos, as others have one, is not taken for ours."""
    (folder / "train.txt").write_text("nothing 0\n")
    (folder / "classes.txt").write_text("nothing\n")
    found = read_folder(folder, workers=0)
    splits = split_clips(found.clips)
    file = write_folder_lists(found, [splits], tmp_path / "sets", {"epochs": 3}, ["a: note"])
    assert file == tmp_path / "sets" / folder.name / f"{folder.name}.yaml"
    cfg = get_config(file)
    assert (cfg.name, cfg.dataset, cfg.epochs) == (folder.name, "custom", 3)
    assert cfg.class_names == ("L'été", "jump up")
    for split, count in (("train", 6), ("val", 2)):
        listed = find_list(cfg, split, Path(cfg.data_root))
        assert [e.path for e in listed.entries] == [c.path for c in splits[split]]
        assert len(listed.entries) == count and {e.label for e in listed.entries} == {0, 1}
    text = summarise_folder(found, [splits])
    assert "8 videos of 2 classes (L'été 4, jump up 4): 6 to train on, 2 to test on" in text


def test_folders_of_one_name_keep_lists_of_their_own(folder, tmp_path):
    found = read_folder(folder, workers=0)
    splits, sets = split_clips(found.clips), tmp_path / "sets"
    first = write_folder_lists(found, [splits], sets, {})
    assert write_folder_lists(found, [splits], sets, {}) == first
    folder.rename(tmp_path / "moved")
    (tmp_path / "other").mkdir()
    (tmp_path / "moved").rename(tmp_path / "other" / folder.name)
    again = read_folder(tmp_path / "other" / folder.name, workers=0)
    second = write_folder_lists(again, [splits], sets, {})
    assert second.name == f"{folder.name}-2.yaml" and first.is_file()
    (tmp_path / "other" / folder.name).rename(tmp_path / "k400")
    row = write_folder_lists(read_folder(tmp_path / "k400", workers=0), [splits], sets, {})
    assert get_config(row).name == "k400-videos"


def test_the_split_is_by_class_and_stable(folder):
    clips = list(read_folder(folder, workers=0).clips)
    splits = split_clips(clips, seed=1)
    assert sorted(splits["train"] + splits["val"]) == sorted(clips)
    assert splits == split_clips(clips[::-1], seed=1)
    assert any(split_clips(clips, seed)["val"] != splits["val"] for seed in range(2, 9))
    (single,) = [c._replace(label="single") for c in clips[:1]]
    assert single in split_clips([*clips, single])["train"]
    with pytest.raises(DataError, match="each class has a single video"):
        split_clips([single])


@pytest.mark.parametrize(
    ("template", "start"),
    [("img_{:05}.jpg", 1), ("{}.jpg", 0), ("frame{:03}.JPG", 57), ("a1_{:04}.jpeg", 0)],
)
def test_the_numbering_of_frames_is_found(tmp_path, template, start):
    for i, name in enumerate(("walk/a", "walk/b", "run/deep/c.mp4", "run/d")):
        write_frame_folder(tmp_path / name, template, start, 11 + i, 7 * i)
    write_videos(tmp_path / "run", "e.mp4")
    found = read_folder(tmp_path, workers=0)
    assert not found.left_out and len(found.clips) == 5  # frames and videos may be mixed
    assert found.filename_tmpl.format(start) == template.format(start)
    assert found.start_index == start
    assert {c.path: c.num_frames for c in found.clips}["run/deep/c.mp4"] == 13
    listed = write_folder_lists(found, [split_clips(found.clips)], tmp_path / "sets", {})
    cfg = get_config(listed)
    assert len(find_list(cfg, "train", tmp_path).entries) == 3


def test_frames_that_cannot_be_used_are_named(tmp_path):
    for i, name in enumerate(("walk/a", "walk/b", "run/c", "run/d")):
        write_frame_folder(tmp_path / name, "{:05}.jpg", 1, 9, 7 * i)
    write_frame_folder(tmp_path / "run/other", "img_{:05}.jpg", 1, 4, 1)
    write_videos(tmp_path / "walk/films", "e.mp4")
    (tmp_path / "walk/films/00001.jpg").write_bytes(b"a thumbnail")
    (tmp_path / "run/d/00007.jpg").unlink()
    (tmp_path / "walk/b/00009.jpg").write_bytes(b"no picture")
    found = read_folder(tmp_path, workers=0)
    reasons = dict(found.left_out)
    assert paths(found) == ["run/c", "run/d", "walk/a", "walk/films/e.mp4"]
    assert "none of its 4 JPEG files is the first frame, 00001.jpg" in reasons["run/other"]
    assert "its frames after 00006.jpg, as one is missing" in reasons["run/d"]
    assert "not a JPEG file" in reasons["walk/b"]
    assert "its JPEG files lie beside videos" in reasons["walk/films"]
    assert {c.path: c.num_frames for c in found.clips}["run/d"] == 6


def test_train_and_val_folders_stay(tmp_path):
    for split in ("Train", "test"):
        for name in ("walk", "run"):
            write_videos(tmp_path / split / name, f"{split}1.mp4", f"{split}2.mp4")
    write_videos(tmp_path / "test" / "swim", "a.mp4")
    write_videos(tmp_path / "more" / "walk", "x.mp4")
    found = read_folder(tmp_path, workers=0)
    splits = split_clips(found.clips)
    assert {c.path.partition("/")[0] for c in splits["train"]} == {"Train"}
    assert {c.path.partition("/")[0] for c in splits["val"]} == {"test"}
    assert found.classes == ("run", "walk") and len(found.clips) == 8
    reasons = dict(found.left_out)
    assert reasons["test/swim/a.mp4"] == "its class has no video to train on"
    assert reasons["more"] == "it lies in no class folder of Train or test"
    assert "as its folders or the csv say" in summarise_folder(found, [splits])


def test_what_is_no_video_is_left_out_and_named(folder):
    (folder / "jump up" / "empty.avi").touch()
    (folder / "jump up" / "text.mp4").write_text("no video")
    (folder / "jump up" / "notes.txt").write_text("no video")
    (folder / "jump up" / ".DS_Store").write_text("no video")
    (folder / "jump up" / "caf\udce9.mp4").write_bytes(b"x")
    (folder / "jump up" / "a\nb.mp4").write_bytes(b"x")
    (folder / "readme.txt").write_text("no video")
    (folder / "thumbs" / "deep").mkdir(parents=True)
    whole = (folder / "L'été" / "a 1.mp4").read_bytes()
    (folder / "L'été" / "a 1 (copy).mp4").write_bytes(whole)
    found = read_folder(folder, workers=0)
    assert len(found.clips) == 8
    reasons = dict(found.left_out)
    assert reasons.pop("jump up/text.mp4")
    assert reasons == {
        "jump up/empty.avi": "the file is empty",
        "jump up/notes.txt": "it is no video",
        "jump up/caf\udce9.mp4": "the name is not UTF-8",
        "jump up/a\nb.mp4": "the name holds a line break, or starts or ends with a blank",
        "readme.txt": "it lies in no class folder",
        "thumbs": "this class has no video that can be read",
        "L'été/a 1.mp4": "it is a copy of L'été/a 1 (copy).mp4",
    }


def test_the_same_video_in_two_classes_is_refused(folder):
    (folder / "jump up" / "x.mp4").symlink_to(folder / "L'été" / "a 1.mp4")
    with pytest.raises(DataError, match="L'été/a 1.mp4 and jump up/x.mp4 in .* two classes"):
        read_folder(folder, workers=0)


def test_the_same_video_in_both_splits_is_refused(tmp_path):
    for split in ("train", "val"):
        for name in ("walk", "run"):
            write_videos(tmp_path / split / name, "a.mp4", "b.mp4")
    (tmp_path / "val/run/a.mp4").write_bytes((tmp_path / "train/run/b.mp4").read_bytes())
    with pytest.raises(DataError, match="the same video in two splits, train and val"):
        read_folder(tmp_path, workers=0)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda root: root.rmdir(), "there is no folder .*videos; name one with a sub-folder"),
        (lambda root: None, "videos holds no class with videos; it needs a sub-folder for each"),
        (lambda root: write_videos(root, "a.mp4", "b.mp4"),
         "no class with videos.*a.mp4: it lies in no class folder"),
        (lambda root: write_videos(root, "walk/a.mp4", "walk/b.mp4"),
         "holds only one class with videos, walk; .* such as videos/walk/a.mp4"),
    ],
)  # fmt: skip
def test_folders_that_cannot_be_used(tmp_path, make, sentence):
    root = tmp_path / "videos"
    root.mkdir()
    make(root)
    with pytest.raises(DataError, match=sentence) as error:
        read_folder(root, workers=0)
    assert "\n" not in str(error.value)


# --- a csv of labels ------------------------------------------------------------------------------


def write_csv(folder: Path, *lines: str, header: str = "path,label") -> Path:
    (folder / "labels.csv").write_text("\n".join([header, *lines]) + "\n")
    return folder / "labels.csv"


def test_labels_of_a_csv(tmp_path):
    """Videos, a folder of frames, a folder of videos, and above the csv; others are left out."""
    mine = tmp_path / "mine"
    write_videos(mine, "a.mp4", "b c.mov", "not listed.mp4", "day/d.mkv", "day/e.avi")
    write_videos(tmp_path, "above.mp4")
    write_frame_folder(mine / "frames", "{:04}.jpg", 3, 7, 1)
    (mine / "bad.mp4").write_text("no video")
    file = write_csv(
        mine, "a.mp4, jump  up", '"b c.mov",run', "day,run", "frames,jump up", "../above.mp4,run",
        "nowhere.mp4,run", "bad.mp4,run", "a.mp4,jump up", "day/d.mkv,run",
    )  # fmt: skip
    found = read_folder(file, workers=0)
    assert (found.name, found.root, found.start_index) == ("mine-labels", mine, 3)
    assert {clip.path: clip.label for clip in found.clips} == {
        "a.mp4": "jump up", "b c.mov": "run", "day/d.mkv": "run", "day/e.avi": "run",
        "frames": "jump up", "../above.mp4": "run",
    }  # fmt: skip
    reasons = dict(found.left_out)
    assert reasons["nowhere.mp4"] == "there is no such file or folder" and reasons["bad.mp4"]
    assert len(found.clips) == 6
    yaml = write_folder_lists(found, [split_clips(found.clips)], tmp_path / "sets", {})
    cfg = get_config(yaml)
    assert cfg.name == "mine-labels" and cfg.class_names == ("jump up", "run")
    assert find_list(cfg, "train", Path(cfg.data_root)).prefix == mine


def test_a_csv_may_say_the_split(tmp_path):
    write_videos(tmp_path, "a.mp4", "b.mp4", "c.mp4", "d.mp4")
    lines = ("a.mp4,x,train", "b.mp4,y,Train", "c.mp4,x,val", "d.mp4,y,test")
    file = write_csv(tmp_path, *lines, header="path,label,split")
    splits = split_clips(read_folder(file, workers=0).clips)
    assert [c.path for c in splits["train"]] == ["a.mp4", "b.mp4"]
    assert [c.path for c in splits["val"]] == ["c.mp4", "d.mp4"]


@pytest.mark.parametrize(
    ("header", "lines", "sentence"),
    [
        ("file,class", ["a.mp4,x"], "labels.csv, line 1: there is no column path, label in"),
        ("path,label", ["a.mp4,"], "line 2: the path or the label is empty"),
        ("path,label", ["a.mp4"], "line 2: 1 of 2 fields"),
        ("path,label", ["a.mp4,x"], "only one class with videos, x; it needs lines `path,label`"),
        ("path,label", ["a.mp4,x", "a.mp4,y"], "the same video in two classes, x and y"),
        ("path,label,split", ["a.mp4,x,dev"], "line 2: the split 'dev' is neither train nor val"),
        ("path,label,split", ["a.mp4,x,", "b.mp4,y,val"], "a split for some videos only"),
    ],
)
def test_a_csv_that_cannot_be_used(tmp_path, header, lines, sentence):
    write_videos(tmp_path, "a.mp4", "b.mp4")
    with pytest.raises(DataError, match=sentence):
        read_folder(write_csv(tmp_path, *lines, header=header), workers=0)


def test_unbalanced_classes_are_said(tmp_path):
    write_videos(tmp_path, "walk/a.mp4", "run/b.mp4", "run/c.mp4", "run/d.mp4")
    found = read_folder(tmp_path, workers=0)
    text = summarise_folder(found, [split_clips(found.clips)])
    assert "(run 3, walk 1)" in text and "run has 3 times as many as walk" in text
    assert "NOT TESTED, as no video is left for it: walk." in text
