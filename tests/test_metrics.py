"""Accuracies against loops over videos, and intervals against known numbers."""

import math

import numpy as np
import pytest
import torch
from scipy.stats import binomtest
from sklearn.metrics import balanced_accuracy_score
from sklearn.metrics import confusion_matrix as sklearn_confusion

from tsmlib.intervals import beside_constant_answer, wilson_interval
from tsmlib.metrics import (
    average_views,
    chosen_metrics,
    confusion_matrix,
    mean_class_accuracy,
    standard_error,
    top_k_accuracy,
    within_pair_accuracy,
)


def example(videos: int = 200, classes: int = 12, seed: int = 0):
    """Scores in which the label is favoured, and labels that leave some classes without videos."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, classes - 3, videos)
    scores = random.normal(size=(videos, classes)).astype(np.float32)
    scores[np.arange(videos), labels] += 1
    return scores, labels


@pytest.mark.parametrize("k", [1, 2, 5, 11])
@pytest.mark.parametrize("seed", [0, 1])
def test_top_k(k, seed):
    scores, labels = example(seed=seed)
    hits = 0
    for row, label in zip(scores, labels, strict=True):
        hits += label in sorted(range(12), key=lambda c: -row[c])[:k]
    assert top_k_accuracy(scores, labels, k) == pytest.approx(100 * hits / 200, abs=1e-4)


def test_top_k_with_few_classes():
    scores, labels = example(classes=4)
    assert top_k_accuracy(scores, labels, 5) == top_k_accuracy(scores, labels, 4) == 100
    assert top_k_accuracy(scores, labels, 1) < 100


def slow_mean_class(scores, labels, present: bool) -> float:
    predicted = [max(range(len(row)), key=lambda c: row[c]) for row in scores]
    shares = []
    for c in range(scores.shape[1]):
        videos = [p for p, label in zip(predicted, labels, strict=True) if label == c]
        if videos:
            shares.append(sum(p == c for p in videos) / len(videos))
        elif c in predicted and not present:
            shares.append(0.0)
    return 100 * sum(shares) / len(shares)


@pytest.mark.parametrize("present", [False, True])
@pytest.mark.parametrize("seed", [0, 1])
def test_mean_class_accuracy(seed, present):
    scores, labels = example(seed=seed)
    expected = slow_mean_class(scores, labels, present)
    assert mean_class_accuracy(scores, labels, present) == pytest.approx(expected)
    assert slow_mean_class(scores, labels, True) > slow_mean_class(scores, labels, False)


def test_a_class_that_is_only_predicted_counts_zero():
    scores, labels = np.eye(3)[[0, 0, 1, 2]], np.array([0, 0, 1, 1])
    assert mean_class_accuracy(scores, labels) == pytest.approx((100 + 50 + 0) / 3)
    assert mean_class_accuracy(scores, labels, present=True) == pytest.approx(75)


@pytest.mark.filterwarnings("ignore:y_pred contains classes not in y_true")
def test_mean_over_present_classes_is_sklearns():
    scores, labels = example()
    expected = 100 * balanced_accuracy_score(labels, scores.argmax(1))
    assert mean_class_accuracy(scores, labels, present=True) == pytest.approx(expected)


def test_within_pair():
    scores, labels = example()
    pairs = np.array([1, 0, 3, 2, 5, 4, -1, -1, -1, -1, -1, -1])
    points, counted = 0.0, 0
    for row, label in zip(scores, labels, strict=True):
        if pairs[label] >= 0:
            own, rival = row[label], row[pairs[label]]
            points += 1 if own > rival else 0.5 if own == rival else 0
            counted += 1
    assert 0 < counted < 200
    found = within_pair_accuracy(scores, labels, pairs)
    assert found == pytest.approx(100 * points / counted)


def test_within_pair_by_hand():
    pairs = np.array([1, 0, -1])
    scores = np.array([[0.2, 0.1, 0.9], [0.3, 0.3, 0.0], [0.5, 0.1, 0.0], [0.0, 0.0, 1.0]])
    # right although a third class wins; undecided; wrong; no pair
    assert within_pair_accuracy(scores, np.array([0, 0, 1, 2]), pairs) == pytest.approx(50)
    assert within_pair_accuracy(scores[:1], np.array([0]), pairs) == 100


def test_standard_error():
    # notes of the study: two accuracies on 11,522 videos differ with about 0.66 points
    assert standard_error(45.58, 11522) * math.sqrt(2) == pytest.approx(0.66, abs=0.005)
    draws = np.random.default_rng(0).binomial(400, 0.3, 20000) / 4
    assert standard_error(30, 400) == pytest.approx(draws.std(), rel=0.02)


@pytest.mark.parametrize(("hits", "videos"), [(0, 10), (1, 10), (10, 10), (37, 90), (5252, 11522)])
def test_wilson_interval(hits, videos):
    expected = binomtest(hits, videos).proportion_ci(0.95, method="wilson")
    found = wilson_interval(100 * hits / videos, videos)
    assert found == pytest.approx((100 * expected.low, 100 * expected.high), abs=2e-3)
    assert 0 <= found[0] <= 100 * hits / videos <= found[1] <= 100


def test_wilson_interval_by_hand():
    # 8 of 10: (0.8 + z2/20 -+ z sqrt(0.016 + z2/400)) / (1 + z2/10), z2 = 3.8416
    assert wilson_interval(80, 10) == pytest.approx((49.016, 94.332), abs=1e-3)


def test_average_views():
    logits = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(0))
    by_prob, by_score = average_views(logits, "prob"), average_views(logits, "score")
    for n in range(3):
        shares, mean = np.zeros(5), np.zeros(5)
        for view in logits[n].double().numpy():
            shares += np.exp(view) / np.exp(view).sum() / 4
            mean += view / 4
        np.testing.assert_allclose(by_prob[n], shares, atol=1e-6)
        np.testing.assert_allclose(by_score[n], mean, atol=1e-6)


def test_views_may_be_averaged_either_way():
    """One certain view against two that lean the other way: the two means differ."""
    logits = torch.tensor([[[9.0, 0.0], [0.0, 1.5], [0.0, 1.5]]])
    assert average_views(logits, "prob").argmax() == 1
    assert average_views(logits, "score").argmax() == 0


def test_chosen_metrics():
    scores, labels = example()
    top = {f"top{k}": top_k_accuracy(scores, labels, k) for k in (1, 5)}
    mean = {"mean_class_accuracy": mean_class_accuracy(scores, labels)}
    present = {"mean_class_accuracy_present": mean_class_accuracy(scores, labels, True)}
    assert chosen_metrics("top_k_accuracy", scores, labels) == top
    for names in ("mean_class_accuracy,top_k_accuracy", "mean_class_accuracy  top_k_accuracy"):
        assert chosen_metrics(names, scores, labels) == {**top, **mean}
    assert chosen_metrics("mean_class_accuracy_present", scores, labels) == present
    assert len({*mean.values(), *present.values()}) == 2


def test_unknown_metric_is_named_before_any_work():
    with pytest.raises(ValueError, match="no metric 'top_1'; choose among top_k_accuracy"):
        chosen_metrics("top_k_accuracy, top_1", None, None)
    assert chosen_metrics("top_k_accuracy mean_class_accuracy", None, None) == {}


def test_confusion_matrix():
    scores, labels = example()
    expected = sklearn_confusion(labels, scores.argmax(1), labels=range(12))
    np.testing.assert_array_equal(confusion_matrix(scores, labels), expected)


def test_an_accuracy_beside_a_constant_answer():
    labels = np.array([0] * 60 + [1] * 40)
    text = beside_constant_answer(np.eye(3)[labels], labels, ("up", "down", "still"))
    assert text.startswith("Top-1 is 100.0 % of 100 videos (95 % interval 96.3 to 100.0).")
    assert "Chance is 33.3 %" in text and "'up', the most frequent class, gives 60.0 %" in text
    assert "NO BETTER" not in text
    assert "The mean of the classes is 100.0 %." in text
    balanced = beside_constant_answer(np.eye(2)[labels[50:70]], labels[50:70], ("up", "down"))
    assert "mean of the classes" not in balanced
    people = beside_constant_answer(np.eye(3)[labels], labels, ("up", "down", "still"), labels)
    assert "100 videos (95 % interval over 2 groups 15.8 to 100.0)" in people
    constant = beside_constant_answer(np.eye(3)[0 * labels], labels, ("up", "down", "still"))
    assert "Top-1 is 60.0 %" in constant and "THIS IS NO BETTER than such an answer" in constant
