"""The recognizers: names, shifted layers, published logits, parameter groups, files of weights."""

import gzip
import hashlib
import json
import pickle
import re
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
import torchvision
from helpers import (
    assert_logits_are_recorded,
    decisive,
    on_meta,
    published_state,
    seeded,
    tiny,
)

from tsmlib import (
    CheckpointError,
    ConfigError,
    OnlineTSM,
    build_model,
    get_config,
    load_checkpoint,
    optimize_for_inference,
)
from tsmlib.configs import mini
from tsmlib.engine.optimizer import param_groups
from tsmlib.models import checkpoints, downloads
from tsmlib.models.checkpoint_files import read_checkpoint
from tsmlib.models.checkpoints import load_pretrained
from tsmlib.models.recognizer import moved_channels, normalize
from tsmlib.models.shift import TemporalShift, temporal_shift

GOLDEN = Path(__file__).parents[1] / "golden"
PLAIN = {
    "resnet18": torchvision.models.resnet18,
    "resnet50": torchvision.models.resnet50,
    "resnet101": torchvision.models.resnet101,
    "mobilenetv2": torchvision.models.mobilenet_v2,
}


def small(name: str = "sthv1", **changes):
    return decisive(build_model(mini(get_config(name, **changes))), seed=1)


def torchvision_names(keys) -> dict[str, str]:
    """torchvision's names of MMAction2's TSM parameters."""
    mobilenet = "backbone.layer1.0.conv.0.conv.weight" in keys
    return _mobilenet_names(list(keys)) if mobilenet else {key: _resnet_name(key) for key in keys}


def _resnet_name(key: str) -> str:
    name = key.removeprefix("backbone.").replace("cls_head.fc_cls", "fc")
    name = re.sub(r"conv(\d)\.conv\.(net\.)?", r"conv\1.", name)
    name = re.sub(r"conv(\d)\.bn\.", r"bn\1.", name)
    return name.replace("downsample.conv", "downsample.0").replace("downsample.bn", "downsample.1")


def _mobilenet_names(keys: list[str]) -> dict[str, str]:
    """torchvision numbers all blocks in a row and does not wrap a block's last convolution."""
    blocks = list(dict.fromkeys(re.findall(r"layer\d+\.\d+", " ".join(keys))))
    names = {}
    for key in keys:
        *_, kind, leaf = key.split(".")
        part = {"conv": 0, "bn": 1}.get(kind)
        if match := re.match(r"backbone\.(layer\d+\.\d+)\.conv\.(\d)\.", key):
            block, i = match[1], int(match[2])
            last = f"backbone.{block}.conv.{i + 1}.conv.weight" not in keys
            where = i + part if last else f"{i}.{part}"
            names[key] = f"features.{blocks.index(block) + 1}.conv.{where}.{leaf}"
        elif kind == "fc_cls":
            names[key] = f"classifier.1.{leaf}"
        else:
            outer = 0 if key.startswith("backbone.conv1") else len(blocks) + 1
            names[key] = f"features.{outer}.{part}.{leaf}"
    return names


# --- structure ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "changes", "published"),
    [
        ("k400", {}, 24_327_632),
        ("k400_t16", {}, 24_327_632),
        ("k400_mobilenetv2_dense", {}, 2_736_272),
        ("sthv1", {}, 23_864_558),
        ("sthv1", {"is_shift": False}, 23_864_558),
        ("sthv1_r101", {}, 42_856_686),
        ("diving48", {}, 23_606_384),
        ("hmdb51", {}, 23_612_531),
        ("ucf101", {}, 23_714_981),
        ("jester", {}, 23_563_355),
    ],
)
def test_parameters(name, changes, published):
    model = on_meta(get_config(name, **changes))
    assert sum(p.numel() for p in model.parameters()) == published


@pytest.mark.parametrize("is_shift", [True, False])
@pytest.mark.parametrize("backbone", PLAIN)
def test_state_dict_is_torchvisions(backbone, is_shift):
    with torch.device("meta"):
        plain = PLAIN[backbone](num_classes=174).state_dict()
    state = on_meta(get_config("sthv1", backbone=backbone, is_shift=is_shift)).state_dict()
    assert {k: v.shape for k, v in state.items()} == {k: v.shape for k, v in plain.items()}
    assert list(state) == list(plain)


R50_STAGES, R101_STAGES = (3, 4, 6, 3), (3, 4, 23, 3)


