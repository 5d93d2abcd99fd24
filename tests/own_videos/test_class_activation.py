"""Class activation maps and pooled features give the logits again, whatever the network."""

import pytest
import torch
from helpers import decisive, lively, seeded, tiny

from tsmlib import build_model
from tsmlib.own_videos.class_activation import (
    class_activation_maps,
    last_feature_maps,
    pool_features,
)

NETWORKS = [
    {},
    {"backbone": "resnet50", "depth": (1, 2, 2, 1), "non_local": "dot_product"},
    {"non_local": "embedded_gaussian"},
    {"temporal_pool": True, "num_segments": 8},
    {"is_shift": False},
    {"shift_place": "block", "shift_direction": "unidirectional"},
    {"backbone": "mobilenetv2", "depth": (1, 2, 1, 1, 1, 1, 1), "width": 0.25},
    {"backbone": "r3d_18", "is_shift": False, "pretrain": "none"},
]


@pytest.fixture(params=NETWORKS, ids=lambda fields: "-".join(map(str, fields.values())) or "plain")
def network(request):
    """A network whose every number counts, two clips, and their logits."""
    cfg = tiny(**{"num_segments": 4, "dropout": 0.5, **request.param})
    model = decisive(lively(build_model(cfg)), seed=3).double()
    clips = seeded(torch.randn, 2, cfg.num_segments, 3, 48, 64).double()
    with torch.no_grad():
        return cfg, model, clips, model(clips)


def test_features_times_the_classifier_are_the_logits(network):
    _, model, clips, logits = network
    features = pool_features(last_feature_maps(model, clips))
    torch.testing.assert_close(features @ model.head.weight.T + model.head.bias, logits)


def test_the_mean_of_a_map_is_the_logit_less_its_bias(network):
    cfg, model, clips, logits = network
    maps = last_feature_maps(model, clips)
    if cfg.backbone != "r3d_18":
        assert maps.shape[:2] == (2, cfg.num_segments // (1 + cfg.temporal_pool))
    for labels in (torch.tensor([0, 4]), logits.argmax(1)):
        found = class_activation_maps(model, maps, labels)
        assert found.shape == (*maps.shape[:2], *maps.shape[3:]) and found.std() > 0
        wanted = logits.gather(1, labels[:, None])[:, 0] - model.head.bias[labels]
        torch.testing.assert_close(found.mean((1, 2, 3)), wanted)


def test_a_map_is_the_weighted_sum_of_its_position(network):
    """The slow form of equation 2, at one position."""
    _, model, clips, _ = network
    maps = last_feature_maps(model, clips)
    found = class_activation_maps(model, maps, torch.tensor([2, 1]))
    weights = model.head.weight[1].tolist()
    slow = sum(w * f for w, f in zip(weights, maps[1, -1, :, 0, -1].tolist(), strict=True))
    assert found[1, -1, 0, -1].item() == pytest.approx(slow, rel=1e-9)


def test_nothing_stays_behind(network):
    _, model, clips, logits = network
    last_feature_maps(model, clips)
    assert not model.last_stage._forward_hooks
    with torch.no_grad():
        assert torch.equal(model(clips), logits)
