"""MixUp and CutMix against a slow version, their random numbers, and training with them."""

import math
from itertools import product

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from helpers import resize_standins
from scipy import stats

from tsmlib import blend, get_config, train
from tsmlib.configs import mini, standin_config
from tsmlib.data.blending import cutmix_box
from tsmlib.engine import checkpointing as saving
from tsmlib.engine import train as engine
from tsmlib.models.recognizer import build_model

KINDS = ("mixup", "cutmix")
CLASSES = 12


def config(kind, **changes):
    return get_config("sthv1", blending=kind, num_classes=CLASSES, **changes)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch(n: int = 8, t: int = 3, h: int = 10, w: int = 14):
    """Clips in which every number says where it stood, and as many different labels."""
    clips = torch.arange(n * t * 3 * h * w, dtype=torch.float32).reshape(n, t, 3, h, w)
    return clips, (torch.arange(n) * 5) % CLASSES


def partners(labels, soft) -> list[int]:
    """With which clip each one was mixed: itself if its label is alone."""
    found = []
    for i, row in enumerate(soft):
        others = [k for k in row.nonzero().flatten().tolist() if k != labels[i]]
        assert len(others) <= 1
        found.append(labels.tolist().index(others[0]) if others else i)
    return found


def slow_mixup(clips, other, weight):
    out = torch.empty_like(clips)
    for i, (n, frame) in enumerate(product(range(len(clips)), range(clips.shape[1]))):
        mixed = weight * clips[n, frame].double() + (1 - weight) * clips[other[n], frame].double()
        out[divmod(i, clips.shape[1])] = mixed
    return out


def slow_cutmix(clips, other, box):
    left, top, width, height = box
    out = clips.clone()
    for y, x in product(range(top, top + height), range(left, left + width)):
        for n in range(len(clips)):
            out[n, :, :, y, x] = clips[other[n], :, :, y, x]
    return out


def pasted_box(changed) -> tuple[int, int, int, int]:
    """Left, top, width and height of the True positions of `[H, W]`, which must be a box."""
    rows, columns = changed.any(1).nonzero().flatten(), changed.any(0).nonzero().flatten()
    if not len(rows):
        return 0, 0, 0, 0
    box = columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    assert changed.sum() == box[2] * box[3]
    return tuple(map(int, box))


# --- one batch ------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_mixup_is_the_slow_version(seed):
    clips, labels = batch()
    mixed, soft = blend(clips, labels, config("mixup", blending_alpha=1.0), generator(seed))
    other = partners(labels, soft)
    assert sorted(other) == list(range(8))  # one permutation
    moved = [i for i in range(8) if other[i] != i]
    weights = soft[moved, labels[moved]]
    assert len(moved) >= 4 and (weights == weights[0]).all()  # one weight
    weight = float(weights[0])
    assert 0 < weight < 1
    torch.testing.assert_close(mixed, slow_mixup(clips, other, weight), rtol=1e-5, atol=1e-2)
    for i, j in enumerate(other):
        expected = torch.zeros(CLASSES, dtype=torch.float64)
        expected[labels[i]] += weight
        expected[labels[j]] += 1 - weight
        torch.testing.assert_close(soft[i].double(), expected)


@pytest.mark.parametrize("seed", range(12))
def test_cutmix_is_the_slow_version(seed):
    clips, labels = batch()
    cfg = config("cutmix", blending_alpha=1.0)
    mixed, soft = blend(clips, labels, cfg, generator(seed))
    changed = (mixed != clips).any(0)  # [T, C, H, W]
    assert (changed == changed[:1, :1]).all()  # the same in all frames and channels
    box = pasted_box(changed[0, 0])
    other = partners(labels, soft)
    assert torch.equal(mixed, slow_cutmix(clips, other, box))
    share = 1 - box[2] * box[3] / (10 * 14)
    for i, j in enumerate(other):
        expected = torch.zeros(CLASSES, dtype=torch.float64)
        expected[labels[i]] += share
        expected[labels[j]] += 1 - share
        torch.testing.assert_close(soft[i].double(), expected)


