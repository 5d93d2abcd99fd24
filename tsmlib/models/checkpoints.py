"""Read weights from files without trusting them, and load them by name (layouts.py)."""

import hashlib
import logging
import pickle
import re
from argparse import Namespace
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import numpy as np
import torch
import torchvision
from torch import Tensor, nn

from ..configs import Config, ConfigError, list_configs
from ..downloads import DownloadError, download, file_sha256, hash_in_name, is_web_page
from ..paths import cache_folder
from .layouts import LABEL_ORDER, State, from_layout, layout_of

log = logging.getLogger(__name__)

IMAGENET = {
    "resnet18": torchvision.models.ResNet18_Weights.IMAGENET1K_V1,
    "resnet50": torchvision.models.ResNet50_Weights.IMAGENET1K_V1,
    "resnet101": torchvision.models.ResNet101_Weights.IMAGENET1K_V1,
    "mobilenetv2": torchvision.models.MobileNet_V2_Weights.IMAGENET1K_V1,
}


class CheckpointError(RuntimeError):
    """Weights that cannot be read or do not fit; the message names the file and says why."""


@dataclass(frozen=True)
class LoadReport:
    """What `load_checkpoint` did, with names as in the model, and whose numbering of classes it is.

    `missing` are names of the model that keep their values, `left_over` are others of the file.
    """

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    layout: str
    label_order: str | None


# --- reading --------------------------------------------------------------------------------------


class _Dtype:
    """Stands in for numpy's dtype, which would take over any state from a file."""

    def __init__(self, code: str, *_):
        self.code = code

    def __setstate__(self, state: tuple):
        self.code = state[1].replace("|", "") + self.code  # byte order


def _scalar(dtype: _Dtype, data: bytes) -> np.generic:
    return np.frombuffer(data, dtype.code)[0]


# what training scripts save beside weights (MIT main.py: best_prec1), as numpy 1 and 2 name it
ALLOWED = [
    (Namespace, "argparse.Namespace"),
    (_Dtype, "numpy.dtype"),
    (_scalar, "numpy.core.multiarray.scalar"),
    (_scalar, "numpy._core.multiarray.scalar"),
]


def local_file(source: str | Path) -> Path:
    """A file of weights here; one at an http address is downloaded first.

    Raises:
        CheckpointError: it cannot be downloaded.
    """
    url = str(source)
    if not url.startswith(("http://", "https://")):
        return Path(source).expanduser()
    folder = cache_folder() / "weights"
    if not hash_in_name(url):  # another server's file may have the same name
        folder /= hashlib.sha256(url.encode()).hexdigest()[:8]
    try:
        return download(url, folder)
    except DownloadError as error:
        raise CheckpointError(str(error)) from None


def read_checkpoint(path: str | Path) -> dict:
    """The dict in a file of weights, or at an http address. Nothing in it is executed.

    Raises:
        CheckpointError: no file, not a checkpoint, truncated, or it would run code.
    """
    path = local_file(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file of weights {path}")
    _check_start(path)
    try:
        with torch.serialization.safe_globals(ALLOWED):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path} {_refusal(str(error))}") from None
    except Exception as error:  # the unpickler of a file that is none fails in any way
        reason = " ".join(str(error).split()).partition(". ")[0][:120] or type(error).__name__
        raise CheckpointError(
            f"{path} is cut off, damaged or no checkpoint ({reason}): fetch it again"
        ) from None
    if not isinstance(content, dict) or not content:
        what = type(content).__name__ + ", not a dict of weights"
        raise CheckpointError(f"{path} holds {what}{': it is empty' if content == {} else ''}")
    return content


def _check_start(path: Path) -> None:
    """Refuse what is a checkpoint by its name alone: nothing, a page, JSON, a pointer of git."""
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error.strerror or error}") from None
    if not start:
        raise CheckpointError(f"{path} is empty: fetch it again")
    if is_web_page(start):
        raise CheckpointError(f"{path} looks like a web page, not weights: download it again")
    if all(byte >= 32 or byte in b"\t\n\r\f" for byte in start):  # checkpoints begin otherwise
        begin = " ".join(start.decode(errors="replace").split())[:40]
        raise CheckpointError(f"{path} is text, not weights ({begin!r}): download it again")


def _refusal(error: str) -> str:
    """What follows the file's name where the unpickler refused it."""
    if found := re.search(r"GLOBAL (\S+)", error):
        how = "load it where it was made and torch.save(model.state_dict(), FILE)"
        return f"holds {found[1]}: nothing in it was run or loaded; its owner can convert it: {how}"
    reason = " ".join(error.rpartition("WeightsUnpickler error:")[2].split())[:120]
    return f"is no checkpoint, or holds more than weights, and was not loaded ({reason})"


def read_state(source: str | Path, model: nn.Module) -> tuple[State, str]:
    """The weights in a file under the names of `model`, and the layout of the file."""
    content = read_checkpoint(source)
    inner = [key for key in ("model", "state_dict") if isinstance(content.get(key), dict)]
    state = content[inner[0]] if inner else content  # beside it: optimizer, averages, ...
    state = {
        re.sub(r"^(module\.)+", "", str(name)): value  # of models wrapped for several GPUs
        for name, value in state.items()
        if isinstance(value, Tensor)
    }
    if not state:
        raise CheckpointError(f"{source} holds no weights")
    layout = layout_of(state)
    if layout == "torchvision" and inner == ["model"]:
        return state, "tsmlib"
    return from_layout(state, layout, model), layout


# --- loading --------------------------------------------------------------------------------------


