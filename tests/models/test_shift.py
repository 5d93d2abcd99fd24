"""The shift against a plain loop, against the published implementations, and its gradients."""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import seeded
from torch.autograd import forward_ad

from tsmlib import temporal_shift
from tsmlib.configs.shift_options import DIRECTIONS, PADDINGS
from tsmlib.models import fast_shift
from tsmlib.models.shift import TemporalShift, adjoint_shift, shift_frames
from tsmlib.models.shift_plan import altered_plans, plan_shift, shifted_channels
from tsmlib.models.shifted_conv import shift_input
from tsmlib.parity import fill

OPS = Path(__file__).parents[1] / "golden/ops"
CASES = [case for case in json.loads((OPS / "shift.json").read_text()) if "i" in case]
SHAPES = [  # N, T, C, H, W: odd channels, one and two frames, one pixel
    (1, 1, 16, 2, 3), (2, 2, 9, 1, 1), (2, 8, 24, 3, 2), (3, 3, 17, 2, 2), (1, 5, 1, 2, 2),
    (2, 4, 3, 4, 1),
]  # fmt: skip
DIVISORS = (1, 2, 3, 4, 5, 8, 16, 40)  # 40: more than there are channels


def slow_shift(x, t: int, div: int, direction: str, padding: str) -> torch.Tensor:
    """One number at a time: where does it come from?"""
    out = torch.zeros_like(x)
    fold, folds = x.shape[1] // div, DIRECTIONS[direction]
    from_next = folds.from_next * fold
    for frame, channel in product(range(x.shape[0]), range(x.shape[1])):
        clip, time = divmod(frame, t)
        step = (
            1
            if channel < from_next
            else -1
            if channel < from_next + folds.from_previous * fold
            else 0
        )
        source, inner = time + step, PADDINGS[padding]
        if not 0 <= source < t and inner is not None:
            inner = min(inner, t - 1)
            source = inner % t if source < 0 else (t - 1 - inner) % t
        if 0 <= source < t:
            out[frame, channel] = x[clip * t + source, channel]
    return out


def test_the_options_are_those_of_the_paper():
    assert DIRECTIONS["bidirectional"] == (1, 1) and DIRECTIONS["unidirectional"] == (0, 1)
    x = torch.arange(1.0, 4).reshape(3, 1, 1, 1).repeat(1, 8, 1, 1)  # frames 1, 2, 3
    for padding, ends in {"zero": (0, 0), "circular": (1, 3), "replicate": (3, 1)}.items():
        shifted = temporal_shift(x, 3, padding=padding)
        assert (shifted[2, 0].item(), shifted[0, 1].item()) == ends


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("div", DIVISORS)
def test_equals_the_loop(div, direction, padding):
    for n, t, *chw in SHAPES:
        x = seeded(torch.rand, n * t, *chw)
        expected = slow_shift(x, t, div, direction, padding)
        for layout in (torch.contiguous_format, torch.channels_last):
            given = x.clone(memory_format=layout)
            kept = given.clone()
            out = temporal_shift(given, t, div, direction, padding)
            assert torch.equal(out, expected), (n, t, *chw)
            assert out.is_contiguous(memory_format=layout)
            assert torch.equal(given, kept) and out.data_ptr() != given.data_ptr()


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"case{case['i']}")
def test_equals_the_published_implementations(case):
    """MMAction2 and MIT agree on the outputs; the stored gradient is the mathematical one."""
    stored, i = np.load(OPS / "shift.npz"), case["i"]
    n, t, *chw = case["shape"]
    x = torch.from_numpy(fill.rand_array(f"shift_x{i}", case["shape"]).reshape(n * t, *chw))
    x.requires_grad_()
    out = temporal_shift(x, t, case["shift_div"])
    assert shifted_channels(chw[0], case["shift_div"]) == case["fold"]
    np.testing.assert_array_equal(out.detach().numpy().reshape(case["shape"]), stored[f"out{i}"])
    gradient = fill.rand_array(f"shift_g{i}", case["shape"]).reshape(n * t, *chw)
    out.backward(torch.from_numpy(gradient))
    np.testing.assert_array_equal(x.grad.numpy().reshape(case["shape"]), stored[f"grad{i}"])


