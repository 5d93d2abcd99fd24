"""TSM on a stream: one frame in, its logits out, nothing from the future (MIT online_demo).

Between the steps, the stream keeps the channels that the unidirectional shift takes from the
previous frame. A step costs as much as one frame of a clip, and memory does not grow.
"""

import copy
from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor, nn

from ..configs import ConfigError
from ..models.clip_network import ClipMixin, check_normalized
from ..models.inference_runtime import TYPES, Optimized
from ..models.nonlocal_block import NonLocalBlock
from ..models.shift import TemporalShift
from ..models.shift_plan import shifted_channels


class OnlineShift(nn.Module):
    """The unidirectional shift of one layer, a frame at a time.

    `cache` holds the channels of the previous frame, `[N, fold, H, W]` (None: zeros enter), and
    `latest` those of this frame. The stream makes `latest` the cache when all layers are done.
    """

    def __init__(self, shift_div: int):
        super().__init__()
        self.shift_div = shift_div
        self.cache: Tensor | None = None
        self.latest: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Replace the first fold channels of `[N, C, H, W]` by those of the previous frame."""
        out = x.clone()
        self.shift_(out)
        return out

    def shift_(self, x: Tensor) -> Callable[[], None]:
        """Do the same in place, and return a callable that undoes it."""
        fold = shifted_channels(x.shape[1], self.shift_div)
        self.latest = x[:, :fold].clone()  # a slice would keep all of x
        if self.cache is not None and self.cache.shape != self.latest.shape:
            raise ValueError(
                f"the state is from another stream: a cache is {list(self.cache.shape)}, this "
                f"frame needs {list(self.latest.shape)}; reset() begins a new one"
            )
        x[:, :fold] = 0.0 if self.cache is None else self.cache
        return partial(x[:, :fold].copy_, self.latest)


class OnlineTSM:
    """A recognizer as a stream of frames.

    Step by step it gives what `model.frame_logits` gives for a clip of any length. The model is not
    changed: the stream runs a copy of its modules in eval mode. Parameters and buffers are shared,
    not copied, so several streams cost the memory of one, and weights that are loaded or trained
    later count. A model that goes to another device needs a new `OnlineTSM`.

    Args:
        model: a model of `build_model` with `shift_direction=unidirectional`, or without shift; or
            its faster form by `optimize_for_inference`, unless that is `compiled`.

    Raises:
        ConfigError: the model needs other frames than the present and the previous one.
    """

    def __init__(self, model: nn.Module):
        network, self._type = model, None
        if isinstance(model, Optimized):
            network, self._type = model.network, TYPES[model.precision]
        _check_causal(network)
        self.model, self._shifts = _make_streaming_copy(network)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream, of any batch and frame size."""
        self.state = []

    @torch.no_grad()  # not inference_mode: logits and state stay tensors to go on working with
    def step(self, frame: Tensor) -> Tensor:
        """Classify the next frame `[N, C, H, W]`, RGB, normalised: logits `[N, num_classes]`.

        Raises:
            ValueError: another batch or frame size than before; the stream stays where it was.
            TypeError: frames of whole numbers, which are not normalised.
        """
        shape = tuple(frame.shape)
        if frame.ndim != 4:
            raise ValueError(f"a step takes frames [N, C, H, W], not {list(shape)}")
        check_normalized(frame)
        if self._shape not in (None, shape):
            raise ValueError(
                f"the stream has frames {list(self._shape)}, this one is {list(shape)}; reset() "
                "begins a new stream"
            )
        logits = self._compute_logits(frame)
        for shift in self._shifts:
            shift.cache = shift.latest
        self._shape = shape
        return logits

    def _compute_logits(self, frame: Tensor) -> Tensor:
        if self._type is None:
            return self.model.image_logits(frame)
        with torch.autocast(frame.device.type, enabled=False):
            frame = frame.to(self._type, memory_format=torch.channels_last)
            return self.model.image_logits(frame).float()

    @property
    def state(self) -> list[Tensor]:
        """The caches `[N, C // shift_div, H, W]` of the shifted layers, in the network's order.

        The list is empty at the beginning of a stream. A step never writes into these tensors, so
        the list can be kept, in memory or in a file (`torch.save`). Set it, here or in another
        `OnlineTSM` of the same weights, on any device, and the stream goes on from there.
        """
        return [shift.cache for shift in self._shifts if shift.cache is not None]

    @state.setter
    def state(self, caches: list[Tensor]) -> None:
        if len(caches) not in (0, len(self._shifts)):
            raise ValueError(f"the model has {len(self._shifts)} caches, not {len(caches)}")
        for i, shift in enumerate(self._shifts):
            shift.cache, shift.latest = caches[i] if caches else None, None
        self._shape: tuple[int, ...] | None = None  # of the frames; not known from the caches


def _make_streaming_copy(model: nn.Module) -> tuple[nn.Module, list[OnlineShift]]:
    """Copy a model, sharing its tensors, and exchange its shifts; return both, in order."""
    tensors = (*model.parameters(), *model.buffers())
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()
    shifts = []
    for parent, name, shift in list(_find_shifts(copied)):
        shifts.append(OnlineShift(shift.shift_div))
        setattr(parent, name, shifts[-1])
    return copied, shifts


def _find_shifts(model: nn.Module) -> Iterator[tuple[nn.Module, str, TemporalShift]]:
    """Yield the shifts of a model with the module and the attribute that hold them."""
    for parent in model.modules():
        for name, child in parent.named_children():
            if isinstance(child, TemporalShift):
                yield parent, name, child


def _check_causal(model: nn.Module) -> None:
    """Raise `ConfigError` for models that a stream cannot compute as the whole clip does."""
    if isinstance(getattr(model, "_orig_mod", None), ClipMixin):
        raise ConfigError("a stream needs runtime=onednn, folded or eager; this model is compiled")
    if not isinstance(model, ClipMixin):
        raise ConfigError(f"a stream takes a recognizer of build_model, not {type(model).__name__}")
    for _, _, shift in _find_shifts(model):
        if shift.direction != "unidirectional":
            raise ConfigError(
                f"shift_direction={shift.direction} needs the next frame, which a stream does not "
                "have yet; build and train the model with shift_direction=unidirectional"
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
