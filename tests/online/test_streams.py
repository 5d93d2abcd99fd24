"""TSM on a stream: step by step what the whole clip gives, and the published streaming model."""

import re
import resource
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import decisive, lively, published_clip, published_state, seeded, tiny
from torch import nn

from tsmlib import ConfigError, build_model, get_config, load_checkpoint, optimize_for_inference
from tsmlib.configs import mini
from tsmlib.models.onednn import supports_onednn
from tsmlib.models.recognizer import moved_channels
from tsmlib.models.shift import TemporalShift
from tsmlib.online.streams import OnlineTSM
from tsmlib.parity import recordings
from tsmlib.parity.recordings import STREAM

FRAMES = 6
FORMS = ["eager", "folded", "onednn"]  # without a compiler
KINDS = {
    "resnet18": {"backbone": "resnet18"},
    "resnet50": {"backbone": "resnet50"},
    "resnet101": {"backbone": "resnet101"},
    "mobilenetv2": {"backbone": "mobilenetv2"},
    "in front of blocks": {"backbone": "resnet18", "shift_place": "block"},
    "in front of inverted residuals": {"backbone": "mobilenetv2", "shift_place": "block"},
    "a quarter": {"backbone": "resnet50", "shift_div": 4},
    "nothing moves": {"backbone": "resnet50", "shift_div": 1000},
    "no shift": {"backbone": "resnet18", "is_shift": False},
}


def small(**changes):
    """A model whose answers are not all near zero, and whose batch norms do something."""
    changes = {"shift_direction": "unidirectional", "num_segments": FRAMES, **changes}
    torch.manual_seed(0)
    model = decisive(build_model(mini(get_config("sthv1", **changes))))
    for name, value in model.named_buffers():
        if name.endswith("running_mean"):
            value.normal_(std=0.1)
    return model


def clips(n: int = 2, t: int = FRAMES, size: int = 40, seed: int = 0) -> torch.Tensor:
    """`[N, T, 3, H, W]`."""
    return seeded(torch.randn, n, t, 3, size, size + 8, seed=seed)


def streamed(online, x):
    """Logits `[N, T, K]` of `[N, T, 3, H, W]`, frame by frame."""
    return torch.stack([online.step(frame) for frame in x.unbind(1)], 1)


def offline(model, x):
    with torch.no_grad():
        return model.frame_logits(x)


def close(found, expected) -> None:
    scale = float(expected.std())
    assert scale > 1e-3
    torch.testing.assert_close(found, expected, atol=1e-4 * scale, rtol=1e-4)


def form(model, runtime: str):
    """Make a faster form of a model, if this torch has it."""
    if runtime == "onednn" and not supports_onednn(model):
        pytest.skip("this torch has no oneDNN")
    return optimize_for_inference(model, runtime=runtime)


