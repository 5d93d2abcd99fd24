"""The fastest form of a stream."""

from functools import partial

import torch
from torch import Tensor, nn

from ..models.fastest_form import choose_fastest
from ..models.inference_runtime import TOLERANCE, RuntimeFailed, make_form, possible_runtimes
from .streams import OnlineTSM

FRAMES = 4  # of the random stream that forms are compared on


def optimize_stream(
    model: nn.Module,
    precision: str = "32-true",
    runtime: str = "fastest",
    frame_shape: tuple[int, int, int, int] = (1, 3, 224, 224),
) -> OnlineTSM:
    """Make a stream of a faster form of a model; the model stays as it is.

    The forms are those of `optimize_for_inference`, and `fastest` is measured on steps of the
    stream: which form is fastest for a clip need not be so for a frame. `auto` measures nothing
    and compiles nothing on CPUs, where `fastest` takes about a minute to compile.

    Args:
        model: as for `OnlineTSM`.
        precision, runtime: as for `optimize_for_inference`.
        frame_shape: `[N, C, H, W]` of the frames to come; those of `compiled` of any other shape
            are compiled again.

    Returns:
        A stream that has not begun. Its `runtime` is the form it has, `milliseconds` holds the
        median of a step for each form that was tried, `difference` the largest difference from
        the logits of the plain model, in their standard deviations.

    Raises:
        ConfigError: the model cannot be a stream, or the device does not have the form.
        RuntimeFailed: logits of a random stream differ by more than `TOLERANCE`.
    """
    device = next(model.parameters()).device
    frames = torch.randn(FRAMES, *frame_shape, generator=torch.Generator().manual_seed(0))
    frames = frames.to(device)
    expected = _run(OnlineTSM(model), frames)
    make = partial(_make, model, precision, frames=frames, expected=expected)
    if runtime != "fastest":
        return make(runtime)
    runtimes = possible_runtimes(model, precision)
    stream = choose_fastest(make, runtimes, lambda stream: stream.step(frames[0]))
    stream.reset()
    return stream


def _make(
    model: nn.Module, precision: str, runtime: str, frames: Tensor, expected: Tensor
) -> OnlineTSM:
    """Make a form of a stream, and compare its logits with those that are expected.

    Raises:
        RuntimeFailed: they differ by more than `TOLERANCE`.
    """
    stream = OnlineTSM(make_form(model, precision, runtime))
    deviation = expected.std().clamp(min=1e-12)
    stream.difference = float((_run(stream, frames) - expected).abs().max() / deviation)
    if not stream.difference <= TOLERANCE[precision]:  # NaN, too
        raise RuntimeFailed(
            f"the {stream.runtime} form of the stream differs by {stream.difference:.2g} standard "
            f"deviations of its logits, more than {TOLERANCE[precision]:g}; choose runtime=eager"
        )
    return stream


def _run(stream: OnlineTSM, frames: Tensor) -> Tensor:
    """Compute the logits `[T, N, num_classes]` of a stream from its beginning to its end."""
    logits = torch.stack([stream.step(frame) for frame in frames])
    stream.reset()
    return logits
