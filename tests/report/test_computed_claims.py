"""What computation alone decides: the same functions that results/claims.csv is made of."""

import pytest

from tsmlib.report import computed_claims as computed


@pytest.mark.parametrize("architecture", computed.ARCHITECTURES)
def test_the_shift_adds_nothing(architecture):
    assert computed.added_by_the_shift(architecture) == 0


def test_the_printed_counts():
    assert computed.count_network("ResNet-50").parameters == 24_327_632
    assert round(computed.macs(8)) == 33 and round(computed.macs(8, shift=False)) == 33
    assert round(computed.macs(16)) == 65


def test_the_printed_parameters_are_of_400_classes():
    assert f"{computed.parameters(400):.1f}" == "24.3"
    assert computed.parameters(174) == 23.864558


def test_ratios_to_other_networks():
    assert computed.times_fewer_macs(64, 8) == 64 / 33
    assert computed.times_fewer_macs(267, 8, 16) == 267 / 98
    assert computed.times_fewer_parameters(150, 2) == pytest.approx(150 / 48.6)


@pytest.mark.parametrize("modules", range(5))
def test_the_receptive_field_grows_by_two_a_module(modules):
    assert computed.receptive_field(modules) == 1 + 2 * modules


def test_growth_and_modules():
    assert computed.growth_per_module() == 2
    assert computed.shift_modules() == 16 and computed.shift_modules("ResNet-101") == 18
    assert computed.shift_modules("MobileNetV2") == 10


def test_the_cache_by_counting():
    assert computed.cached_values() == 702_464
    sizes = [round(computed.cache_megabytes(n), 2) for n in (4, 2, 1)]
    assert sizes == [2.81, 1.40, 0.70]  # none of them 0.9, nor in MiB
    assert all(round(size / 1.048576, 1) != 0.9 for size in sizes)
    assert computed.cached_share() == 1 / 8


def test_the_cache_of_mobilenet_is_the_published_one():
    """Shapes of MIT's streaming demo (its README): ten caches at 224 pixels."""
    shapes = [(3, 56), *[(4, 28)] * 2, *[(8, 14)] * 3, *[(12, 14)] * 2, *[(20, 7)] * 2]
    expected = sum(channels * side**2 for channels, side in shapes)
    assert computed.cached_values(architecture="MobileNetV2") == expected


def test_only_tsm_sees_the_order_of_frames():
    assert computed.reorderings_that_matter(shift=False) == 0
    assert computed.reorderings_that_matter(shift=True) == 23


def test_a_stream_is_the_batch_and_blind_to_the_future():
    assert computed.frames_streamed_otherwise() == 0
    assert computed.frames_that_see_the_future() == 0


def test_the_checks_can_fail():
    """A bidirectional batch is not what a stream gives, and its logits see the future."""
    model = computed.small(shift_direction="unidirectional", num_segments=8)
    both, one = computed.small(num_segments=8), computed.clip(8)
    both.load_state_dict(model.state_dict())
    streamed = computed.stream(model, one)
    assert computed.count_different(streamed, both.frame_logits(one)[0]) == 8
    other = one.clone()
    other[:, 4:] += 1.0
    changed = computed.count_different(both.frame_logits(other)[0], both.frame_logits(one)[0])
    assert changed == 8 and computed.count_different(computed.stream(model, other), streamed) == 4
