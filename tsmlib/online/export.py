"""Write a trained model as a file that runs without this package: ONNX, or a torch.export program.

    python -m tsmlib export last.pth model.onnx --layout onnx          # clips
    python -m tsmlib export last.pth stream.pt2 --layout pt2 --stream  # one frame at a time

A file is written only if it computes what the model computes. It is run on random input of two
batch sizes, a stream for as many frames as a clip has, and compared with the model itself: a stream
with the whole clip. The largest difference may be 1e-5 of the logits' standard deviation. Both are
in fp32 and round at other places, so neither is exact: each is about 1e-6 deviations from the same
model in double precision, which leaves a factor of ten.
"""

import copy
import io
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..configs import Config, ConfigError, get_config
from ..engine.evaluate import class_permutation, load_trained
from ..engine.options import check_choice
from ..engine.predict import choose_config
from ..engine.setup import prepare
from ..models.checkpoints import load_content, local_file, read_checkpoint
from ..models.clip_network import ClipMixin
from ..models.r3d import R3DRecognizer
from ..models.recognizer import build_model
from ..paths import display_path
from ..results import write_atomic
from .exported_metadata import KEY, ExportError, describe_model
from .onnx_runner import OnnxFile, import_extra
from .quantization import quantize_and_measure
from .stream_step import StreamStep

LAYOUTS = ("onnx", "pt2")
OPSET = 18  # of ONNX: what torch writes without converting, and onnxruntime reads since 1.14
TOLERANCE = 1e-5  # deviations of the logits
BATCHES = (1, 3)  # of the check; the trace has 2
METADATA_FILE = "metadata.json"  # in a .pt2 file

Run = Callable[..., Sequence[Tensor]]


class Exported(NamedTuple):
    """A file that was written."""

    path: Path
    metadata: dict[str, Any]  # see exported_metadata.py
    difference: float  # largest one of a logit, in deviations; of the fp32 file where it is int8

    def summarize(self) -> str:
        """Say in a sentence what was written, how it was checked, and what int8 cost."""
        kind, model = self.metadata["kind"], self.metadata["model"]["row"]
        opset, int8 = self.metadata["opset"], self.metadata["int8"]
        text = f"wrote {display_path(self.path)}: a {kind} of {model}"
        text += f", opset {opset}" if opset else ""
        text += f"; logits are within {self.difference:.1e} deviations of the model's"
        if int8:
            text += (
                f" in fp32; in int8, top-1 is {int8['top1_int8']} %, in fp32 {int8['top1_fp32']} % "
                f"({int8['num_videos']} videos)"
            )
        return text


def export_checkpoint(
    weights: str | Path,
    out: str | Path,
    layout: str = "onnx",
    cfg: Config | str | None = None,
    *,
    stream: bool = False,
    int8: bool = False,
    interval: int | None = None,
) -> Exported:
    """Write the model of a file of weights as `export_model` does.

    Args:
        weights: a file that `load_checkpoint` knows.
        out: file to write.
        layout: `onnx` or `pt2`.
        cfg: the row, where the weights do not say of what they are.
        stream: one frame a call, with the caches as inputs and outputs.
        int8: quantise an ONNX file: calibrated on clips of the training list, and its accuracy
            measured on the validation list, which must be there.
        interval: frames of a video between those that enter a stream; see `describe_model`.

    Raises:
        CheckpointError, ConfigError: the weights or the configuration cannot be used.
        DataError: the lists that `int8` needs are not there.
        ExportError: as in `export_model`.
    """
    check_choice("layout", layout, LAYOUTS)
    if int8 and layout != "onnx":
        raise ConfigError(f"int8 is for layout=onnx, not {layout}")
    if interval is not None and not (stream and interval >= 1):
        raise ConfigError(f"interval={interval} is for streams, and at least 1")
    file = local_file(weights)
    content = read_checkpoint(file)
    cfg = choose_config(content, file, None if cfg is None else get_config(cfg))
    model = build_model(cfg)
    permutation = class_permutation(cfg, load_content(model, content, file), content)
    metadata = describe_model(cfg, "stream" if stream else "clip", interval)
    metadata["classes"] = _in_order_of_outputs(metadata["classes"], permutation)
    metadata["trained"] |= {k: content[k] for k in ("data", "scale", "run") if k in content}
    written, difference = serialize(model, metadata, layout)
    if int8:
        where = {"data": content.get("data", "auto"), "scale": content.get("scale", "auto")}
        setup = prepare(load_trained(cfg, file, **where).setup)
        written = quantize_and_measure(written, setup, permutation)
        metadata = OnnxFile(written).metadata
    write_atomic(Path(out), written)
    return Exported(Path(out), metadata, difference)


