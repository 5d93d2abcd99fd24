"""Names of weights elsewhere: there and back bit by bit, and published files as they are found."""

from typing import get_args

import pytest
import torch
import torchvision
from helpers import (
    assert_logits_are_recorded,
    assert_same_state,
    lively,
    on_meta,
    published_state,
)
from torch import nn

from tsmlib import CheckpointError, build_model, get_config, load_checkpoint
from tsmlib.configs import mini
from tsmlib.configs.fields import NonLocal
from tsmlib.models.shift import temporal_shift
from tsmlib.models.state_dict_layouts import detect_layout, from_layout, to_layout
from tsmlib.parity.recordings import read_keys

LAYOUTS = ("mmaction2", "mit", "torchvision")
ROW_OF = {
    "mma_r50_8f_k400": "k400",
    "mma_mnv2_8f_k400": "k400_mobilenetv2_dense",
    "mma_nl_embedded_gaussian_8f_k400": "k400_nl_embedded_gaussian",
    "mit_r50_8f_k400": "k400",
}
NARROW = {"width": 0.125, "num_classes": 5}
SHALLOW = {"depth": (1, 3, 5, 1), **NARROW}  # as deep as five non-local blocks ask for
ARCHITECTURES = {
    "full": get_config("k400"),
    "resnet18": get_config("sthv1", backbone="resnet18", **NARROW),
    "resnet50": get_config("sthv1", **NARROW),
    "every second block": get_config("sthv1_r101", **NARROW),
    "mobilenetv2": get_config("k400_mobilenetv2_dense", num_classes=5),
    "mini": mini(get_config("sthv1")),
    "mini resnet101": mini(get_config("sthv1_r101")),
    "mini mobilenetv2": mini(get_config("k400_mobilenetv2_dense")),
    "mini non-local": mini(get_config("k400_nl_gaussian")),
    **{kind: get_config("k400", non_local=kind, **SHALLOW) for kind in get_args(NonLocal)},
    "resnet18 non-local": get_config("k400", backbone="resnet18", non_local="gaussian", **SHALLOW),
    "temporal pool": get_config("k400", temporal_pool=True, **SHALLOW),
    "block": get_config("k400", shift_place="block", **SHALLOW),
    "block and non-local": get_config("k400", shift_place="block", non_local="gaussian", **SHALLOW),
    "no shift": get_config("k400", is_shift=False, **SHALLOW),
    "mobilenetv2 no shift": get_config(
        "k400_mobilenetv2_dense", is_shift=False, width=0.35, num_classes=5
    ),
}


# --- which layout it is ---------------------------------------------------------------------------


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize(
    ("names", "layout"),
    [
        (["backbone.conv1.conv.weight", "cls_head.fc_cls.weight"], "mmaction2"),
        (["cls_head.fc_cls.weight"], "mmaction2"),
        (["base_model.conv1.weight", "new_fc.weight"], "mit"),
        (["base_model.features.0.0.weight", "base_model.classifier.weight"], "mit"),
        (["new_fc.bias"], "mit"),
        (["features.1.conv.3.weight", "classifier.weight"], "mit_online"),
        (["features.1.conv.0.0.weight", "features.1.conv.1.weight", "classifier.1.weight"],
         "torchvision"),
        (["features.2.conv.3.weight", "classifier.1.weight"], "torchvision"),
        (["conv1.weight", "fc.weight"], "torchvision"),
        (["something.else"], "torchvision"),
        ([], "torchvision"),
    ],
)  # fmt: skip
def test_detect_layout(names, layout, prefix):
    assert detect_layout({f"{prefix}{name}": torch.zeros(1) for name in names}) == layout


@pytest.mark.parametrize(
    "plain",
    [torchvision.models.resnet50, torchvision.models.mobilenet_v2],
    ids=lambda f: f.__name__,
)
def test_torchvisions_own_networks_are_torchvisions(plain):
    with torch.device("meta"):
        assert detect_layout(plain().state_dict()) == "torchvision"


@pytest.mark.parametrize("name", ROW_OF)
def test_detect_layout_published_files(name):
    keys = read_keys(name)
    expected = "mit" if name.startswith("mit") else "mmaction2"
    assert (
        detect_layout(keys)
        == detect_layout({f"module.{k}": v for k, v in keys.items()})
        == expected
    )