def expected_resnet(blocks: tuple[int, ...], step: int) -> dict[str, int]:
    """A fold is 1/8 of what enters conv1: the first block has the width of the stage before."""
    moved = {}
    for stage, count in enumerate(blocks):
        for i in range(0, count, step):
            width = 64 if (stage, i) == (0, 0) else 256 * 2 ** (stage - (i == 0))
            moved[f"layer{stage + 1}.{i}.conv1"] = width // 8
    return moved


def shifted(model) -> list[str]:
    """Names of the layers that carry a shift, in order."""
    found = [n for n, m in model.named_modules() if isinstance(m, TemporalShift)]
    return [name.removesuffix(".shift") for name in found]


def test_resnet50_is_shifted_in_all_blocks():
    expected = expected_resnet(R50_STAGES, 1)
    model = on_meta(get_config("k400"))
    assert len(expected) == 16 and expected["layer1.0.conv1"] == 8 == expected["layer1.1.conv1"] / 4
    assert moved_channels(model) == expected and shifted(model) == list(expected)


def test_resnet101_is_shifted_in_every_second_block():
    expected = expected_resnet(R101_STAGES, 2)
    model = on_meta(get_config("sthv1_r101"))
    assert len(expected) == 18
    assert moved_channels(model) == expected and shifted(model) == list(expected)
    # in front of whole blocks there is no such rule
    assert len(shifted(on_meta(get_config("sthv1_r101", shift_place="block")))) == 33


def test_mobilenetv2_is_shifted_where_there_is_a_shortcut():
    blocks = (2, 4, 5, 7, 8, 9, 11, 12, 14, 15)
    channels = (24, 32, 32, 64, 64, 64, 96, 96, 160, 160)
    folds = (3, 4, 4, 8, 8, 8, 12, 12, 20, 20)
    model = on_meta(get_config("k400_mobilenetv2_dense"))
    # in front of the expansion, which is conv.0 with its batch norm and activation
    expected = {f"features.{b + 1}": f for b, f in zip(blocks, folds, strict=True)}
    found = {n.partition(".conv.0")[0]: f for n, f in moved_channels(model).items()}
    assert found == expected and len(shifted(model)) == 10
    assert all(re.fullmatch(r"features\.\d+\.conv\.0(\.0)?", name) for name in shifted(model))
    entering = [model.features[b + 1].conv[0][0].in_channels for b in blocks]
    assert entering == list(channels)


def test_a_narrow_mobilenetv2_is_not_shifted_in_its_first_block():
    """At a quarter of the width that block has a shortcut, but still no expansion."""
    model = on_meta(mini(get_config("k400_mobilenetv2_dense")))
    assert model.features[1].use_res_connect
    assert shifted(model) and not any(name.startswith("features.1.") for name in shifted(model))


def test_mobilenetv2_in_front_of_whole_blocks_is_a_plain_loop():
    changes = {"backbone": "mobilenetv2", "width": 0.25, "num_segments": 4, "pretrain": "none"}
    torch.manual_seed(0)
    model = build_model(get_config("k400", shift_place="block", shift_div=4, **changes)).eval()
    plain = build_model(get_config("k400", is_shift=False, **changes)).eval()
    plain.load_state_dict(model.state_dict())
    clips = seeded(torch.rand, 2, 4, 3, 64, 64)
    with torch.inference_mode():
        x = clips.flatten(0, 1)
        for number, block in enumerate(plain.features):
            if number in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16):
                x = temporal_shift(x, 4, 4)
            x = block(x)
        expected = plain.classifier(x.mean((2, 3))).unflatten(0, (2, 4)).mean(1)
        torch.testing.assert_close(model(clips), expected, atol=1e-5, rtol=1e-5)


def test_no_shift_without_is_shift():
    assert shifted(on_meta(get_config("k400", is_shift=False))) == []


def test_options_reach_every_shift():
    cfg = get_config(
        "k400", shift_div=4, shift_direction="unidirectional", shift_padding="circular"
    )
    shifts = [m for m in on_meta(cfg).modules() if isinstance(m, TemporalShift)]
    found = {(m.num_segments, m.shift_div, m.direction, m.padding) for m in shifts}
    assert found == {(8, 4, "unidirectional", "circular")}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone": "mobilenetv2", "temporal_pool": True}, "temporal_pool=False"),
        ({"depth": (1, 1)}, "needs 4 numbers for resnet50"),
        ({"backbone": "mobilenetv2", "depth": (1, 1, 1, 1)}, "needs 7 numbers for mobilenetv2"),
    ],
)
def test_parts_that_exclude_each_other(changes, message):
    with pytest.raises(ConfigError, match=message):
        build_model(get_config("k400", **changes))