def export_model(
    model: nn.Module,
    cfg: Config | str,
    out: str | Path,
    layout: str = "onnx",
    *,
    stream: bool = False,
    interval: int | None = None,
) -> Exported:
    """Write a model of `build_model` as ONNX or as a torch.export program, and check the file.

    The batch is dynamic. Frames have the size of the configuration's validation crop.

    Args:
        model: the model; it stays as it is.
        cfg: its configuration, which says how frames are prepared and what the classes are.
        out, layout, stream, interval: as in `export_checkpoint`.

    Raises:
        ConfigError: a stream of a model that needs other frames, or another kind of model.
        ExportError: the file computes something else than the model, or a package is missing.
        ResultsError: `out` cannot be written.
    """
    metadata = describe_model(get_config(cfg), "stream" if stream else "clip", interval)
    content, difference = serialize(model, metadata, layout)
    write_atomic(Path(out), content)
    return Exported(Path(out), metadata, difference)


def serialize(model: nn.Module, metadata: dict[str, Any], layout: str) -> tuple[bytes, float]:
    """Return the content of a file, and its largest difference from the model in deviations.

    Args:
        model: as in `export_model`.
        metadata: of `describe_model`; `state` and `opset` are added.
        layout: `onnx` or `pt2`.
    """
    check_choice("layout", layout, LAYOUTS)
    if not isinstance(model, ClipMixin | R3DRecognizer):
        raise ConfigError(f"export takes a model of build_model, not {type(model).__name__}")
    model = copy.deepcopy(model).cpu().float().eval().requires_grad_(False)
    size, network = metadata["preprocessing"]["crop_size"], model
    example: tuple[Tensor, ...] = (torch.zeros(2, model.num_segments, 3, size, size),)
    if metadata["kind"] == "stream":
        network, frame = StreamStep(model), torch.zeros(2, 3, size, size)
        example = (frame, *network.zero_caches(frame))
    metadata["state"] = [
        {"input": f"cache_{i}", "output": f"next_cache_{i}", "shape": list(cache.shape[1:])}
        for i, cache in enumerate(example[1:])
    ]
    metadata["opset"] = OPSET if layout == "onnx" else None
    program = _trace(network, example)
    if layout == "onnx":
        content = _to_onnx(program, metadata)
        run: Run = OnnxFile(content).run
    else:
        content = _to_pt2(program, metadata)
        run = _load_pt2(content)
    return content, _check(model, run, metadata)


def _in_order_of_outputs(names: Sequence[str], permutation: Sequence[int] | None) -> list[str]:
    """Order class names as the logits are: `permutation` has the column of each class."""
    columns = range(len(names)) if permutation is None else permutation
    return [name for _, name in sorted(zip(columns, names, strict=True))]


# --- files ----------------------------------------------------------------------------------------


def _trace(network: nn.Module, example: tuple[Tensor, ...]) -> torch.export.ExportedProgram:
    """Trace a network of tensors whose first axis, the batch, may have any length."""
    batch = torch.export.Dim("N")
    shapes: Any = ({0: batch},)
    if len(example) > 1:  # those of `*caches` belong together
        shapes = ({0: batch}, tuple({0: batch} for _ in example[1:]))
    elif isinstance(network, StreamStep):
        shapes = ({0: batch}, ())
    program = torch.export.export(network, example, dynamic_shapes=shapes)
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # names folders of this machine
    return program


def _to_onnx(program: torch.export.ExportedProgram, metadata: dict[str, Any]) -> bytes:
    import_extra("onnxscript")
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
        dynamic_shapes=[{0: "N"} for _ in names],  # names the axis
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


# --- the check ------------------------------------------------------------------------------------


@torch.no_grad()
def _check(model: nn.Module, run: Run, metadata: dict[str, Any]) -> float:
    """Return the largest difference of the logits of a file from the model's, in their deviations.

    Raises:
        ExportError: it is larger than `TOLERANCE`.
    """
    size, random = metadata["preprocessing"]["crop_size"], torch.Generator().manual_seed(0)
    difference = 0.0
    for n in BATCHES:
        clips = torch.randn((n, model.num_segments, 3, size, size), generator=random)
        if metadata["kind"] == "stream":
            caches = [torch.zeros(n, *cache["shape"]) for cache in metadata["state"]]
            expected, found = model.frame_logits(clips), _run_stream(run, clips, caches)
        else:
            expected, found = model(clips), run(clips)[0]
        deviation = float(expected.std().clamp(min=1e-12))
        difference = max(difference, float((found - expected).abs().max()) / deviation)
    if not difference <= TOLERANCE:  # NaN, too
        raise ExportError(
            f"the exported file computes other logits than the model: the largest difference is "
            f"{difference:.1e} of their deviation, and {TOLERANCE:g} is allowed; nothing was "
            "written"
        )
    return difference


def _run_stream(run: Run, clips: Tensor, caches: Sequence[Tensor]) -> Tensor:
    """Compute logits `[N, T, K]` of `[N, T, 3, H, W]`, frame by frame."""
    logits = []
    for frame in clips.unbind(1):
        answer, *caches = run(frame, *caches)
        logits.append(answer)
    return torch.stack(logits, 1)
