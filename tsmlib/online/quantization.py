"""int8: quantise an exported ONNX file, and measure what that costs in accuracy.

Static quantisation by onnxruntime: QDQ nodes, weights per channel, ranges of activations as found
on clips of the training list.
"""

import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data.loader import ClipDataset
from ..engine.devices import make_fabric
from ..engine.options import RunOptions
from ..engine.setup import Setup
from ..engine.test_loop import predict_scores
from ..models.recognizer import normalize
from .exported_metadata import KEY
from .onnx_runner import OnnxFile, OnnxStream, import_extra, open_runner
from .sealed_onnx import unseal

CALIBRATION_VIDEOS = 64


def quantize_and_measure(
    content: bytes, setup: Setup, permutation: list[int] | None = None
) -> bytes:
    """Quantise an ONNX file, and write both accuracies into its metadata, as `int8`.

    The ranges are taken from clips of the training list; top-1 is that of the validation list with
    the views of the file, so that no video serves both.

    Args:
        content: of the file, in fp32.
        setup: prepared, with both lists.
        permutation: as for `predict_scores`.
    """
    quantized = quantize(content, calibration_clips(setup))
    (before, videos), (after, _) = (
        _measure_top1(file, setup, permutation) for file in (content, quantized)
    )
    model = import_extra("onnx").load_from_string(quantized)
    entry = next(entry for entry in model.metadata_props if entry.key == KEY)
    metadata = json.loads(entry.value)
    metadata["int8"] = {"top1_fp32": before, "top1_int8": after, "num_videos": videos}
    entry.value = json.dumps(metadata, ensure_ascii=False)
    return model.SerializeToString()


def quantize(content: bytes, clips: Iterable[Tensor]) -> bytes:
    """Quantise an ONNX file to int8; inputs, outputs and metadata stay as they are.

    Args:
        content: of the file, in fp32.
        clips: `[N, T, 3, H, W]`, normalised, for the ranges of the activations. A stream takes them
            frame by frame, so that its caches have their ranges, too.
    """
    tools, onnx = import_extra("onnxruntime.quantization"), import_extra("onnx")
    file = OnnxFile(content)
    reader = _Reader(file.inputs, _calibration_inputs(file, clips))
    with tempfile.TemporaryDirectory() as folder:
        shaped, out = Path(folder) / "shaped.onnx", Path(folder) / "int8.onnx"
        model = onnx.load_from_string(unseal(content))
        tools.quant_pre_process(  # shapes of all tensors; batch norms are folded already
            model, shaped, skip_optimization=True, skip_symbolic_shape=True
        )
        tools.quantize_static(shaped, out, reader, per_channel=True)
        return out.read_bytes()


def calibration_clips(setup: Setup) -> Iterator[Tensor]:
    """Load `[1, T, 3, H, W]` of videos evenly spread over the training list."""
    dataset = ClipDataset(setup.train_list, setup.cfg, "validation")
    count = min(CALIBRATION_VIDEOS, len(dataset))
    for i in range(count):
        _, _, clips, _ = dataset[0, i * len(dataset) // count]
        if clips is not None:  # it can be read
            yield normalize(clips[:1].movedim(-1, -3))


class _Reader:
    """The inputs of a file, one set after the other, as onnxruntime asks for them."""

    def __init__(self, names: list[str], inputs: Iterator[tuple[Tensor, ...]]):
        self._names, self._inputs = names, inputs

    def get_next(self) -> dict[str, Any] | None:
        values = next(self._inputs, None)
        return values and {n: v.numpy() for n, v in zip(self._names, values, strict=True)}


def _calibration_inputs(file: OnnxFile, clips: Iterable[Tensor]) -> Iterator[tuple[Tensor, ...]]:
    for batch in clips:
        if file.metadata["kind"] == "clip":
            yield (batch,)
            continue
        caches = [torch.zeros(len(batch), *c["shape"]) for c in file.metadata["state"]]
        for frame in batch.unbind(1):
            yield (frame, *caches)
            caches = file.run(frame, *caches)[1:]


def _measure_top1(content: bytes, setup: Setup, permutation: list[int] | None) -> tuple[float, int]:
    """Return top-1 in percent on the validation list, and the number of videos."""
    model = open_runner(content)
    if isinstance(model, OnnxStream):
        model = _ClipsByFrames(model)
    outcome = predict_scores(
        make_fabric("cpu"), setup, model, RunOptions(), "validation", permutation
    )
    return round(outcome["top1"], 2), len(outcome["labels"])


class _ClipsByFrames(nn.Module):
    """A stream in place of a model: the mean over the logits of a clip's frames."""

    def __init__(self, stream: OnnxStream):
        super().__init__()
        self.stream = stream

    def forward(self, clips: Tensor) -> Tensor:
        self.stream.reset()
        return torch.stack([self.stream.step(frame) for frame in clips.unbind(1)]).mean(0)
