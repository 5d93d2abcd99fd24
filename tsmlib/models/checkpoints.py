"""Read weights from files without trusting them, and load them by name (layouts.py)."""

import hashlib
import logging
import pickle
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from ..configs import Config, ConfigError, list_configs
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
    """What `load_checkpoint` did: names of parameters, the layout, whose numbering of classes."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    left_over: tuple[str, ...]
    layout: str
    label_order: str | None


def read_checkpoint(path: str | Path) -> dict:
    """The dict in a file of weights. Nothing in the file is executed.

    Raises:
        CheckpointError: no file, not a checkpoint, truncated, or it would run code.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"there is no file of weights {path}")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(
            f"{path} holds more than weights, or is no checkpoint, and was not loaded ({reason}); "
            "its owner can save model.state_dict() alone"
        ) from None
    except Exception as error:  # the unpickler of a file that is none fails in any way
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{path} is damaged or no checkpoint ({reason})") from None
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{path} holds {type(content).__name__}, not a dict of weights")
    return content


def load_checkpoint(model: nn.Module, source: str | Path) -> LoadReport:
    """Load all weights of a model, strictly, from any of the layouts in layouts.py.

    Raises:
        CheckpointError: the file cannot be read, or names or shapes do not fit.
    """
    state, layout = read_state(source, model)
    _check_fit(model, state, str(source), optional=())
    model.load_state_dict(state)
    return LoadReport(tuple(state), (), (), layout, LABEL_ORDER.get(layout))


def read_state(source: str | Path, model: nn.Module) -> tuple[State, str]:
    """The weights in a file under the names of `model`, and the layout of the file."""
    content = read_checkpoint(source)
    if isinstance(content.get("model"), dict):
        return content["model"], "tsmlib"
    state = content["state_dict"] if isinstance(content.get("state_dict"), dict) else content
    state = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not state:
        raise CheckpointError(f"{source} holds no weights")
    layout = layout_of(state)
    return from_layout(state, layout, model), layout


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
    path, source = Path(cfg.pretrain).expanduser(), cfg.pretrain
    if cfg.pretrain == "imagenet":
        path, source = _imagenet_file(cfg)
    state, _ = read_state(path, model)
    own = model.state_dict()
    head = [n for n, p in model.named_parameters() if any(p is q for q in model.head.parameters())]
    for name in head:
        if name in state and state[name].shape != own[name].shape:
            del state[name]
            log.info("%s: %s has another number of classes and starts anew", source, name)
    new = [n for n in own if ".non_local." in n]  # image networks have none
    _check_fit(model, state, source, optional=[*head, *new])
    model.load_state_dict(state, strict=False)
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


def file_sha256(path: str | Path) -> str:
    """Hash of a file's content, in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_fit(model: nn.Module, state: dict[str, Tensor], source: str, optional) -> None:
    """Names and shapes must be the model's; names in `optional` may be missing."""
    wanted = model.state_dict()
    counters = {n for n in wanted if n.endswith("num_batches_tracked")}  # absent in old files
    missing = [n for n in wanted if n not in {*state, *optional, *counters}]
    unknown = [n for n in state if n not in wanted]
    shapes = [
        f"{n} is {list(state[n].shape)} instead of {list(wanted[n].shape)}"
        for n in wanted
        if n in state and state[n].shape != wanted[n].shape
    ]
    for what, names in (
        ("lacks", missing),
        ("has unknown", unknown),
        ("has other shapes:", shapes),
    ):
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            raise CheckpointError(f"{source} does not fit the model: it {what} {names[0]}{more}")
