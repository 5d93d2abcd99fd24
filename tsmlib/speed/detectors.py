"""Time a frame of a detector with the one-way shift beside the 2-D detector."""

import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch

from ..detection.detector import build_detector
from ..detection.online_detector import OnlineDetector
from ..detection.recipes import DetectorConfig

SHIFTED, PLAIN = "with shift", "2-D detector"


def detector_steps(
    cfg: DetectorConfig, size: tuple[int, int], device: torch.device | str = "cpu"
) -> dict[str, Callable[[], Any]]:
    """Make calls that detect in one frame of a stream, with shift and without.

    Both have the same random weights, and the same frame of noise.

    Args:
        cfg: of the detector, with `class_names`.
        size: height and width of the frame.
        device: `cpu`, `cuda` ...
    """
    torch.manual_seed(0)
    detectors = {
        name: build_detector(dataclasses.replace(cfg, is_shift=shifted)).to(device)
        for name, shifted in ((SHIFTED, True), (PLAIN, False))
    }
    detectors[PLAIN].load_state_dict(detectors[SHIFTED].state_dict())
    frame = torch.rand(1, 3, *size, device=device)
    streams = {name: OnlineDetector(detector) for name, detector in detectors.items()}
    return {name: partial(stream.step, frame) for name, stream in streams.items()}
