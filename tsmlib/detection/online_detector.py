"""A detector on a stream: one frame in, its objects out, nothing from the future."""

import torch
from torch import Tensor

from ..online.streams import OnlineTSM
from .detector import Detection, VideoDetector


class OnlineDetector(OnlineTSM):
    """A detector as a stream of frames, or as several streams side by side in a batch.

    It is `OnlineTSM`: between the steps it keeps the channels that the shift takes from the
    previous frame, `reset()` begins a new stream, and `state` can be kept. Step by step it gives
    what the detector gives for a clip of any length.

        stream = OnlineDetector(detector)
        [found] = stream.step(frame[None])  # boxes [K, 4], labels [K], scores [K]

    Args:
        detector: of `build_detector`; one without shift needs no memory.

    Raises:
        ConfigError: the detector needs other frames than the present and the previous one.
    """

    def __init__(self, detector: VideoDetector):
        super().__init__(detector)

    def step(self, frame: Tensor) -> list[Detection]:
        """Detect in the next frame `[N, 3, H, W]`, RGB from 0 to 1; one dict for each stream.

        Raises:
            ValueError: frames of another number, size, type or device than before, or not from 0
                to 1; the stream stays where it was.
            TypeError: frames of whole numbers.
        """
        if not frame.is_floating_point():
            kind = str(frame.dtype).removeprefix("torch.")
            raise TypeError(f"these frames are {kind}; divide by 255: a detector takes 0 to 1")
        if frame.numel() and not -1e-3 <= float(frame.amin()) <= float(frame.amax()) <= 1 + 1e-3:
            low, high = torch.aminmax(frame)
            raise ValueError(
                f"these frames have values from {low:.3g} to {high:.3g}; a detector takes 0 to 1 "
                "and normalises itself"
            )
        return super().step(frame)