# --- there and back -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_there_and_back(name):
    model = lively(build_model(ARCHITECTURES[name]))
    kept = {k: v.clone() for k, v in model.state_dict().items()}
    for layout in LAYOUTS:
        exported = to_layout(model, layout)
        assert detect_layout(exported) == layout
        bare = {k.removeprefix("module."): v for k, v in exported.items()}
        for given in (exported, bare, {f"module.{k}": v for k, v in bare.items()}):
            before = {k: v.clone() for k, v in given.items()}
            assert_same_state(from_layout(given, layout, model), kept)
            assert_same_state(given, before)
        for value in exported.values():  # copies: the model is not touched
            value.zero_()
        assert_same_state(model.state_dict(), kept)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", ["resnet18", "embedded_gaussian", "mini mobilenetv2"])
def test_through_a_file_into_a_fresh_model(tmp_path, name, layout):
    cfg = ARCHITECTURES[name]
    model, fresh = (lively(build_model(cfg), seed).eval() for seed in (1, 2))
    torch.save({"state_dict": to_layout(model, layout)}, tmp_path / "weights.pth")
    report = load_checkpoint(fresh, tmp_path / "weights.pth")
    assert_same_state(fresh.state_dict(), dict(model.state_dict()))
    assert set(report.matched) == set(fresh.state_dict())
    assert (report.missing, report.left_over) == ((), ())
    order = {"mmaction2": "mmaction2", "mit": "mit", "torchvision": None}
    assert (report.layout, report.label_order) == (layout, order[layout])


def test_label_order_of_own_files(tmp_path):
    cfg = ARCHITECTURES["resnet18"]
    torch.save({"model": build_model(cfg).state_dict()}, tmp_path / "last.pth")
    report = load_checkpoint(build_model(cfg), tmp_path / "last.pth")
    assert (report.layout, report.label_order) == ("tsmlib", "mmaction2")


def test_online_demos_names(tmp_path):
    """MIT's streaming demo: the names of its training code without wrappers and prefixes."""
    cfg = get_config("k400_mobilenetv2_dense", num_classes=27)
    model, fresh = (lively(build_model(cfg), seed) for seed in (1, 2))
    online = {
        name.removeprefix("module.base_model.").replace(".net.", ".")
        .replace("module.new_fc.", "classifier."): value
        for name, value in to_layout(model, "mit").items()
    }  # fmt: skip
    for name in ("features.0.0.weight", "features.1.conv.3.weight", "features.2.conv.6.weight",
                 "features.17.conv.7.bias", "features.18.1.weight", "classifier.bias"):  # fmt: skip
        assert name in online
    torch.save(online, tmp_path / "online.pth")
    report = load_checkpoint(fresh, tmp_path / "online.pth")
    assert (report.layout, report.label_order) == ("mit_online", "mit")
    assert_same_state(fresh.state_dict(), dict(model.state_dict()))


def test_mits_classifier_under_its_older_name(tmp_path):
    model, fresh = (lively(build_model(ARCHITECTURES["mobilenetv2"]), seed) for seed in (1, 2))
    state = {k.replace("new_fc", "base_model.classifier"): v
             for k, v in to_layout(model, "mit").items()}  # fmt: skip
    assert "module.base_model.classifier.weight" in state
    torch.save({"state_dict": state}, tmp_path / "mit.pth")
    assert load_checkpoint(fresh, tmp_path / "mit.pth").layout == "mit"
    assert_same_state(fresh.state_dict(), dict(model.state_dict()))


def test_other_layouts_are_not_written():
    with pytest.raises(ValueError, match="layout='caffe' is none of mmaction2, mit, torchvision"):
        to_layout(on_meta(ARCHITECTURES["resnet18"]), "caffe")


# --- published names ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ROW_OF)
def test_exported_names_are_the_published_ones(name):
    published = {k: tuple(shape) for k, (shape, _) in read_keys(name).items()}
    layout = "mit" if name.startswith("mit") else "mmaction2"
    if layout == "mit":  # files hold the names of a model that was wrapped for several GPUs
        published = {f"module.{k}": shape for k, shape in published.items()}
    exported = to_layout(on_meta(get_config(ROW_OF[name])), layout)
    assert {k: tuple(v.shape) for k, v in exported.items()} == published


