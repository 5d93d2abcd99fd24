"""Shards hold what single files hold, and give the same pixels through the same loader."""

import csv
import json
import tarfile

import pytest
import torch
from helpers import sliding

from tsmlib import DataError, VideoError, get_config
from tsmlib.__main__ import main
from tsmlib.data.annotations import VideoEntry, find_list
from tsmlib.data.loader import ClipDataset, make_loader
from tsmlib.data.shards import ShardIndex, open_sample
from tsmlib.data.video import encode_frames, write_frames, write_video

SIZES = "short_side: 32\ncrop_size: 32\nval_crop_size: 32\ntest_crop_size: 32\nnum_segments: 4\n"


@pytest.fixture(params=["videos", "frames"])
def own(request, tmp_path):
    """A YAML file with five videos, or five folders of frames, beside its lists."""
    root, lines = tmp_path / "own", []
    root.mkdir()
    for i in range(5):
        frames, name = sliding(9 + i, i), f"some class/clip {i}"
        if request.param == "videos":
            (root / name).parent.mkdir(exist_ok=True)
            write_video(root / f"{name}.mp4", frames, gop=4)
            lines.append(f"{name}.mp4 {i % 2}\n")
        else:
            (root / name).mkdir(parents=True)
            write_frames(root / name, encode_frames(frames), "img_{:05}.jpg", 1)
            lines.append(f"{name} {len(frames)} {i % 2}\n")
    (root / "train.txt").write_text("".join(lines))
    (root / "val.txt").write_text("".join(lines[:2]))
    file = tmp_path / "own.yaml"
    file.write_text(
        f"base: sthv1\ndata_root: {root}\ntrain_list: train.txt\nval_list: val.txt\n"
        "num_classes: 2\nfilename_tmpl: 'img_{:05}.jpg'\n" + SIZES
    )
    return file


@pytest.fixture
def sharded(own, tmp_path, capsys):
    out = tmp_path / "shards"
    assert main(["data", "shard", str(own), str(out), "--megabytes", "0"]) == 0
    assert "train: 5 videos in 5 shards" in capsys.readouterr().out
    return out


def dataset(own, root, split="train", protocol=None) -> ClipDataset:
    cfg = get_config(str(own))
    return ClipDataset(find_list(cfg, split, root), cfg, protocol)


@pytest.mark.parametrize("workers", [0, 1])
def test_clips_are_those_of_the_files(own, sharded, workers):
    for split, protocol in (("train", None), ("val", "published")):
        files = dataset(own, own.parent / "own", split, protocol)
        shards = dataset(own, sharded, split, protocol)
        assert shards.videos.sharded and shards.videos.sha256 == files.videos.sha256
        pairs = zip(make_loader(files, 2, 0), make_loader(shards, 2, workers), strict=True)
        for a, b in pairs:
            assert (a.bad, b.bad) == ([], [])
            assert torch.equal(a.clips, b.clips) and torch.equal(a.labels, b.labels)


def test_every_frame_of_every_decoder(own, sharded, monkeypatch):
    files, shards = dataset(own, own.parent / "own"), dataset(own, sharded)
    for decoder in ("pyav", "decord"):
        monkeypatch.setenv("TSM_DECODER", decoder)
        for entry in files.videos.entries:
            a, b = files.open(entry), shards.open(entry)
            numbers = [a.num_frames - 1, *range(a.num_frames)]
            assert a.num_frames == b.num_frames
            assert torch.equal(a.frames(numbers), b.frames(numbers))


def test_the_frame_cache_serves_shards(own, sharded, monkeypatch, tmp_path):
    files = dataset(own, own.parent / "own", "val", "published")
    wanted = [files[0, i][2] for i in range(2)]
    monkeypatch.setenv("TSM_FRAME_CACHE", str(tmp_path / "frames"))
    shards = dataset(own, sharded, "val", "published")
    for _ in range(2):
        assert all(torch.equal(shards[0, i][2], wanted[i]) for i in range(2))


def test_a_shard_is_a_tar_in_the_layout_of_webdataset(own, sharded):
    with tarfile.open(sharded / "train-000001.tar") as tar:
        names = tar.getnames()
        assert {name.partition(".")[0] for name in names} == {"000000001"}
        facts = json.load(tar.extractfile(names[0]))
        stored = [tar.extractfile(name).read() for name in names[1:]]
    assert facts["label"] == 1 and facts["sizes"] == [len(data) for data in stored]
    media = own.parent / "own" / facts["path"]
    files = [media] if media.is_file() else sorted(media.iterdir())
    assert stored == [file.read_bytes() for file in files]


def test_missing_media_are_named_and_left_out(own, tmp_path, capsys):
    gone = own.parent / "own" / "some class" / "clip 3.mp4"
    gone = gone if gone.exists() else gone.with_suffix("") / "img_00002.jpg"
    gone.unlink()
    assert main(["data", "shard", str(own), str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert f"left out: {gone}: No such file" in out and "4 videos in 1 shards" in out
    _, _, clip, reason = dataset(own, tmp_path / "out")[0, 3]
    assert clip is None and "clip 3" in reason and "in none of the shards" in reason
    assert main(["data", "check", str(own), "--data-root", str(tmp_path / "out")]) == 1
    assert "not on disk" in capsys.readouterr().out


def test_damaged_shards(own, sharded):
    files = dataset(own, sharded)
    shard = sharded / "train-000002.tar"
    shard.write_bytes(shard.read_bytes()[:1500])
    assert "train-000002.tar" in files[0, 2][3]
    shard.unlink()
    assert "train-000002.tar" in files[0, 2][3]
    assert files[0, 1][2] is not None
    index = sharded / "shards-train.csv"
    index.write_text(index.read_text().replace(".tar,", ".tar,x", 1))
    with pytest.raises(DataError, match="damaged: write it again"):
        ShardIndex(sharded)
    index.write_text("a,b\n")
    with pytest.raises(DataError, match="shards-train.csv is no index of shards"):
        ShardIndex(sharded)


def test_bad_places(own, sharded, capsys):
    assert main(["data", "shard", str(own), str(sharded)]) == 1
    assert "there are shards already" in capsys.readouterr().err
    assert main(["data", "shard", str(own), str(own.parent / "own")]) == 1
    assert "is the data root itself" in capsys.readouterr().err


def test_a_sample_that_is_shorter_than_its_list_says(own, sharded):
    index = ShardIndex(sharded)
    with (sharded / "shards-train.csv").open(newline="") as file:
        path = next(csv.DictReader(file))["path"]
    with pytest.raises(VideoError, match="clip 0.*promises 30|truncated: 9 of 30"):
        open_sample(index, VideoEntry(path, 30, 0))
