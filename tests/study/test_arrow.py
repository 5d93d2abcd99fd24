"""The arrow of time: nothing but the order of frames tells, and no recording is on both sides."""

import itertools
import logging
from collections import Counter
from pathlib import Path

import pytest
import torch
from helpers import sliding

from tsmlib import DataError, get_config
from tsmlib.configs import ConfigError, replace
from tsmlib.data.annotations import find_list
from tsmlib.data.loader import ClipDataset
from tsmlib.data.sampling import sample_indices
from tsmlib.data.video import write_video
from tsmlib.engine.train import train
from tsmlib.models.recognizer import build_model, normalize
from tsmlib.study import frame_windows as windows
from tsmlib.study.arrow_of_time import (
    ROUNDING,
    TASKS,
    Task,
    arrow_fold,
    check_symmetry,
    check_window,
    count_folds,
    loro_fold,
    loro_recordings,
)
from tsmlib.study.frame_windows import prepare_frames, recording_of
from tsmlib.study.plan import Folds

SMALL = {
    "backbone": "resnet18", "width": 0.125, "depth": (1, 1, 1, 1), "pretrain": "none",
    "num_segments": 4, "short_side": 32, "crop_size": 32, "val_crop_size": 32,
    "test_crop_size": 32, "batch_size": 8, "videos_per_device": 8, "epochs": 2, "lr": 0.01,
}  # fmt: skip
ORDER3 = Folds("order3", "height 24")


def folds_of(count: int | None, window: int | None = 12, **fields) -> Folds:
    return Folds("arrow", "32x32", count, window, **fields)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("cache")


def dataset(cfg, split="val"):
    return ClipDataset(find_list(cfg, split, Path(cfg.data_root)), cfg, "validation")


# --- sampling -------------------------------------------------------------------------------------


def test_test_sampling_takes_mirrored_frames_at_every_accepted_length():
    rows = {t: get_config("k400", num_segments=t) for t in (1, 3, 8, 16)}
    for (segments, cfg), window in itertools.product(rows.items(), range(1, 140)):
        index = sample_indices(window, segments)[0]
        mirrored = index.equal(window - 1 - index.flip(0))
        if window % (2 * segments) == segments:
            check_window(cfg, window)
            assert mirrored and window % segments == 0
        else:  # mirrored or not, training would never see the rest of a division
            assert not mirrored or window % segments
            with pytest.raises(ConfigError, match=f"{3 * segments}"):
                check_window(cfg, window)


class Drawn:
    """In place of torch.rand: the middles of the intervals that become one offset each."""

    def __init__(self, offsets, length):
        self.values = (torch.tensor(offsets, dtype=torch.float64) + 0.5) / length

    def __call__(self, *_, **__):
        return self.values


@pytest.mark.parametrize("mended", [False, True])
def test_training_sampling_draws_mirrored_clips_with_equal_chances(monkeypatch, mended):
    segments, length = 3, 3
    window = segments * length
    drawn = Counter()
    for offsets in itertools.product(range(length), repeat=segments):  # all equally likely
        monkeypatch.setattr(torch, "rand", Drawn(offsets, length))
        index = sample_indices(window, segments, train=True, keep_tail=mended, wrap=not mended)
        drawn[tuple(index[0].tolist())] += 1
    mirrored = Counter({tuple(window - 1 - i for i in reversed(c)): n for c, n in drawn.items()})
    assert drawn == mirrored and len(drawn) == length**segments


@pytest.mark.parametrize(
    "fields", [{"sampling": "dense"}, {"eval_sampling": "dense"}, {"twice_sample": True}]
)
def test_other_sampling_is_refused(fields):
    with pytest.raises(ConfigError, match="uniform"):
        check_window(get_config("k400", **fields), 24)


# --- recordings and folds -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "recording"),
    [
        ("walk/walk_20200627-190147_f01709.mp4", "20200627-190147"),
        ("videos/walk/walk_20200627-190147_f01709.mp4", "20200627-190147"),
        ("20200627-190147/00003_walk/000024/reversed", "20200627-190147"),
        ("v_ApplyEyeMakeup_g01_c01.avi", "v_ApplyEyeMakeup_g01"),
        ("abseiling/0347ZoDXyP0_000095_000105.mp4", "0347ZoDXyP0"),
        ("holiday/VID_20240101_1.mov", "VID_20240101_1"),
        ("walk/walk_f01.mp4", "walk"),
    ],
)
def test_recording_of(path, recording):
    assert recording_of(path) == recording


def test_no_recording_is_on_both_sides_and_every_window_is_validated_once(videos, cache):
    validated = []
    for fold in range(4):
        cfg = arrow_fold(videos, fold, folds_of(None), cache=cache, **SMALL)
        sides = [dataset(cfg, split).videos.entries for split in ("train", "val")]
        recordings = [{recording_of(e.path) for e in side} for side in sides]
        assert not recordings[0] & recordings[1] and len(recordings[1]) == 1
        assert sum(map(len, recordings)) == 4
        for side in sides:  # both directions, with their own labels
            paths = {e.path: e.label for e in side}
            assert all(label == p.endswith("reversed") for p, label in paths.items())
            assert sum(paths.values()) * 2 == len(paths)
        validated += [e.path for e in sides[1]]
    assert len(validated) == len(set(validated)) == 2 * 2 * 7  # directions, windows, videos


