"""The recipe for few clips: fields of a configuration for a folder of one's own videos.

It was measured on push-ups that go up or down (two classes, each the other's reverse), trained on
76 clips and tested on 148 of other people; core-seconds are of a busy machine, one seed each:
from scratch 98.0 % (144 core-seconds, start and end of the notebook included; another draw of 76
clips: 81.1 %, a narrow ResNet-50 with SGD 73.0 %), from ImageNet weights 95.9 % (430 core-seconds;
with steps of 8 videos and 12 epochs, on the other draw, 66.9 %). Where looks tell classes apart,
which was not measured, weights should help more.
"""

from typing import Any, NamedTuple

SIZES = (224, 160, 112)  # pixels of the input, from the best to the fastest
BUDGET = 180  # seconds: the largest input that can be trained on in this time is chosen
CLIP_SECONDS = 0.25 / 112**2  # core-seconds of a clip in training, MobileNetV2, for each pixel
SCRATCH_SECONDS = 0.035  # and of the small network that starts from scratch
PIXEL_SECONDS = 3e-9  # core-seconds to decode a pixel of H.264
MOST_CORES = 8  # steps of a few clips keep no more of them busy
GPU_CORES = 100  # a GPU trains about as fast as so many cores


class Recipe(NamedTuple):
    """Fields of a configuration, and how long a training with them should take."""

    fields: dict[str, Any]
    seconds: float


def few_clips(clips: int, pixels: float, cores: int, pretrain: str) -> Recipe:
    """Choose backbone, size and epochs by an estimate of the time.

    Args:
        clips: videos to train on.
        pixels: of a typical video, all its frames together.
        cores: that share the work; a GPU counts as `GPU_CORES`.
        pretrain: `imagenet`, a file of weights, or `none`.
    """
    decoding = pixels * PIXEL_SECONDS
    if pretrain == "none":
        epochs = _epochs(clips, 3000, 15, 60)
        fields = {**_SCRATCH, **_sizes(56)}
        seconds = clips * epochs * (SCRATCH_SECONDS + decoding) / cores
    else:
        epochs = _epochs(clips, 1200, 8, 30)
        for size in SIZES:
            seconds = clips * epochs * (CLIP_SECONDS * size**2 + decoding) / cores
            if seconds <= BUDGET:
                break
        fields = {**_PRETRAINED, **_sizes(size)}
    return Recipe({**_COMMON, **fields, "epochs": epochs, "pretrain": pretrain}, seconds)


_COMMON = {
    "num_segments": 8,
    "optimizer": "adamw",  # its steps need no tuning to the data set
    "schedule": "cosine",  # no milestones to choose
    "fc_lr5": False,
    "eval_interval": 5,
}
# Small steps: few clips make too few large ones to change what the weights know.
_PRETRAINED = {
    "backbone": "mobilenetv2", "lr": 5e-4, "batch_size": 4, "videos_per_device": 4,
}  # fmt: skip
# A large network learns the few clips by heart.
_SCRATCH = {
    "backbone": "resnet18", "width": 0.25, "lr": 1e-3, "batch_size": 8, "videos_per_device": 8,
}  # fmt: skip


def _epochs(clips: int, passes: int, fewest: int, most: int) -> int:
    """Divide a number of passes of clips through the network into epochs."""
    return min(max(round(passes / clips), fewest), most)


def _sizes(size: int) -> dict[str, int]:
    """Return the fields of the input's size; frames are an eighth larger, as published."""
    crops = dict.fromkeys(("crop_size", "val_crop_size", "test_crop_size"), size)
    return {"short_side": round(size * 8 / 7), **crops}
