"""Play a source through a network: one frame in, one answer out.

network = load_network("last.pth")
with open_source("clip.mp4") as frames:
    for answer in play(network, frames):
        print(f"{answer.time:6.2f}  {answer.name}  {answer.probability:.0%}")
"""

import logging
import time
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from torch import Tensor

from .frame_readers import EveryFrame
from .networks import StreamNetwork
from .smoothing import RunningMean

log = logging.getLogger(__name__)


class Smoothing(Protocol):
    """Turns the logits of each frame into those of the answer, or into its class."""

    def __call__(self, logits: Tensor) -> Tensor:
        """Take the logits `[N, num_classes]` of the next frame."""

    def reset(self) -> None:
        """Begin a new stream."""


@dataclass(frozen=True)
class Answer:
    """What the network says when a frame has entered."""

    time: float  # of the frame, in seconds from the first one of the source
    name: str  # of the class
    probability: float
    latency: float  # ms from the arrival of the frame to the answer
    dropped: int  # frames of the source that were dropped until now
    stream: int  # another one begins where frames change their size
    probabilities: np.ndarray = field(repr=False)  # [num_classes]
    picture: np.ndarray = field(repr=False)  # uint8 [H, W, 3], RGB


def play(
    network: StreamNetwork,
    frames: EveryFrame,
    smooth: Smoothing | None = None,
    decide: Smoothing | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[Answer]:
    """Answer each frame of a source.

    Where frames change their size, another stream begins, and a message says so: what the network
    remembers is of another picture.

    Args:
        network: of `load_network`.
        frames: of `open_source`.
        smooth: None: the mean over as many frames as a clip had in training.
        decide: turns the logits of each frame into the number of a class `[N]`, as `DemoSmoothing`
            does; None: the most probable class, after smoothing.
        clock: that of the source.
    """
    smooth = RunningMean(network.num_segments) if smooth is None else smooth
    size, stream = None, -1
    for frame in frames:
        if frame.picture.shape != size:
            if size is not None:
                log.warning("%s: a new stream begins", _describe_change(size, frame))
            size, stream = frame.picture.shape, stream + 1
            network.reset()
            smooth.reset()
            if decide is not None:
                decide.reset()
        logits = network.step(frame.picture)
        probabilities = smooth(logits)[0].softmax(-1).cpu().numpy()
        best = int(probabilities.argmax() if decide is None else decide(logits)[0])
        yield Answer(
            frame.time, network.names[best], float(probabilities[best]),
            1000 * (clock() - frame.arrived), frames.dropped, stream, probabilities, frame.picture,
        )  # fmt: skip


def _describe_change(size, frame) -> str:
    (old_height, old_width, _), (height, width, _) = size, frame.picture.shape
    change = f"from {old_width}x{old_height} to {width}x{height} pixels"
    return f"frames change {change} at {frame.time:.1f} s"


class Tally:
    """Counts answers, and keeps their latencies."""

    def __init__(self, clock: Callable[[], float] = time.monotonic):
        self.clock, self.latencies, self.dropped = clock, array("f"), 0
        self.began = self.ended = clock()

    def add(self, answer: Answer) -> None:
        """Count an answer."""
        if not self.latencies:  # the time until the first one belongs to the start
            self.began = self.clock() - answer.latency / 1000
        self.ended = self.clock()
        self.latencies.append(answer.latency)
        self.dropped = answer.dropped

    def __str__(self) -> str:
        if not self.latencies:
            return "no frame was answered"
        count, seconds = len(self.latencies), max(self.ended - self.began, 1e-9)
        median, late = np.percentile(self.latencies, (50, 95))
        return (
            f"{count} frames in {seconds:.1f} s ({count / seconds:.1f} a second), "
            f"{self.dropped} dropped; latency {median:.1f} ms (median), 95 % within {late:.1f} ms"
        )
