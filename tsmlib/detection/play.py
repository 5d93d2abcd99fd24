"""Detect in a source of frames: a file, a camera, an address, or arrays.

detector, cfg = load_detector("last.pth")
with open_source("clip.mp4") as frames:
    for answer in detect_frames(detector, frames):
        print(answer.number, answer.detections["boxes"])
"""

import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch

from ..data.video import VideoError
from ..online.sources import Frame
from .detector import Detection, VideoDetector, to_unit_range
from .online_detector import OnlineDetector

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class DetectedFrame:
    """A frame of a source, and the objects in it."""

    number: int  # from 0
    time: float  # in seconds from the first frame of the source
    detections: Detection
    picture: np.ndarray = field(repr=False)  # uint8 [H, W, 3], RGB


def detect_frames(
    detector: VideoDetector, frames: Iterable[Frame], threshold: float = 0.0
) -> Iterator[DetectedFrame]:
    """Detect in each frame of a source, as it comes.

    Where frames change their size another stream begins, and a message says so.

    Args:
        detector: of `load_detector` or `build_detector`.
        frames: of `open_source`.
        threshold: smallest score of a detection.

    Raises:
        VideoError: frames so thin that nothing would be left of them at the detector's size.
    """
    stream, size, device = OnlineDetector(detector), None, next(detector.parameters()).device
    for number, frame in enumerate(frames):
        if frame.picture.shape != size:
            if size is not None:
                log.warning("frames change their size at %.1f s: a new stream begins", frame.time)
            size = frame.picture.shape
            _check_thickness(detector, *size[:2])
            stream.reset()
        picture = torch.from_numpy(frame.picture).to(device).permute(2, 0, 1)
        [found] = stream.step(to_unit_range(picture)[None])
        sure = found["scores"] >= threshold
        found = {name: values[sure].cpu() for name, values in found.items()}
        yield DetectedFrame(number, frame.time, found, frame.picture)


def _check_thickness(detector: VideoDetector, height: int, width: int) -> None:
    """Raise `VideoError` where the shorter side would be resized to no pixel."""
    largest = detector.transform.max_size  # of the longer side
    if min(height, width) * largest <= max(height, width):
        raise VideoError(
            f"frames of {width}x{height} pixels are too thin for this detector, which resizes the "
            f"longer side to {largest}; cut them"
        )
