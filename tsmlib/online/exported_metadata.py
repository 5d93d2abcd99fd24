"""What an exported file says about itself: enough to use it without this package.

One JSON object: in the `metadata_props` of an ONNX file under the key `tsmlib`, in a `.pt2` file as
its extra file `metadata.json`.

| key | value |
|---|---|
| `format` | version of this table, 1 |
| `kind` | `clip`: `[N, T, 3, H, W]` to logits `[N, K]`; or `stream`: `[N, 3, H, W]` and caches to logits and the next caches |
| `preprocessing` | `short_side` (pixels, the longer side is `int(side * scale + 0.5)`), `resize`, `crop` (centre), `crop_size` (H = W), `channel_order` (RGB), `input_range`, `mean`, `std`: the input is `(pixel - mean) / std` |
| `sampling` | `strategy`, `num_segments` (T), `clips` and `frames` (Python: the frame numbers of each clip of a video of n frames); of a stream `frame_interval` (1: every frame enters, 2: every second), and `strategy` and `num_segments` are those of the training; `frame_name` and `first_frame` of folders of JPEG frames |
| `classes` | K names, in the order of the logits |
| `average` | how clips of a video are averaged: `prob` (softmax first) or `score` |
| `state` | of a stream: `input`, `output` and `shape` (without N) of each cache; the first frame takes zeros |
| `model` | `row` of the published tables, and the fields that make its function |
| `trained` | `dataset`, `data` (`real`; `standin`: generated clips), `scale` (`full`; `mini`: reduced), `run` |
| `int8` | null, or the accuracies before and after quantisation |
| `sealed` | whether the file ends in its SHA-256 (sealed_onnx.py), which is checked where it is read |
| `opset`, `tsmlib` | version of ONNX operators (null in `.pt2`), and of this package |
"""  # noqa: E501

import importlib.metadata
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..configs import MODEL_FIELDS, Config, class_names, to_dict, views
from ..data.sampling import DENSE_WINDOW
from ..models.recognizer import MEAN, STD

log = logging.getLogger(__name__)

KEY = "tsmlib"  # of the metadata_props
FORMAT = 1
RESIZE = "bilinear, half-pixel centres, no antialiasing, rounded to whole grey levels"
# `sample_indices` in the test, as Python: of n frames, for each clip
UNIFORM = "[[int(k * (n / {t}) + n / {t} / 2) % n for k in range({t})]]"
DENSE = (
    "[[(int(c * max(0, n - {w}) / max(1, {clips} - 1)) + k * {step}) % n for k in range({t})] "
    "for c in range({clips})]"
)


class ExportError(RuntimeError):
    """A model that cannot be exported, or an exported file that cannot be used; says why."""


def describe_model(cfg: Config, kind: str, interval: int | None = None) -> dict[str, Any]:
    """Describe a model as in the table above, but without `state`, `opset` and `sealed`.

    Args:
        cfg: of the model.
        kind: `clip` or `stream`.
        interval: every so many frames of a video one enters a stream; None: `entry_interval`.
    """
    view, fields = views(cfg, "validation"), to_dict(cfg)
    return {
        "format": FORMAT,
        "kind": kind,
        "preprocessing": {
            "short_side": cfg.short_side,
            "resize": RESIZE,
            "crop": "centre",
            "crop_size": view["size"],
            "channel_order": "RGB",
            "input_range": [0, 255],
            "mean": list(MEAN),
            "std": list(STD),
        },
        "sampling": _describe_sampling(cfg, kind, view["clips"], interval),
        "classes": list(class_names(cfg)),
        "average": cfg.average_clips,
        "model": {"row": cfg.name, **{name: fields[name] for name in MODEL_FIELDS}},
        "trained": {"dataset": cfg.dataset, "data": "unknown", "scale": "unknown", "run": None},
        "int8": None,
        "tsmlib": importlib.metadata.version("tsmlib"),
    }


def _describe_sampling(cfg: Config, kind: str, clips: int, interval: int | None) -> dict[str, Any]:
    t = cfg.num_segments
    both = {
        "strategy": cfg.sampling if kind == "stream" else cfg.eval_sampling,
        "num_segments": t,
        "frame_name": cfg.filename_tmpl,
        "first_frame": cfg.start_index,
    }
    if kind == "stream":
        return {**both, "frame_interval": interval or entry_interval(cfg)}
    template = DENSE if cfg.eval_sampling == "dense" else UNIFORM
    frames = template.format(t=t, clips=clips, w=DENSE_WINDOW, step=DENSE_WINDOW // t)
    return {**both, "clips": clips, "frames": frames}


def entry_interval(cfg: Config) -> int:
    """Return k where every k-th frame of a video enters a stream, as in training.

    Dense sampling has a fixed interval. Uniform sampling spreads its frames over a whole clip,
    whatever its length: then it is 1, and whoever knows the clips knows better.
    """
    return DENSE_WINDOW // cfg.num_segments if cfg.sampling == "dense" else 1


def normalize_as_stated(frames: Tensor, metadata: Mapping[str, Any]) -> Tensor:
    """Normalise uint8 `[..., 3, H, W]` with the mean and the deviation of a file."""
    mean, std = (
        torch.tensor(metadata["preprocessing"][name]).view(3, 1, 1) for name in ("mean", "std")
    )
    return (frames - mean) / std


def warn_of_generated_clips(metadata: Mapping[str, Any], file: str | Path) -> None:
    """Warn that the labels of a model mean nothing for a real video, if it saw generated clips."""
    if metadata["trained"]["data"] == "standin":
        log.warning(
            "THE WEIGHTS IN %s ARE OF GENERATED CLIPS (the stand-in of %s): their labels mean "
            "nothing for a real video", file, metadata["trained"]["dataset"],
        )  # fmt: skip


def config_of(metadata: Mapping[str, Any]) -> Config:
    """Make a configuration that loads videos as the metadata of a file say."""
    size, sampling = metadata["preprocessing"], metadata["sampling"]
    return Config(
        name=metadata["model"]["row"],
        dataset="custom",
        num_classes=len(metadata["classes"]),
        class_names=tuple(metadata["classes"]),
        layout="auto",
        filename_tmpl=sampling["frame_name"],
        start_index=sampling["first_frame"],
        num_segments=sampling["num_segments"],
        eval_sampling=sampling["strategy"],
        short_side=size["short_side"],
        val_crop_size=size["crop_size"],
        test_crop_size=size["crop_size"],
        average_clips=metadata["average"],
    )


def read_metadata(properties: Mapping[str, str], name: str) -> dict[str, Any]:
    """Read the metadata among the `metadata_props` of a file, whose name is for messages.

    Raises:
        ExportError: they are missing, damaged or of another format.
    """
    if KEY not in properties:
        raise ExportError(
            f"{name} does not say how frames are prepared and what its classes are: it has no "
            "metadata of tsmlib; write it with tsm export WEIGHTS FILE.onnx --layout onnx"
        )
    try:
        metadata = json.loads(properties[KEY])
        if metadata["format"] != FORMAT:
            raise ExportError(
                f"{name} has metadata of format {metadata['format']}, and this version of tsmlib "
                f"reads format {FORMAT}: export the model again"
            )
        config_of(metadata)
        metadata["kind"], metadata["state"], metadata["trained"]["data"]
    except (ValueError, KeyError, TypeError) as error:
        raise ExportError(f"{name} has damaged metadata ({error}): export it again") from None
    return metadata
