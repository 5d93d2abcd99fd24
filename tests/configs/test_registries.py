"""The registries: what a new backbone, data set or shift option takes, and what follows from it."""

import dataclasses
import subprocess
import sys

import pytest
import torch

from tsmlib import build_model, get_config, temporal_shift
from tsmlib.configs import (
    BACKBONES,
    DATASETS,
    Backbone,
    ConfigError,
    Dataset,
    class_names,
    list_configs,
    mini,
    standin_config,
)
from tsmlib.configs.datasets import Official, Standin
from tsmlib.configs.shift_options import DIRECTIONS, PADDINGS, ShiftDirection
from tsmlib.data.annotations import find_list
from tsmlib.data.prepare.official_annotations import annotations_folder
from tsmlib.data.prepare.official_readers import READERS, VideoRow
from tsmlib.data.prepare.parsing import numbered_lines
from tsmlib.data.standin.generate import prepare_standin, standin_root
from tsmlib.data.standin.plan import ANNOTATIONS
from tsmlib.models.backbones import FAMILIES
from tsmlib.models.fast_shift import shift_, shift_by_cat, unshift_grad_
from tsmlib.models.recognizer import moved_channels
from tsmlib.models.shift import adjoint_shift
from tsmlib.models.shift_plan import plan_shift


def test_a_new_backbone_is_one_entry(monkeypatch):
    with pytest.raises(ConfigError, match="'resnet26' is not possible; choose one of resnet18, "):
        get_config("sthv1", backbone="resnet26")
    monkeypatch.setitem(
        BACKBONES, "resnet26", Backbone("resnet26", "resnet", "BasicBlock", (2, 3, 5, 2))
    )
    cfg = get_config("sthv1", backbone="resnet26", pretrain="none")
    with torch.device("meta"):
        model = build_model(cfg)
    assert len(moved_channels(model)) == 2 + 3 + 5 + 2
    small = mini(get_config("sthv1", backbone="resnet26", pretrain="none", non_local="gaussian"))
    assert small.depth == (1, 1, 1, 1)
    logits = build_model(small).eval()(torch.zeros(1, 8, 3, 56, 56))
    assert logits.shape == (1, 174)


def read_toy(folder, split, file):
    """Read `path,label` of each video."""
    videos = [(where, *line.split(",")) for where, line in numbered_lines(file)]
    return ["falling", "rising"], [VideoRow(path, int(k), where) for where, path, k in videos]


def write_toy(official, names, clips):
    """Write `path,label` of each video."""
    return {
        getattr(official, split): "".join(
            f"{clip.path},{clip.label}\n" for clip in clips if clip.split == split
        )
        for split in ("train", "val")
    }


def test_a_new_data_set_is_one_entry_and_a_reader(monkeypatch, tmp_path):
    with pytest.raises(ConfigError, match="dataset='toy' is not possible; choose one of k400, .*"):
        get_config("sthv1", dataset="toy")
    toy = Dataset(
        "toy", 2, class_names=("falling", "rising"), folder="toys", validation_videos=100,
        official=Official("the page of the toys", "toy", "train.csv", "val.csv"),
        standin=Standin("temporal", (2, 1), (("up", "rising", "falling"),)),
    )  # fmt: skip
    monkeypatch.setitem(DATASETS, "toy", toy)
    monkeypatch.setitem(READERS, "toy", read_toy)
    monkeypatch.setitem(ANNOTATIONS, "toy", write_toy)  # for its stand-in
    cfg = standin_config(get_config("sthv1", **toy.list_fields()))
    assert class_names(cfg) == ("falling", "rising")
    root = prepare_standin(cfg, standin_root(cfg, tmp_path), workers=0)
    assert (annotations_folder("toy", root) / "val.csv").read_text() == "120001,1\n120002,0\n"
    videos = find_list(cfg, "train", root)
    assert videos.file == root / "toys/toys_train_list_rawframes.txt"
    assert sorted(entry.label for entry in videos.entries) == [0, 0, 1, 1]