# --- function -------------------------------------------------------------------------------------


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2"])
def test_tsn_is_the_plain_network_on_each_frame(backbone):
    plain = PLAIN[backbone](num_classes=5).eval()
    cfg = get_config("sthv1", backbone=backbone, num_segments=3, is_shift=False)
    model = build_model(cfg, num_classes=5).eval()
    model.load_state_dict(plain.state_dict())
    clips = seeded(torch.rand, 2, 3, 3, 64, 64)
    with torch.inference_mode():
        one_by_one = [[plain(frame[None])[0] for frame in clip] for clip in clips]
        consensus = torch.stack([sum(frames) / 3 for frames in one_by_one])
        per_frame = torch.stack([torch.stack(frames) for frames in one_by_one])
        torch.testing.assert_close(model.frame_logits(clips), per_frame, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model(clips), consensus, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backbone", PLAIN)
def test_only_a_network_with_shifts_sees_the_order(backbone):
    clips = seeded(torch.rand, 2, 8, 3, 56, 56)
    for is_shift in (False, True):
        model = small(backbone=backbone, is_shift=is_shift)
        with torch.inference_mode():
            forward, backward = model(clips), model(clips.flip(1))
        change = float((forward - backward).abs().max() / forward.std())
        assert change > 1e-2 if is_shift else change < 1e-5


def test_where_a_shift_is_placed_shows_when_the_branches_are_silent():
    """With every residual branch at zero only a shift in front of the shortcut is left."""
    clips = seeded(torch.rand, 1, 8, 3, 56, 56)
    for place in ("blockres", "block"):
        model = small(shift_place=place)
        for name, p in model.named_parameters():
            if "bn3" in name:
                p.data.zero_()
        with torch.inference_mode():
            change = float((model(clips) - model(clips.flip(1))).abs().max() / model(clips).std())
        assert change < 1e-5 if place == "blockres" else change > 1e-2


def test_unidirectional_network_does_not_see_the_future():
    model = small(shift_direction="unidirectional")
    clips = seeded(torch.rand, 1, 8, 3, 56, 56)
    later = clips.clone()
    later[:, 5:] += 1
    with torch.inference_mode():
        before, after = model.frame_logits(clips), model.frame_logits(later)
    torch.testing.assert_close(before[:, :5], after[:, :5], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(before[:, 5:], after[:, 5:], atol=1e-2)


def test_clips_of_a_batch_do_not_mix():
    model = small()
    clips = seeded(torch.rand, 3, 8, 3, 56, 56)
    with torch.inference_mode():
        alone = torch.cat([model(clip[None]) for clip in clips])
        torch.testing.assert_close(model(clips), alone, atol=1e-4, rtol=1e-4)


def test_dropout_is_that_of_the_configuration():
    for backbone in ("resnet50", "mobilenetv2"):
        model = on_meta(get_config("sthv1", backbone=backbone, dropout=0.3))
        assert [m.p for m in model.modules() if isinstance(m, torch.nn.Dropout)] == [0.3]


@pytest.mark.parametrize("backbone", PLAIN)
def test_new_classifier(backbone):
    torch.manual_seed(0)
    head = build_model(mini(get_config("k400", backbone=backbone))).head.requires_grad_(False)
    assert float(head.weight.std()) == pytest.approx(0.001, rel=0.03)
    assert abs(float(head.weight.mean())) < 1e-4
    assert not head.bias.any()


def test_number_of_classes_can_be_chosen():
    model = build_model(mini(get_config("k400")), num_classes=3)
    assert model.head.out_features == model.num_classes == 3


@pytest.mark.parametrize("shape", [(2, 7, 3, 56, 56), (16, 3, 56, 56), (2, 3, 8, 56, 56)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match=re.escape(f"[N, 8, 3, H, W], not {list(shape)}")):
        small()(torch.zeros(shape))


def test_normalising_a_batch_on_the_device_is_normalising_each_frame_in_the_pipeline():
    """The row that normalises on the GPU, as all rows do here, against the other way: equal."""
    clips = torch.randint(0, 256, (2, 3, 3, 8, 9), generator=torch.Generator().manual_seed(0))
    mean = np.array([123.675, 116.28, 103.53], np.float32)
    std = np.array([58.395, 57.12, 57.375], np.float32)
    found = normalize(clips.byte())
    for n, t in np.ndindex(2, 3):
        frame = clips[n, t].byte().permute(1, 2, 0).numpy()  # [H, W, 3], as a pipeline has it
        wanted = (frame.astype(np.float32) - mean) / std
        assert torch.equal(found[n, t], torch.from_numpy(wanted).permute(2, 0, 1))


def test_normalize_is_imagenets():
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # as torchvision writes them
    expected = torchvision.transforms.functional.normalize(pixels / 255, mean, std)
    torch.testing.assert_close(normalize(pixels), expected, atol=1e-5, rtol=1e-5)


# --- published outputs ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("golden", "row"),
    [("mma_r50_8f_k400", "k400"), ("mma_mnv2_8f_k400", "k400_mobilenetv2_dense")],
)
def test_logits_are_mmaction2s(golden, row):
    state = published_state(golden)
    names = torchvision_names(list(state))
    model = build_model(get_config(row)).eval()
    model.load_state_dict({names[key]: value for key, value in state.items()})
    assert_logits_are_recorded(model, golden)


# --- parameter groups -----------------------------------------------------------------------------


def multipliers(model, groups, lr: float, weight_decay: float) -> dict[str, list[float]]:
    names = {p: n for n, p in model.named_parameters()}
    pairs = [(g["params"], [g["lr"] / lr, g["weight_decay"] / weight_decay]) for g in groups]
    return {names[p]: pair for params, pair in pairs for p in params}


def published_multipliers() -> dict[str, list[float]]:
    stored = json.loads(gzip.decompress((GOLDEN / "param_groups.json.gz").read_bytes()))
    mma = stored["mmaction2"]["r50_sthv2/fc_lr5=True"]["multipliers"]
    names = torchvision_names(list(mma))
    return {names[key]: value for key, value in mma.items()}


def test_parameter_groups_are_mmaction2s():
    model = on_meta(get_config("sthv2"))
    groups = param_groups(model, 0.5, 0.25)  # powers of two divide exactly
    assert multipliers(model, groups, 0.5, 0.25) == published_multipliers()
    sizes = {g["name"]: len(g["params"]) for g in groups}
    assert sizes == {
        "first_conv_weight": 1, "normal_weight": 52, "bn": 106, "fc_lr5_weight": 1,
        "fc_lr10_bias": 1,
    }  # fmt: skip


def test_parameter_groups_without_fc_lr5():
    """The classifier is then a layer like any other."""
    model = on_meta(get_config("sthv2"))
    groups = param_groups(model, 0.5, 0.25, fc_lr5=False)
    expected = {**published_multipliers(), "fc.weight": [1, 1], "fc.bias": [2, 0]}
    assert multipliers(model, groups, 0.5, 0.25) == expected


def test_parameter_groups_of_mobilenetv2():
    """Depth-wise convolutions count as convolutions; no parameter is lost or doubled."""
    model = on_meta(get_config("k400_mobilenetv2_dense"))
    found = multipliers(model, param_groups(model, 0.5, 0.25), 0.5, 0.25)
    for name, parameter in model.named_parameters():
        expected = [1, 1] if parameter.ndim == 4 else [1, 0]
        expected = {"classifier.1.weight": [5, 1], "classifier.1.bias": [10, 0]}.get(name, expected)
        assert found.pop(name) == expected
    assert not found


def test_biases_of_convolutions_learn_twice_as_fast():
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 1), torch.nn.Linear(4, 4),
        torch.nn.Linear(4, 2),
    )  # fmt: skip
    groups = param_groups(layers, 0.5, 0.25)
    first = {g["name"]: g["params"] for g in groups if g["name"].startswith("first_conv")}
    assert first["first_conv_weight"] == [layers[0].weight]
    assert first["first_conv_bias"] == [layers[0].bias]
    found = multipliers(layers, groups, 0.5, 0.25)
    assert {k: v for k, v in found.items() if "bias" in k} == {
        "0.bias": [2, 0], "1.bias": [2, 0], "2.bias": [2, 0], "3.bias": [10, 0],
    }  # fmt: skip