def test_cutmix_finds_boxes_of_many_sizes_and_nothing_at_times():
    clips, labels = batch(h=20, w=20)
    boxes = set()
    for seed in range(60):
        mixed, _ = blend(clips, labels, config("cutmix"), generator(seed))
        boxes.add(pasted_box((mixed != clips).any(0)[0, 0]))
    areas = [width * height for *_, width, height in boxes]
    assert len(boxes) > 20 and min(areas) == 0 and max(areas) > 200


@pytest.mark.parametrize(("width", "height"), [(14, 10), (9, 9), (224, 168), (1, 1)])
def test_boxes_are_as_published(width, height):
    """Sides int(side * sqrt(1 - weight)), halved as integers around a pixel, cut off at borders."""
    seen = set()
    for seed in range(200):
        weight = (seed % 21) / 20
        left, top, w, h = cutmix_box(width, height, weight, generator(seed))
        x, y = (int(torch.randint(side, (), generator=g)) for g in [generator(seed)]
                for side in (width, height))  # fmt: skip
        for start, length, center, side in ((left, w, x, width), (top, h, y, height)):
            half = int(side * math.sqrt(1 - weight)) // 2
            inside = [p for p in range(center - half, center + half) if 0 <= p < side]
            assert list(range(start, start + length)) == inside
        seen.add((x, y))
    assert len(seen) > 50 or width < 14
    assert cutmix_box(width, height, 1.0, generator())[2:] == (0, 0)


@pytest.mark.parametrize("kind", KINDS)
def test_labels_sum_to_one_and_the_input_stays(kind):
    for seed in range(30):
        clips, labels = batch()
        kept = clips.clone(), labels.clone()
        mixed, soft = blend(clips, labels, config(kind), generator(seed))
        assert torch.equal(clips, kept[0]) and torch.equal(labels, kept[1])
        assert mixed.shape == clips.shape and mixed.dtype == clips.dtype == soft.dtype
        assert soft.shape == (8, CLASSES) and (soft >= 0).all()
        torch.testing.assert_close(soft.sum(1), torch.ones(8))


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_one_stays_as_it_is(kind):
    clips, labels = batch(1)
    for seed in range(20):
        mixed, soft = blend(clips, labels, config(kind), generator(seed))
        torch.testing.assert_close(mixed, clips)
        torch.testing.assert_close(soft, F.one_hot(labels, CLASSES).float())


def test_same_labels_stay_one_hot():
    clips, _ = batch(4)
    labels = torch.full((4,), 3)
    for kind in KINDS:
        _, soft = blend(clips, labels, config(kind), generator())
        torch.testing.assert_close(soft, F.one_hot(labels, CLASSES).float())


def test_without_blending_labels_are_one_hot():
    clips, labels = batch()
    state = torch.get_rng_state()
    same, soft = blend(clips, labels, config(None))
    assert same is clips and soft.dtype == torch.float32
    assert [row.tolist().index(1) for row in soft] == labels.tolist()
    assert soft.sum() == 8
    assert torch.equal(torch.get_rng_state(), state)  # nothing is drawn


