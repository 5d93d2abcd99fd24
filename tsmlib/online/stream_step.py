"""One step of a stream as a pure function: a frame and caches in, logits and next caches out."""

import copy
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from ..configs import ConfigError
from ..models.nonlocal_block import NonLocalBlock
from ..models.shift import TemporalShift
from ..models.shift_plan import shifted_channels


class StreamStep(nn.Module):
    """Map a frame and the caches of the previous one to logits and the caches of this frame.

        logits, *caches = step(frame)  # the first frame of a stream
        logits, *caches = step(frame, *caches)

    Caches are `[N, C // shift_div, H, W]`, one per shifted layer, in the network's order; zeros
    begin a stream as well. Nothing is kept between calls and no input is written to, so that
    compilers and exporters can follow.

    Args:
        model: a unidirectional model of `build_model`, or one without shift. It is not changed:
            parameters and buffers are shared with a copy of its modules.

    Raises:
        ConfigError: the model needs other frames than the present and the previous one.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.network, places = copy_for_streaming(model)
        self._memory = _Memory()
        for parent, name, shift in places:
            setattr(parent, name, _CachedShift(shift.shift_div, self._memory))
        self.count = len(places)  # caches

    def forward(self, frame: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """Classify `[N, C, H, W]`: logits `[N, num_classes]`, then the caches."""
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
        # a slice would keep all channels; one memory format, whatever the compiler prefers
        self._after.append(channels.clone(memory_format=torch.channels_last))
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


# --- models that can be streamed ------------------------------------------------------------------


def copy_for_streaming(
    model: nn.Module,
) -> tuple[nn.Module, list[tuple[nn.Module, str, TemporalShift]]]:
    """Copy a model in eval mode, sharing its tensors.

    Returns:
        The copy, and its shifts in order, with the module and the attribute that hold each.

    Raises:
        ConfigError: the model needs other frames than the present and the previous one.
    """
    check_causal(model)
    tensors = (*model.parameters(), *model.buffers())
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()
    return copied, list(_find_shifts(copied))


def check_causal(model: nn.Module) -> None:
    """Raise `ConfigError` for models that a stream cannot compute as the whole clip does."""
    if not hasattr(model, "image_logits"):
        kinds = "a recognizer of build_model, or a detector of build_detector"
        raise ConfigError(f"a stream takes {kinds}, not {type(model).__name__}")
    for _, _, shift in _find_shifts(model):
        if shift.direction != "unidirectional":
            raise ConfigError(
                f"shift_direction={shift.direction} needs the next frame, which a stream does not "
                "have yet; train with shift_direction=unidirectional, or a row that has it, as "
                "sthv1_online or jester_online_mobilenetv2"
            )
        if shift.padding != "zero":
            raise ConfigError(
                f"shift_padding={shift.padding}: a stream begins with zeros; "
                "choose shift_padding=zero"
            )
    if any(isinstance(module, NonLocalBlock) for module in model.modules()):
        raise ConfigError("non_local blocks see all frames of a clip; choose non_local=none")
    if any(getattr(module, "temporal_pool", False) for module in model.modules()):
        raise ConfigError("temporal_pool needs the next frame; choose temporal_pool=False")


def _find_shifts(model: nn.Module) -> Iterator[tuple[nn.Module, str, TemporalShift]]:
    """Yield the shifts of a model with the module and the attribute that hold them."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, TemporalShift):
                yield parent, name, child
