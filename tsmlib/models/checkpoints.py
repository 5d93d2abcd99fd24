"""Load weights by name, from any of the layouts in state_dict_layouts.py, all or none."""

import logging
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import torch
import torchvision
from torch import Tensor, nn

from ..configs import BACKBONES, Config, ConfigError, is_row
from ..paths import file_sha256
from .checkpoint_files import CheckpointError, check_values, local_file, read_checkpoint
from .downloads import DownloadError, download, hash_in_name
from .state_dict_layouts import (
    LABEL_ORDER,
    State,
    describe_other_shifts,
    detect_layout,
    from_layout,
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """The outcome of `load_checkpoint`; names are those of the model."""

    matched: tuple[str, ...]  # loaded
    missing: tuple[str, ...]  # not in the file: the model keeps its values
    left_over: tuple[str, ...]  # in the file, and not loaded
    layout: str
    label_order: str | None  # numbering of the classes, as in LABEL_ORDER


def load_checkpoint(model: nn.Module, source: str | Path, new_head: bool = False) -> LoadReport:
    """Load the weights of a model from any of the layouts in state_dict_layouts.py, all or none.

    Args:
        model: a model of `build_model`.
        source: a file, or its http address.
        new_head: keep the model's classifier if the file has none, or one of another size.

    Raises:
        CheckpointError: the file cannot be had or read, or names or shapes do not fit.
    """
    path = local_file(source)
    return load_content(model, read_checkpoint(path), path, new_head)


def is_of_run(content: dict) -> bool:
    """Tell whether a file is the checkpoint of a run of ours, which states its configuration.

    Others may save a `config` of their own beside a `model`; ours has all fields.
    """
    config = content.get("config")
    is_ours = isinstance(config, dict) and {"name", "backbone", "shift_div"} <= config.keys()
    return is_ours and isinstance(content.get("model"), dict)


def run_facts(content: dict) -> dict:
    """Return what a checkpoint of ours says of its run; {} for files of others."""
    return content if is_of_run(content) else {}


def saved_epoch(content: dict) -> int | None:
    """Return after which epoch weights were saved, if their file, which may be foreign, says so."""
    state = content.get("state")
    epoch = (state if isinstance(state, dict) else content).get("epoch")
    return int(epoch) if isinstance(epoch, Integral) else None


def load_content(model: nn.Module, content: dict, path: Path, new_head: bool = False) -> LoadReport:
    """Load the weights in the content of a file that is read already, as `load_checkpoint` does."""
    state, layout, difference = _name_weights(content, model, path)
    left_over = _drop_other_head(model, state, path) if new_head else []
    _load(model, state, path, optional=_head(model) if new_head else [])
    if difference:
        log.warning("%s is from a network with other shifts than the model: %s", path, difference)
    missing = tuple(name for name in model.state_dict() if name not in state)
    return LoadReport(tuple(state), missing, tuple(left_over), layout, LABEL_ORDER.get(layout))


def _name_weights(content: dict, model: nn.Module, path: Path) -> tuple[State, str, str]:
    """Return a file's weights under the names of `model`, its layout, and how its shifts differ."""
    inner = [key for key in ("model", "state_dict") if isinstance(content.get(key), dict)]
    state = content[inner[0]] if inner else content  # optimizer, averages ... lie beside it
    tensors = {str(name): value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        keys = ", ".join(map(str, [*content][:5]))
        raise CheckpointError(f"{path} holds no weights, at the top or as state_dict ({keys})")
    # names of models that were wrapped for several GPUs
    named = {re.sub(r"^(module\.)+", "", name): value for name, value in tensors.items()}
    _check_once(named, tensors, path)
    layout = detect_layout(named)
    if layout == "torchvision" and inner == ["model"]:
        return named, "tsmlib", ""
    state = from_layout(named, layout, model)
    folded = {name for name in named if name.endswith("nl.W.0.bias")}  # see state_dict_layouts.py
    _check_once(state, named.keys() - folded, path)
    return state, layout, describe_other_shifts(named, layout, model)


def _check_once(state: State, names: Collection[str], path: Path) -> None:
    if len(state) < len(names):
        raise CheckpointError(f"{path} holds some weights twice, under two names: keep one of each")


def load_pretrained(model: nn.Module, cfg: Config) -> dict[str, str] | None:
    """Load the weights that `cfg.pretrain` names, all but a classifier of another size.

    Returns:
        `source` and `sha256` of the file, or None for `pretrain=none`.
    """
    if cfg.pretrain == "none":
        return None
    if is_row(cfg.pretrain):
        raise ConfigError(
            f"{cfg.name} starts from the weights of row {cfg.pretrain}, which `train` finds or "
            "makes; to load them here name their file with pretrain=FILE"
        )
    path, source = local_file(cfg.pretrain), cfg.pretrain
    if source == "imagenet":
        path, source = imagenet_file(cfg)
    state, _, _ = _name_weights(read_checkpoint(path), model, path)
    _drop_other_head(model, state, path)
    new = [n for n in model.state_dict() if ".non_local." in n]  # image networks have none
    _load(model, state, path, optional=[*_head(model), *new])
    return {"source": source, "sha256": file_sha256(path)}


def imagenet_file(cfg: Config) -> tuple[Path, str]:
    """Find or download torchvision's IMAGENET1K_V1 weights of a backbone, and check their hash.

    Returns:
        The file, in torch's own folder of downloads or in `weights/` of TSM_CACHE, and its source.

    Raises:
        CheckpointError: they do not exist, or cannot be had.
    """
    advice = "name a local file with pretrain=FILE, or start from scratch with pretrain=none"
    if (name := BACKBONES[cfg.backbone].imagenet) is None:
        raise CheckpointError(f"{cfg.backbone} has no ImageNet weights; {advice}")
    weights = getattr(torchvision.models, name).IMAGENET1K_V1
    if cfg.width != 1 or cfg.depth is not None:
        raise CheckpointError(f"there are no ImageNet weights of width {cfg.width}; {advice}")
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(weights.url).name
    digest = hash_in_name(path.name)
    if path.is_file():
        if not file_sha256(path).startswith(digest):
            raise CheckpointError(f"{path} is not {weights}: its SHA-256 differs; remove the file")
        return path, f"torchvision {weights}"
    try:
        return download(weights.url), f"torchvision {weights}"
    except DownloadError as error:
        raise CheckpointError(f"{weights}: {error}; or {advice}") from None


# --- what fits ------------------------------------------------------------------------------------


def _head(model: nn.Module) -> list[str]:
    """List the names of the classifier's weight and bias."""
    own = {id(p) for p in getattr(model, "head", nn.Module()).parameters()}
    return [name for name, p in model.named_parameters() if id(p) in own]


def _drop_other_head(model: nn.Module, state: State, path: Path) -> list[str]:
    """Remove a classifier for another number of classes from `state`; return its names."""
    head, own = _head(model), model.state_dict()
    if all(state[n].shape[:1] == own[n].shape[:1] for n in head if n in state):
        return []
    log.info("%s: its classifier has another number of classes and is not loaded", path)
    return [name for name in head if state.pop(name, None) is not None]


def _load(model: nn.Module, state: State, path: Path, optional: Sequence[str]) -> None:
    """Load `state` by names, all or none; names in `optional` may be missing."""
    own = model.state_dict()
    _check_fit(state, own, path, optional, _head(model))
    check_values({name: value.to(own[name].dtype) for name, value in state.items()}, path)
    for file_type, own_type in {(v.dtype, own[n].dtype) for n, v in state.items()}:
        if file_type != own_type:
            log.info("%s: weights of %s are converted to %s", path, file_type, own_type)
    model.load_state_dict(state, strict=False)


def _check_fit(state: State, own: State, path: Path, optional: Sequence, head: Sequence) -> None:
    """Check names, shapes and types against the model's; names in `optional` may be missing."""
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
            f"{n} is {_kind(a)} instead of {_kind(b)}" for n, a, b in both
            if a.is_floating_point() != b.is_floating_point() or a.layout != b.layout or a.is_meta
        ],
    }  # fmt: skip
    for problem, names in problems.items():
        if names:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            cause = _explain_misfit(state, own, head)
            message = f"{path} does not fit the model: it {problem} {names[0]}{more}{cause}"
            raise CheckpointError(message)


def check_scores(logits: Tensor) -> None:
    """Check that what a model gives is finite.

    Raises:
        CheckpointError: numbers overflow in it, though each weight may be a number.
    """
    if not logits.isfinite().all():
        raise CheckpointError(
            "the weights give scores that are not finite (NaN): numbers overflow in the network, "
            "as after a training that diverged; use other weights"
        )


def _kind(value: Tensor) -> str:
    """Name the type of a tensor, and whether it is sparse or has no values."""
    plain = value.layout == torch.strided
    return f"{value.dtype}" + ("" if plain else " (sparse)") + (" without values" * value.is_meta)


def _explain_misfit(state: State, own: State, head: Sequence[str]) -> str:
    """Give the one cause that explains all misfits, as the end of a sentence, or ''."""
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
