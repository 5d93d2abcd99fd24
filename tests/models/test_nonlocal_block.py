"""Non-local blocks, temporal pooling and partial BN, against slow versions and published logits."""

import re
from itertools import product
from typing import get_args

import pytest
import torch
import torch.nn.functional as F
import torchvision
from helpers import assert_logits_are_recorded, lively, on_meta, published_state, seeded, tiny

from tsmlib import CheckpointError, ConfigError, build_model, get_config, temporal_shift, train
from tsmlib.configs import mini
from tsmlib.configs.fields import NonLocal
from tsmlib.engine.fabric import Fabric
from tsmlib.engine.optimizer import make_optimizer
from tsmlib.models.nonlocal_block import NonLocalBlock
from tsmlib.models.shift import TemporalShift

KINDS = get_args(NonLocal)
SHAPES = [(2, 3, 6, 5, 4), (1, 1, 7, 2, 3), (3, 2, 4, 3, 3)]  # N, T, C, H, W: odd sides, channels


def deep(**changes):
    """A narrow ResNet-18 with as many blocks as non-local ones need."""
    return tiny("k400", **{"depth": (1, 3, 5, 1), "num_segments": 4, **changes})


def non_local_blocks(model) -> dict[str, NonLocalBlock]:
    return {n: m for n, m in model.named_modules() if isinstance(m, NonLocalBlock)}


# --- one block against mmcv's formulas, one number at a time --------------------------------------


def slow_conv(x, weight, bias=0.0):
    """1x1x1 convolution of `[N, C, T, H, W]`."""
    y = torch.einsum("oc,ncthw->nothw", weight.reshape(len(weight), -1), x)
    return y + torch.as_tensor(bias).reshape(1, -1, 1, 1, 1)


