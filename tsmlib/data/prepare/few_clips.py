"""Sizes and epochs of the row `few_clips` for a folder of one's own videos, by the time they take.

The recipe itself is in configs/rows.py, its reasons and measurements in docs/own-videos.md.
"""

from typing import Any, NamedTuple

SIZES = (224, 160, 112)  # pixels of the input, from the best to the fastest
SCRATCH_SIZE = 56
BUDGET = 180  # seconds: the largest input that can be trained on in this time is chosen
CLIP_SECONDS = 0.25 / 112**2  # core-seconds of a clip in training, MobileNetV2, for each pixel
SCRATCH_SECONDS = 0.035  # and of the small network that starts from scratch
PIXEL_SECONDS = 3e-9  # core-seconds to decode a pixel of H.264
MOST_CORES = 8  # steps of a few clips keep no more of them busy
GPU_CORES = 100  # a GPU trains about as fast as so many cores


class Recipe(NamedTuple):
    """A row of ours with its sizes and epochs, and how long a training with them should take."""

    row: str
    fields: dict[str, Any]
    seconds: float


def few_clips(clips: int, pixels: float, cores: int, pretrain: str) -> Recipe:
    """Choose the row, the size and the epochs by an estimate of the time.

    Args:
        clips: videos to train on.
        pixels: of a typical video, all its frames together.
        cores: that share the work; a GPU counts as `GPU_CORES`.
        pretrain: `imagenet`, a file of weights, or `none`.
    """
    decoding = pixels * PIXEL_SECONDS
    if pretrain == "none":
        epochs = _epochs(clips, 3000, 15, 60)
        seconds = clips * epochs * (SCRATCH_SECONDS + decoding) / cores
        return Recipe("few_clips_scratch", {**_sizes(SCRATCH_SIZE), "epochs": epochs}, seconds)
    epochs = _epochs(clips, 1200, 8, 30)
    for size in SIZES:
        seconds = clips * epochs * (CLIP_SECONDS * size**2 + decoding) / cores
        if seconds <= BUDGET:
            break
    return Recipe("few_clips", {**_sizes(size), "epochs": epochs}, seconds)


def _epochs(clips: int, passes: int, fewest: int, most: int) -> int:
    """Divide a number of passes of clips through the network into epochs."""
    return min(max(round(passes / clips), fewest), most)


def _sizes(size: int) -> dict[str, int]:
    """Return the fields of the input's size; frames are an eighth larger, as published."""
    crops = dict.fromkeys(("crop_size", "val_crop_size", "test_crop_size"), size)
    return {"short_side": round(size * 8 / 7), **crops}
