"""TSM on a stream: one frame in, its logits out, nothing from the future (MIT online_demo).

Between the steps, the stream keeps the channels that the unidirectional shift takes from the
previous frame. A step costs as much as one frame of a clip, and memory does not grow.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from ..models.clip_network import check_normalized
from ..models.inference_runtime import TYPES, Optimized, compile_network
from ..models.shift_plan import shifted_channels
from ..models.shifted_conv import ShiftedConv2d
from .smoothing import check_streams
from .stream_step import StreamStep, copy_for_streaming


class OnlineTSM:
    """A recognizer as a stream of frames, or as several streams side by side in a batch.

    Step by step it gives what `model.frame_logits` gives for a clip of any length. The model is not
    changed: the stream runs a copy of its modules in eval mode. Parameters and buffers are shared,
    not copied, so several streams cost the memory of one, and weights that are loaded or trained
    later count. A model that goes to another device needs a new `OnlineTSM`.

    Frames are RGB, normalised as in training. So they are for the weights of the published
    streaming demo, which itself passes on the frames of OpenCV as they come, in BGR (MIT
    online_demo/main.py): with RGB the answers are others than it shows.

    Args:
        model: a model of `build_model` with `shift_direction=unidirectional`, or without shift; or
            its faster form by `optimize_for_inference`. `fast_streams.optimize_stream` makes and
            chooses the form for streams.

    Attributes:
        runtime: the form of the model, see `optimize_for_inference`.
        difference, milliseconds: what `optimize_stream` has measured.

    Raises:
        ConfigError: the model needs other frames than the present and the previous one.
    """

    def __init__(self, model: nn.Module):
        network, self.runtime, self._type = model, "eager", None
        if isinstance(model, Optimized):
            network, self.runtime, self._type = model.network, model.runtime, TYPES[model.precision]
        if self.runtime == "compiled":
            self._plain_step = StreamStep(network._orig_mod)
            self._step = compile_network(self._plain_step)
        else:
            self._plain_step = self._step = InPlaceStep(network)
        self.model = self._plain_step.network
        self.difference, self.milliseconds = 0.0, {}
        self.reset()

    def reset(self, streams: Sequence[int] | None = None) -> None:
        """Begin all streams anew, or only some of the batch.

        Args:
            streams: numbers of streams in the batch. Their caches become zeros, and the other
                streams go on as before. None: all begin anew, in a batch and with frames of any
                size.

        Raises:
            ValueError: the batch has no such stream.
        """
        if streams is None:
            self.state = []
        elif self._caches:  # else no stream has begun, or none needs a memory
            chosen = check_streams(streams, len(self._caches[0]))
            for cache in self._caches:
                cache[chosen] = 0

    @torch.inference_mode(False)  # later steps, outside of it, write into the caches
    @torch.no_grad()
    def step(self, frame: Tensor) -> Tensor:
        """Classify the next frame `[N, C, H, W]`, RGB, normalised: logits `[N, num_classes]`.

        Raises:
            ValueError: frames of another number, size, type or device than before; the stream
                stays where it was.
            TypeError: frames of whole numbers, which are not normalised.
        """
        if frame.ndim != 4:
            raise ValueError(f"a step takes frames [N, C, H, W], not {list(frame.shape)}")
        check_normalized(frame)
        kind = frame.shape, frame.dtype, frame.device
        if self._kind not in (None, kind):
            raise ValueError(
                f"the stream has frames {_describe(*self._kind)}, this one is {_describe(*kind)}; "
                "reset() begins a new stream"
            )
        caches = self._caches if self._kind else self._first_caches(frame)
        logits, self._caches = self._advance(self._step, frame, caches)
        self._kind = kind
        return logits

    def _first_caches(self, frame: Tensor) -> list[Tensor]:
        """Make the caches that the first frame here meets: zeros, or the state that was set.

        Raises:
            ValueError: the state has other shapes than this frame needs.
        """
        _, caches = self._advance(self._plain_step, frame, [])
        first = [torch.zeros_like(cache) for cache in caches]
        for cache, given in zip(first, self._caches, strict=False):
            if given.shape != cache.shape:
                raise ValueError(
                    f"the state is from another stream: a cache is {list(given.shape)}, this "
                    f"frame needs {list(cache.shape)}; reset() begins a new one"
                )
            cache.copy_(given)
        return first

    def _advance(
        self, step: nn.Module, frame: Tensor, caches: list[Tensor]
    ) -> tuple[Tensor, list[Tensor]]:
        if self._type is None:
            logits, *caches = step(frame, *caches)
            return logits, caches
        with torch.autocast(frame.device.type, enabled=False):
            frame = frame.to(self._type, memory_format=torch.channels_last)
            logits, *caches = step(frame, *caches)
            return logits.float(), caches

    @property
    def state(self) -> list[Tensor]:
        """Copies of the caches `[N, C // shift_div, H, W]` of the shifted layers.

        They are in the network's order; C, H and W are those of the layer's input. The list is
        empty at the beginning of a stream, and can be kept, in memory or in a file (`torch.save`).
        Set it, here or in another `OnlineTSM` of the same weights, on any device, and the stream
        goes on from there.
        """
        return [cache.clone() for cache in self._caches]

    @state.setter
    def state(self, caches: list[Tensor]) -> None:
        if caches and len(caches) != self._plain_step.count:
            raise ValueError(f"the model has {self._plain_step.count} caches, not {len(caches)}")
        self._caches = [cache.clone() for cache in caches]
        # shape, type and device of the frames; not known from the caches
        self._kind: tuple[torch.Size, torch.dtype, torch.device] | None = None


def _describe(shape: torch.Size, kind: torch.dtype, device: torch.device) -> str:
    return f"{list(shape)} ({str(kind).removeprefix('torch.')}, {device})"


class InPlaceStep(nn.Module):
    """`StreamStep` without copies of all channels: the shifts write into the features and back.

    Caches are double-buffered: a step writes over those of two frames ago, so none is allocated
    from the third frame on.
    """

    def __init__(self, model: nn.Module):
        super().__init__()
        self.network, places = copy_for_streaming(model)
        self._buffers = [_Buffers() for _ in places]
        for (parent, name, shift), buffers in zip(places, self._buffers, strict=True):
            setattr(parent, name, _InPlaceShift(shift.shift_div, buffers))
            if type(parent) is ShiftedConv2d:
                parent.__class__ = _StreamedConv2d
        self.count = len(places)

    def forward(self, frame: Tensor, *caches: Tensor) -> tuple[Tensor, ...]:
        """Classify `[N, C, H, W]`: logits `[N, num_classes]`, then the caches."""
        for i, buffers in enumerate(self._buffers):
            buffers.cache = caches[i] if caches else None
            if not caches:  # a new stream, perhaps of another size
                buffers.latest = None
        logits = self.network.image_logits(frame)
        for buffers in self._buffers:
            buffers.cache, buffers.latest = buffers.latest, buffers.cache
        return logits, *(buffers.cache for buffers in self._buffers)


@dataclass(slots=True)
class _Buffers:
    """The two buffers of a layer; not in its module, which takes long to set an attribute."""

    cache: Tensor | None = None  # channels of the previous frame, [N, fold, H, W]; None: zeros
    latest: Tensor | None = None  # receives those of this frame


class _InPlaceShift(nn.Module):
    """The unidirectional shift of one layer, a frame at a time."""

    def __init__(self, shift_div: int, buffers: _Buffers):
        super().__init__()
        self.shift_div, self.buffers = shift_div, buffers

    def forward(self, x: Tensor) -> Tensor:
        """Replace the first fold channels of `[N, C, H, W]` by those of the previous frame."""
        out = x.clone()
        self.shift_(out)
        return out

    def shift_(self, x: Tensor) -> Callable[[], None]:
        """Do the same in place, and return a callable that undoes it."""
        fold, buffers = x.narrow(1, 0, shifted_channels(x.shape[1], self.shift_div)), self.buffers
        if buffers.latest is None:
            buffers.latest = torch.empty_like(fold)
        buffers.latest.copy_(fold)
        if buffers.cache is None:
            fold.zero_()
        else:
            fold.copy_(buffers.cache)
        return partial(fold.copy_, buffers.latest)


class _StreamedConv2d(ShiftedConv2d):
    """A shifted convolution whose input is shifted in place and back, instead of copied."""

    def forward(self, x: Tensor) -> Tensor:
        undo = self.shift.shift_(x)
        try:
            return nn.Conv2d.forward(self, x)
        finally:
            undo()
