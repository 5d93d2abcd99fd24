"""Turn a model into the content of a file, and check that the file computes what the model does.

A file is run on random input of two batch sizes, a stream for as many frames as a clip has, and
compared with the model itself: a stream with the whole clip. The largest difference may be 1e-5 of
the logits' standard deviation, or twice what rounding costs the model itself. Both are in fp32 and
round at other places, so neither is exact: at full size (ResNet-50 with and without non-local
blocks, ResNet-101, MobileNetV2) files differed from the model by 0.6e-6 to 2e-6, and the model from
itself in double precision by 0.4e-6 to 1.4e-6.
"""

import copy
import io
import json
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..configs import ConfigError
from ..engine.options import check_choice
from ..models.backbones import R3DRecognizer
from ..models.batch_norm_folding import fold_batch_norms
from ..models.clip_network import ClipMixin
from .exported_metadata import KEY, ExportError
from .onnx_runner import OnnxFile, import_extra
from .stream_step import StreamStep

LAYOUTS = ("onnx", "pt2")
OPSET = 18  # of ONNX: what torch writes without converting, and onnxruntime reads since 1.14
TOLERANCE = 1e-5  # standard deviations of the logits
BATCHES = (1, 3)  # of the check; the trace has 2
METADATA_FILE = "metadata.json"  # in a .pt2 file

Run = Callable[..., Sequence[Tensor]]


def serialize(model: nn.Module, metadata: dict[str, Any], layout: str) -> tuple[bytes, float]:
    """Return the content of a file, and how far it is from the model, in standard deviations.

    Args:
        model: as in `export_model`.
        metadata: of `describe_model`; `state`, `opset` and `sealed` are added.
        layout: `onnx` or `pt2`.
    """
    check_choice("layout", layout, LAYOUTS)
    if not isinstance(model, ClipMixin | R3DRecognizer):
        raise ConfigError(f"export takes a model of build_model, not {type(model).__name__}")
    if layout == "onnx":
        import_extra("onnxscript")  # torch needs it, and would say so in the end only
    _check_description(model, metadata)
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    network, size = _prepare(model), metadata["preprocessing"]["crop_size"]
    example: tuple[Tensor, ...] = (torch.zeros(2, model.num_segments, 3, size, size),)
    if metadata["kind"] == "stream":
        network, frame = StreamStep(network), torch.zeros(2, 3, size, size)
        example = (frame, *network.zero_caches(frame))
    metadata["state"] = [
        {"input": f"cache_{i}", "output": f"next_cache_{i}", "shape": list(cache.shape[1:])}
        for i, cache in enumerate(example[1:])
    ]
    metadata["opset"] = OPSET if layout == "onnx" else None
    metadata["sealed"] = layout == "onnx"
    program = _trace(network, example)
    if layout == "onnx":
        content = _to_onnx(program, metadata)
        run: Run = OnnxFile(content).run
    else:
        content = _to_pt2(program, metadata)
        run = _load_pt2(content)
    return content, _check(model, run, metadata)


# --- files ----------------------------------------------------------------------------------------


def _prepare(model: nn.Module) -> nn.Module:
    """Copy a model to a form that is traced fast: no batch norms, and activations out of place.

    A tracer turns each in-place activation into a dozen operations, most of the time that it takes.
    """
    network = copy.deepcopy(model)
    fold_batch_norms(network)
    for module in network.modules():
        if hasattr(module, "inplace"):
            module.inplace = False
    return network


