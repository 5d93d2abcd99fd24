"""The fastest form of a stream is found by a measurement, and computes what the model does."""

import pytest
import torch
from helpers import decisive, lively, seeded, tiny
from torch import nn

from tsmlib import ConfigError, build_model
from tsmlib.models.inference_runtime import TOLERANCE, RuntimeFailed, possible_runtimes
from tsmlib.models.onednn import supports_onednn
from tsmlib.online import fast_streams
from tsmlib.online.fast_streams import optimize_stream
from tsmlib.online.streams import OnlineTSM

SHAPE = (2, 3, 24, 32)


def model_of(**changes) -> nn.Module:
    fields = {"shift_direction": "unidirectional", "num_segments": 5, "pretrain": "none"}
    return decisive(lively(build_model(tiny(**fields | changes))), seed=0)


def frames() -> torch.Tensor:
    """`[T, N, 3, H, W]`."""
    return seeded(torch.randn, 5, *SHAPE)


def assert_same(stream: OnlineTSM, model: nn.Module) -> None:
    x = frames()
    with torch.no_grad():
        expected = model.frame_logits(x.transpose(0, 1)).transpose(0, 1)
    before = x.clone()
    found = torch.stack([stream.step(frame) for frame in x])
    assert torch.equal(x, before)
    assert (found - expected).abs().max() <= 1e-5 * expected.std()


@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2"])
def test_fastest_without_a_compiler(backbone, monkeypatch):
    def without_compiler(*args) -> list[str]:
        return [runtime for runtime in possible_runtimes(*args) if runtime != "compiled"]

    monkeypatch.setattr(fast_streams, "possible_runtimes", without_compiler)
    depth = (1, 1, 1, 1) if backbone == "resnet18" else (1, 2, 2, 1, 1, 1, 1)
    model = model_of(backbone=backbone, depth=depth)
    stream = optimize_stream(model, frame_shape=SHAPE)
    assert stream.state == [] and stream.difference <= 1e-5
    assert list(stream.milliseconds) == without_compiler(model, "32-true")
    assert_same(stream, model)


def test_compiled():
    """Two stages have every kind of layer; four take twice as long to compile."""
    model = model_of()
    model.layer3, model.layer4, model.fc = nn.Identity(), nn.Identity(), nn.Linear(16, 5)
    fast = optimize_stream(model, runtime="compiled", frame_shape=SHAPE)
    assert fast.runtime == "compiled" and fast.state == []
    assert_same(fast, model)
    x, kept = frames(), fast.state
    expected = [fast.step(frame) for frame in x]
    fast.reset([0])
    assert not any(cache[0].any() for cache in fast.state)
    assert torch.equal(fast.step(x[0])[1], expected[0][1])
    for _ in range(2):  # nothing wrote into the state that was kept
        fast.state = kept
        assert all(map(torch.equal, [fast.step(frame) for frame in x], expected))


def test_auto_measures_nothing():
    model = model_of()
    stream = optimize_stream(model, runtime="auto", frame_shape=SHAPE)
    assert stream.runtime == ("onednn" if supports_onednn(model) else "folded")
    assert stream.milliseconds == {}


def test_what_is_no_stream_or_computes_something_else(monkeypatch):
    with pytest.raises(ConfigError, match="shift_direction=unidirectional"):
        optimize_stream(model_of(shift_direction="bidirectional"))
    with pytest.raises(ConfigError, match="runtime='fast' is not possible; choose one of auto, fa"):
        optimize_stream(model_of(), runtime="fast", frame_shape=SHAPE)
    monkeypatch.setitem(TOLERANCE, "bf16-mixed", 1e-9)
    with pytest.raises(
        RuntimeFailed, match="folded form of the stream differs by .* choose runtime"
    ):
        optimize_stream(model_of(), "bf16-mixed", "folded", SHAPE)
