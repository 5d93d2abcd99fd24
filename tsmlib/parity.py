"""The same function as the published code, and what each known mistake would cost."""

import dataclasses
import gzip
import importlib.util
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn
from tqdm import tqdm

from .configs import Config, get_config
from .data import augmentation, loader
from .data.annotations import class_names
from .distributed import make_fabric
from .metrics import standard_error, top_k_accuracy
from .models.layouts import from_layout, layout_of
from .models.online import OnlineTSM
from .models.recognizer import build_model
from .paths import HOME
from .runs import Setup
from .scoring import run_test

GOLDEN = HOME / "tests" / "golden"
# recorded outputs of a published implementation, and the row that is the same model
PEERS = {
    "mma_r50_8f_k400": "k400",
    "mma_mnv2_8f_k400": "k400_mobilenetv2_dense",
    "mma_nl_embedded_gaussian_8f_k400": "k400_nl_embedded_gaussian",
    "mit_r50_8f_k400": "k400",
}
STREAM = "mit_online_mnv2_stream"


def compare_with_peers() -> pd.DataFrame:
    """Our logits against recorded ones of the published implementations, on the same weights.

    Returns:
        A line a model: `model`, `peer`, `difference` (largest, in units of the logits' standard
        deviation, of clips, of single frames and of a reversed clip), and one column for each
        recorded mistake with what it would have changed, in the same unit.
    """
    facts = json.loads((GOLDEN / "models" / "index.json").read_text())
    lines = []
    for name, row in tqdm(PEERS.items(), desc="models", mininterval=1):
        lines.append({"model": name, **_line(facts[name], _difference(name, row, facts[name]))})
    stream = json.loads((GOLDEN / "models" / f"{STREAM}.json").read_text())
    lines.append({"model": STREAM, **_line(stream, _stream_difference(stream))})
    return pd.DataFrame(lines)


def _line(facts: dict[str, Any], difference: float) -> dict[str, Any]:
    std = facts["logits_std"]
    costs = {name: value / std for name, value in facts["mistakes_max_abs"].items()}
    return {"peer": facts["peer"], "difference": difference / std, **costs}


@torch.inference_mode()
def _difference(name: str, row: str, facts: dict[str, Any]) -> float:
    model = _filled(build_model(get_config(row, pretrain="none")), name, facts["factors"])
    expected = np.load(GOLDEN / "models" / f"{name}.npz")
    found = {}
    for key in ("a", "b"):
        clip = _fill().make_clip(facts[f"clip_{key}"]["name"], *_shape(facts[f"clip_{key}"]))
        clip = torch.as_tensor(clip)
        found[f"frame_logits_{key}"] = model.frame_logits(clip).flatten(0, 1)
        found[f"logits_{key}"] = model(clip)
        if key == "a":
            found["logits_a_reversed"] = model(clip.flip(1))
    return max(_largest(found[k], expected[k]) for k in found if k in expected)


@torch.inference_mode()
def _stream_difference(facts: dict[str, Any]) -> float:
    fields = {"backbone": "mobilenetv2", "shift_direction": "unidirectional", "pretrain": "none"}
    cfg = get_config("jester", num_segments=facts["frames"], **fields)
    stream = OnlineTSM(_filled(build_model(cfg), STREAM, facts["factors"]))
    clip = torch.as_tensor(_fill().make_clip(facts["clip"]["name"], *_shape(facts["clip"])))
    logits = torch.cat([stream.step(frame[None]) for frame in clip[0]])
    return _largest(logits, np.load(GOLDEN / "models" / f"{STREAM}.npz")["frame_logits"])


def _largest(found: Tensor, expected: np.ndarray) -> float:
    return float((found - torch.as_tensor(expected).view_as(found)).abs().max())


def _shape(clip: dict[str, Any]) -> tuple[int, int, int]:
    n, t, _, size, _ = clip["shape"]
    return n, t, size


def _filled(model: nn.Module, name: str, factors) -> nn.Module:
    """The model with the weights of a record, which follow from their names."""
    keys = json.loads(gzip.decompress((GOLDEN / "models" / f"{name}.keys.json.gz").read_bytes()))
    state = {k: torch.as_tensor(v) for k, v in _fill().fill_state_dict(keys, factors).items()}
    state = from_layout(state, layout_of(state), model)
    own = model.state_dict()
    model.load_state_dict({k: v.reshape(own[k].shape) for k, v in state.items()})
    return model.eval()


def _fill():
    """tests/golden/fill.py, which makes weights and clips from names."""
    spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- what each trap costs -------------------------------------------------------------------------


PATCHED = {  # the module in which a function is exchanged
    "resize": augmentation, "resize_short_side": augmentation, "_to_tchw": augmentation,
    "sample_indices": loader,
}  # fmt: skip


