"""The truth of a stream: frames and labels, its file, and what cannot be."""

import re

import numpy as np
import pytest

from tsmlib import DataError
from tsmlib.online.truth import NO_CLASS, Action, StreamTruth

NAMES = ("up", "down", "turn, slowly")


def truth(*actions, num_frames: int = 40, fps: float = 12) -> StreamTruth:
    return StreamTruth(tuple(Action(*a) for a in actions), num_frames, NAMES, fps)


def test_each_frame_has_one_label():
    labels = truth((3, 10, 2), (10, 12, 0), (30, 40, 1)).labels
    for t, label in enumerate(labels):
        inside = {2: 3 <= t < 10, 0: 10 <= t < 12, 1: 30 <= t < 40}
        assert [k for k, holds in inside.items() if holds] == ([] if label == NO_CLASS else [label])
    assert labels.dtype == np.int64 and len(labels) == 40


def test_a_stream_lasts_as_long_as_its_frames():
    assert truth(num_frames=1440, fps=12).minutes == 2


def test_extended_actions_end_where_the_next_begins_or_the_stream_does():
    longer = truth((3, 10, 2), (12, 20, 0), (30, 38, 1)).extend(4)
    assert longer.actions == ((3, 12, 2), (12, 24, 0), (30, 40, 1))


def test_a_truth_is_written_as_a_table(tmp_path):
    written = truth((3, 10, 2), (10, 12, 0))
    written.write(tmp_path / "stream.csv")
    lines = (tmp_path / "stream.csv").read_text().splitlines()
    assert lines[:2] == ["start_frame,end_frame,label,class_name", '3,10,2,"turn, slowly"']
    assert len(lines) == 3


@pytest.mark.parametrize(
    ("actions", "sentence"),
    [
        ([(3, 10, 0), (9, 12, 1)], "frames 9 to 12 (label 1) begins before the action of frames 3"),
        ([(20, 30, 0), (3, 10, 1)], "frames 3 to 10 (label 1) begins before the action of frames"),
        ([(3, 41, 0)], "frames 3 to 41 (label 0) does not lie in a stream of 40 frames"),
        ([(-1, 4, 0)], "frames -1 to 4 (label 0) does not lie"),
        ([(5, 5, 0)], "frames 5 to 5 (label 0) does not lie"),
        ([(5, 6, 3)], "label out of range for 3 classes (0 to 2)"),
        ([(5, 6, -1)], "label out of range"),
    ],
)
def test_impossible_actions_are_named(actions, sentence):
    with pytest.raises(DataError, match=re.escape(sentence)):
        truth(*actions)


@pytest.mark.parametrize("fields", [{"num_frames": 0}, {"fps": 0}])
def test_a_stream_without_frames_has_no_truth(fields):
    with pytest.raises(DataError, match="cannot be scored"):
        truth(**fields)
