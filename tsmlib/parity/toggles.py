"""A pitfall of implementing TSM, and how it is toggled in an evaluation."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, NamedTuple

from torch import nn

Toggle = Callable[[nn.Module], AbstractContextManager]


def change_nothing(model: nn.Module) -> AbstractContextManager:
    """The toggle of a pitfall that exchanges no function."""
    return nullcontext()


class Pitfall(NamedTuple):
    """A known difference between implementations."""

    kind: str  # decoder, pixels, frames, network, classes or views
    name: str
    explanation: str
    toggle: Toggle = change_nothing
    precision: str = "32-true"
    batch_size: int | None = None  # videos that go through the network at once; None: what fits
    average: str | None = None  # of the views: `prob` or `score`; None: as the row says
    label_permutation: list[int] | None = None  # label read from each output; None: its own
    many_views: bool = False  # needs a protocol of several views

    @property
    def changes_logits(self) -> bool:
        """Whether the network has to be evaluated anew."""
        return not (self.label_permutation or self.average)

    @property
    def changes_clips(self) -> bool:
        """Whether the network may get other clips than the published pipeline gives it."""
        return self.kind in ("decoder", "pixels", "frames", "views")


BASELINE = Pitfall("", "none", "the published pipeline")


def exchange(owner: Any, name: str, function: Callable) -> Toggle:
    """Make a toggle: `owner.name` is `function`, which gets the original as its first argument."""

    @contextmanager
    def toggle(model: nn.Module) -> Iterator[None]:
        original = getattr(owner, name)

        def exchanged(*args, **options):  # a function, as a method has to be one
            return function(original, *args, **options)

        setattr(owner, name, exchanged)
        try:
            yield
        finally:
            setattr(owner, name, original)

    return toggle