@pytest.mark.parametrize(
    ("name", "layout", "present", "absent"),
    [
        ("every second block", "mmaction2",
         ["backbone.layer3.22.conv1.conv.net.weight", "backbone.layer3.21.conv1.conv.weight"],
         ["backbone.layer3.21.conv1.conv.net.weight", "backbone.layer3.22.conv1.conv.weight"]),
        ("every second block", "mit",
         ["module.base_model.layer1.2.conv1.net.weight", "module.base_model.layer1.1.conv1.weight"],
         ["module.base_model.layer1.1.conv1.net.weight"]),
        ("block", "mmaction2",
         ["backbone.layer1.0.net.conv1.conv.weight", "backbone.layer2.0.net.downsample.bn.bias"],
         ["backbone.layer1.0.conv1.conv.net.weight"]),
        ("no shift", "mmaction2", ["backbone.layer1.0.conv1.conv.weight"], []),
        ("gaussian", "mmaction2", ["backbone.layer2.0.non_local_block.g.0.conv.weight"],
         ["backbone.layer2.0.non_local_block.phi.0.conv.weight",
          "backbone.layer2.1.non_local_block.g.0.conv.weight"]),
        ("concatenation", "mmaction2",
         ["backbone.layer3.4.non_local_block.concat_project.conv.weight",
          "backbone.layer3.4.block.conv1.conv.net.weight"], []),
        ("mobilenetv2", "mit",
         ["module.base_model.features.3.conv.0.net.weight",
          "module.base_model.features.2.conv.0.weight", "module.new_fc.bias"], []),
    ],
)  # fmt: skip
def test_wrappers_in_names(name, layout, present, absent):
    exported = to_layout(on_meta(ARCHITECTURES[name]), layout)
    assert not set(present) - set(exported) and not set(absent) & set(exported)


@pytest.mark.parametrize(
    ("name", "layout", "wanted"),
    [
        ("temporal pool", "mmaction2", "backbone.layer2.net.0.conv1.conv.net.weight"),
        ("temporal pool", "mit", "module.base_model.layer2.net.0.conv1.net.weight"),
        ("block and non-local", "mmaction2", "backbone.layer2.0.block.net.conv1.conv.weight"),
    ],
)
def test_wrappers_in_names_of_networks_without_a_published_row(name, layout, wanted):
    assert wanted in to_layout(on_meta(ARCHITECTURES[name]), layout)


@pytest.mark.parametrize("layout", ["mmaction2", "mit"])
@pytest.mark.parametrize(
    ("name", "written", "wrapped"),
    [
        ("temporal pool", "layer2.", "layer2.net."),
        ("block and non-local", ".block.", ".block.net."),
    ],
)
def test_such_wrappers_are_understood(name, written, wrapped, layout):
    model = lively(build_model(ARCHITECTURES[name]))
    state = {
        name if wrapped in name else name.replace(written, wrapped): value
        for name, value in to_layout(model, layout).items()
    }
    assert sum(wrapped in name for name in state) > 40
    assert_same_state(from_layout(state, layout, model), dict(model.state_dict()))


# --- published outputs through files as they are published ----------------------------------------


def wrap_like_mit(state) -> dict:
    state = {f"module.{name}": value for name, value in state.items()}
    return {"epoch": 50, "arch": "resnet50", "state_dict": state, "best_prec1": torch.tensor(71.2)}


def wrap_like_mmaction2(state) -> dict:
    return {"meta": {"epoch": 50, "CLASSES": None}, "state_dict": state}


@pytest.mark.parametrize("name", ROW_OF)
def test_logits_of_a_published_file(tmp_path, name):
    mit = name.startswith("mit")
    wrap = wrap_like_mit if mit else wrap_like_mmaction2
    torch.save(wrap(published_state(name)), tmp_path / "published.pth")
    model = build_model(get_config(ROW_OF[name])).eval()
    report = load_checkpoint(model, tmp_path / "published.pth")
    assert report.layout == report.label_order == ("mit" if mit else "mmaction2")
    assert set(report.matched) == set(model.state_dict())
    # test_models and test_nonlocal_block try both clips of the others
    assert_logits_are_recorded(model, name, "ab" if mit else "b")


