"""Faster forms of models compute the same function, and leave the model and the clips alone."""

import copy
from itertools import product

import pytest
import torch
from torch import nn

from tsmlib import ConfigError, build_model, get_config, optimize_for_inference
from tsmlib.configs.shift_options import DIRECTIONS, PADDINGS
from tsmlib.models import inference_runtime
from tsmlib.models.batch_norm_folding import fold_batch_norms
from tsmlib.models.inference_runtime import TOLERANCE, RuntimeFailed
from tsmlib.models.onednn import prepack, supports_bf16, supports_onednn
from tsmlib.models.shift import TemporalShift, temporal_shift
from tsmlib.models.shifted_conv import shift_input

SMALL = {"pretrain": "none", "num_classes": 7, "width": 0.125, "num_segments": 4}
MODELS = {
    "resnet50": {"backbone": "resnet50"},
    "resnet18": {"backbone": "resnet18"},
    "shallow": {"backbone": "resnet18", "depth": (1, 1, 1, 1)},
    "resnet101": {"backbone": "resnet101", "depth": (1, 2, 2, 1)},
    "2-D": {"backbone": "resnet50", "is_shift": False},
    "mobilenetv2": {"backbone": "mobilenetv2"},
    "block": {"backbone": "resnet18", "shift_place": "block", "shift_div": 2},
    "mobilenetv2, block": {"backbone": "mobilenetv2", "shift_place": "block", "shift_div": 2},
    "online": {"backbone": "resnet18", "shift_direction": "unidirectional"},
    "circular": {"backbone": "resnet18", "shift_padding": "circular"},
    "replicate": {"backbone": "resnet18", "shift_padding": "replicate"},
    "pooled": {"backbone": "resnet18", "temporal_pool": True},
    "embedded gaussian": {"non_local": "embedded_gaussian"},
    "gaussian": {"non_local": "gaussian"},
    "dot product": {"non_local": "dot_product"},
    "concatenation": {"non_local": "concatenation"},
    "3-D": {"backbone": "r3d_18", "is_shift": False},
}


def model_of(name: str) -> nn.Module:
    """A model whose batch norms, non-local ones too, do something."""
    torch.manual_seed(0)
    model = build_model(get_config("k400", **SMALL, **MODELS[name]))
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d | nn.BatchNorm3d):
            nn.init.uniform_(norm.weight, 0.5, 1.5)
            nn.init.normal_(norm.bias, 0, 0.2)
            nn.init.normal_(norm.running_mean, 0, 0.2)
            nn.init.uniform_(norm.running_var, 0.5, 2)
    return model.eval()


def clips_of(count: int, size: int = 48) -> torch.Tensor:
    return torch.randn(count, 4, 3, size, size, generator=torch.Generator().manual_seed(count))


@pytest.mark.parametrize("kind", ["auto", "folded", "eager"])
@pytest.mark.parametrize("name", MODELS)
def test_logits_are_those_of_the_model(name, kind):
    model = model_of(name)
    fast = optimize_for_inference(model, runtime=kind)
    assert fast.difference < 1e-4
    for count, size in ((3, 48), (1, 64), (3, 48)):
        clips = clips_of(count, size)
        before = clips.clone()
        with torch.no_grad():
            expected = model(clips)
        found = fast(clips)
        assert found.dtype == torch.float32 and clips.equal(before)
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("name", ["resnet50", "mobilenetv2", "concatenation", "3-D"])
def test_sixteen_bits_are_close(name):
    model = model_of(name)
    fast = optimize_for_inference(model, "bf16-mixed")
    clips = clips_of(4)
    with torch.no_grad():
        expected = model(clips)
    assert 0 < fast.difference < TOLERANCE["bf16-mixed"]
    assert (fast(clips) - expected).abs().max() < 0.1 * expected.std()


def test_sixteen_bits_by_onednn_where_the_cpu_can():
    model = model_of("shallow")
    if not supports_onednn(model):
        pytest.skip("this torch has no oneDNN")
    automatic = optimize_for_inference(model, "bf16-mixed").runtime
    if supports_bf16():
        assert automatic == "onednn"
        return
    assert automatic == "folded"
    with pytest.raises(ConfigError, match="onednn with precision=bf16-mixed needs .* choose prec"):
        optimize_for_inference(model, "bf16-mixed", "onednn")


def test_networks_in_two_dimensions_are_packed_on_cpus():
    if not supports_onednn(model_of("resnet18")):
        pytest.skip("this torch has no oneDNN")
    assert optimize_for_inference(model_of("resnet18")).runtime == "onednn"
    assert optimize_for_inference(model_of("3-D")).runtime == "folded"


