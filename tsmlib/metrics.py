"""Compute accuracies. Arrays in, numbers out; accuracies in percent.

torch is imported in the functions that use it.
"""

import math

import numpy as np


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int = 1) -> float:
    """Compute the share of videos whose label is among the k highest scores, in percent.

    With fewer than k classes every video counts. `scores` are `[N, K]`, `labels` `[N]`.
    """
    import torch
    from torchmetrics.functional.classification import multiclass_accuracy

    classes = scores.shape[1]
    if classes <= k:
        return 100.0
    scores, labels = torch.from_numpy(np.asarray(scores)), torch.from_numpy(np.asarray(labels))
    return 100 * float(multiclass_accuracy(scores, labels, classes, top_k=k, average="micro"))


def mean_class_accuracy(scores: np.ndarray, labels: np.ndarray, present: bool = False) -> float:
    """Average over classes the share of a class's videos that are recognised, in percent.

    As published (MMAction2 core/evaluation/accuracy.py) the mean is over classes that occur among
    the labels *or the predictions*, so a class that is only predicted counts 0. `present=True`
    takes classes with videos only.
    """
    predicted = np.argmax(scores, axis=1)
    classes = np.unique(labels if present else np.concatenate((labels, predicted)))
    hits = [
        float(np.mean(predicted[labels == c] == c)) if np.any(labels == c) else 0.0 for c in classes
    ]
    return 100 * float(np.mean(hits))


def within_pair_accuracy(scores: np.ndarray, labels: np.ndarray, pairs: np.ndarray) -> float:
    """Compute the accuracy of the choice between a label and its pair; 50 % is chance.

    Args:
        scores: `[N, K]`.
        labels: `[N]`.
        pairs: `[K]`, the other label of each label's pair, -1 for none (such videos are left out).
    """
    other = pairs[labels]
    rows = np.flatnonzero(other >= 0)
    own, rival = scores[rows, labels[rows]], scores[rows, other[rows]]
    return 100 * float(np.mean((own > rival) + 0.5 * (own == rival)))


def standard_error(accuracy: float, num_videos: int) -> float:
    """Compute the binomial standard error over videos of an accuracy, both in percent."""
    p = accuracy / 100
    return 100 * math.sqrt(p * (1 - p) / num_videos)


def average_views(logits, average: str = "prob"):
    """Average a tensor of logits `[N, views, K]` to `[N, K]`, as probabilities or as logits."""
    return (logits.softmax(-1) if average == "prob" else logits).mean(1)


def chosen_metrics(names: str, scores, labels) -> dict[str, float]:
    """Compute the accuracies that a list of names asks for, in percent.

    Args:
        names: blanks or commas between `top_k_accuracy` (top-1 and top-5), `mean_class_accuracy`
            (as published), `mean_class_accuracy_present`.
        scores, labels: `[N, K]` and `[N]`; None only checks the names.

    Raises:
        ValueError: an unknown name.
    """
    known = {
        "top_k_accuracy": lambda: {f"top{k}": top_k_accuracy(scores, labels, k) for k in (1, 5)},
        "mean_class_accuracy": lambda: {"mean_class_accuracy": mean_class_accuracy(scores, labels)},
        "mean_class_accuracy_present": lambda: {
            "mean_class_accuracy_present": mean_class_accuracy(scores, labels, present=True)
        },
    }
    chosen = names.replace(",", " ").split()
    for name in chosen:
        if name not in known:
            raise ValueError(f"there is no metric {name!r}; choose among {', '.join(known)}")
    values: dict[str, float] = {}
    for name in chosen if scores is not None else ():
        values |= known[name]()
    return values


def confusion_matrix(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Count predictions in `[K, K]`: rows are labels, columns predictions."""
    counts = np.zeros((scores.shape[1],) * 2, dtype=int)
    np.add.at(counts, (labels, np.argmax(scores, axis=1)), 1)
    return counts
