"""Unbalanced classes: weights for the loss, or an order that draws them equally often.

Either makes a rare class count as much as a frequent one. Weights change the gradients and leave
the videos as they are; balanced sampling shows the few videos of a rare class more often.
"""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor

from ..configs import Config


def balanced_weights(labels: Sequence[int], num_classes: int) -> Tensor:
    """Compute float `[num_classes]` weights of the classes, whose mean over the videos is 1.

    A class with n of N videos weighs N / (K n), where K classes have videos (scikit-learn's
    `class_weight="balanced"`, after King & Zeng 2001). A class without videos weighs 0.
    """
    counts = torch.bincount(torch.as_tensor(labels), minlength=num_classes)
    weights = len(labels) / (counts.count_nonzero() * counts)
    return torch.where(counts > 0, weights, 0)


def loss_weights(cfg: Config, labels: Sequence[int]) -> Tensor | None:
    """Return the weights of the classes in the loss, `[num_classes]`; None: all count as one."""
    return balanced_weights(labels, cfg.num_classes) if cfg.class_weights else None


def balanced_order(labels: Sequence[int], generator: Generator) -> Tensor:
    """Draw as many positions as there are labels, with replacement: all classes equally often."""
    labels = torch.as_tensor(labels)
    share = 1 / torch.bincount(labels).to(torch.float64)
    return torch.multinomial(share[labels], len(labels), replacement=True, generator=generator)
