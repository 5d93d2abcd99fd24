"""The 3-D network: torchvision's, of any width, with the parts that it cannot have refused."""

import pytest
import torch
import torchvision

from tsmlib import ConfigError, build_model, get_config, param_groups
from tsmlib.engine.train import train
from tsmlib.speed.operations import count_cost

R3D = {"backbone": "r3d_18", "is_shift": False, "pretrain": "none"}


def test_it_is_torchvisions_network():
    model = build_model(get_config("sthv1", num_segments=4, **R3D)).eval()
    plain = torchvision.models.video.r3d_18(num_classes=174).eval()
    plain.load_state_dict({k.replace("fc.1.", "fc."): v for k, v in model.state_dict().items()})
    clips = torch.randn(2, 4, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(model(clips), plain(clips.transpose(1, 2)), rtol=0, atol=0)


def test_it_sees_the_order_of_frames_and_clips_do_not_mix():
    cfg = get_config("sthv1", width=0.25, depth=(1, 1, 1, 1), **R3D)
    torch.manual_seed(0)
    model, clips = build_model(cfg).eval(), torch.randn(2, 8, 3, 32, 32)
    with torch.no_grad():
        out = model(clips)
        assert not torch.allclose(model(clips.flip(1)), out, atol=1e-6)
        torch.testing.assert_close(model(clips[1:]), out[1:], rtol=1e-4, atol=1e-6)
    with pytest.raises(ValueError, match=r"takes clips \[N, 8, 3, H, W\]"):
        model(clips[:, :4])


def test_a_narrow_one_has_the_widths_and_operations_that_follow():
    cfg = get_config("sthv1", width=0.5, depth=(1, 1, 1, 1), num_classes=10, **R3D)
    model = build_model(cfg)
    widths = [getattr(model, f"layer{i}")[0].conv1[0].out_channels for i in (1, 2, 3, 4)]
    assert widths == [32, 64, 128, 256] and model.head.in_features == 256
    expected = 8 * 16 * 16 * 32 * 3 * 3 * 7 * 7  # stem
    for channels, inner, frames, side in (
        (32, 32, 8, 16),
        (32, 64, 4, 8),
        (64, 128, 2, 4),
        (128, 256, 1, 2),
    ):
        places = frames * side * side
        expected += places * 27 * inner * (channels + inner)
        expected += places * channels * inner * (channels != inner)  # shortcut
    assert count_cost(cfg, 32).macs == expected + 256 * 10


def test_every_parameter_is_in_a_group():
    model = build_model(get_config("sthv1", **R3D))
    groups = {g["name"]: len(g["params"]) for g in param_groups(model, 1.0, 1.0)}
    assert sum(groups.values()) == len(list(model.parameters()))
    assert set(groups) == {
        "first_conv_weight", "normal_weight", "bn", "fc_lr5_weight", "fc_lr10_bias"
    }  # fmt: skip


@pytest.mark.parametrize(
    "change",
    [{"is_shift": True}, {"non_local": "gaussian"}, {"temporal_pool": True},
     {"partial_bn": True}, {"pretrain": "imagenet"}],
)  # fmt: skip
def test_parts_of_2d_networks_are_refused(change):
    with pytest.raises(ConfigError, match=f"{next(iter(change))}.*r3d_18|r3d_18 has no ImageNet"):
        build_model(get_config("sthv1", **{**R3D, **change}))


def test_it_trains_and_is_tested(tmp_path):
    small = {"width": 0.125, "depth": (1, 1, 1, 1), "num_segments": 4, "standin_clips": (24, 12)}
    cfg = get_config("jester", epochs=1, eval_interval=1, **small, **R3D)
    record = train(cfg, cache=tmp_path / "cache", work_dir=tmp_path / "run", workers=0)
    assert record["num_videos"] == 12 and record["parameters"] < 1e6
