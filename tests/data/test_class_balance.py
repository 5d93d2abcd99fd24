"""Weights of classes and balanced sampling against scikit-learn, torch and counting."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.utils.class_weight import compute_class_weight

from tsmlib import get_config
from tsmlib.data.annotations import VideoEntry, VideoList
from tsmlib.data.class_balance import balanced_order, balanced_weights
from tsmlib.data.loader import ClipDataset, EpochSampler, make_loader

LABELS = [0] * 60 + [1] * 25 + [3] * 5  # no video of class 2


def test_weights_are_those_of_scikit_learn():
    weights = balanced_weights(LABELS, 5)
    expected = compute_class_weight("balanced", classes=np.array([0, 1, 3]), y=np.array(LABELS))
    assert weights[[0, 1, 3]].tolist() == pytest.approx(expected)
    assert weights[[2, 4]].tolist() == [0, 0]
    assert weights[LABELS].mean() == pytest.approx(1)  # the loss keeps its size


def test_classes_of_any_size_weigh_as_much():
    logits = torch.zeros(len(LABELS), 5)  # the same loss for every video
    losses = F.cross_entropy(
        logits, torch.tensor(LABELS), balanced_weights(LABELS, 5), reduction="none"
    )
    sums = torch.zeros(5).index_add(0, torch.tensor(LABELS), losses)
    assert sums[[0, 1, 3]].tolist() == pytest.approx([sums[0].item()] * 3)


def test_every_class_is_drawn_as_often():
    labels = torch.tensor(LABELS * 100)
    order = balanced_order(labels, torch.Generator().manual_seed(0))
    drawn = torch.bincount(labels[order], minlength=4) / len(labels)
    assert drawn[[0, 1, 3]].tolist() == pytest.approx([1 / 3] * 3, abs=0.02)


def test_a_video_that_is_drawn_again_is_another_clip_of_the_same_epochs():
    sampler = EpochSampler(len(LABELS), 8, True, 3, 0, 1, LABELS)
    sampler.start(2)
    keys = [key for batch in sampler for key in batch]
    assert len(keys) == len({*keys}) == len(LABELS)
    assert len({position for _, position in keys}) < len(LABELS)
    assert keys == [key for batch in sampler for key in batch]
    sampler.start(2, first_batch=4)
    assert [key for batch in sampler for key in batch] == keys[32:]
    halves = [EpochSampler(len(LABELS), 4, True, 3, rank, 2, LABELS) for rank in (0, 1)]
    for half in halves:
        half.start(2)
    together = [key for pair in zip(*halves, strict=True) for part in pair for key in part]
    assert together == keys


def test_the_field_is_for_training_alone(tmp_path):
    entries = [VideoEntry("a", 9, label) for label in LABELS]
    videos = VideoList(tmp_path, "", "video", tmp_path, entries)
    for balanced in (True, False):
        dataset = ClipDataset(videos, get_config("few_clips", balanced_sampling=balanced))
        drawn = make_loader(dataset, 4, 0, shuffle=True).batch_sampler.labels
        assert drawn == (LABELS if balanced else None)
        assert make_loader(dataset, 4, 0).batch_sampler.labels is None
