"""Faster forms of a trained model, which compute the same function."""

import copy
import importlib.util
import logging

import torch
from torch import Tensor, nn

from ..configs import ConfigError
from .onednn import can_be_packed, fold_batch_norms, pack
from .recognizer import channels_last

log = logging.getLogger(__name__)

RUNTIMES = ("auto", "eager", "folded", "onednn", "compiled")
TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
# largest difference of a logit, in standard deviations of the logits; bf16 keeps 8 bits
TOLERANCE = {"32-true": 1e-3, "bf16-mixed": 0.15, "16-mixed": 0.03}
SIZE = 64  # pixels of the random clip that outputs are compared on


class RuntimeFailed(RuntimeError):
    """A form of a model that cannot be made, or does not compute the same."""


def optimize_for_inference(
    model: nn.Module, precision: str = "32-true", runtime: str = "auto"
) -> "Optimized":
    """A copy of a model that computes the same logits faster; the model stays as it is.

    Batch norms are folded into the convolutions, and tensors are channels-last in memory. Then

    - `onednn` (CPUs): weights laid out for oneDNN, with additions and activations in the same pass;
    - `compiled`: torch.compile with frozen weights. The first call of each size takes a minute;
    - `folded`: nothing more; `eager`: not even that, the plain model in channels-last.

    `auto` is `onednn` on CPUs and `compiled` on GPUs, where they exist, else `folded`.

    Args:
        model: what `build_model` returns, on its device.
        precision: `32-true`; with `bf16-mixed` or `16-mixed` everything but the classifier
            computes in 16 bits, which changes logits by about 0.01 deviations.
        runtime: one of `RUNTIMES`.

    Returns:
        A callable from `[N, T, C, H, W]` (float, normalised) to float32 logits `[N, num_classes]`,
        which must not be called by two threads at the same time.

    Raises:
        ConfigError: an unknown runtime or precision, or one that the device does not have.
        RuntimeFailed: the logits of a random clip differ by more than `TOLERANCE`.
    """
    if runtime not in RUNTIMES or precision not in TYPES:
        raise ConfigError(
            f"runtime={runtime!r} and precision={precision!r} must be one of "
            f"{', '.join(RUNTIMES)} and one of {', '.join(TYPES)}"
        )
    device = next(model.parameters()).device
    runtime = _choose(model, device) if runtime == "auto" else runtime
    _check(model, device, runtime, precision)
    network = copy.deepcopy(model).eval().requires_grad_(False)
    if runtime != "eager":
        fold_batch_norms(network)
    network = channels_last(network.to(TYPES[precision]))
    network.head.float().register_forward_pre_hook(_in_float)
    if runtime == "onednn":
        pack(network)
    if runtime == "compiled":
        network = torch.compile(network, options={"freezing": device.type == "cpu"})
    optimized = Optimized(network, runtime, precision)
    optimized.difference = _difference(model, optimized, device)
    return optimized


class Optimized(nn.Module):
    """A faster form of a model; see `optimize_for_inference`."""

    def __init__(self, network: nn.Module, runtime: str, precision: str):
        super().__init__()
        self.network, self.runtime, self.precision = network, runtime, precision
        self.difference = 0.0  # of logits from the model's, in deviations, on a random clip

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        """`[N, T, C, H, W]` to float32 logits `[N, num_classes]`."""
        frames = clips.flatten(0, 1).to(TYPES[self.precision], memory_format=torch.channels_last)
        with torch.autocast(clips.device.type, enabled=False):
            return self.network(frames.unflatten(0, clips.shape[:2])).float()

    def extra_repr(self) -> str:
        return f"{self.runtime}, {self.precision}, logits within {self.difference:.1e} deviations"


def _in_float(head: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0].float(),)


def _choose(model: nn.Module, device: torch.device) -> str:
    if device.type == "cpu":
        return "onednn" if can_be_packed(model) else "folded"
    triton = device.type == "cuda" and importlib.util.find_spec("triton")
    return "compiled" if triton else "folded"


def _check(model: nn.Module, device: torch.device, runtime: str, precision: str) -> None:
    """Refuse what this machine cannot do."""
    if runtime == "onednn" and not (device.type == "cpu" and can_be_packed(model)):
        raise ConfigError(
            "runtime=onednn is for 2-D networks on CPUs, with a torch that has oneDNN"
        )
    if precision == "16-mixed" and device.type == "cpu":
        raise ConfigError("precision=16-mixed is for GPUs; choose bf16-mixed on a CPU")


def _difference(model: nn.Module, optimized: Optimized, device: torch.device) -> float:
    """Largest difference of logits on a random clip, in standard deviations of the logits."""
    random = torch.Generator().manual_seed(0)
    clip = torch.randn(1, model.num_segments, 3, SIZE, SIZE, generator=random).to(device)
    training = model.training
    with torch.no_grad():
        expected = model.eval()(clip).float()
    model.train(training)
    found = float((optimized(clip) - expected).abs().max() / expected.std().clamp(min=1e-12))
    allowed = TOLERANCE[optimized.precision]
    if not found <= allowed:
        raise RuntimeFailed(
            f"the {optimized.runtime} form of the model differs by {found:.2g} standard deviations "
            f"of its logits, more than {allowed:g}; choose runtime=eager"
        )
    return found