def test_unknown_parameters_are_named():
    nn = torch.nn
    layers = nn.Sequential(nn.Conv2d(3, 4, 1), nn.LayerNorm(4), nn.Linear(4, 2))
    with pytest.raises(ValueError, match="1.weight, 1.bias"):
        param_groups(layers, 1.0, 1.0)


# --- weights from files ---------------------------------------------------------------------------


class Trap:
    """An object that writes a file when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return Path.touch, (self.marker,)


def save_trap(file: Path) -> None:
    torch.save({"weight": Trap(file.parent / "ran")}, file)


def pickle_trap(file: Path) -> None:
    file.write_bytes(pickle.dumps({"weight": Trap(file.parent / "ran")}, protocol=2))


def truncate(file: Path) -> None:
    torch.save(build_model(tiny()).state_dict(), file)
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])


DAMAGE = {
    "text": lambda file: file.write_text("this is no checkpoint\n"),
    "number": lambda file: file.write_text(". 3\n"),
    "page": lambda file: file.write_text("<html>404</html>\n"),
    "empty": lambda file: file.write_bytes(b""),
    "bytes": lambda file: file.write_bytes(bytes(range(256)) * 9),
    "zip": lambda file: file.write_bytes(b"PK\x03\x04" + bytes(99)),
    "truncated": truncate,
    "code": save_trap,
    "pickled": pickle_trap,
    "list": lambda file: torch.save([torch.zeros(2)], file),
    "nothing": lambda file: torch.save({}, file),
    "folder": lambda file: file.mkdir(),
}


@pytest.fixture
def weights(tmp_path):
    """A file in torchvision's layout, with a classifier of 7 classes, and what is in it."""
    state = build_model(tiny(), num_classes=7).state_dict()
    torch.save(state, tmp_path / "weights.pth")
    return tmp_path / "weights.pth", state