def test_a_new_direction_is_one_entry(monkeypatch):
    x = torch.arange(3 * 8.0).reshape(3, 8, 1, 1)
    with pytest.raises(ValueError, match="direction='mostly_past'"):
        temporal_shift(x, 3, 4, direction="mostly_past")
    monkeypatch.setitem(DIRECTIONS, "mostly_past", ShiftDirection(1, 2))
    shifted = temporal_shift(x, 3, 4, direction="mostly_past")
    assert shifted[:, 0, 0, 0].tolist() == [8, 16, 0]  # of the next frame
    assert shifted[:, 5, 0, 0].tolist() == [0, 5, 13]  # of the previous one
    assert torch.equal(shifted[:, 6:], x[:, 6:])
    cfg = mini(get_config("sthv1", shift_direction="mostly_past"))
    model = build_model(cfg).eval()
    assert model(torch.zeros(1, 8, 3, 56, 56)).isfinite().all()


def test_a_new_padding_is_one_entry(monkeypatch):
    """Every form of the shift follows it, with clips that are too short for it as well."""
    message = "shift_padding='mirror' .* of zero, circular, replicate"
    with pytest.raises(ConfigError, match=message):
        get_config("sthv1", shift_padding="mirror")
    monkeypatch.setitem(PADDINGS, "mirror", 1)  # the frame beside the one at the end
    assert get_config("sthv1", shift_padding="mirror").shift_padding == "mirror"
    for segments, entering in {1: [0], 2: [8, 0], 4: [8, 16, 24, 16]}.items():
        x = torch.arange(segments * 8.0).reshape(segments, 8, 1, 1).requires_grad_()
        plan = plan_shift(x, segments, 4, "bidirectional", "mirror")
        joined, grad = shift_by_cat(x, plan), x.detach() + 1
        assert joined[:, 0, 0, 0].tolist() == entering
        assert torch.equal(joined, temporal_shift(x, segments, 4, padding="mirror"))
        (expected,) = torch.autograd.grad(joined, x, grad)
        assert torch.equal(adjoint_shift(grad, plan), expected)
        for per_frame in (True, False):
            clip, back = x.detach().clone(), grad.clone()
            undo = shift_(clip, plan, per_frame)
            assert torch.equal(clip, joined)
            undo()
            unshift_grad_(back, plan, per_frame)
            assert torch.equal(clip, x) and torch.equal(back, expected)


# --- the entries that there are -------------------------------------------------------------------


@pytest.mark.parametrize("name", BACKBONES)
def test_backbones_are_complete(name):
    backbone = BACKBONES[name]
    assert backbone.name == name and backbone.family in FAMILIES
    assert len(backbone.mini_depth) == len(backbone.depth)
    for depth in (backbone.depth, backbone.mini_depth):
        cfg = get_config("k400", pretrain="none", **backbone.fixed, backbone=name, depth=depth)
        with torch.device("meta"):
            assert build_model(cfg).num_classes == 400


@pytest.mark.parametrize("name", DATASETS)
def test_data_sets_are_complete(name):
    dataset = DATASETS[name]
    assert dataset.name == name
    if name == "custom":
        assert dataset == Dataset("custom")
        return
    assert dataset.official.form in READERS and dataset.validation_videos > 0
    assert dataset.standin is None or dataset.official.form in ANNOTATIONS
    own = get_config("sthv1", **dataset.list_fields())
    assert own.num_classes == dataset.num_classes == len(class_names(own))
    rows = [get_config(row) for row in list_configs() if get_config(row).dataset == name]
    for cfg in rows:
        layout = "videos" if cfg.layout == "video" else "rawframes"
        fields = dataset.list_fields(layout)
        assert {field: getattr(cfg, field) for field in fields} == fields
        assert cfg.flip_label_map in (None, dataset.flip_label_map)


def test_records_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DATASETS["k400"].num_classes = 401
    with pytest.raises(dataclasses.FrozenInstanceError):
        BACKBONES["resnet50"].depth = (1, 1, 1, 1)


def test_configurations_need_no_torch():
    code = "import sys, tsmlib.configs; assert not {'torch', 'pandas', 'numpy'} & {*sys.modules}"
    subprocess.run([sys.executable, "-c", code], check=True)
