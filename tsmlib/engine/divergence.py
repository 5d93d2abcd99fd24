"""Stop a training whose loss or gradients are not finite, before any of it is written."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..paths import display_path
from .fabric import Fabric

SHOWN = 8  # videos that a message names


class DivergedError(RuntimeError):
    """A training whose numbers are no longer finite; the message says where, and how to go on."""


def find_divergence(fabric: Fabric, norm: Tensor, loss: Tensor) -> str:
    """Say what of a step is not finite; '' if all is.

    In fp16 a gradient may overflow: the step is then left out, and the loss scaled less. A scale
    below 1 has nothing to do with fp16 any more.

    Args:
        fabric: it knows the scale.
        norm: of the gradient, over all parameters and processes.
        loss: summed over the batches of this process until now.
    """
    if norm.isfinite() & loss.isfinite():  # the one sync of a step with its device
        return ""
    if not loss.isfinite():
        return f"the loss is {loss.item()}"
    scaler = getattr(fabric.strategy.precision, "scaler", None)
    if scaler is not None and scaler.get_scale() >= 1:
        return ""
    return f"the norm of the gradient is {norm.item()}"


def describe_step(problem: str, step: str, lr: float, videos: Sequence[str], last: Path) -> str:
    """Make the message of a `DivergedError`.

    Args:
        problem: what is not finite.
        step: where, in words.
        lr: the learning rate of the step.
        videos: paths of the step's videos.
        last: the last checkpoint, which may not be there.
    """
    names = ", ".join(videos[:SHOWN])
    names += f" and {len(videos) - SHOWN} more" if len(videos) > SHOWN else ""
    return (
        f"the training diverged: {problem} in {step}, at a learning rate of {lr:g}, "
        f"on {names or 'no readable video'}; {advise(last)}"
    )


def advise(last: Path) -> str:
    """Say how to go on after a training has diverged."""
    if not last.is_file():
        return "nothing was saved yet: start again with a smaller lr"
    file = display_path(last)
    return f"{file} is from before it: go on from there with a smaller lr and resume={file}"
