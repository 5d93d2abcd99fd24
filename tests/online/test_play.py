"""Frames go in one by one, and each gets its answer."""

import logging

import numpy as np
import pytest
import torch
from helpers import FakeClock, decisive, sliding, tiny_stream

from tsmlib import build_model
from tsmlib.online.networks import StreamNetwork, prepare_frame
from tsmlib.online.play import Tally, play
from tsmlib.online.smoothing import RunningMean
from tsmlib.online.sources import open_source
from tsmlib.online.streams import OnlineTSM

CFG = tiny_stream(num_segments=3)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return decisive(build_model(CFG))


def network_of(model) -> StreamNetwork:
    return StreamNetwork(OnlineTSM(model), lambda x: prepare_frame(x, CFG), CFG.class_names, 3)


def answers_of(model, frames, **options) -> list:
    with open_source(frames) as source:
        return list(play(network_of(model), source, **options))


def step_by_hand(model, frames) -> torch.Tensor:
    """Logits `[T, K]`."""
    stream = OnlineTSM(model)
    return torch.cat([stream.step(prepare_frame(frame, CFG)) for frame in frames])


def test_answers_are_those_of_steps_by_hand(model):
    video = sliding(7)
    logits = step_by_hand(model, video)
    answers = answers_of(model, video)
    for t, answer in enumerate(answers):
        expected = logits[max(0, t - 2) : t + 1].mean(0).softmax(0)  # the last three frames
        np.testing.assert_allclose(answer.probabilities, expected.numpy(), atol=1e-5)
        assert answer.name == CFG.class_names[int(expected.argmax())]
        assert answer.probability == pytest.approx(float(expected.max()), abs=1e-5)
        assert np.array_equal(answer.picture, video[t].numpy())
    assert len(answers) == 7 and [a.time for a in answers] == [i / 30 for i in range(7)]


def test_any_smoothing_can_be_put_in(model):
    class Last:
        def __init__(self):
            self.resets = 0

        def reset(self):
            self.resets += 1

        def __call__(self, logits):
            return logits

    video, last = sliding(4), Last()
    found = [answer.probabilities for answer in answers_of(model, video, smooth=last)]
    expected = step_by_hand(model, video).softmax(1).numpy()
    np.testing.assert_allclose(np.stack(found), expected, atol=1e-5)
    assert last.resets == 1


def test_rules_may_decide_on_the_class(model):
    class Second:
        """The second best class of each frame."""

        def reset(self):
            pass

        def __call__(self, logits):
            return logits.argsort(1)[:, -2]

    video = sliding(4)
    answers = answers_of(model, video, smooth=RunningMean(1), decide=Second())
    for answer, logits in zip(answers, step_by_hand(model, video), strict=True):
        assert answer.name == CFG.class_names[logits.argsort()[-2]]
        assert answer.probability == pytest.approx(float(logits.softmax(0).sort()[0][-2]), rel=1e-4)


def test_another_size_begins_another_stream(model, caplog):
    small, large = sliding(3), sliding(3, 5).repeat(1, 2, 1, 1)
    with caplog.at_level(logging.WARNING):
        answers = answers_of(model, [*small, *large])
    assert [answer.stream for answer in answers] == [0, 0, 0, 1, 1, 1]
    alone = answers_of(model, large)
    for answer, expected in zip(answers[3:], alone, strict=True):
        assert np.array_equal(answer.probabilities, expected.probabilities)
    sentence = "frames change from 64x48 to 64x96 pixels at 0.1 s: a new stream begins"
    assert caplog.messages == [sentence]


def test_a_slow_network_drops_frames_and_says_so():
    """A step takes 105 ms: of 30 frames a second, every third one gets an answer."""
    clock = FakeClock()

    class Slow:
        def reset(self):
            pass

        def step(self, frame):
            clock.advance(0.105)
            return torch.zeros(1, 5)

    def frames():
        yield from sliding(31)
        clock.end()

    options = {"paced": True, "timeout": 60, "clock": clock, "sleep": clock.sleep}
    network, tally = (
        StreamNetwork(Slow(), lambda picture: picture, CFG.class_names, 3),
        Tally(clock),
    )
    with open_source(frames(), **options) as source:
        answers = []
        for answer in play(network, source, clock=clock):
            answers.append(answer)
            tally.add(answer)
    numbers = [round(30 * answer.time) for answer in answers]
    assert numbers == [0, 3, 6, 9, 12, 15, 18, 22, 25, 28, 30]
    assert answers[-1].dropped == 31 - len(answers) == 20
    # a frame that came during a step waits for its end
    waited = [1000 * (0.105 * i - number / 30) for i, number in enumerate(numbers)]
    assert [a.latency for a in answers] == pytest.approx([w + 105 for w in waited], abs=0.01)
    assert str(tally).startswith("11 frames in 1.2 s (9.5 a second), 20 dropped; latency ")


def test_a_tally_of_nothing():
    assert str(Tally()) == "no frame was answered"