# --- MIT's non-local network, written plainly -----------------------------------------------------


class Shifted(nn.Module):
    def __init__(self, net: nn.Module, t: int):
        super().__init__()
        self.net, self.t = net, t

    def forward(self, x):
        return self.net(temporal_shift(x, self.t))


class PlainNonLocal(nn.Module):
    """As MIT has it: 3-D layers, and a bias in front of the batch norm."""

    def __init__(self, channels: int):
        super().__init__()
        pool, inner = nn.MaxPool3d((1, 2, 2)), channels // 2
        self.g = nn.Sequential(nn.Conv3d(channels, inner, 1), pool)
        self.W = nn.Sequential(nn.Conv3d(inner, channels, 1), nn.BatchNorm3d(channels))
        self.theta = nn.Conv3d(channels, inner, 1)
        self.phi = nn.Sequential(nn.Conv3d(channels, inner, 1), pool)

    def forward(self, x):
        query, key, value = (layer(x).flatten(2) for layer in (self.theta, self.phi, self.g))
        weights = torch.einsum("ncq,nck->nqk", query, key).softmax(2)
        y = torch.einsum("nqk,nck->ncq", weights, value)
        return x + self.W(y.unflatten(2, x.shape[2:]))


class WithNonLocal(nn.Module):
    def __init__(self, block: nn.Module, channels: int, t: int):
        super().__init__()
        self.block, self.nl, self.t = block, PlainNonLocal(channels), t

    def forward(self, x):
        clips = self.block(x).unflatten(0, (-1, self.t)).transpose(1, 2)  # [N, C, T, H, W]
        return self.nl(clips).transpose(1, 2).flatten(0, 1)


class MitNetwork(nn.Module):
    """A ResNet-50 of one block a stage, with shifts and two non-local blocks."""

    def __init__(self, t: int, num_classes: int):
        super().__init__()
        bottleneck = torchvision.models.resnet.Bottleneck
        net = torchvision.models.ResNet(bottleneck, [1, 1, 1, 1])
        for stage in (net.layer1, net.layer2, net.layer3, net.layer4):
            stage[0].conv1 = Shifted(stage[0].conv1, t)
        net.layer2[0] = WithNonLocal(net.layer2[0], 512, t)
        net.layer3[0] = WithNonLocal(net.layer3[0], 1024, t)
        net.fc = nn.Identity()
        self.base_model, self.new_fc, self.t = net, nn.Linear(2048, num_classes), t

    def forward(self, clips):
        frames = self.new_fc(self.base_model(clips.flatten(0, 1)))
        return frames.unflatten(0, (-1, self.t)).mean(1)


@pytest.fixture(scope="module")
def mit_non_local():
    """A network of MIT's, and the configuration of the same network here."""
    plain = lively(MitNetwork(4, 5)).eval()
    cfg = get_config("k400", depth=(1, 1, 1, 1), num_segments=4, num_classes=5,
                     non_local="embedded_gaussian")  # fmt: skip
    return plain, cfg


def test_mits_non_local_network_gives_the_same_outputs(tmp_path, mit_non_local):
    """The bias in front of its batch norm goes into the norm's mean."""
    plain, cfg = mit_non_local
    biases = [v for k, v in plain.state_dict().items() if k.endswith("nl.W.0.bias")]
    assert len(biases) == 2 and all(bias.abs().min() > 0 for bias in biases)
    state = dict(plain.state_dict())
    torch.save(wrap_like_mit(state), tmp_path / "mit.pth")
    model = build_model(cfg).eval()
    report = load_checkpoint(model, tmp_path / "mit.pth")
    assert report.layout == "mit"
    assert not any("conv_out.bias" in name for name in report.matched)
    clips = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = plain(clips)
        torch.testing.assert_close(model(clips), expected, rtol=1e-4, atol=1e-4)
        for name, norm in model.named_modules():  # without the fold they would differ
            if name.endswith("non_local.bn"):
                norm.running_mean.copy_(state[f"base_model.{name[:-12]}nl.W.1.running_mean"])
        assert (model(clips) - expected).abs().max() > 1e-2 * expected.std()