def test_all_published_cases_are_there():
    assert len(CASES) == 24 and {case["shift_div"] for case in CASES} == {3, 4, 8, 16}


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("t", [1, 2, 3])
def test_gradient(t, direction, padding):
    x = seeded(torch.rand, 2 * t, 5, 2, 1, dtype=torch.float64).requires_grad_()
    for div in (1, 2, 3, 8):
        assert torch.autograd.gradcheck(
            lambda x, d=div: temporal_shift(x, t, d, direction, padding), x
        )


def test_gradient_in_channels_last():
    """The backward pass copies too, and must not depend on how the memory is laid out."""
    x, weight = seeded(torch.rand, 8, 6, 3, 2), seeded(torch.rand, 8, 6, 3, 2, seed=1)
    grads = []
    for layout in (torch.contiguous_format, torch.channels_last):
        leaf = x.clone(memory_format=layout).requires_grad_()
        temporal_shift(leaf, 4, 3).backward(weight.clone(memory_format=layout))
        grads.append(leaf.grad)
    assert torch.equal(*grads)


def test_strided_input_and_gradient():
    x = seeded(torch.rand, 8, 12, 3, 2)[:, ::2].transpose(2, 3).detach().requires_grad_()
    out = temporal_shift(x, 4, 3)
    assert torch.equal(out, slow_shift(x, 4, 3, "bidirectional", "zero"))
    out.sum().backward()  # the gradient that comes in is one number, expanded
    leaves = torch.ones(8, 6, 2, 3)
    leaves[::4, :2] = leaves[3::4, 2:4] = 0  # frames whose channels leave the clip
    assert torch.equal(x.grad, leaves)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_keeps_the_type(dtype):
    x = seeded(torch.rand, 4, 8, 2, 2).to(dtype)
    assert torch.equal(temporal_shift(x, 4), slow_shift(x, 4, 8, "bidirectional", "zero"))


def test_empty_batch():
    assert temporal_shift(torch.empty(0, 8, 2, 2), 4).shape == (0, 8, 2, 2)


def test_clips_do_not_mix():
    x = seeded(torch.rand, 8, 8, 1, 1)
    alone = torch.cat([temporal_shift(clip, 4, 2, padding="circular") for clip in x.split(4)])
    assert torch.equal(temporal_shift(x, 4, 2, padding="circular"), alone)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        ((7, 8, 2, 2), {}, r"\(7, 8, 2, 2\) is not \[N\*T, C, H, W\] with T = 4"),
        ((8, 8, 2), {}, r"is not \[N\*T, C, H, W\]"),
        ((2, 4, 8, 2, 2), {}, r"is not \[N\*T, C, H, W\]"),
        ((8, 8, 2, 2), {"num_segments": 0}, "T = 0"),
        ((8, 8, 2, 2), {"shift_div": 0}, "shift_div=0 must be at least 1"),
        ((8, 8, 2, 2), {"shift_div": -8}, "shift_div=-8 must be at least 1"),
        ((8, 8, 2, 2), {"direction": "both"}, "direction='both'"),
        ((8, 8, 2, 2), {"padding": "mirror"}, "padding='mirror'"),
    ],
)
def test_wrong_arguments(shape, options, message):
    with pytest.raises(ValueError, match=message):
        temporal_shift(torch.zeros(shape), **{"num_segments": 4, **options})


def test_impossible_divisor_fails_when_the_model_is_built():
    with pytest.raises(ValueError, match="shift_div=0"):
        TemporalShift(8, shift_div=0)


def test_shifting_the_input_of_a_layer_adds_no_parameter_name():
    conv = torch.nn.Conv2d(8, 4, 1, bias=False)
    x, before = seeded(torch.rand, 8, 8, 3, 3), list(conv.state_dict())
    plain = torch.nn.functional.conv2d(slow_shift(x, 4, 8, "bidirectional", "zero"), conv.weight)
    shift_input(conv, TemporalShift(4))
    assert list(conv.state_dict()) == before == ["weight"]
    assert torch.equal(conv(x), plain)
    assert "num_segments=4, shift_div=8, bidirectional, zero padding" in repr(conv)


# --- fast forms against the plain ones ------------------------------------------------------------

