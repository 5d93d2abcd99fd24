"""Scale, copies and the hash of configurations."""

import json
import math

import pytest
import torch

from tsmlib.configs import (
    changed_fields,
    from_dict,
    get_config,
    list_configs,
    load_config,
    mini,
    scaled_lr,
    to_dict,
    views,
)
from tsmlib.models.recognizer import build_model

METHOD = (  # what mini scale never alters
    "name", "dataset", "backbone", "num_segments", "is_shift", "shift_div", "shift_place",
    "shift_direction", "shift_padding", "temporal_pool", "non_local", "blending", "blending_alpha",
    "sampling", "eval_sampling", "train_crop", "flip", "flip_label_map", "augmentation",
    "twice_sample", "test_crops", "average_clips", "optimizer", "gamma", "dropout",
)  # fmt: skip


@pytest.mark.parametrize("name", list_configs())
def test_mini_keeps_the_method(name):
    cfg = get_config(name)
    small = mini(cfg)
    for field in METHOD:
        assert getattr(small, field) == getattr(cfg, field), field
    for protocol in ("validation", "published"):
        full, reduced = views(cfg, protocol), views(small, protocol)
        assert (full["clips"], full["crops"]) == (reduced["clips"], reduced["crops"])
        assert reduced["size"] * 4 == full["size"]
    assert small.pretrain == ("none" if cfg.pretrain == "imagenet" else cfg.pretrain)


@pytest.mark.parametrize("name", list_configs())
def test_mini_reduces_every_size(name):
    cfg = get_config(name)
    small = mini(cfg)
    for field in ("short_side", "crop_size", "val_crop_size", "test_crop_size"):
        assert getattr(small, field) == getattr(cfg, field) / 4
    assert small.width == cfg.width / 8
    assert small.epochs <= 8 and small.batch_size <= 8
    # at the same fractions of the training, to the nearest whole epoch
    for milestone, published in zip(small.milestones, cfg.milestones, strict=True):
        assert abs(milestone - published / cfg.epochs * small.epochs) <= 0.5


@pytest.mark.parametrize("name", ["sthv1", "k400_mobilenetv2_dense", "hmdb51"])
def test_mini_classifier_is_faster_only_after_pretraining(name):
    """From scratch it is no newer than the rest."""
    cfg = get_config(name)
    assert mini(cfg).fc_lr5 == (cfg.pretrain != "imagenet")
    assert mini(get_config(name, fc_lr5=True)).fc_lr5
    assert not mini(get_config(name, fc_lr5=False)).fc_lr5


def test_milestones_follow_the_epochs():
    hundred = get_config("k400", epochs=100)
    assert hundred.milestones == get_config("k400_100e").milestones
    assert get_config("k400", epochs=100, milestones=(7,)).milestones == (7,)
    assert mini(hundred).milestones == (40, 80) and mini(hundred).epochs == 100


def test_mini_falls_along_a_cosine_unless_milestones_are_set():
    assert mini(get_config("sthv1")).schedule == "cosine"
    assert mini(get_config("sthv1", epochs=4)).schedule == "cosine"
    assert mini(get_config("sthv1", schedule="step")).schedule == "step"
    assert mini(get_config("sthv1", milestones=(2, 5))).schedule == "step"


def test_mini_keeps_ratios_of_learning_rates():
    """Per video, so that a row with another rate or batch keeps its relation to the others."""
    per_video = {n: get_config(n).lr / get_config(n).batch_size for n in list_configs()}
    reduced = {n: mini(get_config(n)).lr / mini(get_config(n)).batch_size for n in list_configs()}
    factors = [reduced[n] / per_video[n] for n in list_configs()]
    assert factors == pytest.approx([factors[0]] * 36)


def test_explicit_changes_survive_mini():
    changes = {
        "lr": 0.123, "epochs": 3, "width": 0.5, "crop_size": 96, "batch_size": 20,
        "milestones": (1, 2), "depth": (1, 1, 2, 1), "pretrain": "imagenet", "eval_interval": 1,
    }  # fmt: skip
    small = mini(get_config("sthv1", **changes))
    assert {field: getattr(small, field) for field in changes} == changes
    assert small.val_crop_size == 56  # the others are reduced all the same


@pytest.mark.parametrize("name", list_configs())
def test_round_trip_through_json(name, tmp_path):
    for cfg in (get_config(name), mini(get_config(name, lr=0.5, depth=None))):
        assert from_dict(to_dict(cfg)) == cfg
        (tmp_path / "config.json").write_text(json.dumps(to_dict(cfg)))
        assert load_config(tmp_path / "config.json") == cfg


def test_changed_fields():
    assert changed_fields(get_config("sthv1", lr=0.01, data_root="elsewhere")) == {}
    assert changed_fields(get_config("sthv1", shift_div=4)) == {"shift_div": 4}
    assert changed_fields(mini(get_config("sthv1")))["width"] == 0.125


def test_hash_is_of_the_experiment():
    cfg = get_config("sthv1")
    assert get_config("sthv1", data_root="elsewhere").hash == cfg.hash
    assert get_config("sthv1", lr=cfg.lr).hash == cfg.hash  # said aloud, but the same
    assert len(cfg.hash) == 8 and int(cfg.hash, 16) >= 0
    hashes = {get_config(n).hash for n in list_configs()}
    assert len(hashes) == 36
    fields = ({"lr": 0.02}, {"epochs": 51}, {"is_shift": False}, {"flip_label_map": {0: 1, 1: 0}})
    assert len({cfg.hash, *(get_config("sthv1", **change).hash for change in fields)}) == 5


def test_learning_rate_is_linear_in_the_batch():
    cfg = get_config("sthv2")
    assert (cfg.lr, cfg.batch_size) == (0.0075, 48)
    for batch in (1, 8, 48, 96, 1000):
        assert math.isclose(scaled_lr(cfg, batch), 0.0075 * batch / 48)


@pytest.mark.parametrize("name", list_configs())
def test_row_runs_at_mini_scale(name):
    cfg = mini(get_config(name))
    model = build_model(cfg).eval()
    with torch.inference_mode():
        logits = model(torch.randn(1, cfg.num_segments, 3, cfg.crop_size, cfg.crop_size))
    assert logits.shape == (1, cfg.num_classes) and logits.isfinite().all()