def test_pretrained_but_for_the_classifier(weights):
    file, state = weights
    model = build_model(tiny(pretrain=str(file)), num_classes=5, pretrained=True)
    for name, value in model.state_dict().items():
        assert name.startswith("fc.") or torch.equal(value, state[name]), name
    assert model.fc.weight.shape == (5, 64) and not model.fc.bias.any()
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert model.pretrained == {"source": str(file), "sha256": digest}


def test_pretrained_with_the_classifier_where_it_fits(weights):
    file, state = weights
    model = build_model(tiny(pretrain=str(file)), num_classes=7, pretrained=True)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_pretrained_by_torchvisions_own_file(tmp_path):
    plain = torchvision.models.resnet18(num_classes=7)
    torch.save(plain.state_dict(), tmp_path / "resnet18.pth")
    cfg = get_config("sthv1", backbone="resnet18", pretrain=str(tmp_path / "resnet18.pth"))
    model = build_model(cfg, pretrained=True)
    assert torch.equal(model.layer4[1].conv2.weight, plain.layer4[1].conv2.weight)


def test_nothing_is_loaded_unless_asked_for(tmp_path):
    assert build_model(tiny(pretrain=str(tmp_path / "absent.pth"))).pretrained is None
    assert build_model(tiny(pretrain="none"), pretrained=True).pretrained is None


def test_pretrained_file_that_is_not_there(tmp_path):
    with pytest.raises(CheckpointError, match="the file of weights .*absent.pth does not exist"):
        build_model(tiny(pretrain=str(tmp_path / "absent.pth")), pretrained=True)


def test_pretrained_weights_of_another_network(weights):
    file, _ = weights
    cfg = get_config("sthv1", backbone="resnet18", pretrain=str(file))
    with pytest.raises(CheckpointError, match="weights.pth does not fit .* lacks layer1.1"):
        build_model(cfg, pretrained=True)


def test_weights_of_a_row_are_found_by_train_alone():
    with pytest.raises(ConfigError, match="row k400, which `train` finds.*pretrain=FILE"):
        build_model(tiny(pretrain="k400"), pretrained=True)


def test_imagenet_without_a_network(tmp_path, monkeypatch):
    def no_network(*args, **kwargs):
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("TSM_CACHE", str(tmp_path))
    monkeypatch.setattr(downloads, "urlopen", no_network)
    with pytest.raises(CheckpointError) as error:
        build_model(get_config("sthv1", backbone="resnet18"), pretrained=True)
    message = str(error.value)
    assert "name resolution" in message and "https://download.pytorch.org" in message
    assert str(tmp_path / "weights/resnet18-") in message  # where to put the file by hand
    assert "pretrain=FILE" in message and "pretrain=none" in message


