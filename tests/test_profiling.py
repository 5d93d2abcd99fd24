"""What models cost: against the published counts, slow counts, and what must not cost anything."""

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
import yaml
from torch import nn

from tsmlib import build_model, get_config, list_configs
from tsmlib.profiling import Cost, cost, flops_published, macs
from tsmlib.runs import MODEL_FIELDS

ROWS = yaml.safe_load((Path(__file__).parent / "golden/configs.yaml").read_text())["rows"]
AT_256 = ("sthv1_mixup", "sthv1_cutmix")  # their published count is of a 256x256 input
FOR_8_FRAMES = ("sthv2_t16",)  # whose published count repeats the 8-frame one
UNLISTED = ("sthv1_ptv_randaugment", "sthv1_ptv_augmix")


KNOWN: dict[tuple, Cost] = {}


def of_row(name: str, size: int | None = None, **changes) -> Cost:
    """Cost of a row, counted once for rows that differ in nothing that could matter."""
    cfg = get_config(name, **changes)
    key = cfg.dataset, cfg.blending, *(getattr(cfg, field) for field in MODEL_FIELDS), size
    if key not in KNOWN:
        KNOWN[key] = cost(cfg, size)
    return KNOWN[key]


def tiny(**changes):
    fields = {"backbone": "resnet18", "width": 0.125, "depth": (1, 1, 1, 1), "num_segments": 4}
    return get_config("k400", **{**fields, "num_classes": 5, **changes})


# --- published counts -----------------------------------------------------------------------------


def test_every_row_is_compared_or_named():
    found = {name for name in list_configs() if ROWS[get_config(name).row_id]["metafile"] is None}
    assert found == set(UNLISTED)
    assert len(list_configs()) == len(ROWS) == 36


@pytest.mark.parametrize("name", [n for n in list_configs() if n not in UNLISTED])
def test_cost_is_as_published(name):
    published = ROWS[get_config(name).row_id]["metafile"]
    found = of_row(name, 256 if name in AT_256 else None)
    assert found.parameters == published["params"]
    flops = found.flops_published / (2 if name in FOR_8_FRAMES else 1)
    assert flops == pytest.approx(published["flops"], rel=1e-3)


def test_published_slips_are_slips():
    """At the size and length of their own configs these rows do not cost what is published."""
    for name in AT_256:
        found, published = of_row(name), ROWS[get_config(name).row_id]["metafile"]["flops"]
        assert found.size == 224 and found.flops_published < 0.8 * published
        assert found.flops_published == of_row("sthv1").flops_published
    found = of_row("sthv2_t16").flops_published
    assert found == 2 * of_row("sthv2").flops_published
    eight, sixteen = (ROWS[get_config(n).row_id]["metafile"] for n in ("sthv2", "sthv2_t16"))
    assert sixteen == eight


def test_sizes_are_those_of_the_published_counts():
    sizes = {name: of_row(name).size for name in list_configs()}
    at_256 = {"jester", "k400_mobilenetv2_dense", "k400_mobilenetv2_port"}
    assert sizes == {name: 256 if name in at_256 else 224 for name in list_configs()}
    assert of_row("jester", 224).size == 224
    assert of_row("jester", 224).flops_published < 0.8 * of_row("jester").flops_published


def test_the_papers_numbers():
    """24.3 M parameters, and 33 G and 65 G multiply-adds for 8 and 16 frames."""
    assert round(of_row("k400").parameters / 1e6, 1) == 24.3
    assert round(of_row("k400").macs / 1e9) == 33
    assert round(of_row("k400_t16").macs / 1e9) == 65
    assert of_row("k400_t16").macs == 2 * of_row("k400").macs


# --- attention ------------------------------------------------------------------------------------

# channels, side, blocks of the stages with non-local blocks at 224 pixels
STAGES = ((512, 28, 2), (1024, 14, 3))


