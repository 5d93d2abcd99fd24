"""Weights of a detector: of a run, torchvision's, and of ImageNet's networks."""

import pytest
import torch
from helpers import assert_same_state
from tiny_detector import NAMES, tiny_recipe
from torchvision.models import resnet18
from torchvision.models.detection import fasterrcnn_resnet50_fpn

from tsmlib import CheckpointError, ConfigError
from tsmlib.configs import to_dict
from tsmlib.detection import detector_weights
from tsmlib.detection.detector import build_detector
from tsmlib.detection.detector_weights import load_detector, load_pretrained_detector
from tsmlib.detection.recipes import DetectorConfig

SCORES = "roi_heads.box_predictor.cls_score.weight"


def save(path, cfg, **extra):
    torch.manual_seed(1)
    detector = build_detector(cfg)
    torch.save({"model": detector.state_dict(), "config": to_dict(cfg), **extra}, path)
    return detector


def test_a_checkpoint_of_a_run(tmp_path):
    cfg = tiny_recipe()
    saved = save(tmp_path / "last.pth", cfg)
    detector, loaded = load_detector(tmp_path / "last.pth")
    assert loaded == cfg and not detector.training
    assert_same_state(saved.state_dict(), detector.state_dict())


@pytest.fixture(scope="module")
def coco(tmp_path_factory):
    """A file as torchvision's: of 91 labels, frozen batch norms, and names of an older version."""
    torch.manual_seed(0)
    state = fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None).state_dict()
    state = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    old = {k.replace("head.conv.0.0.", "head.conv."): v for k, v in state.items()}
    path = tmp_path_factory.mktemp("weights") / detector_weights.COCO.url.rpartition("/")[2]
    torch.save(old, path)
    return path, state


def test_torchvisions_detector(coco, monkeypatch):
    path, state = coco
    digest = detector_weights.hash_in_name(path.name)
    monkeypatch.setattr(detector_weights, "file_sha256", lambda file: digest + "0" * 56)
    detector, cfg = load_detector(path)
    assert_same_state(state, detector.state_dict())
    assert not cfg.is_shift and len(cfg.class_names) == 90 and cfg.class_names[0] == "person"
    assert detector.backbone.body.bn1.eps == 0.0  # as torchvision sets it for these weights


def test_torchvisions_detector_starts_a_shifted_one_of_other_classes(coco):
    path, state = coco
    cfg = DetectorConfig(class_names=NAMES, pretrain=str(path))
    detector = build_detector(cfg)
    assert load_pretrained_detector(detector, cfg) == str(path)
    own = detector.state_dict()
    kept = {name for name in own if name.startswith("roi_heads.box_predictor.")}
    assert_same_state({k: v for k, v in state.items() if k not in kept},
                      {k: v for k, v in own.items() if k not in kept})  # fmt: skip
    assert own["roi_heads.box_predictor.cls_score.weight"].shape[0] == 4


def test_imagenets_backbone(tmp_path):
    network = resnet18()
    torch.save(network.state_dict(), tmp_path / "resnet18.pth")
    cfg = DetectorConfig(
        class_names=NAMES, backbone="resnet18", pretrain=str(tmp_path / "resnet18.pth")
    )
    detector = build_detector(cfg)
    load_pretrained_detector(detector, cfg)
    for name, value in detector.backbone.body.state_dict().items():
        assert torch.equal(value, network.state_dict()[name]), name


def test_weights_of_other_classes(tmp_path):
    save(tmp_path / "last.pth", tiny_recipe())
    content = torch.load(tmp_path / "last.pth")
    other = build_detector(tiny_recipe(class_names=("dog", "cat")))
    with pytest.raises(CheckpointError, match="is of a detector of 3 classes, this one has 2"):
        detector_weights.load_detector_weights(other, content, tmp_path / "last.pth")


@pytest.mark.parametrize(
    ("content", "error", "sentence"),
    [
        ({"fc.weight": torch.zeros(2)}, CheckpointError, "does not say of what detector it is"),
        ({"model": {}, "config": {"dataset": "sthv1"}}, ConfigError, "is not of a detector"),
        ({"model": {}, "config": {"lr": 0.1}}, ConfigError, "a.pth is not of a detector: its con"),
        ({"model": {}, "config": {"name": 3}}, ConfigError, "a.pth is not of a detector: name=3"),
        (
            {"model": {"fc.weight": torch.zeros(2)}, "config": to_dict(tiny_recipe())},
            CheckpointError, "holds no weights of a detector",
        ),
        ({"model": {}, "config": None}, CheckpointError, "does not say of what detector it is"),
        ({"model": {}, "config": "vid"}, CheckpointError, "does not say of what detector it is"),
        (
            {"model": None, "config": to_dict(tiny_recipe())},
            CheckpointError, "holds NoneType as model, not a plain tensor",
        ),
        (
            {"model": {SCORES: 3}, "config": to_dict(tiny_recipe())},
            CheckpointError, f"holds int as {SCORES}, not a plain tensor",
        ),
        (
            {"model": {SCORES: torch.tensor(1.0)}, "config": to_dict(tiny_recipe())},
            CheckpointError, "is of a detector of 0 classes, this one has 3",
        ),
        (
            {"model": {SCORES: torch.zeros(4, 1), 1: torch.zeros(1)},
             "config": to_dict(tiny_recipe())},
            CheckpointError, "names a weight by 1, not by text",
        ),
    ],
)  # fmt: skip
def test_files_that_are_no_detector(tmp_path, content, error, sentence):
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(error, match=sentence):
        load_detector(tmp_path / "a.pth")


def test_weights_that_are_no_numbers(tmp_path):
    save(tmp_path / "last.pth", tiny_recipe())
    content = torch.load(tmp_path / "last.pth")
    content["model"]["backbone.body.conv1.weight"][0] = torch.nan
    torch.save(content, tmp_path / "last.pth")
    with pytest.raises(CheckpointError, match="holds nan in backbone.body.conv1.weight: it is dam"):
        load_detector(tmp_path / "last.pth")
    cfg = tiny_recipe(pretrain=str(tmp_path / "last.pth"))
    with pytest.raises(CheckpointError, match="holds nan in backbone.body.conv1.weight"):
        load_pretrained_detector(build_detector(cfg), cfg)


def test_weights_of_another_network(tmp_path):
    save(tmp_path / "last.pth", tiny_recipe())
    content = torch.load(tmp_path / "last.pth")
    content["config"]["channels"] = 64
    torch.save(content, tmp_path / "last.pth")
    with pytest.raises(CheckpointError, match="is of another detector: .*size mismatch"):
        load_detector(tmp_path / "last.pth")


def test_a_backbone_of_another_network(tmp_path):
    torch.save({"conv1.weight": torch.zeros(2)}, tmp_path / "a.pth")
    cfg = tiny_recipe(pretrain=str(tmp_path / "a.pth"))
    with pytest.raises(CheckpointError, match="is of no such backbone: it lacks bn1.bias"):
        load_pretrained_detector(build_detector(cfg), cfg)