@pytest.mark.parametrize("kind", KINDS)
def test_random_numbers_come_from_the_generator_alone(kind):
    clips, labels = batch()
    state = torch.get_rng_state()
    drawn = [blend(clips, labels, config(kind), generator(seed)) for seed in (1, 1, 2, 3, 4)]
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(drawn[0][0], drawn[1][0]) and torch.equal(drawn[0][1], drawn[1][1])
    assert any(not torch.equal(drawn[0][0], other[0]) for other in drawn[2:])
    one = generator(1)
    first, second = (blend(clips, labels, config(kind), one)[0] for _ in range(2))
    assert torch.equal(first, drawn[0][0]) and not torch.equal(first, second)
    torch.manual_seed(5)
    first = blend(clips, labels, config(kind))[0]
    torch.manual_seed(5)
    assert torch.equal(first, blend(clips, labels, config(kind))[0])


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_weights_are_of_a_beta_distribution(alpha):
    """Read off two clips of one number, 0 and 1, whenever they change places."""
    clips = torch.tensor([0.0, 1.0]).reshape(2, 1, 1, 1, 1)
    cfg, random, weights = config("mixup", blending_alpha=alpha), generator(7), []
    for _ in range(4000):
        mixed, soft = blend(clips, torch.tensor([0, 1]), cfg, random)
        low, high = mixed.flatten().tolist()
        if (low, high) == (0, 1):  # each with itself, or a weight next to 1
            continue
        assert low + high == pytest.approx(1, abs=1e-6)
        assert float(soft[1, 1]) == pytest.approx(high, abs=1e-6)
        weights.append(high)
    assert 1700 < len(weights) < 2150
    weights = np.array(weights)
    assert stats.kstest(weights, stats.beta(alpha, alpha).cdf).statistic < 0.05
    assert weights.mean() == pytest.approx(0.5, abs=0.03)
    assert weights.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)


def test_places_of_boxes_are_uniform():
    centers = []
    for seed in range(1500):
        left, top, w, h = cutmix_box(40, 40, 0.99, generator(seed))  # 4x4, two to each side
        assert 2 <= w <= 4 and 2 <= h <= 4
        centers.append((left + 2 if w == 4 or left else w, top + 2 if h == 4 or top else h))
    for axis in np.array(centers).T:
        assert axis.mean() == pytest.approx(19.5, abs=1)
        assert axis.std() == pytest.approx(math.sqrt((40**2 - 1) / 12), rel=0.05)


@pytest.mark.parametrize(
    ("clips", "labels", "message"),
    [
        (torch.zeros(2, 3, 3, 4, 4, dtype=torch.uint8), 2, r"not torch.uint8 \[2, 3, 3, 4, 4\]"),
        (torch.zeros(6, 3, 4, 4), 6, r"not torch.float32 \[6, 3, 4, 4\] and 6 labels"),
        (torch.zeros(2, 3, 3, 4, 4), 3, r"\[2, 3, 3, 4, 4\] and 3 labels"),
    ],
)
@pytest.mark.parametrize("kind", [*KINDS, None])
def test_other_input_is_refused(clips, labels, message, kind):
    with pytest.raises(ValueError, match=f"takes float clips.*{message}"):
        blend(clips, torch.zeros(labels, dtype=torch.int64), config(kind))


def test_the_published_rows_blend_as_published():
    found = {kind: get_config(f"sthv1_{kind}") for kind in KINDS}
    assert all(cfg.blending == kind for kind, cfg in found.items())
    assert {cfg.blending_alpha for cfg in found.values()} == {0.2}


# --- the loss, and training -----------------------------------------------------------------------


def soft_loss(logits, soft) -> torch.Tensor:
    """-(label * log_softmax) summed over classes, of each clip (MMAction2's cross entropy)."""
    return -(soft * logits.log_softmax(1)).sum(1)


def test_the_loss_of_soft_labels_is_mmaction2s():
    logits = torch.randn(6, CLASSES, generator=generator(), dtype=torch.float64)
    _, labels = batch(6)
    _, soft = blend(torch.zeros(6, 1, 1, 1, 1), labels, config("mixup"), generator(3))
    expected = torch.stack(
        [-sum(p * q for p, q in zip(a, b.log_softmax(0), strict=True))
         for a, b in zip(soft.double(), logits, strict=True)]
    )  # fmt: skip
    torch.testing.assert_close(soft_loss(logits, soft.double()), expected)
    for reduction, value in (("sum", expected.sum()), ("mean", expected.mean())):
        found = F.cross_entropy(logits, soft.double(), reduction=reduction)
        torch.testing.assert_close(found, value)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A folder with a stand-in of 20 training and 10 validation clips."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        resize_standins(patch, {"sthv1": (10, 5)})
        yield folder


def run(cache, folder, kind, workers=0, save_seconds=600.0, **changes):
    """Train two short epochs; `save_seconds=0` saves after every step."""
    cfg = get_config(f"sthv1_{kind}", **{"epochs": 2, "width": 0.125, **changes})
    options = {"cache": cache, "work_dir": folder, "workers": workers}
    return train(cfg, data="standin", save_seconds=save_seconds, **options)