def test_a_block_of_another_family_keeps_its_shift():
    """One whose convolution is shifted, and one that is shifted as a whole."""
    model = nn.Sequential(nn.Conv2d(3, 8, 1), nn.Conv2d(8, 8, 3), nn.Sequential(nn.Conv2d(8, 5, 1)))
    if not supports_onednn(model):
        pytest.skip("this torch has no oneDNN")
    for layer in model[1:]:
        shift_input(layer, TemporalShift(4, 4))
    frames = torch.randn(8, 3, 6, 6).contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        expected = model(frames)
        unshifted = copy.deepcopy(model)
        prepack(model)
        torch.testing.assert_close(model(frames), expected)
        unshifted[1].shift = nn.Identity()
        assert not torch.allclose(unshifted(frames), expected)  # the shift does something
    assert not isinstance(model[0], nn.Conv2d)  # packed


def test_the_model_stays_as_it_is():
    model = model_of("resnet18").train()
    state, shifted = copy.deepcopy(model.state_dict()), model.layer1[0].conv1.shift
    fast = optimize_for_inference(model)
    assert model.training and not fast.training or fast.network is not model
    assert all(state[name].equal(value) for name, value in model.state_dict().items())
    assert model.layer1[0].conv1.shift is shifted
    assert all(p.requires_grad for p in model.parameters())
    model.zero_grad()
    model(clips_of(2)).sum().backward()
    assert model.fc.weight.grad is not None


def test_no_batch_norm_is_left():
    for name in MODELS:
        model = model_of(name)
        fold_batch_norms(model)
        kinds = nn.BatchNorm2d | nn.BatchNorm3d
        assert not any(isinstance(module, kinds) for module in model.modules()), name


def test_the_form_of_the_shift_for_compilers_is_the_same():
    """All options are compiled at once, each with an input of its own."""
    options = [(4, *rest) for rest in product((1, 3, 100), DIRECTIONS, PADDINGS)]

    def shift_all(inputs):
        return [temporal_shift(x, *opts) for x, opts in zip(inputs, options, strict=True)]

    x = torch.randn(8, 16, 3, 5).contiguous(memory_format=torch.channels_last)
    weights = torch.randn_like(x)
    torch.compiler.reset()
    results = []
    for function in (torch.compile(shift_all, backend="aot_eager"), shift_all):
        inputs = [x.clone().requires_grad_() for _ in options]
        outputs = function(inputs)
        sum((output * weights).sum() for output in outputs).backward()
        results.append((outputs, [value.grad for value in inputs]))
    (outputs, gradients), (expected, expected_gradients) = results
    assert all(a.equal(b) for a, b in zip(outputs, expected, strict=True))
    torch.testing.assert_close(gradients, expected_gradients)


def test_compiled():
    """Two stages have every kind of layer; four take twice as long to compile."""
    model = model_of("shallow")
    model.layer3, model.layer4, model.fc = nn.Identity(), nn.Identity(), nn.Linear(16, 7)
    fast = optimize_for_inference(model, runtime="compiled")
    assert (fast.runtime, fast.difference < 1e-4) == ("compiled", True)


@pytest.mark.parametrize("name", ["resnet18", "3-D"])
def test_the_fastest_form_is_found_by_a_measurement(name, monkeypatch):
    model = model_of(name)
    first, *others, compiled = inference_runtime.possible_runtimes(model, "32-true")
    assert (first, compiled) == (optimize_for_inference(model).runtime, "compiled")
    monkeypatch.setattr(inference_runtime, "possible_runtimes", lambda *args: [first, *others])
    fast, clips = optimize_for_inference(model, runtime="fastest", size=32), clips_of(2)
    assert fast.runtime in fast.milliseconds and [*fast.milliseconds] == [first, *others]
    torch.testing.assert_close(fast(clips), model(clips).detach(), rtol=1e-4, atol=1e-5)


def test_what_cannot_be_had_is_said():
    model = model_of("resnet18")
    with pytest.raises(ConfigError, match="runtime='fast' is not possible; choose one of auto, fa"):
        optimize_for_inference(model, runtime="fast")
    with pytest.raises(ConfigError, match="precision='fp8'"):
        optimize_for_inference(model, "fp8")
    with pytest.raises(ConfigError, match="16-mixed is for GPUs"):
        optimize_for_inference(model, "16-mixed")
    with pytest.raises(ConfigError, match="onednn is for 2-D networks"):
        optimize_for_inference(model_of("3-D"), runtime="onednn")


def test_a_form_that_computes_something_else_is_refused(monkeypatch):
    monkeypatch.setitem(TOLERANCE, "bf16-mixed", 1e-9)
    with pytest.raises(RuntimeFailed, match="differs by .* deviations .* choose runtime=eager"):
        optimize_for_inference(model_of("resnet18"), "bf16-mixed")
