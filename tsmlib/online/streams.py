"""TSM on a stream: one frame in, its logits out, nothing from the future (MIT online_demo).

What the unidirectional shift takes from the frame before is kept between the steps, so a step costs
what one frame costs, and memory does not grow.
"""

import copy

import torch
from torch import Tensor, nn

from ..configs import ConfigError
from ..models.clip_network import ClipMixin
from ..models.nonlocal_block import NonLocalBlock
from ..models.shift import TemporalShift
from ..models.shift_plan import shifted_channels


class OnlineShift(nn.Module):
    """The unidirectional shift of one layer, a frame at a time.

    `cache` is what the frame before left, `[N, fold, H, W]` (None: zeros enter), `latest` what this
    frame leaves; the stream makes it the cache when all layers are done.
    """

    def __init__(self, shift_div: int):
        super().__init__()
        self.shift_div = shift_div
        self.cache: Tensor | None = None
        self.latest: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        """`[N, C, H, W]` of this frame; its first fold channels become those of the one before."""
        fold = shifted_channels(x.shape[1], self.shift_div)
        self.latest = x[:, :fold].clone()  # a slice would keep all of x
        if self.cache is not None and self.cache.shape != self.latest.shape:
            raise ValueError(
                f"the state is of another stream: a cache is {list(self.cache.shape)}, this frame "
                f"needs {list(self.latest.shape)}; reset() begins a new one"
            )
        out = x.clone()
        out[:, :fold] = 0.0 if self.cache is None else self.cache
        return out


class OnlineTSM:
    """A recognizer as a stream of frames.

    Step by step it gives what `model.frame_logits` gives for a clip of any length. The model is not
    changed: the stream runs a copy of its modules in eval mode. Parameters and buffers are shared,
    not copied, so several streams cost the memory of one, and weights that are loaded or trained
    later count. A model that goes to another device needs a new `OnlineTSM`.

    Args:
        model: of `build_model`, with `shift_direction=unidirectional`, or without shift.

    Raises:
        ConfigError: a model that needs other frames than this one and the one before.
    """

    def __init__(self, model: nn.Module):
        _check_causal(model)
        self._model, self._shifts = _streaming_copy(model)
        self.reset()

    def reset(self) -> None:
        """Begin a new stream, of any batch and frame size."""
        self.state = []

    @torch.no_grad()  # not inference_mode: logits and state stay tensors to go on working with
    def step(self, frame: Tensor) -> Tensor:
        """Logits `[N, num_classes]` of the next frame `[N, C, H, W]`, RGB, normalised.

        Raises:
            ValueError: another batch or frame size than before; the stream is then where it was.
        """
        shape = tuple(frame.shape)
        if frame.ndim != 4:
            raise ValueError(f"a step takes frames [N, C, H, W], not {list(shape)}")
        if self._shape not in (None, shape):
            raise ValueError(
                f"the stream has frames {list(self._shape)}, this one is {list(shape)}; reset() "
                "begins a new stream"
            )
        logits = self._model.image_logits(frame)
        for shift in self._shifts:
            shift.cache = shift.latest
        self._shape = shape
        return logits

    @property
    def state(self) -> list[Tensor]:
        """The caches `[N, C // shift_div, H, W]` of the shifted layers, in the network's order.

        It is empty at the beginning of a stream. A step never writes into these tensors, so a list
        that was read stays what it is, in memory or in a file (`torch.save`); set it, here or in
        another `OnlineTSM` of the same weights, on any device, and the stream goes on from there.
        """
        return [shift.cache for shift in self._shifts if shift.cache is not None]

    @state.setter
    def state(self, caches: list[Tensor]) -> None:
        if len(caches) not in (0, len(self._shifts)):
            raise ValueError(f"the model has {len(self._shifts)} caches, not {len(caches)}")
        for i, shift in enumerate(self._shifts):
            shift.cache, shift.latest = caches[i] if caches else None, None
        self._shape: tuple[int, ...] | None = None  # of the frames; not known from the caches


def _streaming_copy(model: nn.Module) -> tuple[nn.Module, list[OnlineShift]]:
    """A copy with shared tensors and an `OnlineShift` for each shift, and these in order."""
    tensors = (*model.parameters(), *model.buffers())
    copied = copy.deepcopy(model, {id(tensor): tensor for tensor in tensors}).eval()
    shifts = []
    for module in _shifted(copied):
        module.shift = OnlineShift(module.shift.shift_div)  # the hook calls what it finds there
        shifts.append(module.shift)
    return copied, shifts


def _shifted(model: nn.Module) -> list[nn.Module]:
    return [m for m in model.modules() if isinstance(getattr(m, "shift", None), TemporalShift)]


def _check_causal(model: nn.Module) -> None:
    """Raise `ConfigError` for what a stream cannot compute as the whole clip does."""
    if not isinstance(model, ClipMixin):
        raise ConfigError(f"a stream takes a recognizer of build_model, not {type(model).__name__}")
    for module in _shifted(model):
        direction, padding = module.shift.direction, module.shift.padding
        if direction != "unidirectional":
            raise ConfigError(
                f"shift_direction={direction} needs the next frame, which a stream does not have "
                "yet; build and train the model with shift_direction=unidirectional"
            )
        if padding != "zero":
            raise ConfigError(
                f"shift_padding={padding}: a stream begins with zeros; choose shift_padding=zero"
            )
    if any(isinstance(module, NonLocalBlock) for module in model.modules()):
        raise ConfigError("non_local blocks see all frames of a clip; choose non_local=none")
    if any(getattr(module, "temporal_pool", False) for module in model.modules()):
        raise ConfigError("temporal_pool needs the next frame; choose temporal_pool=False")