def weights(folder):
    return torch.load(folder / "last.pth", weights_only=True)["model"]


def history(folder):
    return pd.read_csv(folder / "history.csv").drop(columns="seconds")


@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_continues_exactly(cache, tmp_path, monkeypatch, kind):
    run(cache, tmp_path / "whole", kind)
    original, calls = saving.Saver.save, []

    def interrupted(self, state):
        original(self, state)
        calls.append((state.epoch, state.step))
        if calls[-1] == (1, 1):  # after the first step of the second epoch
            raise KeyboardInterrupt

    monkeypatch.setattr(saving.Saver, "save", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(cache, tmp_path / "broken", kind, save_seconds=0)
    monkeypatch.setattr(saving.Saver, "save", original)
    run(cache, tmp_path / "broken", kind, workers=1)
    whole, broken = (weights(tmp_path / name) for name in ("whole", "broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    pd.testing.assert_frame_equal(*(history(tmp_path / name) for name in ("whole", "broken")))
    assert history(tmp_path / "whole")["train_top1"].isna().all()  # a blended clip has no one label


@pytest.mark.parametrize("kind", KINDS)
def test_training_blends_normalised_clips_and_takes_soft_labels(cache, tmp_path, monkeypatch, kind):
    """The first step against the loss of a model that is built once more."""
    seen = []

    def recorded(clips, labels, cfg, random):
        out = blend(clips, labels, cfg, random)
        seen.append((random.initial_seed(), clips.clone(), labels.clone(), *out))
        return out

    monkeypatch.setattr(engine, "blend", recorded)
    run(cache, tmp_path, kind, epochs=1, batch_size=20, videos_per_device=20, dropout=0.0)
    ((seed, clips, labels, mixed, soft),) = seen
    assert clips.shape[1:] == (8, 3, 56, 56) and clips.dtype == torch.float32
    assert -2.2 < clips.min() < -0.5 and 0.5 < clips.max() < 2.7  # normalised, not 0 to 255
    cfg = mini(standin_config(get_config(f"sthv1_{kind}", width=0.125, dropout=0.0)))
    again = blend(clips, labels, cfg, generator(seed))
    assert torch.equal(again[0], mixed) and torch.equal(again[1], soft)
    torch.manual_seed(0)
    model = build_model(cfg).train()
    with torch.no_grad():
        expected = soft_loss(model(mixed), soft).mean()
    assert history(tmp_path)["loss"][0] == pytest.approx(float(expected), rel=1e-4)


def spy_on_blend(monkeypatch) -> list[int]:
    """Seeds of the generators that training blends with, in order."""
    seen = []

    def recorded(clips, labels, cfg, random):
        seen.append(random.initial_seed())
        return blend(clips, labels, cfg, random)

    monkeypatch.setattr(engine, "blend", recorded)
    return seen


def test_every_step_and_epoch_blends_anew(cache, tmp_path, monkeypatch):
    seen = spy_on_blend(monkeypatch)
    run(cache, tmp_path / "a", "mixup")
    assert len(seen) == len(set(seen)) == 6  # 20 clips in batches of 8, twice
    plain = get_config("sthv1", epochs=1, width=0.125)
    train(plain, data="standin", cache=cache, work_dir=tmp_path / "b", workers=0)
    assert len(seen) == 6 and history(tmp_path / "b")["train_top1"].notna().all()


def test_batches_of_one_step_blend_alike(cache, tmp_path, monkeypatch):
    """Two processes draw one weight for a step; one process that accumulates must do the same."""
    seen = spy_on_blend(monkeypatch)
    run(cache, tmp_path, "mixup", epochs=1, batch_size=8, videos_per_device=4)
    assert len(seen) == 5  # 20 clips: steps of 4 + 4, 4 + 4 and 4
    assert seen[0] == seen[1] != seen[2] == seen[3] != seen[4] != seen[0]
