"""The stand-in: nothing but the order of frames tells a clip from its reversal."""

import colorsys
import dataclasses
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from helpers import read_only
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tsmlib.configs import (
    DATASETS,
    ConfigError,
    get_config,
    mini,
    replace,
    reversed_labels,
    standin_config,
)
from tsmlib.data.annotations import DataError, find_list
from tsmlib.data.augmentation import fixed_crops
from tsmlib.data.loader import ClipDataset
from tsmlib.data.prepare.write_lists import write_lists
from tsmlib.data.sampling import sample_indices
from tsmlib.data.standin.generate import (
    generate_clips,
    prepare_standin,
    standin_root,
    write_clip,
)
from tsmlib.data.standin.plan import LENGTHS, plan_clips
from tsmlib.data.standin.scenes import draw_clip
from tsmlib.engine.train import train
from tsmlib.paths import cache_folder

WHOLE = {"sthv1": None}
# made alike, so a part is enough; ucf101's is that of hmdb51 under other names
PARTS = {"sthv2": (80, 40), "jester": (80, 40), "diving48": (80, 40), "k400": (80, 40),
         "k400_video": (80, 40), "hmdb51": (112, 50)}  # fmt: skip


def reversed_label(label: int, dataset: str) -> int | None:
    """Return the label of a class's clips played backwards; None if it has none."""
    backward = reversed_labels(dataset)[label]
    return None if backward < 0 else backward


@pytest.fixture(scope="module", params=[*WHOLE, *PARTS])
def row(request, tmp_path_factory):
    """(row with a whole stand-in, as every run sees it, or with a part of it; cache folder)."""
    size = (WHOLE | PARTS)[request.param]
    folder = tmp_path_factory.mktemp(request.param) if size else cache_folder()
    return get_config(request.param, standin_clips=size), folder


@pytest.fixture(scope="module")
def clips(row):
    """(cfg, root) of a stand-in."""
    cfg, folder = row
    cfg = standin_config(cfg)
    return cfg, prepare_standin(cfg, standin_root(cfg, folder), workers=2)


def read_reversible(cfg, root, split):
    """Clips whose class has a reversal: all frames `[T, h, w, 3]` at 1/4 size, and labels."""
    dataset = ClipDataset(find_list(cfg, split, root), cfg, "validation")
    frames, labels = [], []
    for entry in dataset.videos.entries:
        if reversed_label(entry.label, cfg.dataset) is None:
            continue
        video = dataset.open(entry)
        pixels = video.frames(list(range(video.num_frames))).permute(0, 3, 1, 2).float()
        small = torch.nn.functional.interpolate(pixels, (16, 20), mode="area")
        frames.append(small.flatten(1).numpy())
        labels.append(entry.label)
    return frames, np.array(labels)


def within_pair(features, labels, tested, wanted, dataset):
    """Accuracy in percent of a classifier of directions, trained and tested pair by pair."""
    hits = []
    for first, second in {tuple(sorted((k, reversed_label(k, dataset)))) for k in labels.tolist()}:
        train_rows, test_rows = np.isin(labels, (first, second)), np.isin(wanted, (first, second))
        probe = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=200))
        probe.fit(features[train_rows], labels[train_rows])
        hits.append(probe.predict(tested[test_rows]) == wanted[test_rows])
    return 100 * np.concatenate(hits).mean()


def unordered(frames):
    """What a network blind to order could know: mean, spread, extremes and sorted brightness."""
    brightness = np.sort(frames.mean(1))
    ranks = np.interp(np.linspace(0, 1, 16), np.linspace(0, 1, len(brightness)), brightness)
    return np.concatenate((frames.mean(0), frames.std(0), frames.max(0), frames.min(0), ranks))


def test_an_order_free_probe_is_at_chance_and_would_find_a_leak(clips):
    cfg, root = clips
    seen, labels = read_reversible(cfg, root, "train")
    tested, wanted = read_reversible(cfg, root, "val")
    for features in (lambda f: f.mean(0), unordered):
        accuracy = within_pair(
            np.stack([features(f) for f in seen]), labels,
            np.stack([features(f) for f in tested]), wanted, cfg.dataset,
        )  # fmt: skip
        assert 47 <= accuracy <= 53
    # a leak of half the spread between clips would be found
    spread = 0.5 * np.stack([f.mean(0) for f in seen]).std(0)
    leaky = []
    for part, of in ((seen, labels), (tested, wanted)):
        second = np.array([reversed_label(k, cfg.dataset) < k for k in of.tolist()])
        leaky.append(np.stack([f.mean(0) for f in part]) + spread * second[:, None])
    assert within_pair(leaky[0], labels, leaky[1], wanted, cfg.dataset) > 60


