"""Recognition of streams: which frames enter, what stands meanwhile, and whole clips in them."""

import re

import numpy as np
import pytest
import torch
from helpers import decisive, seeded

from tsmlib import DataError, OnlineTSM, build_model, get_config, preprocess
from tsmlib.configs import mini
from tsmlib.models.recognizer import normalize
from tsmlib.online.recognition import (
    Answers,
    answer_by_window,
    answer_online,
    entry_step,
)

CFG = mini(get_config("sthv1", backbone="resnet18", num_classes=5, num_segments=4))


def frames(count: int, seed: int = 0) -> torch.Tensor:
    """Draw uint8 `[T, 64, 70, 3]`."""
    return (255 * seeded(torch.rand, count, 64, 70, 3, seed=seed)).byte()


class Counting:
    """Answers with the number of steps since its reset, in the first of two logits."""

    def reset(self):
        self.steps = 0

    def step(self, frame):
        assert frame.shape == (1, 3, 56, 56) and frame.dtype == torch.float32
        self.steps += 1
        return torch.tensor([[float(self.steps), 0.0]])


def clips_of(stream: torch.Tensor) -> torch.Tensor:
    """Prepare a whole stream as one clip, float `[1, T, 3, 56, 56]`."""
    return normalize(preprocess(stream, CFG, "val"))


# --- which frames enter ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("row", "clip_frames", "step"),
    [("sthv1", 24, 3), ("sthv1_t16", 24, 2), ("sthv1", 5, 1), ("k400_dense", 300, 8)],
)
def test_an_action_gives_about_as_many_frames_as_a_clip_has(row, clip_frames, step):
    assert entry_step(get_config(row), clip_frames) == step


def test_frames_enter_anew_from_each_reset():
    answers = answer_online(Counting(), frames(12), CFG, step=3, resets=[7])
    assert [list(run) for run in answers.runs] == [[0, 3, 6], [7, 10]]
    assert answers.logits[:, 0].tolist() == [1, 2, 3, 1, 2]


def test_an_answer_stands_until_the_next():
    answers = answer_online(Counting(), frames(12), CFG, step=3, resets=[7])
    p = answers.probabilities()
    expected = torch.tensor([1, 1, 1, 2, 2, 2, 3, 1, 1, 1, 2, 2.0]).sigmoid()
    np.testing.assert_allclose(p[:, 0], expected, rtol=1e-6)
    np.testing.assert_allclose(p.sum(1), 1)


@pytest.mark.parametrize("mean_of", [1, 2, 3, 50, None])
def test_running_means_are_those_of_a_loop(mean_of):
    logits = np.random.default_rng(0).normal(size=(9, 3))
    runs = (range(0, 10, 2), range(10, 18, 2))
    found = Answers(logits, runs, 18).probabilities(mean_of)
    for t in range(18):
        since = 0 if t < 10 else 5
        last = since + (t - (0 if t < 10 else 10)) // 2
        first = since if mean_of is None else max(since, last - mean_of + 1)
        mean = logits[first : last + 1].mean(0)
        np.testing.assert_allclose(found[t], np.exp(mean) / np.exp(mean).sum(), rtol=1e-9)


# --- beside whole clips ---------------------------------------------------------------------------


def test_told_an_actions_start_the_stream_ends_on_the_answer_of_the_whole_clip():
    torch.manual_seed(0)
    cfg = mini(get_config("sthv1", backbone="resnet18", num_classes=5, num_segments=4,
                          shift_direction="unidirectional"))  # fmt: skip
    model = decisive(build_model(cfg), seed=1)
    stream = frames(9 + 12)
    answers = answer_online(OnlineTSM(model), stream, CFG, step=3, resets=[9])
    with torch.no_grad():
        expected = model(clips_of(stream[9::3])).softmax(-1)[0]
    torch.testing.assert_close(
        torch.from_numpy(answers.probabilities(None)[-1]).float(), expected, atol=1e-5, rtol=1e-4
    )


def test_a_full_window_is_the_clip_of_the_last_frames_and_a_new_one_repeats_its_first():
    torch.manual_seed(0)
    model = decisive(build_model(CFG), seed=1)
    stream = frames(24)
    answers = answer_by_window(model, stream, CFG, step=2, resets=[13])
    assert [list(run) for run in answers.runs] == [list(range(0, 13, 2)), list(range(13, 24, 2))]
    entered = np.concatenate(answers.runs)
    for row, t in zip(answers.logits, entered, strict=True):
        since = 0 if t < 13 else 13
        window = [max(since, t - 2 * back) for back in (3, 2, 1, 0)]
        with torch.no_grad():
            expected = model(clips_of(stream[window]))[0]
        torch.testing.assert_close(torch.from_numpy(row).float(), expected, atol=1e-4, rtol=1e-4)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [answer_online, answer_by_window])
def test_what_cannot_be_recognised_is_named(answer):
    network = Counting()
    with pytest.raises(DataError, match="the stream has no frames"):
        answer(network, frames(0), CFG)
    with pytest.raises(DataError, match=re.escape("a reset at frame 5 is outside")):
        answer(network, frames(5), CFG, resets=[2, 5])
    with pytest.raises(DataError, match=re.escape("a reset at frame -1 is outside")):
        answer(network, frames(5), CFG, resets=[-1])
    with pytest.raises(ValueError, match="step=0"):
        answer(network, frames(5), CFG, step=0)


def test_a_mean_needs_an_answer():
    with pytest.raises(ValueError, match="mean_of=0"):
        Answers(np.zeros((1, 2)), (range(1),), 1).probabilities(0)