def test_folds_are_even_and_must_exist(videos, cache):
    options = {"cache": cache, **SMALL}
    cfg = arrow_fold(videos, 0, folds_of(2, window=None), cache=cache, **SMALL)
    assert "-window12-" in cfg.val_list  # three frames a segment
    sizes = [len(dataset(arrow_fold(videos, f, folds_of(2), **options))) for f in range(2)]
    assert sorted(sizes) == [12, 16]  # recordings of 6, 4, 2, 2 windows, in two directions
    with pytest.raises(ConfigError, match="fold=2 does not exist; there are 2"):
        arrow_fold(videos, 2, folds_of(2), **options)
    with pytest.raises(DataError, match="from 4 recordings, and 5 folds"):
        arrow_fold(videos, 0, folds_of(5), **options)
    with pytest.raises(DataError, match="from 0 recordings"):
        arrow_fold(videos, 0, folds_of(2, min_motion=200), **options)


# --- frames ---------------------------------------------------------------------------------------


def test_reversed_windows_hold_the_same_files(videos, cache):
    store = prepare_frames(videos, cache, 12, "32x32")
    for clip in store.clips:
        folder = store.root / "rawframes" / clip.path
        files = [sorted((folder / d).iterdir()) for d in ("forward", "reversed")]
        assert [f.name for f in files[0]] == [f.name for f in files[1]]
        contents = [[f.read_bytes() for f in side] for side in files]
        assert contents[0] == contents[1][::-1] and len(contents[0]) == clip.frames == 12
        assert contents[0] != contents[1] and clip.motion > 1


def test_the_same_videos_give_the_same_files_and_are_decoded_once(
    videos, cache, tmp_path, monkeypatch
):
    cfg = arrow_fold(videos, 1, folds_of(2), cache=cache, **SMALL)
    again = arrow_fold(videos, 1, folds_of(2), cache=tmp_path, **SMALL)
    first, second = Path(cfg.data_root), Path(again.data_root)
    assert cfg.hash == again.hash and first.name == second.name
    files = [sorted(p.relative_to(root) for p in root.rglob("*") if p.is_file()) for root in
             (first / "rawframes", second / "rawframes")]  # fmt: skip
    assert files[0] == files[1]
    assert all(
        (first / "rawframes" / f).read_bytes() == (second / "rawframes" / f).read_bytes()
        for f in files[0]
    )
    assert find_list(cfg, "train", first).sha256 == find_list(again, "train", second).sha256

    monkeypatch.setattr(windows, "VideoFile", None)  # nothing is decoded again
    assert arrow_fold(videos, 1, folds_of(2), cache=cache, **SMALL) == cfg


def test_an_interrupted_call_continues(videos, tmp_path, monkeypatch):
    opened, video_file = [], windows.VideoFile

    def interrupted(path):
        opened.append(path.name)
        if len(opened) == 3:
            raise KeyboardInterrupt
        return video_file(path)

    monkeypatch.setattr(windows, "VideoFile", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_frames(videos, tmp_path, 12, "32x32")
    store = prepare_frames(videos, tmp_path, 12, "32x32")
    assert len(store.clips) == 14 and len(opened) == 7 + 1  # only the third one twice
    assert not list(tmp_path.rglob("*.tmp"))


def test_static_windows_are_left_out(tmp_path):
    for i, name in enumerate(("a", "b", "c")):
        frames = torch.cat((sliding(12, i), sliding(1, i).expand(12, -1, -1, -1)))
        write_video(tmp_path / f"{name}.mp4", frames)
    cfg = arrow_fold(tmp_path, 0, folds_of(3), cache=tmp_path / "cache", **SMALL)
    entries = dataset(cfg).videos.entries
    assert [e.path.rsplit("/", 2)[1] for e in entries] == ["000000"] * 2


def test_bad_videos_are_left_out_and_named(videos, tmp_path, caplog):
    for name in ("c.avi", "a_f00500.mp4"):
        (tmp_path / name).write_bytes((videos / name).read_bytes())
    (tmp_path / "broken.mp4").write_bytes((videos / "c.avi").read_bytes()[:1000])
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "twin.mp4").write_bytes((videos / "c.avi").read_bytes())
    write_video(tmp_path / "short.mp4", sliding(11))
    with caplog.at_level(logging.WARNING):
        store = prepare_frames(tmp_path, tmp_path / "cache", 12, "32x32")
    assert {clip.source for clip in store.clips} == {"c.avi", "a_f00500.mp4"}
    for sentence in ("broken.mp4: ", "empty.mp4: the file is empty", "11 frames, a window has 12",
                     "twin.mp4: the same content as c.avi"):  # fmt: skip
        assert sentence in caplog.text


