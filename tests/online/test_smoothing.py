"""Smoothing of streams: beside slow versions, for each stream of a batch by itself."""

import pytest
import torch
from helpers import seeded

from tsmlib.configs import ConfigError, get_config, output_names
from tsmlib.online.smoothing import DEMO_HIDDEN, DemoSmoothing, RunningMean

DEMO_NAMES = output_names(get_config("jester"), "mit")


def means(logits: torch.Tensor, length: int) -> list[torch.Tensor]:
    """Mean of the last logits of one stream `[T, K]`, one slice after the other."""
    return [logits[max(0, t + 1 - length) : t + 1].mean(0) for t in range(len(logits))]


def demo_answers(logits: torch.Tensor) -> list[int]:
    """The demo's rules for one stream `[T, 27]`, written down as its notes say."""
    answers = [2, 2]
    for t in range(len(logits)):
        answer = int(logits[max(0, t - 11) : t + 1].double().sum(0).argmax())
        if answer in (7, 8, 21, 22, 3):
            answer = answers[-1]
        if answer == 0:
            answer = 2
        if answer != answers[-1] and answers[-1] != answers[-2]:
            answer = answers[-1]
        answers.append(answer)
    return answers[2:]


def noisy_streams(frames: int, streams: int) -> torch.Tensor:
    """Logits `[T, N, 27]` of actions that change every few frames."""
    logits = seeded(torch.randn, frames, streams, 27)
    labels = seeded(torch.rand, frames // 8 + 1, streams, seed=1).mul(27).long()
    for t in range(frames):
        logits[t, torch.arange(streams), labels[t // 8]] += 2
    return logits


@pytest.mark.parametrize("length", [1, 3, 100])
def test_running_mean(length):
    logits, mean = seeded(torch.randn, 10, 2, 5), RunningMean(length)
    found = torch.stack([mean(frame) for frame in logits])
    for i in range(2):
        torch.testing.assert_close(found[:, i], torch.stack(means(logits[:, i], length)))


def test_demo():
    logits, smooth = noisy_streams(200, 3), DemoSmoothing(DEMO_NAMES)
    found = torch.stack([smooth(frame) for frame in logits])
    for i in range(3):
        assert found[:, i].tolist() == demo_answers(logits[:, i])
    seen = set(found.flatten().tolist())
    assert len(seen) > 10 and not seen & {0, *DEMO_HIDDEN}


def test_the_class_numbers_of_the_demo_have_these_names():
    names = DEMO_NAMES
    assert [names[i] for i in (0, 2)] == ["Doing other things", "No gesture"]
    assert [names[i] for i in DEMO_HIDDEN] == [
        "Pulling Hand In", "Rolling Hand Backward", "Rolling Hand Forward",
        "Turning Hand Clockwise", "Turning Hand Counterclockwise",
    ]  # fmt: skip


@pytest.mark.parametrize("make", [lambda: RunningMean(4), lambda: DemoSmoothing(DEMO_NAMES)])
def test_one_stream_begins_anew_and_the_others_go_on(make):
    logits = noisy_streams(30, 2)
    whole, late, smooth = make(), make(), make()
    smooth.reset([1])  # nothing has begun
    for t, frame in enumerate(logits):
        if t == 10:
            smooth.reset([1])
        found = smooth(frame)
        assert torch.equal(found[0], whole(frame)[0])
        if t >= 10:
            assert torch.equal(found[1:], late(frame[1:]))
    smooth.reset()
    smooth(logits[0, :1])  # of any number


def test_bad_input():
    with pytest.raises(ConfigError, match="the 27 of Jester in alphabetical order; these 27 are"):
        DemoSmoothing(DEMO_NAMES[::-1])
    with pytest.raises(ValueError, match="length=0: a mean needs at least one"):
        RunningMean(0)
    for smooth in (RunningMean(2), DemoSmoothing(DEMO_NAMES)):
        smooth(torch.zeros(2, 27))
        with pytest.raises(ValueError, match=r"there were 2 streams, and now 3; reset\(\)"):
            smooth(torch.zeros(3, 27))