def test_exported_for_mit_it_is_mits_network(mit_non_local):
    plain, cfg = mit_non_local
    model = lively(build_model(cfg), seed=3).eval()
    exported = {k.removeprefix("module."): v for k, v in to_layout(model, "mit").items()}
    assert {k: v.shape for k, v in exported.items()} == {
        k: v.shape for k, v in plain.state_dict().items()
    }
    again = MitNetwork(4, 5).eval()
    again.load_state_dict(exported)
    clips = torch.randn(2, 4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(again(clips), model(clips), rtol=1e-4, atol=1e-4)


# --- what does not fit ----------------------------------------------------------------------------


def exported(layout: str, **changes):
    return to_layout(build_model(get_config("sthv1", **{**NARROW, **changes})), layout)


OTHERS = {  # a state_dict of another network, and what is said of it
    "deeper": ({"depth": (1, 1, 1, 2)}, "has unknown layer4.1.conv1.weight and"),
    "shallower": ({"depth": (1, 1, 1, 1)}, "lacks layer2.1.conv1.weight and"),
    "narrower blocks": ({"backbone": "resnet18"}, "lacks layer1.0.conv3"),
    "classes": ({"num_classes": 6}, r"has other shapes: fc.weight is \[6, 256\] instead of"),
    "wider": ({"width": 0.25}, r"has other shapes: conv1.weight is \[16, 3, 7, 7\] instead of"),
    "non-local": ({"non_local": "gaussian"}, "has unknown layer2.0.non_local.g.weight and"),
    "mobilenetv2": (
        {"backbone": "mobilenetv2", "depth": None, "width": 1.0},
        r"lacks (layer1\.0\.)?conv1.weight",
    ),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("what", OTHERS)
def test_weights_of_another_network(tmp_path, what, layout):
    changes, message = OTHERS[what]
    state = exported(layout, **{"depth": (1, 1, 1, 1), **changes})
    torch.save({"state_dict": state}, tmp_path / "weights.pth")
    depth = (1, 2, 1, 1) if what == "shallower" else (1, 1, 1, 1)
    model = lively(build_model(get_config("sthv1", depth=depth, **NARROW)))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match=f"weights.pth does not fit the model: it {message}"):
        load_checkpoint(model, tmp_path / "weights.pth")
    assert_same_state(model.state_dict(), before)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "holds an empty dict, no weights"),
        ({"state_dict": {}}, "holds no weights"),
        ({"meta": {"epoch": 50}, "state_dict": {"epoch": 50}}, "holds no weights"),
        ({"epoch": 50, "arch": "resnet50"}, "holds no weights"),
        ({"state_dict": {"encoder.weight": torch.zeros(3)}}, "does not fit .* lacks conv1.weight"),
        ({"backbone.patch.weight": torch.zeros(3)}, "does not fit .* lacks conv1.weight"),
        ({"module.base_model.inception.weight": torch.zeros(3)}, "lacks conv1.weight"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2"])
def test_files_with_nothing_that_fits(tmp_path, content, message, backbone):
    torch.save(content, tmp_path / "weights.pth")
    model = on_meta(get_config("sthv1", backbone=backbone))
    if backbone == "mobilenetv2":
        message = message.replace("conv1.weight", "features.0.0.weight")
    with pytest.raises(CheckpointError, match=f"weights.pth .*{message}"):
        load_checkpoint(model, tmp_path / "weights.pth")


@pytest.mark.parametrize("layout", ["mmaction2", "mit"])
def test_one_name_too_few_or_too_many(tmp_path, layout):
    state = exported(layout, depth=(1, 1, 1, 1))
    model = build_model(get_config("sthv1", depth=(1, 1, 1, 1), **NARROW))
    lost = next(name for name in state if "layer3.0.conv1" in name and name.endswith("weight"))
    torch.save({k: v for k, v in state.items() if k != lost}, tmp_path / "few.pth")
    with pytest.raises(CheckpointError, match="lacks layer3.0.conv1.weight$"):
        load_checkpoint(model, tmp_path / "few.pth")
    extra = lost.replace("conv1", "conv9")
    torch.save({**state, extra: torch.zeros(1)}, tmp_path / "many.pth")
    with pytest.raises(CheckpointError, match="has unknown .*conv9.*weight$"):
        load_checkpoint(model, tmp_path / "many.pth")