def resident_bytes() -> int:
    """Memory of this process (Linux)."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def entering(model, x) -> list[torch.Tensor]:
    """`[N, T, C, H, W]` in front of each shift, while the whole clip goes through the model."""
    kept = []
    shifts = [m for m in model.modules() if isinstance(m, TemporalShift)]
    handles = [m.register_forward_hook(lambda m, args, out: kept.append(args[0])) for m in shifts]
    offline(model, x)
    for handle in handles:
        handle.remove()
    return [value.unflatten(0, x.shape[:2]) for value in kept]


# --- the whole clip -------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_gives_what_the_whole_clip_gives(kind):
    model, x = small(**KINDS[kind]), clips()
    close(streamed(OnlineTSM(model), x), offline(model, x))


@pytest.mark.parametrize("kind", KINDS)
def test_the_state_is_what_the_frame_before_left(kind):
    model, x = small(**KINDS[kind]), clips()
    before, folds = entering(model, x), list(moved_channels(model).values())
    online = OnlineTSM(model)
    assert online.state == []
    for t, frame in enumerate(x.unbind(1)):
        online.step(frame)
        assert len(online.state) == len(folds) == len(before)
        for cache, layer, fold in zip(online.state, before, folds, strict=True):
            torch.testing.assert_close(cache, layer[:, t, :fold], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("runtime", FORMS)
@pytest.mark.parametrize("kind", ["resnet18", "mobilenetv2", "in front of blocks", "no shift"])
def test_a_stream_of_a_faster_form(kind, runtime):
    model, x = small(**KINDS[kind]), clips()
    online = OnlineTSM(form(model, runtime))
    before = x.clone()
    close(streamed(online, x), offline(model, x))
    assert torch.equal(x, before) and len(online.state) == len(moved_channels(model))


def test_a_stream_in_sixteen_bits():
    model, x = small(), clips()
    online = OnlineTSM(optimize_for_inference(model, "bf16-mixed"))
    expected = offline(model, x)
    logits = streamed(online, x)
    assert logits.dtype == torch.float32 and online.state[0].dtype == torch.bfloat16
    assert (logits - expected).abs().max() < 0.1 * expected.std()


def test_a_stream_may_be_longer_than_a_clip():
    model, longer = small(num_segments=2), small(num_segments=FRAMES)
    longer.load_state_dict(model.state_dict())
    close(streamed(OnlineTSM(model), clips()), offline(longer, clips()))


def test_memory_is_constant():
    online, sizes = OnlineTSM(small()), set()
    for frame in clips(t=20).unbind(1):
        online.step(frame)
        assert all(c.untyped_storage().nbytes() == 4 * c.numel() for c in online.state)
        sizes.add(tuple(tuple(cache.shape) for cache in online.state))
    assert len(sizes) == 1
    assert not any(cache.requires_grad for cache in online.state)


# --- several streams ------------------------------------------------------------------------------


def test_reset_forgets():
    online, x = OnlineTSM(small()), clips()
    first = streamed(online, x)
    assert not torch.equal(streamed(online, x)[:, 0], first[:, 0])
    online.reset()
    assert online.state == []
    assert torch.equal(streamed(online, x), first)
    online.reset()
    online.step(clips(n=3, size=56)[:, 0])  # of any size


def test_streams_of_one_model_do_not_mix():
    model, a, b = small(), clips(seed=1), clips(n=1, size=56, seed=2)
    first, second = OnlineTSM(model), OnlineTSM(model)
    steps = zip(a.unbind(1), b.unbind(1), strict=True)
    found = [(first.step(frame), second.step(other)) for frame, other in steps]
    for answers, x in zip(zip(*found, strict=True), (a, b), strict=True):
        close(torch.stack(answers, 1), offline(model, x))


@pytest.mark.parametrize("kind", ["resnet18", "mobilenetv2", "no shift"])
def test_a_stream_is_saved_and_continued(tmp_path, kind):
    model, x = small(**KINDS[kind]), clips()
    whole = streamed(OnlineTSM(model), x)
    online = OnlineTSM(model)
    streamed(online, x[:, :3])
    kept = online.state
    torch.save(kept, tmp_path / "stream.pt")
    online.reset()
    streamed(online, clips(seed=3))  # another one in between changes nothing that was read
    for state in (kept, torch.load(tmp_path / "stream.pt", weights_only=True)):
        for stream in (online, OnlineTSM(model)):
            stream.state = state
            assert torch.equal(streamed(stream, x[:, 3:]), whole[:, 3:])


def test_inference_mode_may_end_between_steps():
    online, x = OnlineTSM(small()), clips()
    whole = streamed(online, x)
    online.reset()
    with torch.inference_mode():
        first = streamed(online, x[:, :3])
        online.state = online.state
        second = streamed(online, x[:, 3:5])
    found = torch.cat((first, second, streamed(online, x[:, 5:])), 1)
    assert torch.equal(found, whole)


@pytest.mark.parametrize("runtime", FORMS)
def test_batches_are_streams_side_by_side(runtime):
    model, x = form(small(), runtime), clips(n=8)
    alone = torch.cat([streamed(OnlineTSM(model), clip[None]) for clip in x])
    close(streamed(OnlineTSM(model), x), alone)


@pytest.mark.parametrize("runtime", FORMS)
@pytest.mark.parametrize("kind", ["resnet18", "mobilenetv2", "no shift"])
def test_one_stream_begins_anew_and_the_others_go_on(kind, runtime):
    online, x = OnlineTSM(form(small(**KINDS[kind]), runtime)), clips(n=3)
    whole = streamed(online, x)
    online.reset()
    online.reset([1])  # nothing has begun
    streamed(online, x[:, :2])
    before = online.state
    online.reset([1, 2])
    for cache, old in zip(online.state, before, strict=True):
        assert torch.equal(cache[0], old[0]) and not cache[1:].any()
    mixed = torch.stack((x[0, 2:], x[1, :-2], x[2, :-2]))  # one goes on, two are at their beginning
    found = streamed(online, mixed)
    assert torch.equal(found[0], whole[0, 2:])
    close(found[1:], whole[1:, :-2])


def test_one_stream_of_a_state_that_was_set_begins_anew():
    model, x = small(), clips()
    online, other = OnlineTSM(model), OnlineTSM(model)
    whole = streamed(online, x)
    other.state = online.state
    other.reset([1])
    found = streamed(other, x)
    assert torch.equal(found[1], whole[1]) and not torch.equal(found[0], whole[0])
    with pytest.raises(ValueError, match=re.escape("streams 0 to 1, not [-1, 3]")):
        other.reset([-1, 1, 3])


def test_streams_start_and_end_at_different_times():
    """Two places of a batch are taken by streams of 2 to 5 frames, one after the other."""
    model, x = small(), clips(n=4)
    expected, lengths = offline(model, x), (5, 3, 2, 4)
    online, places, waiting, found = OnlineTSM(model), [None, None], [0, 1, 2, 3], {}
    while waiting or any(places):
        for place, taken in enumerate(places):
            if not taken and waiting:
                places[place] = (waiting.pop(0), 0)
                online.reset([place])
        frames = [x[taken] if taken else torch.zeros_like(x[0, 0]) for taken in places]
        logits = online.step(torch.stack(frames))
        for place, taken in enumerate(places):
            if taken:
                stream, t = taken
                found[taken] = logits[place]
                places[place] = (stream, t + 1) if t + 1 < lengths[stream] else None
    assert len(found) == sum(lengths)
    for (stream, t), logits in found.items():
        close(logits, expected[stream, t])


@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="reads memory as Linux says it")
def test_ten_thousand_steps():
    """Memory stays flat, and nothing drifts: only the last frames count, one per shift."""
    model = build_model(tiny(shift_direction="unidirectional"))
    model.layer2, model.layer3, model.layer4 = nn.Identity(), nn.Identity(), nn.Identity()
    model.fc = nn.Linear(8, 5)
    fast = optimize_for_inference(lively(model).eval())
    online, x = OnlineTSM(fast), clips(n=1, t=5, size=16)
    for i in range(10_000):
        online.step(x[:, i % 5])
        if i == 1000:
            early = resident_bytes()
    assert resident_bytes() < 1.02 * early
    same_state, same_frames = OnlineTSM(fast), OnlineTSM(fast)
    same_state.state = online.state
    streamed(same_frames, x)
    expected = streamed(online, x)
    assert torch.equal(streamed(same_state, x), expected)
    assert torch.equal(streamed(same_frames, x), expected)


# --- the model ------------------------------------------------------------------------------------


def test_the_model_is_not_changed():
    model, x = small(dropout=0.5).train(), clips()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    places = {name: value.data_ptr() for name, value in model.state_dict().items()}
    shifts = [m for m in model.modules() if isinstance(m, TemporalShift)]
    modes = {name: module.training for name, module in model.named_modules()}
    online = OnlineTSM(model)
    logits = streamed(online, x)
    assert not logits.requires_grad and not logits.is_inference()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert {n: m.training for n, m in model.named_modules()} == modes and modes[""]
    assert [m for m in model.modules() if isinstance(m, TemporalShift)] == shifts
    online.reset()
    assert torch.equal(streamed(online, x), logits)  # no dropout, no statistics
    close(logits, offline(model.eval(), x))
    shared = {n: v.data_ptr() for n, v in online.model.state_dict().items()}
    assert shared == places


def test_weights_that_are_loaded_later_count():
    model, other, x = small(), small(), clips()
    online = OnlineTSM(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.mul_(1.1)
    model.load_state_dict(other.state_dict())
    close(streamed(online, x), offline(other, x))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"shift_direction": "bidirectional"},
            "bidirectional needs the next frame.*shift_direction=unidirectional.*sthv1_online",
        ),
        ({"shift_padding": "replicate"}, "shift_padding=replicate.*choose shift_padding=zero"),
        ({"shift_padding": "circular"}, "shift_padding=circular.*choose shift_padding=zero"),
        ({"temporal_pool": True}, "choose temporal_pool=False"),
        ({"temporal_pool": True, "is_shift": False}, "choose temporal_pool=False"),
        ({"non_local": "gaussian"}, "choose non_local=none"),
    ],
)
def test_models_that_need_other_frames(changes, sentence):
    with pytest.raises(ConfigError, match=sentence):
        OnlineTSM(small(**changes))


def test_only_recognizers_become_streams():
    with pytest.raises(
        ConfigError, match="a stream takes a recognizer of build_model, or a detector"
    ):
        OnlineTSM(nn.Linear(2, 2))


# --- frames that do not fit -----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["resnet18", "no shift"])
@pytest.mark.parametrize("shape", [(1, 3, 40, 48), (2, 3, 48, 40), (2, 3, 39, 48)])
def test_frames_of_another_size(kind, shape):
    model, x = small(**KINDS[kind]), clips()
    online = OnlineTSM(model)
    found = [online.step(x[:, 0])]
    message = re.escape(f"[2, 3, 40, 48] (float32, cpu), this one is {list(shape)} (float32, cpu)")
    with pytest.raises(ValueError, match=message):
        online.step(torch.zeros(shape))
    found += [online.step(frame) for frame in x[:, 1:].unbind(1)]  # as if nothing had been
    close(torch.stack(found, 1), offline(model, x))


def test_frames_of_another_type():
    model, x = small(), clips()
    online = OnlineTSM(model)
    found = [online.step(x[:, 0])]
    with pytest.raises(
        ValueError, match=r"\(float32, cpu\), this one is .* \(float64, cpu\); reset"
    ):
        online.step(x[:, 1].double())
    with pytest.raises(TypeError, match="these frames are uint8"):
        online.step(x[:, 1].byte())
    found += [online.step(frame) for frame in x[:, 1:].unbind(1)]  # as if nothing had been
    close(torch.stack(found, 1), offline(model, x))


@pytest.mark.parametrize("shape", [(3, 40, 48), (2, 6, 3, 40, 48)])
def test_what_is_no_frame(shape):
    with pytest.raises(ValueError, match=re.escape(f"[N, C, H, W], not {list(shape)}")):
        OnlineTSM(small()).step(torch.zeros(shape))


def test_states_of_another_stream():
    model, x = small(), clips()
    online, other = OnlineTSM(model), OnlineTSM(model)
    other.step(x[:1, 0])
    online.state = other.state
    with pytest.raises(ValueError, match="a cache is .*1, 1, .* needs .*2, 1, .*reset()"):
        online.step(x[:, 1])
    assert all(torch.equal(a, b) for a, b in zip(online.state, other.state, strict=True))
    assert torch.equal(online.step(x[:1, 1]), other.step(x[:1, 1]))
    with pytest.raises(ValueError, match="has 4 caches, not 3"):
        online.state = other.state[:3]


# --- the published streaming model ----------------------------------------------------------------


def test_the_published_stream(tmp_path):
    facts, expected = recordings.read_facts(STREAM), recordings.read_outputs(STREAM)
    torch.save(published_state(STREAM), tmp_path / "mobilenetv2_jester_online.pth.tar")
    cfg = get_config(
        "jester", backbone="mobilenetv2", shift_direction="unidirectional", pretrain="none",
        num_segments=facts["frames"],
    )  # fmt: skip
    model = build_model(cfg).eval()
    report = load_checkpoint(model, tmp_path / "mobilenetv2_jester_online.pth.tar")
    assert (report.layout, report.label_order) == ("mit_online", "mit")

    x = published_clip(facts["clip"])
    online, tolerance = OnlineTSM(model), 1e-4 * facts["logits_std"]
    for logits in (streamed(online, x)[0].numpy(), offline(model, x)[0].numpy()):
        assert np.abs(logits - expected["frame_logits"]).max() <= tolerance
        assert list(logits.argmax(1)) == facts["frame_argmax"]
    assert [list(cache.shape) for cache in online.state] == facts["buffer_shapes"]
    for i, cache in enumerate(online.state):
        last = expected[f"last_buffer_{i}"]
        assert np.abs(cache.numpy() - last).max() <= 1e-4 * last.std()
    # a stream that forgets is far off
    forgetful = np.abs(expected["frame_logits_no_carry"] - expected["frame_logits"]).max()
    assert 100 * tolerance < forgetful