class Trap(NamedTuple):
    """A known difference between implementations, toggled in an evaluation."""

    name: str
    explained: str
    patches: dict[str, Callable] = {}  # functions of PATCHED, by their names
    precision: str = "32-true"
    columns: list[int] | None = None  # of the logits


def traps(cfg: Config) -> list[Trap]:
    """The traps of an evaluation of raw frames; all have been met in other implementations."""
    names = class_names(cfg)
    by_name = [sorted(names).index(name) for name in names]
    return [
        Trap("antialiased resize", "torchvision's default", patches={"resize": _antialiased}),
        Trap("PIL's resize", "as in MIT's code", patches={"resize": _pil}),
        Trap("sizes truncated", "int(x * scale) instead of + 0.5",
             patches={"resize_short_side": _truncated}),
        Trap("frames counted from 0", "every frame one too early",
             patches={"sample_indices": _early}),
        Trap("sequence reversed", "the last frame first", patches={"_to_tchw": _reversed}),
        Trap("blue, green, red", "OpenCV's order", patches={"_to_tchw": _bgr}),
        Trap("squeezed", "resized to a square instead of cut out of the middle",
             patches={"resize_short_side": _squeezed}),
        Trap("classes in order of names", "MIT's numbering of Something-Something and Jester",
             columns=by_name),
        Trap("bf16", "mixed precision", precision="bf16-mixed"),
    ]  # fmt: skip


def sensitivity(setup: Setup, model: nn.Module, protocol: str = "efficient") -> pd.DataFrame:
    """What each trap does to the logits, predictions and accuracy of a trained model.

    Returns:
        A line a trap, the first one without any: `moved` (mean absolute change of the logits in
        units of their standard deviation), `flipped` (% of predictions that change), `top1`,
        `top1_se`, `difference` of top1 from the first line with the standard error of this paired
        difference, `difference_se`.
    """
    base = _logits(setup, model, protocol, Trap("none", "the published pipeline"))
    lines = []
    for trap in tqdm([Trap("none", "the published pipeline"), *traps(setup.cfg)],
                     desc="traps", mininterval=1):  # fmt: skip
        labels, logits = base if trap.name == "none" else _logits(setup, model, protocol, trap)
        lines.append(
            {"trap": trap.name, "explained": trap.explained, **_cost(base, labels, logits)}
        )
    return pd.DataFrame(lines)


def _cost(base: tuple, labels: np.ndarray, logits: np.ndarray) -> dict[str, float]:
    hit, was = logits.argmax(1) == labels, base[1].argmax(1) == labels
    change = hit.astype(float) - was
    top1 = top_k_accuracy(logits, labels, 1)
    return {
        "moved": float(np.abs(logits - base[1]).mean() / base[1].std()),
        "flipped": 100 * float((logits.argmax(1) != base[1].argmax(1)).mean()),
        "top1": top1,
        "top1_se": standard_error(top1, len(labels)),
        "difference": 100 * float(change.mean()),
        "difference_se": 100 * float(change.std(ddof=1) / np.sqrt(len(labels))),
    }


def _logits(setup: Setup, model: nn.Module, protocol: str, trap: Trap) -> tuple:
    """Labels and mean logits of the validation list with a trap toggled."""
    cfg = dataclasses.replace(setup.cfg, average_clips="score")
    fabric = make_fabric("auto", trap.precision)
    wrapped = fabric.setup_module(model)
    with _patched(trap.patches):  # in this process, hence no loader processes
        found = run_test(fabric, dataclasses.replace(setup, cfg=cfg), wrapped, 0, 0.01, protocol,
                         trap.columns)  # fmt: skip
    return found["labels"], found["scores"]


@contextmanager
def _patched(functions: dict[str, Callable]) -> Iterator[None]:
    before = {name: getattr(PATCHED[name], name) for name in functions}
    for name, function in functions.items():
        setattr(PATCHED[name], name, partial(function, before[name]))
    try:
        yield
    finally:
        for name, function in before.items():
            setattr(PATCHED[name], name, function)


def _early(original: Callable, *args, **options) -> Tensor:
    return (original(*args, **options) - 1).clamp(min=0)


def _antialiased(_, x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", antialias=True)


def _pil(_, x: Tensor, height: int, width: int) -> Tensor:
    frames = [Image.fromarray(frame) for frame in x.permute(0, 2, 3, 1).contiguous().numpy()]
    resized = [np.array(f.resize((width, height), Image.Resampling.BILINEAR)) for f in frames]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def _truncated(_, x: Tensor, size: int) -> Tensor:
    height, width = x.shape[-2:]
    scale = size / min(height, width)
    return augmentation.resize(x, int(height * scale), int(width * scale))


def _squeezed(_, x: Tensor, size: int) -> Tensor:
    return augmentation.resize(x, size, size)


def _reversed(original: Callable, frames) -> Tensor:
    return original(frames).flip(0)


def _bgr(original: Callable, frames) -> Tensor:
    return original(frames).flip(1)
