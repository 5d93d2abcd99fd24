"""One step of a stream as a pure function: frame and caches in, logits and next caches out.

`OnlineTSM` keeps its caches to itself; a file, or another runtime, has them as inputs and outputs.
"""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..models.shift import TemporalShift
from ..models.shift_plan import shifted_channels
from .streams import OnlineTSM


class StreamStep(nn.Module):
    """Map a frame and the caches of the one before to logits and the caches of this frame.

        logits, *caches = step(frame)  # the first frame of a stream
        logits, *caches = step(frame, *caches)

    Caches are `[N, C // shift_div, H, W]`, in the order of `OnlineTSM.state`; zeros for all of them
    begin a stream as well. Nothing is kept between calls.

    Args:
        model: a model that `OnlineTSM` takes, as `build_model` made it; it is copied.

    Raises:
        ConfigError: the model needs other frames than the present and the previous one.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        OnlineTSM(model)  # which knows what a stream cannot compute
        self.network = copy.deepcopy(model).eval()
        self._memory = _Memory()
        for module in self.network.modules():
            if isinstance(getattr(module, "shift", None), TemporalShift):
                module.shift = _CachedShift(module.shift.shift_div, self._memory)

    def forward(self, frame: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """Classify `[N, 3, H, W]`: logits `[N, num_classes]`, then the caches."""
        self._memory.begin(caches)
        logits = self.network.image_logits(frame)
        return logits, *self._memory.end()

    def zero_caches(self, frame: Tensor) -> list[Tensor]:
        """Make the caches that begin a stream of frames like this one."""
        return [torch.zeros_like(cache) for cache in self(frame)[1:]]


class _Memory:
    """The caches of a step, in the order in which the layers ask for them."""

    def begin(self, caches: tuple[Tensor, ...]) -> None:
        self._before: Iterator[Tensor] | None = iter(caches) if caches else None
        self._after: list[Tensor] = []

    def exchange(self, channels: Tensor) -> Tensor:
        """Keep the channels of this frame, and return those of the previous one."""
        self._after.append(channels.clone())  # a slice would keep all channels
        return torch.zeros_like(channels) if self._before is None else next(self._before)

    def end(self) -> list[Tensor]:
        caches, self._before, self._after = self._after, None, []
        return caches


class _CachedShift(nn.Module):
    """The unidirectional shift of single frames `[N, C, H, W]`."""

    def __init__(self, shift_div: int, memory: _Memory):
        super().__init__()
        self.shift_div, self.memory = shift_div, memory

    def forward(self, x: Tensor) -> Tensor:
        fold = shifted_channels(x.shape[1], self.shift_div)
        return torch.cat((self.memory.exchange(x[:, :fold]), x[:, fold:]), 1)