FORMS = pytest.mark.parametrize("per_frame", [True, False])


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shift_div", [1, 2, 3, 8, 99])
@FORMS
def test_shifting_in_place_and_back(per_frame, direction, padding, shift_div):
    x = torch.randn(2 * 4, 16, 3, 5).contiguous(memory_format=torch.channels_last)
    plan = plan_shift(x, 4, shift_div, direction, padding)
    owned, expected = x.clone(), shift_frames(x, plan)
    undo = fast_shift.shift_(owned, plan, per_frame)
    assert torch.equal(owned, expected)
    undo()
    assert torch.equal(owned, x)
    with fast_shift.borrowed_shift(owned, plan) as shifted:
        assert shifted is owned and torch.equal(shifted, expected)
    assert torch.equal(owned, x)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("segments", [1, 2, 4])
@FORMS
def test_in_place_with_any_layout_and_type(per_frame, segments, layout, dtype):
    for shape in ((4, 16, 6, 5), (8, 40, 9, 9), (4, 8, 1, 1), (0, 8, 2, 2)):
        x = seeded(torch.rand, *shape).to(dtype).contiguous(memory_format=layout)
        plan = TemporalShift(segments).plan(x)
        expected, before = shift_frames(x, plan), x.clone()
        undo = fast_shift.shift_(x, plan, per_frame)
        assert torch.equal(x, expected)
        undo()
        assert torch.equal(x, before)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("shift_div", [1, 2, 3, 8, 99])
@pytest.mark.parametrize("segments", [1, 2, 4])
def test_adjoints_and_the_form_for_compilers(segments, shift_div, direction, padding):
    """Plain and in place, gradients are those that autograd finds for the concatenation."""
    x = torch.randn(2 * 4, 16, 3, 5).requires_grad_()
    grad = torch.randn(x.shape)
    plan = plan_shift(x, segments, shift_div, direction, padding)
    joined = fast_shift.shift_by_cat(x, plan)
    assert torch.equal(joined, shift_frames(x, plan))
    (expected,) = torch.autograd.grad(joined, x, grad)
    assert torch.equal(adjoint_shift(grad, plan), expected)
    for per_frame in (True, False):
        found = grad.clone()
        fast_shift.unshift_grad_(found, plan, per_frame)
        assert torch.equal(found, expected)


def test_only_large_frames_are_moved_one_by_one():
    plan = TemporalShift(4).plan(small := torch.empty(4, 64, 8, 8))
    assert not fast_shift.moves_per_frame(small, plan)
    assert fast_shift.moves_per_frame(torch.empty(4, 64, 128, 128), plan)


def test_altered_plans_are_those_of_a_block():
    x = seeded(torch.rand, 8, 8, 2, 2)
    expected = temporal_shift(x, 4)
    with altered_plans(lambda plan: plan._replace(segments=8)):
        assert torch.equal(temporal_shift(x, 4), temporal_shift(x, 8))
        assert torch.equal(temporal_shift(x, 4), shift_frames(x, TemporalShift(4).plan(x)))
    assert torch.equal(temporal_shift(x, 4), expected)


# --- convolutions of shifted frames ---------------------------------------------------------------

CONVS = {
    "1x1": {"kernel_size": 1, "bias": False}, "3x3": {"kernel_size": 3, "padding": 1},
    "stride": {"kernel_size": 3, "stride": 2}, "groups": {"kernel_size": 1, "groups": 4},
}  # fmt: skip


