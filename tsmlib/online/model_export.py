"""Write a trained model as a file that runs without this package: ONNX, or a torch.export program.

    python -m tsmlib export last.pth model.onnx --layout onnx          # clips
    python -m tsmlib export last.pth stream.pt2 --layout pt2 --stream  # one frame at a time

A file is written only if it computes what the model computes: see serialization.py.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from ..configs import Config, ConfigError, get_config
from ..engine.evaluate import class_permutation
from ..engine.find_model import choose_config
from ..engine.options import RunOptions, check_choice
from ..engine.setup import prepare
from ..engine.trained_weights import find_trained
from ..models.checkpoint_files import local_file, read_checkpoint
from ..models.checkpoints import run_facts
from ..models.recognizer import load_model
from ..paths import display_path
from ..results import write_atomic
from .exported_metadata import describe_model
from .onnx_runner import OnnxFile
from .quantization import quantize_and_measure
from .sealed_onnx import seal
from .serialization import LAYOUTS, serialize


class Exported(NamedTuple):
    """A file that was written."""

    path: Path
    metadata: dict[str, Any]  # see exported_metadata.py
    difference: float  # largest of a logit, in standard deviations; int8: before quantising

    def summarize(self) -> str:
        """Say in a sentence what was written, how it was checked, and what int8 cost."""
        kind, model = self.metadata["kind"], self.metadata["model"]["row"]
        opset, int8 = self.metadata["opset"], self.metadata["int8"]
        text = f"wrote {display_path(self.path)}: a {kind} of {model}"
        text += f", opset {opset}" if opset else ""
        text += f"; logits are within {self.difference:.1e} standard deviations of the model's"
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
        interval: every so many frames of a video one enters a stream; see `describe_model`.

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
    model, report = load_model(cfg, content, file)
    permutation = class_permutation(cfg, report, content)
    metadata = describe_model(cfg, "stream" if stream else "clip", interval)
    metadata["classes"] = _in_order_of_outputs(metadata["classes"], permutation)
    facts = run_facts(content)
    metadata["trained"] |= {k: facts[k] for k in ("data", "scale", "run") if k in facts}
    if int8:  # lists that are missing end it here
        where = RunOptions(data=facts.get("data", "auto"), scale=facts.get("scale", "auto"))
        setup = prepare(find_trained(cfg, file, where)[0])
    written, difference = serialize(model, metadata, layout)
    if int8:
        written = quantize_and_measure(written, setup, permutation)
        metadata = OnnxFile(written).metadata
    write_atomic(Path(out), seal(written) if layout == "onnx" else written)
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
    write_atomic(Path(out), seal(content) if layout == "onnx" else content)
    return Exported(Path(out), metadata, difference)


def _in_order_of_outputs(names: Sequence[str], permutation: Sequence[int] | None) -> list[str]:
    """Order class names as the logits are: `permutation` has the column of each class."""
    columns = range(len(names)) if permutation is None else permutation
    return [name for _, name in sorted(zip(columns, names, strict=True))]
