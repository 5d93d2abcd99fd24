"""Faster forms of a trained model that compute the same function."""

import copy
import importlib.util
from functools import partial

import torch
from torch import Tensor, nn

from ..configs import ConfigError
from ..configs.fields import RUNTIMES
from .batch_norm_folding import fold_batch_norms
from .checkpoints import check_scores
from .clip_network import check_normalized
from .fastest_form import choose_fastest
from .onednn import prepack, supports_bf16, supports_onednn
from .recognizer import channels_last

TYPES = {"32-true": torch.float32, "bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
# largest difference of a logit, in standard deviations of the logits; bf16 keeps 8 bits
TOLERANCE = {"32-true": 1e-3, "bf16-mixed": 0.15, "16-mixed": 0.03}
SIZE = 64  # pixels of the random clip that outputs are compared on


class RuntimeFailed(RuntimeError):
    """A form of a model computes other logits than the model."""


def optimize_for_inference(
    model: nn.Module, precision: str = "32-true", runtime: str = "auto", size: int = 224
) -> "Optimized":
    """Copy a model to a form that computes the same logits faster; the model stays as it is.

    Batch norms are folded into the convolutions, and tensors are channels-last in memory. Then

    - `onednn` (CPUs): weights laid out for oneDNN, with additions and activations in the same pass;
    - `compiled`: torch.compile, on CPUs with frozen weights. Each size takes a minute at first;
    - `folded`: nothing more; `eager`: not even that, the plain model in channels-last.

    `auto` is `onednn` on CPUs and `compiled` on GPUs, where they are possible, else `folded`.
    `fastest` makes all forms that are possible here, `eager` apart, and keeps the one that took
    least time for a clip (see `choose_fastest`): that of `auto`, if none is clearly faster.

    Args:
        model: a model of `build_model`, on its device.
        precision: `32-true`; with `bf16-mixed` or `16-mixed` everything but the classifier
            computes in 16 bits, which changes logits by about 0.01 standard deviations.
        runtime: one of `RUNTIMES`.
        size: pixels of the clip that `fastest` measures.

    Returns:
        A callable from `[N, T, C, H, W]` (float, normalised) to float32 logits `[N, num_classes]`,
        which must not be called by two threads at the same time.

    Raises:
        ConfigError: an unknown runtime or precision, or one that the device does not have.
        RuntimeFailed: the logits of a random clip differ by more than `TOLERANCE`.
    """
    device = next(model.parameters()).device
    if runtime == "fastest":
        random = torch.Generator().manual_seed(0)
        clip = torch.randn(1, model.num_segments, 3, size, size, generator=random).to(device)
        make = partial(optimize_for_inference, model, precision)
        return choose_fastest(make, possible_runtimes(model, precision), lambda form: form(clip))
    optimized = make_form(model, precision, runtime)
    optimized.difference = _measure_difference(model, optimized, device)
    return optimized


def make_form(model: nn.Module, precision: str, runtime: str) -> "Optimized":
    """Make a form of a model without comparing their logits; see `optimize_for_inference`.

    Raises:
        ConfigError: an unknown runtime or precision, or one that the device does not have.
    """
    _check_form(model, precision, runtime)
    if runtime == "auto":
        runtime = possible_runtimes(model, precision)[0]
    network = copy.deepcopy(model).eval().requires_grad_(False)
    if runtime != "eager":
        fold_batch_norms(network)
    network = channels_last(network.to(TYPES[precision]))
    network.head.float().register_forward_pre_hook(_to_float)
    if runtime == "onednn":
        prepack(network)
    if runtime == "compiled":
        network = compile_network(network)
    return Optimized(network, runtime, precision)


def compile_network(network: nn.Module) -> nn.Module:
    """Compile a network at its first call, on CPUs with its weights as constants."""
    on_cpu = next(network.parameters()).device.type == "cpu"
    return torch.compile(network, options={"freezing": on_cpu})


def possible_runtimes(model: nn.Module, precision: str) -> list[str]:
    """List the faster forms that a model can have on its device; the first is `auto`."""
    device = next(model.parameters()).device
    if device.type == "cpu":
        packed = [] if _onednn_obstacle(model, device, precision) else ["onednn"]
        return [*packed, "folded", "compiled"]
    triton = device.type == "cuda" and importlib.util.find_spec("triton")
    return ["compiled", "folded"] if triton else ["folded"]


def _check_form(model: nn.Module, precision: str, runtime: str) -> None:
    """Raise `ConfigError` for a form that does not exist, or not on the device of the model."""
    for name, value, known in (("runtime", runtime, RUNTIMES), ("precision", precision, TYPES)):
        if value not in known:
            raise ConfigError(f"{name}={value!r} is not possible; choose one of {', '.join(known)}")
    device = next(model.parameters()).device
    if precision == "16-mixed" and device.type == "cpu":
        raise ConfigError("precision=16-mixed is for GPUs; choose bf16-mixed on a CPU")
    if runtime == "onednn" and (obstacle := _onednn_obstacle(model, device, precision)):
        raise ConfigError(obstacle)


class Optimized(nn.Module):
    """A faster form of a model; see `optimize_for_inference`."""

    def __init__(self, network: nn.Module, runtime: str, precision: str):
        super().__init__()
        self.network, self.runtime, self.precision = network, runtime, precision
        # largest difference from the model's logits, in their standard deviations, on a random clip
        self.difference = 0.0
        self.milliseconds: dict[str, float] = {}  # of the forms that `fastest` has tried

    @torch.no_grad()
    def forward(self, clips: Tensor) -> Tensor:
        """Classify `[N, T, C, H, W]`: float32 logits `[N, num_classes]`."""
        check_normalized(clips)
        frames = clips.flatten(0, 1).to(TYPES[self.precision], memory_format=torch.channels_last)
        with torch.autocast(clips.device.type, enabled=False):
            return self.network(frames.unflatten(0, clips.shape[:2])).float()

    def extra_repr(self) -> str:
        within = f"logits within {self.difference:.1e} standard deviations"
        return f"{self.runtime}, {self.precision}, {within}"


def _to_float(head: nn.Module, args: tuple[Tensor]) -> tuple[Tensor]:
    return (args[0].float(),)


def _onednn_obstacle(model: nn.Module, device: torch.device, precision: str) -> str:
    """Say in a sentence why `runtime=onednn` is not possible; '' where it is."""
    if device.type != "cpu" or not supports_onednn(model):
        return "runtime=onednn is for 2-D networks on CPUs, with a torch that has oneDNN"
    if precision == "bf16-mixed" and not supports_bf16():
        return (
            "runtime=onednn with precision=bf16-mixed needs a CPU with bf16 or AVX-512 "
            "instructions, which this one lacks; choose precision=32-true, or runtime=folded"
        )
    return ""


def _measure_difference(model: nn.Module, optimized: Optimized, device: torch.device) -> float:
    """Return the largest difference of logits on a random clip, in standard deviations.

    Raises:
        RuntimeFailed: it is larger than `TOLERANCE`.
        CheckpointError: the model gives no finite logits in any form.
    """
    random = torch.Generator().manual_seed(0)
    clip = torch.randn(1, model.num_segments, 3, SIZE, SIZE, generator=random).to(device)
    training = model.training
    with torch.no_grad():
        expected = model.eval()(clip).float()
    model.train(training)
    check_scores(expected)
    deviation = expected.std().clamp(min=1e-12)
    difference = float((optimized(clip) - expected).abs().max() / deviation)
    allowed = TOLERANCE[optimized.precision]
    if not difference <= allowed:  # NaN, too
        raise RuntimeFailed(
            f"the {optimized.runtime} form of the model differs by {difference:.2g} standard "
            f"deviations of its logits, more than {allowed:g}; choose runtime=eager"
        )
    return difference