@pytest.mark.parametrize("damage", ["empty", "text", "truncated", "code"])
def test_damaged_imagenet_file_that_is_there_already(tmp_path, monkeypatch, damage):
    """A download by hand may be anything: torch.hub takes the file by its name alone."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    name = torchvision.models.ResNet18_Weights.IMAGENET1K_V1.url.rpartition("/")[2]
    file = tmp_path / "hub/checkpoints" / name
    file.parent.mkdir(parents=True)
    DAMAGE[damage](file)
    with pytest.raises(CheckpointError, match=name):
        build_model(get_config("sthv1", backbone="resnet18"), pretrained=True)
    assert not (file.parent / "ran").exists()


def test_imagenet_weights_of_other_widths_do_not_exist():
    with pytest.raises(CheckpointError, match="no ImageNet weights of width 0.125.*pretrain=none"):
        load_pretrained(build_model(tiny()), tiny())


@pytest.mark.parametrize("wrapped", [True, False])
def test_load_checkpoint(tmp_path, wrapped):
    state = build_model(tiny()).state_dict()
    torch.save({"model": state, "epoch": 3} if wrapped else state, tmp_path / "last.pth")
    model = build_model(tiny())
    report = load_checkpoint(model, tmp_path / "last.pth")
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert set(report.matched) == set(state) and not report.missing and not report.left_over
    assert report.layout == ("tsmlib" if wrapped else "torchvision")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("bn1.bias"), "lacks bn1.bias"),
        (lambda state: state.update(other=torch.zeros(1)), "unknown other"),
        (lambda state: state.update({"fc.bias": torch.zeros(3)}), r"fc.bias is \[3\] instead of"),
    ],
)
def test_load_checkpoint_that_does_not_fit(tmp_path, change, message):
    model = build_model(tiny())
    before = {k: v.clone() for k, v in model.state_dict().items()}
    state = build_model(tiny()).state_dict()
    change(state)
    torch.save(state, tmp_path / "last.pth")
    with pytest.raises(CheckpointError, match=f"last.pth does not fit the model: it .*{message}"):
        load_checkpoint(model, tmp_path / "last.pth")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_checkpoint_is_named_and_never_run(tmp_path, damage):
    file = tmp_path / "weights.pth"
    DAMAGE[damage](file)
    with pytest.raises(CheckpointError, match="weights.pth"):
        read_checkpoint(file)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("trap", [save_trap, pickle_trap])
def test_the_traps_work(tmp_path, trap):
    """Unpickled as usual they do run: else the test above would prove nothing."""
    trap(tmp_path / "weights.pth")
    if trap is save_trap:
        torch.load(tmp_path / "weights.pth", weights_only=False)
    else:
        pickle.loads((tmp_path / "weights.pth").read_bytes())
    assert (tmp_path / "ran").exists()


def test_hash_of_a_file(tmp_path):
    (tmp_path / "file").write_bytes(b"abc")
    known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2
    assert checkpoints.file_sha256(tmp_path / "file") == known


# --- names and frames -----------------------------------------------------------------------------


def test_a_model_is_built_by_name():
    with torch.device("meta"):
        model = build_model("k400", num_segments=16, num_classes=7)
        assert (model.num_segments, model.num_classes) == (16, 7)
        with pytest.raises(ConfigError, match="no configuration 'k4000'; closest: k400"):
            build_model("k4000")
        with pytest.raises(ConfigError, match="no configuration field 'segments'"):
            build_model("k400", segments=16)
        with pytest.raises(TypeError, match=r"num_segments beside the name.*get_config\(cfg"):
            build_model(get_config("k400"), num_segments=16)


@pytest.mark.parametrize("form", [lambda model: model, optimize_for_inference])
def test_frames_that_are_not_normalised_get_a_sentence(form):
    model = form(decisive(build_model(tiny(shift_direction="unidirectional"))))
    frames = torch.zeros(1, 8, 3, 32, 32, dtype=torch.uint8)
    with pytest.raises(TypeError, match="frames are uint8.*normalise.*load_clip"):
        model(frames)
    with pytest.raises(TypeError, match="frames are uint8.*normalise.*load_clip"):
        OnlineTSM(model).step(frames[:, 0])
    assert model(normalize(frames)).shape == (1, 5)
