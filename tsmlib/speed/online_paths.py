"""Prepare the paths of streams: steps beside the 2-D network, the plain form, windows of frames.

Networks are in the form of `optimize_for_inference` that a measurement finds fastest (in a quick
run: that of `auto`), and in ONNX files that onnxruntime runs.
"""

from functools import partial

import torch
from torch import Tensor

from ..configs import Config
from ..data.augmentation import preprocess
from ..detection.recipes import DetectorConfig
from ..detection.vid_annotations import VID_CLASSES
from ..models.recognizer import normalize
from ..online.exported_metadata import describe_model
from ..online.onnx_runner import OnnxClip, OnnxStream
from ..online.serialization import serialize
from ..online.streams import OnlineTSM
from .benchmark_paths import Paths, forward
from .detectors import detector_steps
from .workbench import Workbench

ONLINE = {"shift_direction": "unidirectional"}


def steps(bench: Workbench, backbone: str) -> Paths:
    """Classify one frame: by the plain stream, and by stream and 2-D network in faster forms."""
    stream, frame = _stream(bench, backbone), _frame(bench)
    cfg, flat = _cfg(bench, backbone), _cfg(bench, backbone, is_shift=False, num_segments=1)
    return {
        "2-D": forward(_best_form(bench, f"{backbone}, 2-D", flat), frame[None]),
        "stream": partial(stream.step, frame),
        "eager stream": partial(OnlineTSM(bench.random_model(cfg)).step, frame),
        "stream, ONNX": partial(OnnxStream(_to_onnx(bench, cfg, "stream")).step, frame),
        "2-D, ONNX": forward(OnnxClip(_to_onnx(bench, flat, "clip")), frame[None]),
    }


def windows(bench: Workbench, backbone: str) -> Paths:
    """Answer at every frame: by a clip of the last frames, by the stream, and from its pixels."""
    stream, frame = _stream(bench, backbone), _frame(bench)
    cfg = _cfg(bench, backbone, shift_direction="bidirectional")
    clip = frame[None].repeat(1, cfg.num_segments, 1, 1, 1)
    pixels = torch.zeros(1, *bench.sizes.evaluated, 3, dtype=torch.uint8)  # one decoded frame

    def step_from_pixels() -> Tensor:
        prepared = normalize(preprocess(pixels, cfg, "val")[0])
        return stream.step(bench.fabric.to_device(prepared))

    return {
        "sliding window": forward(_best_form(bench, f"{backbone}, clip", cfg), clip),
        "stream": partial(stream.step, frame),
        "stream, from pixels": step_from_pixels,
    }


def detectors(bench: Workbench) -> Paths:
    """Detect in one frame: torchvision's Faster R-CNN with FPN, with the one-way shift and without.

    As a detector of few objects: random weights would give thousands of proposals.
    """
    height, width = bench.sizes.evaluated
    cfg = DetectorConfig(
        class_names=tuple(VID_CLASSES.values()), backbone=bench.sizes.backbone, min_size=height,
        max_size=width, candidates=(1000, 300), proposals=(1000, 100),
    )  # fmt: skip
    return detector_steps(cfg, (height, width), bench.fabric.device)


def _stream(bench: Workbench, backbone: str) -> OnlineTSM:
    cfg = _cfg(bench, backbone)
    return bench.stream(f"{backbone}, stream", cfg, _frame(bench).shape, _runtime(bench))


def _best_form(bench: Workbench, name: str, cfg: Config):
    return bench.optimized_row(name, cfg, _runtime(bench))


def _to_onnx(bench: Workbench, cfg: Config, kind: str) -> bytes:
    """Export a network of random weights for frames of the benchmark's size."""
    return serialize(bench.random_model(cfg), describe_model(cfg, kind), "onnx")[0]


def _cfg(bench: Workbench, backbone: str, **changes) -> Config:
    if backbone == "mobilenetv2" and bench.sizes.stream_depth:
        changes["depth"] = bench.sizes.stream_depth
    return bench.cfg(backbone=backbone, **ONLINE | changes)


def _frame(bench: Workbench) -> Tensor:
    """Draw a normalised frame `[1, 3, H, W]` on the device."""
    return bench.clips()[:, 0].contiguous()


def _runtime(bench: Workbench) -> str:
    return "fastest" if bench.sizes.pace >= 1 else "auto"