def _trace(network: nn.Module, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """Trace a network of tensors whose first axis, the batch, may have any length."""
    batch = torch.export.Dim("N")
    shapes: Any = ({0: batch},)
    if len(example) > 1:  # those of `*caches` belong together
        shapes = ({0: batch}, tuple({0: batch} for _ in example[1:]))
    program = torch.export.export(network, example, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def _to_onnx(program: torch.export.ExportedProgram, metadata: dict[str, Any]) -> bytes:
    attention = torch.ops.aten.scaled_dot_product_attention.default
    if any(node.target is attention for node in program.graph.nodes):
        program = program.run_decompositions()  # ONNX knows it with heads only
    first = "clips" if metadata["kind"] == "clip" else "frame"
    names = [first, *(cache["input"] for cache in metadata["state"])]
    onnx = torch.onnx.export(
        program,
        dynamo=True,
        opset_version=OPSET,
        input_names=names,
        output_names=["logits", *(cache["output"] for cache in metadata["state"])],
        dynamic_shapes=[{0: "N"}, *({} for _ in names[1:])],  # names the axis
        verbose=False,
    ).model_proto
    onnx.metadata_props.add(key=KEY, value=json.dumps(metadata, ensure_ascii=False))
    return onnx.SerializeToString()


def _to_pt2(program: torch.export.ExportedProgram, metadata: dict[str, Any]) -> bytes:
    buffer = io.BytesIO()
    torch.export.save(program, buffer, extra_files={METADATA_FILE: json.dumps(metadata)})
    return buffer.getvalue()


def _load_pt2(content: bytes) -> Run:
    network = torch.export.load(io.BytesIO(content)).module()

    def run(*inputs: Tensor) -> Sequence[Tensor]:
        outputs = network(*inputs)
        return (outputs,) if isinstance(outputs, Tensor) else outputs

    return run


def _check_description(model: nn.Module, metadata: dict[str, Any]) -> None:
    """Raise `ConfigError` where the configuration is another model's."""
    classes, t = len(metadata["classes"]), metadata["sampling"]["num_segments"]
    if (classes, t) != (model.num_classes, model.num_segments):
        raise ConfigError(
            f"the model has {model.num_classes} classes and {model.num_segments} frames, and its "
            f"configuration {classes} and {t}; give the configuration that it was built with"
        )


# --- the check ------------------------------------------------------------------------------------


@torch.no_grad()
def _check(model: nn.Module, run: Run, metadata: dict[str, Any]) -> float:
    """Return how far the logits of a file are from the model's, at most, in standard deviations.

    Raises:
        ExportError: it is larger than `TOLERANCE`, and than what rounding costs the model itself.
    """
    size, random = metadata["preprocessing"]["crop_size"], torch.Generator().manual_seed(0)
    is_stream, difference, allowed = metadata["kind"] == "stream", 0.0, TOLERANCE
    for n in BATCHES:
        clips = torch.randn((n, model.num_segments, 3, size, size), generator=random)
        expected = _logits(model, clips, is_stream)
        if is_stream:
            caches = [torch.zeros(n, *cache["shape"]) for cache in metadata["state"]]
            found = _run_stream(run, clips, caches)
        else:
            found = run(clips)[0]
        difference = max(difference, _largest_difference(found, expected))
        if not difference <= TOLERANCE:  # a network may amplify the rounding of both
            exact = _logits(copy.deepcopy(model).double(), clips.double(), is_stream)
            allowed = max(allowed, 2 * _largest_difference(expected, exact))
    if not difference <= allowed:  # NaN, too
        raise ExportError(
            f"the exported file computes other logits than the model: the largest difference is "
            f"{difference:.1e} of their deviation, and {allowed:.1g} is allowed; nothing was "
            "written"
        )
    return difference


def _logits(model: nn.Module, clips: Tensor, is_stream: bool) -> Tensor:
    return model.frame_logits(clips) if is_stream else model(clips)


def _largest_difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).abs().max() / expected.std().clamp(min=1e-12))


def _run_stream(run: Run, clips: Tensor, caches: Sequence[Tensor]) -> Tensor:
    """Compute logits `[N, T, K]` of `[N, T, 3, H, W]`, frame by frame."""
    logits = []
    for frame in clips.unbind(1):
        answer, *caches = run(frame, *caches)
        logits.append(answer)
    return torch.stack(logits, 1)
