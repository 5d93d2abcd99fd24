"""Measure a stream in use: frames that it drops of a camera, and its memory over many steps."""

import itertools
from collections.abc import Iterator

import numpy as np
import pandas as pd
import psutil
import torch

from ..configs import Config, class_names
from ..models.recognizer import build_model
from ..progress import track
from .fast_streams import optimize_stream
from .networks import StreamNetwork, prepare_frame
from .play import Tally, play
from .sources import open_source
from .streams import OnlineTSM

READINGS = 100  # of the memory, over all steps


def random_network(cfg: Config) -> StreamNetwork:
    """Make a network with random weights, in its form without measurement, for timings."""
    stream = optimize_stream(build_model(cfg).eval(), runtime="auto")
    return StreamNetwork(
        stream, lambda picture: prepare_frame(picture, cfg), class_names(cfg), cfg.num_segments
    )


def answer_camera(
    network: StreamNetwork, seconds: float, fps: float, size: tuple[int, int]
) -> dict[str, float]:
    """Answer a camera that does not wait: frames of noise, each at its time.

    Args:
        network: of `load_network`, or `random_network`.
        seconds: how long the camera runs.
        fps: its frames a second.
        size: height and width of its frames in pixels.

    Returns:
        `frames` of the camera, `answered`, `dropped`, and the latencies from the arrival of a
        frame to its answer, `median` and `p95` (ms).
    """
    for _ in range(3):  # the first calls lay out weights
        network.step(np.zeros((*size, 3), np.uint8))
    tally, count = Tally(), round(seconds * fps)
    with open_source(itertools.islice(_noise(size), count), paced=True, fps=fps) as frames:
        for answer in play(network, frames):
            tally.add(answer)
    median, late = np.percentile(tally.latencies, (50, 95))
    answered = len(tally.latencies)
    return {"frames": count, "answered": answered, "dropped": count - answered,
            "median": float(median), "p95": float(late)}  # fmt: skip


def watch_memory(stream: OnlineTSM, size: int, steps: int) -> pd.Series:
    """Read the memory of this process (MiB) while a stream takes many frames of noise.

    Args:
        stream: it is begun anew.
        size: height and width of the frames.
        steps: how many frames; memory is read `READINGS` times.
    """
    stream.reset()
    frames = torch.randn(16, 1, 3, size, size, generator=torch.Generator().manual_seed(0))
    process, every, read = psutil.Process(), max(1, steps // READINGS), {}
    for i in track(range(steps), "a long stream", "steps"):
        stream.step(frames[i % len(frames)])
        if (i + 1) % every == 0:
            read[i + 1] = process.memory_info().rss / 2**20
    return pd.Series(read, name="MiB").rename_axis("step")


def _noise(size: tuple[int, int]) -> Iterator[np.ndarray]:
    """Draw a few frames, and repeat them for ever."""
    frames = np.random.default_rng(0).integers(0, 256, (4, *size, 3), dtype=np.uint8)
    return itertools.cycle(frames)