def test_sampled_frames_of_a_reversal_are_the_same_frames(clips):
    cfg, root = clips
    dataset = ClipDataset(find_list(cfg, "val", root), mini(cfg), "validation")
    where = {entry.path.removesuffix(".mp4"): i for i, entry in enumerate(dataset.videos.entries)}
    plan = {(c.rendering, c.reverse): c for c in plan_clips(cfg) if c.split == "val"}
    number = next(rendering for rendering, reverse in plan if reverse)
    clip, reversed_clip = (dataset[0, where[plan[number, way].path]][2] for way in (False, True))
    assert plan[number, True].label == reversed_label(plan[number, False].label, cfg.dataset)
    assert torch.equal(clip.flip(1), reversed_clip)


def test_clips_with_little_motion_change_less():
    def change(number: int, least_motion: float) -> float:
        clip = draw_clip("camera left", 12, 0, number, least_motion=least_motion).float()
        return float((clip[1:] - clip[:-1]).abs().mean())

    usual, little = ([change(number, least) for number in range(12)] for least in (0.5, 0.0))
    assert np.mean(little) < 0.8 * np.mean(usual)
    assert torch.equal(draw_clip("up", 8, 0, 3), draw_clip("up", 8, 0, 3, least_motion=0.5))


def test_early_recognition_sees_no_frame_beyond_its_share(clips):
    cfg, root = clips
    videos, cfg = find_list(cfg, "val", root), mini(cfg)
    early = ClipDataset(videos, dataclasses.replace(cfg, seen_share=0.25), "validation")
    for position in range(4):
        video = early.open(videos.entries[position])
        seen = -(-video.num_frames // 4)
        numbers = sample_indices(seen, cfg.num_segments)[0].tolist()
        assert max(numbers) < seen < video.num_frames / 2
        frames = [fixed_crops(video.frames([n]), cfg, 1, cfg.val_crop_size)[0, 0] for n in numbers]
        assert torch.equal(early[0, position][2][0].movedim(-1, 1), torch.stack(frames))


@pytest.mark.parametrize("protocol", [None, "validation"])
def test_shuffled_frames_are_the_same_frames_in_another_order(clips, protocol):
    cfg, root = clips
    cfg = dataclasses.replace(mini(cfg), flip=0.0, augmentation=None)
    videos = find_list(cfg, "train", root)
    natural = ClipDataset(videos, cfg, protocol)
    shuffled = ClipDataset(
        videos, dataclasses.replace(cfg, shuffle_frames="test" if protocol else "train"), protocol
    )
    other = ClipDataset(
        videos, dataclasses.replace(cfg, shuffle_frames="train" if protocol else "test"), protocol
    )
    orders = set()
    for position in range(8):
        clip, mixed = natural[0, position][2][0], shuffled[0, position][2][0]
        assert torch.equal(other[0, position][2][0], clip)
        assert torch.equal(shuffled[0, position][2][0], mixed)
        if protocol:  # in training the crop is drawn after the order
            where = [next(i for i in range(8) if torch.equal(f, clip[i])) for f in mixed]
            assert sorted(where) == list(range(8))
            orders.add(tuple(where))
    assert protocol is None or len(orders) > 6


def test_a_trained_2d_network_is_at_chance_within_pairs(row, tmp_path):
    cfg, folder = row
    cfg = replace(cfg, is_shift=False, epochs=1, pretrain="none")
    record = train(cfg, data="standin", cache=folder, work_dir=tmp_path, workers=2)
    assert 47 <= record["within_pair"] <= 53


def test_pairs_are_balanced_and_splits_share_no_rendering(clips):
    cfg, root = clips
    for split in ("train", "val"):
        counts = pd.Series([e.label for e in find_list(cfg, split, root).entries]).value_counts()
        assert len(counts) == cfg.num_classes
        if split == "val" or DATASETS[cfg.dataset].standin.family == "temporal":
            assert counts.max() - counts.min() <= 1
        paired = [k for k in counts.index if reversed_label(k, cfg.dataset) is not None]
        assert all(counts[k] == counts[reversed_label(k, cfg.dataset)] for k in paired)
    crc = pd.read_csv(root / "manifest.csv").crc32
    assert crc.nunique() == len(crc)


def test_no_length_lets_uniform_sampling_see_other_frames_backwards():
    for lengths in LENGTHS.values():
        assert all(length % 16 for length in lengths)


def test_flips_are_translated_by_name():
    cfg = standin_config(get_config("sthv1_flip"))
    names = {cfg.class_names[a]: cfg.class_names[b] for a, b in cfg.flip_label_map.items()}
    left, right = "Turning the camera left", "Turning the camera right"
    assert names[f"{left} while filming something"] == f"{right} while filming something"
    assert names["Pushing something from left to right"] == "Pushing something from right to left"
    assert len(names) == 6


def test_generation_continues_and_repairs(tmp_path, caplog):
    cfg = standin_config(get_config("sthv1", standin_clips=[10, 10]))
    wanted = prepare_standin(cfg, tmp_path / "whole", workers=0)
    root = tmp_path / "broken"
    written = []

    def interrupted(cfg, root, clip, frames, jpegs):
        if len(written) == 7:
            raise KeyboardInterrupt
        written.append(clip)
        write_clip(cfg, root, clip, frames, jpegs)

    with pytest.raises(KeyboardInterrupt):
        generate_clips(cfg, root, plan_clips(cfg), 0, interrupted)
    kept = next((root / "sthv1" / "rawframes").glob("*/00001.jpg"))
    time = kept.stat().st_mtime_ns
    assert prepare_standin(cfg, tmp_path / "broken", workers=0) == root
    assert kept.stat().st_mtime_ns == time
    manifest = (root / "manifest.csv").read_text()
    assert manifest == (wanted / "manifest.csv").read_text()  # same clips, bit for bit

    damaged = next((root / "sthv1" / "rawframes").glob("*/00003.jpg"))
    damaged.write_bytes(damaged.read_bytes()[:-100])
    for name in ("first", "second"):  # a process checks each path once: another path, as another
        (tmp_path / name).symlink_to(tmp_path / "broken")
    prepare_standin(cfg, tmp_path / "first", workers=0)
    assert f"{damaged.parent.name} is damaged" in caplog.text
    assert (root / "manifest.csv").read_text() == manifest
    with caplog.at_level("WARNING"):
        caplog.clear()
        prepare_standin(cfg, tmp_path / "second", workers=0)
    assert not caplog.text


def test_a_complete_stand_in_that_cannot_be_written_is_used(tmp_path, monkeypatch):
    cfg = standin_config(get_config("sthv1", standin_clips=[10, 10]))
    root = prepare_standin(cfg, tmp_path / "whole", workers=0)
    (tmp_path / "link").symlink_to(root)  # a process checks each path once
    read_only(monkeypatch)
    assert prepare_standin(cfg, tmp_path / "link", workers=0) == tmp_path / "link"
    (root / cfg.val_list).unlink()
    (tmp_path / "other").symlink_to(root)
    with pytest.raises(DataError, match="cannot be written to .*other .*: Read-only file system"):
        prepare_standin(cfg, tmp_path / "other", workers=0)


def test_lists_are_those_of_the_official_annotations(clips, tmp_path):
    """Annotations and videos, read as those of the real data set, give the same bytes."""
    cfg, root = clips
    for name in {Path(cfg.train_prefix).parts[0], Path(cfg.train_list).parts[0]}:
        (tmp_path / name).mkdir()
        for inside in (root / name).iterdir():
            if inside.is_dir():
                (tmp_path / name / inside.name).symlink_to(inside)
    write_lists(cfg, tmp_path)
    for name in (cfg.train_list, cfg.val_list):
        assert (tmp_path / name).read_bytes() == (root / name).read_bytes()


@pytest.mark.parametrize("share", [0, 0.25, 0.5, 0.75, 1])
def test_the_share_of_clips_that_order_decides_is_exact(share):
    cfg = standin_config(get_config("sthv1", order_share=share, standin_clips=[400, 200]))
    plan = plan_clips(cfg)
    assert len(plan) == 600
    for split, clips in (("train", 400), ("val", 200)):
        part = [c for c in plan if c.split == split]
        assert np.mean([c.appearance_label is None for c in part]) == share
        assert pd.Series([c.label for c in part]).value_counts().max() <= clips / 10 + 4
    both = {}
    for clip in plan:
        both.setdefault((clip.split, clip.rendering), []).append(clip)
    for forward, backward in both.values():
        if forward.appearance_label is None:
            assert forward.label == reversed_label(backward.label, "sthv1")
        else:  # one label whatever the direction, and the background tells it
            assert forward.label == backward.label
            assert forward.label == forward.appearance_label == backward.appearance_label


def test_backgrounds_tell_labels_apart():
    def hue(label, number):
        clip = draw_clip("up", 18, 0, number, label).float() / 255
        return colorsys.rgb_to_hsv(*clip.mean((0, 1, 2)).tolist())[0]

    for label in range(10):
        apart = [abs(hue(label, n) - (label + 0.5) / 10) for n in range(4)]
        assert np.median(np.minimum(apart, 1 - np.array(apart))) < 0.1


def test_a_share_of_order_needs_a_family_that_has_it(tmp_path):
    cfg = standin_config(get_config("k400", order_share=0.5))
    with pytest.raises(ConfigError, match="order_share=0.5 .* k400"):
        prepare_standin(cfg, tmp_path)
    with pytest.raises(ConfigError, match="two even numbers"):
        get_config("sthv1", standin_clips=[5, 4])


def test_a_data_set_without_stand_in_says_so():
    with pytest.raises(ConfigError, match="no stand-in of videos of your own"):
        standin_config(dataclasses.replace(get_config("sthv1"), dataset="custom"))