def make_shifted_conv(kind: str = "1x1", **options) -> torch.nn.Conv2d:
    conv = torch.nn.Conv2d(16, 8, dtype=torch.float64, **CONVS[kind])
    shift_input(conv, TemporalShift(4, **options))
    return conv


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("direction", DIRECTIONS)
@pytest.mark.parametrize("kind", CONVS)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@FORMS
def test_a_convolution_that_shifts_its_input_in_place(per_frame, kind, direction, padding, layout):
    """Output and gradients are those of a shift and a convolution; the input is what it was."""
    conv = make_shifted_conv(kind, shift_div=4, direction=direction, padding=padding)
    size = (64, 65) if per_frame else (6, 5)
    x = torch.randn(2 * 4, 16, *size, dtype=torch.float64).contiguous(memory_format=layout)
    assert fast_shift.moves_per_frame(x, conv.shift.plan(x)) == per_frame
    kept = x.clone()
    mine, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    out = conv(mine.relu())
    shifted = temporal_shift(plain.relu(), 4, 4, direction, padding)
    expected = torch.conv2d(
        shifted, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups
    )
    assert torch.equal(out, expected) and torch.equal(mine, kept)
    with torch.no_grad():
        assert torch.equal(conv(kept.relu()), expected)
        assert conv(x).isfinite().all() and torch.equal(x, kept)
    weight = torch.randn_like(out)
    parameters = list(conv.parameters())
    found = torch.autograd.grad((out * weight).sum(), [mine, *parameters])
    wanted = torch.autograd.grad((expected * weight).sum(), [plain, *parameters])
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_gradients_of_a_shifted_convolution_written_out():
    conv = make_shifted_conv("3x3", shift_div=4)
    x = torch.randn(4, 16, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(conv, (x,))
    assert torch.autograd.gradgradcheck(conv, (x,))


def test_only_the_gradients_that_are_wanted():
    conv, x = make_shifted_conv("3x3"), torch.randn(4, 16, 3, 3, dtype=torch.float64)
    conv.weight.requires_grad_(False)
    conv(x).sum().backward()
    assert conv.weight.grad is None and conv.bias.grad.eq(4 * 3 * 3).all()
    (found,) = torch.autograd.grad(conv(x).sum(), conv.bias, create_graph=True)
    assert found.eq(4 * 3 * 3).all()


def test_nothing_shifted_is_kept_for_the_gradient():
    conv = make_shifted_conv()
    x = torch.randn(4, 16, 6, 6, dtype=torch.float64, requires_grad=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        conv(x.relu())
    assert {t.data_ptr() for t in kept if t.shape == x.shape} == {kept[0].data_ptr()}


@pytest.mark.parametrize("kind", ["expanded", "sliced", "empty"])
def test_memory_that_cannot_be_lent(kind):
    x = {
        "expanded": torch.randn(1, 16, 6, 6, dtype=torch.float64).expand(4, -1, -1, -1),
        "sliced": torch.randn(4, 32, 6, 6, dtype=torch.float64)[:, ::2],
        "empty": torch.randn(0, 16, 6, 6, dtype=torch.float64),
    }[kind]
    conv, before = make_shifted_conv(), x.clone()
    expected = torch.conv2d(temporal_shift(x, 4), conv.weight, conv.bias)
    assert torch.equal(conv(x), expected) and torch.equal(x, before)


@pytest.mark.filterwarnings("ignore:.*jit.script:FutureWarning")
def test_a_forward_gradient_is_refused_and_not_lost():
    conv, x = make_shifted_conv(), torch.randn(4, 16, 6, 6, dtype=torch.float64)
    with torch.no_grad(), forward_ad.dual_level():
        dual = forward_ad.make_dual(x, torch.ones_like(x))
        with pytest.raises(RuntimeError, match="forward"):
            conv(dual)
    with torch.no_grad():
        _, found = torch.func.jvp(conv, (x,), (torch.ones_like(x),))
        assert torch.allclose(found, conv(x + 1) - conv(x))  # linear


def test_an_input_is_put_back_when_the_convolution_fails():
    conv, x = make_shifted_conv(), torch.randn(4, 16, 6, 6, dtype=torch.float64)
    conv.weight.data = torch.randn(8, 15, 1, 1, dtype=torch.float64)
    before = x.clone()
    with pytest.raises(RuntimeError):
        conv(x)
    assert torch.equal(x, before)


def test_who_looks_at_a_shift_sees_it():
    conv, seen = make_shifted_conv(), []
    conv.shift.register_forward_hook(lambda module, args, out: seen.append(out))
    x = torch.randn(4, 16, 6, 6, dtype=torch.float64)
    conv(x)
    assert torch.equal(seen[0], temporal_shift(x, 4))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning", "ignore:.*jit.trace:FutureWarning")
def test_a_trace_and_functional_gradients():
    """They see plain operations: nothing that they could not follow."""
    conv, x = make_shifted_conv(shift_div=4), torch.randn(4, 16, 6, 6, dtype=torch.float64)
    traced = torch.jit.trace(conv, x)
    other = torch.randn_like(x)
    assert torch.equal(traced(other), conv(other))

    def loss(parameters):
        return torch.func.functional_call(conv, parameters, (x,)).square().sum()

    found = torch.func.grad(loss)(dict(conv.named_parameters()))
    conv(x).square().sum().backward()
    for name, parameter in conv.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad)