def slow_pool(x):
    """The largest of 2x2 positions of a frame; an odd last row or column is dropped."""
    n, c, t, h, w = x.shape
    out = x.new_empty(n, c, t, h // 2, w // 2)
    for i, j in product(range(h // 2), range(w // 2)):
        out[..., i, j] = x[..., 2 * i : 2 * i + 2, 2 * j : 2 * j + 2].amax((-2, -1))
    return out


def slow_weights(kind, query, keys, concat):
    """What one query gives to each of the keys `[C', keys]`."""
    if kind == "concatenation":
        pairs = [torch.cat([query, key]) @ concat for key in keys.T]
        return torch.stack(pairs).clamp(min=0) / keys.shape[1]
    products = torch.stack([(query * key).sum() for key in keys.T])
    if kind == "dot_product":
        return products / keys.shape[1]
    exponentials = (products - products.max()).exp()
    return exponentials / exponentials.sum()


def slow_mixture(x, kind, state):
    """What a block adds to `[N, C, T, H, W]`, before its batch norm."""

    def conv(name, x):
        return slow_conv(x, state[f"{name}.weight"], state[f"{name}.bias"])

    raw = kind == "gaussian"
    queries = (x if raw else conv("theta", x)).flatten(2)
    keys = slow_pool(x if raw else conv("phi", x)).flatten(2)
    values = slow_pool(conv("g", x)).flatten(2)
    concat = state["concat.weight"].flatten() if kind == "concatenation" else None
    y = torch.empty(len(x), values.shape[1], queries.shape[2], dtype=x.dtype)
    for n, i in product(range(len(x)), range(queries.shape[2])):
        given = slow_weights(kind, queries[n, :, i], keys[n], concat)
        y[n, :, i] = sum(weight * value for weight, value in zip(given, values[n].T, strict=True))
    return slow_conv(y.unflatten(2, x.shape[2:]), state["conv_out.weight"])


def norm_3d(state, mode: bool) -> torch.nn.BatchNorm3d:
    norm = torch.nn.BatchNorm3d(len(state["bn.weight"])).double()
    norm.load_state_dict({k.removeprefix("bn."): v for k, v in state.items() if k[:3] == "bn."})
    return norm.train(mode)


@pytest.mark.parametrize("kind", KINDS)
def test_equals_the_formulas_of_mmcv(kind):
    for (n, t, c, h, w), training in product(SHAPES, (False, True)):
        block = lively(NonLocalBlock(c, t, kind)).double().train(training)
        state = {k: v.clone() for k, v in block.state_dict().items()}
        clips = seeded(torch.randn, n, c, t, h, w, dtype=torch.float64)
        frames = clips.transpose(1, 2).flatten(0, 1)  # [N*T, C, H, W]
        with torch.inference_mode():
            norm = norm_3d(state, training)
            expected = clips + norm(slow_mixture(clips, kind, state))
            expected = expected.transpose(1, 2).flatten(0, 1)
            assert not torch.allclose(expected, frames, atol=0.1)
            given = frames.clone()
            torch.testing.assert_close(block(given), expected, rtol=1e-9, atol=1e-9)
            assert torch.equal(given, frames)
            torch.testing.assert_close(block.bn.running_mean, norm.running_mean)
            torch.testing.assert_close(block.bn.running_var, norm.running_var)


@pytest.mark.parametrize("kind", KINDS)
def test_single_precision_and_channels_last(kind):
    n, t, c, h, w = 2, 4, 16, 6, 6
    block = lively(NonLocalBlock(c, t, kind)).eval()
    x = seeded(torch.randn, n * t, c, h, w)
    with torch.inference_mode():
        single = block(x)
        last = block(x.contiguous(memory_format=torch.channels_last))
        double = block.double()(x.double())
    torch.testing.assert_close(single.double(), double, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(last, single, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("training", [True, False])
def test_a_new_block_changes_nothing(kind, training):
    block = NonLocalBlock(8, 2, kind).train(training)
    x = seeded(torch.randn, 4, 8, 4, 4)
    assert not block.bn.weight.any() and not block.bn.bias.any()
    assert torch.equal(block(x), x)
    torch.nn.init.ones_(block.bn.weight)
    with torch.no_grad():  # it is that weight alone which holds the rest back
        block.conv_out.weight.mul_(100)
    assert not torch.allclose(block(x), x, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_network_answers_like_one_without_blocks(kind):
    plain, model = (lively(build_model(deep(non_local=nl))).eval() for nl in (None, kind))
    for block in non_local_blocks(model).values():
        torch.nn.init.zeros_(block.bn.weight)
        torch.nn.init.zeros_(block.bn.bias)
    missing = model.load_state_dict(plain.state_dict(), strict=False).missing_keys
    assert missing and all(".non_local." in name for name in missing)
    clips = seeded(torch.randn, 2, 4, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(model(clips), plain(clips))
        non_local_blocks(model)["layer3.4.non_local"].bn.bias.fill_(1)
        assert not torch.allclose(model(clips), plain(clips), atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_initial_weights(kind):
    torch.manual_seed(0)
    block = NonLocalBlock(256, 8, kind)
    for name in {"g", "theta", "phi"} & dict(block.named_children()).keys():
        conv = block.get_submodule(name)
        assert float(conv.weight.detach().std()) == pytest.approx(0.01, rel=0.03), name
        assert abs(float(conv.weight.detach().mean())) < 2e-4 and not conv.bias.any()
    # He's for outputs, as mmcv's ConvModule does
    out = float(block.conv_out.weight.detach().std())
    assert out == pytest.approx((2 / 256) ** 0.5, rel=0.03)
    assert block.conv_out.bias is None
    if kind == "concatenation":
        assert float(block.concat.weight.detach().std()) == pytest.approx(2**0.5, rel=0.2)


# --- where they are, and what they cost -----------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_positions_in_resnet50_are_the_published_ones(kind):
    model = on_meta(get_config("k400", non_local=kind))
    blocks = non_local_blocks(model)
    wanted = ["layer2.0", "layer2.2", "layer3.0", "layer3.2", "layer3.4"]
    assert list(blocks) == [f"{name}.non_local" for name in wanted]
    assert [b.g.in_channels for b in blocks.values()] == [512, 512, 1024, 1024, 1024]
    assert [b.g.out_channels for b in blocks.values()] == [256, 256, 512, 512, 512]
    assert {(b.kind, b.num_segments) for b in blocks.values()} == {(kind, 8)}
    assert {n for n in model.state_dict() if "non_local" not in n} == {
        *on_meta(get_config("k400")).state_dict()
    }


@pytest.mark.parametrize(
    ("depth", "wanted"),
    [
        ((1, 1, 1, 1), ["layer2.0", "layer3.0"]),
        ((1, 2, 4, 1), ["layer2.0", "layer3.0", "layer3.2"]),
        ((1, 3, 5, 1), ["layer2.0", "layer2.2", "layer3.0", "layer3.2", "layer3.4"]),
    ],
)
def test_positions_in_shallow_networks(depth, wanted):
    blocks = non_local_blocks(on_meta(deep(non_local="gaussian", depth=depth)))
    assert list(blocks) == [f"{name}.non_local" for name in wanted]


def test_the_mini_rows_have_them_too():
    for kind in ("embedded_gaussian", "gaussian", "dot_product"):
        blocks = non_local_blocks(on_meta(mini(get_config(f"k400_nl_{kind}"))))
        assert list(blocks) == ["layer2.0.non_local", "layer3.0.non_local"]
        assert {block.kind for block in blocks.values()} == {kind}


@pytest.mark.parametrize(
    ("kind", "published"),
    [
        (None, 24_327_632),
        ("embedded_gaussian", 31_682_000),
        ("dot_product", 31_682_000),
        ("gaussian", 28_007_888),
        ("concatenation", 31_682_000 + 2 * 512 + 3 * 1024),  # one number for each input of a pair
    ],
)
def test_parameters_are_as_published(kind, published):
    model = on_meta(get_config("k400", non_local=kind))
    assert sum(p.numel() for p in model.parameters()) == published


def golden_names(names) -> dict[str, str]:
    """This project's names of MMAction2's parameters of a non-local ResNet."""
    rules = (
        (r"^backbone\.", ""), (r"^cls_head\.fc_cls", "fc"), (r"\.block\.", "."),
        (r"non_local_block\.conv_out\.bn", "non_local.bn"),
        (r"non_local_block\.(\w+)(\.0)?\.conv", r"non_local.\1"),
        (r"downsample\.conv", "downsample.0"), (r"downsample\.bn", "downsample.1"),
        (r"conv(\d)\.conv(\.net)?", r"conv\1"), (r"conv(\d)\.bn", r"bn\1"),
    )  # fmt: skip
    renamed = {}
    for name in names:
        renamed[name] = name
        for pattern, replacement in rules:
            renamed[name] = re.sub(pattern, replacement, renamed[name])
    return renamed


def test_logits_are_mmaction2s():
    name = "mma_nl_embedded_gaussian_8f_k400"
    state = published_state(name)
    model = build_model(get_config("k400_nl_embedded_gaussian")).eval()
    new, shapes = golden_names(state), {k: v.shape for k, v in model.state_dict().items()}
    model.load_state_dict({new[k]: v.reshape(shapes[new[k]]) for k, v in state.items()})
    assert_logits_are_recorded(model, name)


# --- what flows through them ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_gradient(kind):
    block = lively(NonLocalBlock(4, 2, kind)).double().eval()
    names = [name for name, _ in block.named_parameters()]

    def outputs(x, *parameters):
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), x)

    x = seeded(torch.randn, 4, 4, 2, 3, seed=3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(outputs, (x, *block.parameters()))


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_block_learns_its_last_norm_first_and_then_everything(kind):
    torch.manual_seed(0)
    block = NonLocalBlock(8, 4, kind).eval()
    x, wanted = seeded(torch.randn, 8, 8, 4, 4), seeded(torch.randn, 8, 8, 4, 4, seed=5)

    def moved() -> set[str]:
        block.zero_grad()
        F.mse_loss(block(x), wanted).backward()
        return {n for n, p in block.named_parameters() if p.grad.abs().max() > 0}

    assert moved() == {"bn.weight", "bn.bias"}
    torch.optim.SGD(block.parameters(), lr=10).step()
    # a softmax does not see what is added to all of its inputs
    blind = {"phi.bias"} if kind == "embedded_gaussian" else set()
    assert moved() | blind == {name for name, _ in block.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_frames_of_a_clip_see_each_other_and_clips_do_not(kind):
    block = lively(NonLocalBlock(8, 3, kind)).eval()
    x = seeded(torch.randn, 2 * 3, 8, 4, 4)
    other = x.clone()
    other[2] += 1  # the last frame of the first clip
    with torch.inference_mode():
        change = (block(other) - block(x)).abs().amax((1, 2, 3))
        alone = torch.cat([block(x[:3]), block(x[3:])])
        torch.testing.assert_close(block(x), alone, rtol=1e-4, atol=1e-5)
        permuted = block(x.unflatten(0, (2, 3))[:, [2, 0, 1]].flatten(0, 1))
        expected = block(x).unflatten(0, (2, 3))[:, [2, 0, 1]].flatten(0, 1)
    assert (change[:3] > 1e-3).all() and not change[3:].any()
    torch.testing.assert_close(permuted, expected, rtol=1e-4, atol=1e-5)  # no order of its own


def test_without_shift_the_blocks_alone_connect_the_frames():
    clips = seeded(torch.randn, 1, 4, 3, 32, 32)
    later = clips.clone()
    later[:, -1] += 1
    for kind in (None, "embedded_gaussian"):
        model = lively(build_model(deep(non_local=kind, is_shift=False))).eval()
        with torch.inference_mode():
            change = (model.frame_logits(later) - model.frame_logits(clips)).abs().amax((0, 2))
        assert change[-1] > 1e-3
        assert (change[:-1] > 1e-5).all() if kind else (change[:-1] == 0).all()


# --- pretrained weights ---------------------------------------------------------------------------


def test_image_weights_load_although_the_blocks_are_new(tmp_path):
    plain = torchvision.models.resnet18(num_classes=7)
    torch.save(plain.state_dict(), tmp_path / "image.pth")
    cfg = get_config("k400", backbone="resnet18", non_local="embedded_gaussian", num_classes=5,
                     pretrain=str(tmp_path / "image.pth"))  # fmt: skip
    torch.manual_seed(0)
    new = build_model(cfg).state_dict()
    torch.manual_seed(0)
    model = build_model(cfg, pretrained=True)
    expected = plain.state_dict()
    for name, value in model.state_dict().items():
        anew = ".non_local." in name or name.startswith("fc.")
        assert torch.equal(value, new[name] if anew else expected[name]), name
    assert list(non_local_blocks(model)) == ["layer2.0.non_local", "layer3.0.non_local"]


def test_own_weights_load_with_their_blocks_and_others_must_fit(tmp_path):
    cfg = deep(non_local="gaussian", pretrain=str(tmp_path / "own.pth"))
    state = lively(build_model(cfg)).state_dict()
    torch.save(state, tmp_path / "own.pth")
    model = build_model(cfg, pretrained=True)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    other = deep(non_local=None, pretrain=cfg.pretrain)
    with pytest.raises(CheckpointError, match="has unknown layer2.0.non_local"):
        build_model(other, pretrained=True)
    del state["layer3.1.conv1.weight"]
    torch.save(state, tmp_path / "own.pth")
    with pytest.raises(CheckpointError, match="lacks layer3.1.conv1.weight"):
        build_model(cfg, pretrained=True)


# --- temporal pooling -----------------------------------------------------------------------------


def slow_time_pool(x, t: int):
    """`[N*T, ...]` to `[N*T/2, ...]`: the largest of frames 2s-1, 2s and 2s+1 of the same clip."""
    pooled = []
    for clip in x.unflatten(0, (-1, t)):
        for s in range(t // 2):
            near = [clip[i] for i in (2 * s - 1, 2 * s, 2 * s + 1) if 0 <= i < t]
            pooled.append(torch.stack(near).amax(0))
    return torch.stack(pooled)


@pytest.mark.parametrize("t", [2, 4, 8, 6])
def test_temporal_pooling_in_front_of_layer2(t):
    model = lively(build_model(deep(temporal_pool=True, num_segments=t))).eval()
    seen = {}
    model.layer1.register_forward_hook(lambda m, args, out: seen.update(before=out))
    model.layer2.register_forward_pre_hook(lambda m, args: seen.update(after=args[0]))
    clips = seeded(torch.randn, 3, t, 3, 32, 32)
    with torch.inference_mode():
        frames = model.frame_logits(clips)
        torch.testing.assert_close(model(clips), frames.mean(1))
        assert seen["before"].shape[0] == 3 * t and seen["before"].std() > 0
        assert torch.equal(seen["after"], slow_time_pool(seen["before"], t))
        assert frames.shape == (3, t // 2, 5)
        alone = torch.cat([model(clip[None]) for clip in clips])
        torch.testing.assert_close(model(clips), alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("place", ["blockres", "block"])
def test_shifts_behind_the_pooling_have_half_the_frames(place):
    model = on_meta(get_config("k400", temporal_pool=True, shift_place=place))
    found = {n: m.num_segments for n, m in model.named_modules() if isinstance(m, TemporalShift)}
    assert len(found) == 16
    assert all(t == (8 if name.startswith("layer1.") else 4) for name, t in found.items())


def test_a_pooled_network_is_a_plain_one_with_shifts_and_a_pooling_between():
    t, clips = 8, seeded(torch.randn, 2, 8, 3, 32, 32)
    model = lively(build_model(deep(temporal_pool=True, num_segments=t))).eval()
    plain = build_model(deep(is_shift=False, num_segments=t)).eval()
    plain.load_state_dict(model.state_dict())
    with torch.inference_mode():
        x = plain.maxpool(plain.relu(plain.bn1(plain.conv1(clips.flatten(0, 1)))))
        for i, stage in enumerate((plain.layer1, plain.layer2, plain.layer3, plain.layer4)):
            x = slow_time_pool(x, t) if i == 1 else x
            for block in stage:
                y = block.conv1(temporal_shift(x, t if i == 0 else t // 2))
                y = block.bn2(block.conv2(F.relu(block.bn1(y))))
                x = F.relu(y + (block.downsample(x) if block.downsample else x))
        frames = plain.fc(x.mean((2, 3))).unflatten(0, (2, t // 2))
        torch.testing.assert_close(model.frame_logits(clips), frames, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"temporal_pool": True, "num_segments": 7}, "num_segments=7 is odd"),
        ({"temporal_pool": True, "num_segments": 1}, "num_segments=1 is odd"),
        ({"temporal_pool": True, "non_local": "gaussian"}, "do not combine.*non_local=gaussian"),
        ({"backbone": "mobilenetv2", "temporal_pool": True}, "temporal_pool=True is defined for R"),
        ({"backbone": "mobilenetv2", "non_local": "gaussian"}, "choose non_local=None"),
    ],
)
def test_parts_that_exclude_each_other(tmp_path, changes, message):
    cfg = get_config("k400", **changes)
    with pytest.raises(ConfigError, match=message):
        build_model(cfg)
    with pytest.raises(ConfigError, match=message):  # before anything is generated or written
        train(cfg, data="standin", cache=tmp_path, work_dir=tmp_path / "run")
    assert not list(tmp_path.iterdir())


# --- partial BN -----------------------------------------------------------------------------------


def norms(model) -> dict[str, torch.nn.Module]:
    return {n: m for n, m in model.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}


FIRST = {"resnet18": "bn1", "resnet50": "bn1", "mobilenetv2": "features.0.1"}


@pytest.mark.parametrize("backbone", FIRST)
def test_partial_bn_keeps_all_norms_but_the_first_as_in_a_test(backbone):
    model = on_meta(get_config("ucf101", backbone=backbone, partial_bn=True))
    assert len(norms(model)) > 19
    for _ in range(2):
        for mode in (True, False):
            assert model.train(mode) is model and model.training == mode
            learning = [name for name, norm in norms(model).items() if norm.training]
            assert learning == ([FIRST[backbone]] if mode else [])
    frozen = {n for n, p in model.named_parameters() if not p.requires_grad}
    assert frozen == {f"{n}.{kind}" for n in norms(model) for kind in ("weight", "bias")
                      if n != FIRST[backbone]}  # fmt: skip
    assert model.train().get_submodule("layer1" if "res" in backbone else "features").training


def test_without_partial_bn_all_norms_learn():
    model = on_meta(get_config("ucf101")).eval().train()
    assert all(norm.training for norm in norms(model).values())
    assert all(p.requires_grad for p in model.parameters())


def test_a_step_with_partial_bn_changes_the_first_norm_alone():
    """The model wrapped as a training run wraps it, with the run's optimizer."""
    cfg = deep(partial_bn=True, dropout=0.0)
    model = lively(build_model(cfg))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    fabric = Fabric(accelerator="cpu", devices=1)
    wrapped, optimizer = fabric.setup(model, make_optimizer(cfg, model, lr=0.1))
    wrapped.train()
    clips, labels = seeded(torch.randn, 2, 4, 3, 32, 32) + 1, torch.tensor([1, 3])
    fabric.backward(F.cross_entropy(wrapped(clips), labels))
    fabric.clip_gradients(wrapped, optimizer, max_norm=20.0)
    optimizer.step()
    after = model.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    of_norms = {name for name in before if name.rpartition(".")[0] in norms(model)}
    assert changed == (before.keys() - of_norms) | {n for n in of_norms if n.startswith("bn1.")}
    wrapped.eval()
    with torch.inference_mode():
        kept = {name: value.clone() for name, value in model.state_dict().items()}
        wrapped(clips)
    assert all(torch.equal(v, kept[k]) for k, v in model.state_dict().items())


def test_partial_bn_leaves_non_local_norms_free():
    """MMAction2 and MIT freeze 2-D norms; those of their non-local blocks are 3-D, and learn."""
    model = build_model(deep(non_local="embedded_gaussian", partial_bn=True)).train()
    blocks = non_local_blocks(model).values()
    assert len(blocks) == 5
    assert all(block.bn.weight.requires_grad and block.bn.training for block in blocks)
