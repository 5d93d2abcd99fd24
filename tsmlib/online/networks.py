"""Load a network that takes the frames of a stream, with all that it needs around it."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..configs import Config, ConfigError, class_names, get_config, list_own_configs, views
from ..data.augmentation import fixed_crops
from ..engine.devices import make_fabric
from ..engine.evaluate import class_permutation
from ..engine.find_model import choose_config, find_weights
from ..models.checkpoint_files import read_checkpoint
from ..models.inference_runtime import optimize_for_inference
from ..models.recognizer import load_model, normalize
from ..models.state_dict_layouts import detect_layout
from .exported_metadata import (
    config_of,
    entry_interval,
    normalize_as_stated,
    warn_of_generated_clips,
)
from .onnx_runner import OnnxStream
from .streams import OnlineTSM

log = logging.getLogger(__name__)

DEMO_ROW = "jester_online_mobilenetv2"  # of the checkpoint of MIT's online_demo


@dataclass(frozen=True)
class StreamNetwork:
    """A network on a stream, from pictures to logits."""

    stream: Any  # OnlineTSM, or another object with `reset()` and `step(frame) -> logits`
    prepare: Callable[[np.ndarray], Tensor]  # uint8 [H, W, 3] RGB -> what `step` takes
    names: tuple[str, ...]  # of the classes, in the order of the logits
    num_segments: int  # frames of a clip in training
    frame_step: int = 1  # every so many frames of a video one enters, as far as it is known

    def step(self, picture: np.ndarray) -> Tensor:
        """Classify the next frame, uint8 `[H, W, 3]` RGB: logits `[1, num_classes]`."""
        return self.stream.step(self.prepare(picture))

    def reset(self) -> None:
        """Begin a new stream."""
        self.stream.reset()


def load_network(
    weights: str | Path | None = None, cfg: Config | str | None = None, device: str = "auto"
) -> StreamNetwork:
    """Load the weights of a one-way network for a stream.

    Args:
        weights: a file that `load_checkpoint` knows: of a run of ours, the published streaming
            demo's, others with `cfg`; or an exported ONNX stream; None: the newest run's.
        cfg: the configuration or its name, where the weights do not say of what they are.
        device: `cpu`, `cuda` ...; `auto`: the best one. Exported streams run on the CPU.

    Raises:
        ConfigError: a network that needs later frames, or weights that do not say their row.
        CheckpointError, ExportError: weights that cannot be had, or do not fit.
    """
    cfg = None if cfg is None else get_config(cfg)
    file = find_weights(weights, cfg)
    if file.suffix == ".onnx":
        return _load_exported(file)
    content = read_checkpoint(file)
    demo = _recognise_demo(content, file)
    cfg = choose_config(content, file, cfg or demo)
    _check_one_way(cfg, file)
    model, report = load_model(cfg, content, file)
    names, columns = class_names(cfg), class_permutation(cfg, report, content)
    if columns is not None:  # of the classes, in the order of `names`
        names = tuple(name for _, name in sorted(zip(columns, names, strict=True)))
    device = make_fabric(device).device
    runtime = "auto" if device.type == "cpu" else "folded"  # compiling takes a minute
    stream = OnlineTSM(optimize_for_inference(model.to(device), runtime=runtime))
    return StreamNetwork(
        stream, lambda picture: prepare_frame(picture, cfg).to(device), names, cfg.num_segments,
        entry_interval(cfg),
    )  # fmt: skip


def _load_exported(file: Path) -> StreamNetwork:
    """Load an exported ONNX stream, which says itself how frames are prepared."""
    stream = OnnxStream(file)
    cfg, metadata = config_of(stream.metadata), stream.metadata
    warn_of_generated_clips(metadata, file)

    def prepare(picture: np.ndarray) -> Tensor:
        return normalize_as_stated(crop_frame(picture, cfg), metadata)

    step = metadata["sampling"]["frame_interval"]
    return StreamNetwork(stream, prepare, class_names(cfg), cfg.num_segments, step)


def _recognise_demo(content: dict, file: Path) -> Config | None:
    """Return the row of the checkpoint of MIT's online_demo, which its names tell; else None."""
    state = content.get("state_dict")
    if detect_layout(state if isinstance(state, dict) else content) != "mit_online":
        return None
    # main.py hands OpenCV's BGR frames to Image.fromarray, which takes them for RGB
    log.warning(
        "%s has the names of MIT's streaming demo (row %s). Frames enter as RGB, as in training; "
        "the demo itself feeds BGR, so its answers differ.", file, DEMO_ROW,
    )  # fmt: skip
    return get_config(DEMO_ROW)


def prepare_frame(picture: np.ndarray | Tensor, cfg: Config) -> Tensor:
    """Resize, crop and normalise uint8 `[H, W, 3]` RGB to float32 `[1, 3, h, w]`.

    It is the centre crop of `load_clip(path, cfg, "validation")`, number for number.
    """
    return normalize(crop_frame(picture, cfg))


def crop_frame(picture: np.ndarray | Tensor, cfg: Config) -> Tensor:
    """Resize and crop uint8 `[H, W, 3]` to uint8 `[1, 3, h, w]`."""
    frames = torch.as_tensor(picture)[None]
    return fixed_crops(frames, cfg, 1, views(cfg, "validation")["size"])[0]


def _check_one_way(cfg: Config, file: Path) -> None:
    """Refuse a network whose shift looks at the next frame, and say what to train instead.

    Raises:
        ConfigError: it does.
    """
    if not cfg.is_shift or cfg.shift_direction == "unidirectional":
        return
    rows = (get_config(name) for name in list_own_configs())
    wanted = cfg.dataset, cfg.backbone, "unidirectional"
    row = next((r.name for r in rows if (r.dataset, r.backbone, r.shift_direction) == wanted), "")
    train = (
        f"make train cfg={row}"
        if row
        else f"make train cfg={cfg.name} shift_direction=unidirectional"
    )
    raise ConfigError(
        f"{file} is of {cfg.name}, whose shift takes channels from the next frame "
        f"(shift_direction={cfg.shift_direction}), which a stream does not have yet; train a "
        f"one-way network ({train}), or name the weights of one"
    )
