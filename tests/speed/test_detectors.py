"""The steps of detectors, with shift and without, that are timed."""

import torch

from tsmlib.detection.recipes import get_recipe, mini
from tsmlib.speed.detectors import PLAIN, SHIFTED, detector_steps


def test_both_see_the_same_frame_and_the_shift_alone_remembers():
    cfg = get_recipe("vid_r101", class_names=("dog", "cat"), width=0.125, min_size=32, max_size=48)
    steps = detector_steps(mini(cfg), (32, 40))
    first = {name: step()[0]["scores"] for name, step in steps.items()}
    second = {name: step()[0]["scores"] for name, step in steps.items()}
    assert torch.equal(first[PLAIN], second[PLAIN])
    assert first[SHIFTED].tolist() != second[SHIFTED].tolist()