def positions(side: int) -> tuple[int, int]:
    """Queries and, after pooling, keys of 8 frames."""
    return 8 * side**2, 8 * (side // 2) ** 2


def attention(kind: str) -> int:
    """Multiply-adds of the products between positions of the five blocks."""
    total = 0
    for channels, side, blocks in STAGES:
        (queries, keys), inner = positions(side), channels // 2
        total += (
            blocks
            * {
                "embedded_gaussian": 2 * queries * keys * inner,
                "gaussian": queries * keys * (channels + inner),
                "dot_product": inner * inner * (queries + keys),
                "concatenation": queries * keys * inner,  # beside which its two sums are nothing
            }[kind]
        )
    return total


def convolutions(kind: str) -> int:
    """Multiply-adds of theta, phi, g and the output of the five blocks."""
    layers = 2 if kind == "gaussian" else 4
    return sum(layers * blocks * positions(side)[0] * c * c // 2 for c, side, blocks in STAGES)


def test_attention_products_of_embedded_gaussian():
    assert attention("embedded_gaussian") == pytest.approx(11.96e9, rel=1e-3)


@pytest.mark.parametrize("kind", ["embedded_gaussian", "gaussian", "dot_product", "concatenation"])
def test_macs_include_the_products_between_positions(kind):
    found = of_row("k400", non_local=kind)
    extra = found.macs - of_row("k400").macs
    expected = convolutions(kind) + attention(kind)
    assert extra == (pytest.approx(expected, rel=1e-3) if kind == "concatenation" else expected)
    # the published count does not
    published = found.flops_published - of_row("k400").flops_published
    assert published == pytest.approx(convolutions(kind), rel=0.02)


# --- what costs nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["k400", "k400_mobilenetv2_dense", "sthv1_r101"])
def test_the_shift_costs_nothing(name):
    assert of_row(name) == of_row(name, is_shift=False)
    if "mobilenet" not in name:
        assert of_row(name) == of_row(name, shift_place="block", shift_div=4)


def test_temporal_pooling_halves_what_follows():
    whole, pooled = of_row("k400"), of_row("k400", temporal_pool=True)
    assert pooled.parameters == whole.parameters
    assert 0.5 * whole.macs < pooled.macs < 0.7 * whole.macs


# --- counts by hand -------------------------------------------------------------------------------


@torch.no_grad()
def slow_macs(model, clips) -> int:
    """A multiply-add for every weight that an output value is made of."""
    counts = []

    def count(layer, args, out):
        kernel = layer.kernel_size if isinstance(layer, nn.Conv2d) else (1, 1)
        inputs = layer.weight.shape[1]
        counts.append(out.numel() * inputs * kernel[0] * kernel[1])

    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    handles = [layer.register_forward_hook(count) for layer in layers]
    model(clips)
    for handle in handles:
        handle.remove()
    assert len(counts) == len(layers)
    return sum(counts)


@pytest.mark.parametrize("backbone", ["resnet18", "resnet50", "mobilenetv2"])
@pytest.mark.parametrize("size", [64, 57])
def test_macs_are_those_of_a_slow_count(backbone, size):
    depth = None if backbone == "mobilenetv2" else (1, 1, 1, 1)
    model = build_model(tiny(backbone=backbone, depth=depth, width=0.25)).eval()
    clips = torch.zeros(2, 4, 3, size, size)
    assert macs(model, clips) == slow_macs(model, clips)
    assert macs(model, clips) == 2 * macs(model, clips[:1])


def test_published_count_of_single_layers():
    x = torch.zeros(2, 3, 5, 4)
    values = 2 * 8 * 5 * 4
    conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
    assert flops_published(conv, x) == values * 27
    assert flops_published(nn.Conv2d(3, 8, 3, padding=1), x) == values * (27 + 1)
    assert flops_published(nn.Conv2d(3, 9, 3, padding=1, groups=3, bias=False), x) == 360 * 9
    for layers, extra in (([nn.BatchNorm2d(8)], 2), ([nn.ReLU()], 1), ([nn.ReLU6()], 1),
                          ([nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout()], 3)):  # fmt: skip
        model = nn.Sequential(conv, *layers).eval()
        assert flops_published(model, x) == values * (27 + extra)
    assert flops_published(nn.Linear(6, 5, bias=False), torch.zeros(7, 6)) == 7 * 6 * 5


def test_counting_leaves_the_model_alone():
    model = build_model(tiny(non_local="gaussian")).train()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    hooks = {n: len(m._forward_hooks) for n, m in model.named_modules()}
    clips = torch.zeros(1, 4, 3, 32, 32)
    model.eval()
    first = flops_published(model, clips), macs(model, clips)
    assert (flops_published(model, clips), macs(model, clips)) == first
    assert {n: len(m._forward_hooks) for n, m in model.named_modules()} == hooks
    with pytest.raises(ValueError, match="takes clips"):
        flops_published(model, clips[:, :3])
    assert {n: len(m._forward_hooks) for n, m in model.named_modules()} == hooks
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())


def test_cost_is_counted_without_computing(monkeypatch):
    def no_numbers(x, *args, **kwargs):
        assert x.is_meta
        return original(x, *args, **kwargs)

    original = F.conv2d
    monkeypatch.setattr(F, "conv2d", no_numbers)
    state = torch.get_rng_state()
    found = cost(tiny(), 64)
    assert torch.equal(torch.get_rng_state(), state)
    model = build_model(tiny()).eval()
    monkeypatch.undo()
    clips = torch.zeros(1, 4, 3, 64, 64)
    assert found == Cost(
        sum(p.numel() for p in model.parameters()), slow_macs(model, clips),
        flops_published(model, clips), 64,
    )  # fmt: skip