def test_nothing_to_cut(tmp_path):
    with pytest.raises(DataError, match="no video files in .*nowhere; set data_root"):
        prepare_frames(tmp_path / "nowhere", tmp_path, 12, "32x32")
    write_video(tmp_path / "short.mp4", sliding(11))
    with pytest.raises(DataError, match="no clip could be cut from the 1 videos"):
        prepare_frames(tmp_path, tmp_path / "cache", 12, "32x32")
    with pytest.raises(ConfigError, match="resolution='big'"):
        prepare_frames(tmp_path, tmp_path / "cache", 12, "big")


# --- experiments ----------------------------------------------------------------------------------


def test_a_network_blind_to_order_gives_both_directions_the_same_logits(videos, cache):
    torch.manual_seed(0)
    cfg = arrow_fold(videos, 0, folds_of(2), cache=cache, **SMALL)
    found = {}
    for is_shift in (True, False):
        model = build_model(replace(cfg, is_shift=is_shift)).eval()
        torch.nn.init.normal_(model.head.weight)
        found[is_shift] = check_symmetry(lambda x, m=model: m(normalize(x)), dataset(cfg))
    assert found[False] < ROUNDING < 0.01 < found[True]


def test_windows_that_are_not_mirrored_are_noticed(videos, cache, tmp_path):
    cfg = arrow_fold(videos, 0, folds_of(2), cache=tmp_path, **SMALL)
    videos_of = dataset(cfg)
    folder = videos_of.videos.prefix / videos_of.videos.entries[0].path
    (folder / "img_00002.jpg").write_bytes((folder / "img_00012.jpg").read_bytes())
    with pytest.raises(DataError, match="are not mirrored"):
        check_symmetry(lambda x: x.float().mean((1, 2, 3, 4))[:, None], videos_of)


def test_training_end_to_end(videos, cache, tmp_path):
    found = {}
    for is_shift in (True, False):
        cfg = arrow_fold(videos, 0, folds_of(2), cache=cache, is_shift=is_shift, **SMALL)
        work = tmp_path / str(is_shift)
        found[is_shift] = train(cfg, data="real", scale="mini", work_dir=work, workers=0)
    assert found[False]["top1"] == 50
    assert found[True]["cfg"] == "arrow" and found[True]["class_names"] == ["forward", "reversed"]
    assert (found[True]["data"], found[True]["num_bad"]) == ("real", 0)


def test_leave_one_recording_out(annotated, cache):
    assert loro_recordings(annotated) == ("a", "b", "c")
    validated = {}
    for fold, recording in enumerate(loro_recordings(annotated)):
        cfg = loro_fold(annotated, fold, ORDER3, cache=cache, **SMALL)
        train_side, val_side = (dataset(cfg, s).videos.entries for s in ("train", "val"))
        assert {recording_of(e.path) for e in val_side} == {recording}
        assert recording not in {recording_of(e.path) for e in train_side}
        assert len(train_side) + len(val_side) == 4
        validated |= {e.path.split("/")[1]: (e.num_frames, e.label) for e in val_side}
    assert (cfg.name, cfg.class_names) == ("loro_order3", ("up", "down", "round"))
    assert sorted(validated.values()) == [(27, 2), (28, 0), (30, 1), (32, 1)]
    assert dataset(cfg)[0, 0][2].shape == (1, 4, 32, 32, 3)


def test_leave_one_recording_out_needs_its_files(annotated, cache):
    with pytest.raises(ConfigError, match="task='order4' is none of actions8, order3"):
        loro_fold(annotated, 0, Folds("order4", "height 24"), cache=cache)
    with pytest.raises(DataError, match="classes.txt"):
        loro_recordings(annotated, "actions8")
    with pytest.raises(ConfigError, match="fold=3 does not exist"):
        loro_fold(annotated, 3, ORDER3, cache=cache, **SMALL)
    (annotated / "val_order3.txt").write_text("walk/gone_f1.mp4 30 0\n")
    with pytest.raises(DataError, match="order3 lists walk/gone_f1.mp4"):
        loro_fold(annotated, 0, ORDER3, cache=cache, **SMALL)


def test_lists_that_are_the_split(annotated, cache, monkeypatch):
    task = Task(*TASKS["order3"][:2], split=True)
    monkeypatch.setitem(TASKS, "pushups2", task)
    folds = Folds("pushups2", "height 24", group="[a-b]|c")
    assert count_folds(annotated, "pushups2") == 1 and count_folds(annotated, "order3") == 3
    cfg = loro_fold(annotated, 0, folds, cache=cache, **SMALL)
    assert cfg.name == "pushups2"
    for split in ("train", "val"):
        listed = (annotated / f"{split}_order3.txt").read_text().split("\n")
        labels = sorted(int(line.split()[2]) for line in listed if line)
        assert sorted(e.label for e in dataset(cfg, split).videos.entries) == labels
    with pytest.raises(ConfigError, match="fold=1 does not exist; there are 1"):
        loro_fold(annotated, 1, folds, cache=cache, **SMALL)


def test_groups_of_recordings():
    folds = Folds("pushups2", "height 24", group=r"g\d+")
    assert folds.group_of("g01_correct102") == "g01" and folds.group_of("other") == "other"
    assert Folds("order3", "height 24").group_of("g01_correct102") == "g01_correct102"