def load_checkpoint(model: nn.Module, source: str | Path, new_head: bool = False) -> LoadReport:
    """Load the weights of a model from any of the layouts in layouts.py, all or none.

    Args:
        model: what `build_model` returns.
        source: a file, or an http address of one.
        new_head: leave the classifier as it is where the file's is of other classes, or absent.

    Raises:
        CheckpointError: the file cannot be had or read, or names or shapes do not fit.
    """
    path = local_file(source)
    state, layout = read_state(path, model)
    left_over = _drop_other_head(model, state, path) if new_head else []
    _load(model, state, path, optional=_head(model) if new_head else [])
    missing = tuple(name for name in model.state_dict() if name not in state)
    return LoadReport(tuple(state), missing, tuple(left_over), layout, LABEL_ORDER.get(layout))


def load_pretrained(model: nn.Module, cfg: Config) -> dict[str, str] | None:
    """Load what `cfg.pretrain` names, all but a classifier of another size.

    Returns:
        `source` and `sha256` of the file, or None for `pretrain=none`.
    """
    if cfg.pretrain == "none":
        return None
    if cfg.pretrain in list_configs():
        raise ConfigError(
            f"{cfg.name} starts from the weights of row {cfg.pretrain}, which `train` finds or "
            "makes; to load them here name their file with pretrain=FILE"
        )
    path, source = local_file(cfg.pretrain), cfg.pretrain
    if source == "imagenet":
        path, source = _imagenet_file(cfg)
    state, _ = read_state(path, model)
    _drop_other_head(model, state, path)
    new = [n for n in model.state_dict() if ".non_local." in n]  # image networks have none
    _load(model, state, path, optional=[*_head(model), *new])
    return {"source": source, "sha256": file_sha256(path)}


def _imagenet_file(cfg: Config) -> tuple[Path, str]:
    """torchvision's IMAGENET1K_V1 weights, downloaded once, with their hash checked."""
    weights = IMAGENET[cfg.backbone]
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    how = "name a local file with pretrain=FILE, or start from scratch with pretrain=none"
    if cfg.width != 1 or cfg.depth is not None:
        raise CheckpointError(f"there are no ImageNet weights of width {cfg.width}; {how}")
    digest = path.stem.rpartition("-")[2]  # the file's name holds the start of its sha256
    if path.is_file():
        if not file_sha256(path).startswith(digest):
            raise CheckpointError(f"{path} is not {weights}: its hash is another; remove the file")
        return path, f"torchvision {weights}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(weights.url, str(path), digest, progress=True)
    except (URLError, OSError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(
            f"{weights} could not be downloaded from {weights.url} ({reason}); fetch it by hand "
            f"and put it at {path}; or {how}"
        ) from None
    return path, f"torchvision {weights}"


# --- what fits ------------------------------------------------------------------------------------


def _head(model: nn.Module) -> list[str]:
    """Names of the classifier's weight and bias."""
    own = {id(p) for p in getattr(model, "head", nn.Module()).parameters()}
    return [name for name, p in model.named_parameters() if id(p) in own]


def _drop_other_head(model: nn.Module, state: State, path: Path) -> list[str]:
    """Take a classifier of another number of classes out of `state`; returns its names."""
    head, own = _head(model), model.state_dict()
    if all(state[n].shape[:1] == own[n].shape[:1] for n in head if n in state):
        return []
    log.info("%s: the classifier has another number of classes and starts anew", path)
    return [name for name in head if state.pop(name, None) is not None]


def _load(model: nn.Module, state: State, path: Path, optional: Sequence[str]) -> None:
    """Load by names, all or none; those in `optional` may be missing."""
    own = model.state_dict()
    _check_fit(state, own, path, optional, _head(model))
    for there, here in {(v.dtype, own[n].dtype) for n, v in state.items()}:
        if there != here:
            log.info("%s: weights of %s are converted to %s", path, there, here)
    model.load_state_dict(state, strict=False)


def _check_fit(state: State, own: State, path: Path, optional: Sequence, head: Sequence) -> None:
    """Names, shapes and kinds must be the model's; names in `optional` may be missing."""
    counters = [n for n in own if n.endswith("num_batches_tracked")]  # absent in old files
    enough = {*state, *optional, *counters}
    both = [(n, state[n], own[n]) for n in own if n in state]
    problems = {
        "lacks": [n for n in own if n not in enough],
        "has unknown": [n for n in state if n not in own],
        "has other shapes:": [
            f"{n} is {list(a.shape)} instead of {list(b.shape)}" for n, a, b in both
            if a.shape != b.shape
        ],
        "has other types:": [
            f"{n} is {a.dtype} instead of {b.dtype}" for n, a, b in both
            if a.is_floating_point() != b.is_floating_point()
        ],
    }  # fmt: skip
    for what, names in problems.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            found = f"it {what} {names[0]}{more}{_why(state, own, head)}"
            raise CheckpointError(f"{path} does not fit the model: {found}")


def _why(state: State, own: State, head: Sequence[str]) -> str:
    """The end of the sentence where one cause explains all that does not fit."""
    if 10 * len(state.keys() & own.keys() - set(head)) < len(own):
        return "; it is of another network"
    pattern = r"layer\d+\.\d+|features\.\d+(?=\.conv)"
    there, here = (len({m[0] for n in s if (m := re.match(pattern, n))}) for s in (state, own))
    if there != here:
        return f"; it is of another depth, {there} blocks instead of {here}"
    for name in head[:1]:
        there, here = state.get(name, own[name]).shape[:1], own[name].shape[:1]
        if there and there != here:
            counts = f"{there[0]} classes, the model {here[0]}"
            return f"; it has {counts}: new_head=True keeps the model's classifier"
    return ""
