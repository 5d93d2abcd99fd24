"""Runs: what is to be run on which data, and everything needed to stop and continue it."""

import dataclasses
import hashlib
import io
import logging
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric

from .configs import Config, ConfigError, from_dict, load_config, mini, to_dict
from .data.annotations import DataError, list_file
from .data.standin import clips_id, prepare_standin, translate
from .models.checkpoints import CheckpointError, file_sha256, read_checkpoint
from .models.recognizer import check_model
from .paths import cache_folder, data_folder, results_folder, shown
from .results import cannot_write, read_record, write_atomic

log = logging.getLogger(__name__)

SAVE_SECONDS = 600  # an interrupted epoch loses no more than this


@dataclass(frozen=True)
class Setup:
    """What a run will be: the final configuration, and on what data."""

    cfg: Config
    data: str  # real or standin
    scale: str  # full or mini
    data_root: Path
    reason: str  # why this data and this scale, in a sentence


def resolve(
    cfg: Config,
    data: str = "auto",
    scale: str = "auto",
    *,
    data_root: str | Path | None = None,
    cache: str | Path | None = None,
    workers: int | None = None,
    splits: tuple[str, ...] = ("train", "val"),
) -> Setup:
    """Decide on data and scale, and generate the stand-in where it is needed.

    Args:
        cfg: the configuration; fields that the user set keep their values at every scale.
        data: `real`, `standin`, or `auto`: real where its lists are, else the stand-in.
        scale: `full`, `mini`, or `auto`: full on real data, mini on a stand-in.
        data_root: root of the real data; None: the configuration's own, else TSM_DATA.
        cache: where stand-ins are kept; None: TSM_CACHE.
        workers: processes that generate; None: as many as cores.
        splits: the lists that are needed.

    Raises:
        ConfigError: an unknown choice, or parts of the model that exclude each other.
        DataError: real data that are asked for and not there.
    """
    check_choice("data", data, ("auto", "real", "standin"))
    check_choice("scale", scale, ("auto", "full", "mini"))
    check_model(cfg)
    root = Path(data_root or cfg.data_root or data_folder()).expanduser().resolve()
    absent = [f for f in (list_file(cfg, s, root) for s in splits) if not f.is_file()]
    if data == "real" or cfg.dataset == "custom":
        if not root.is_dir():
            raise DataError(
                f"the data root {root} does not exist (parameter data_root, or TSM_DATA)"
            )
        if absent:
            raise DataError(f"there is no list file {absent[0]} (data_root is {root})")
    if data == "auto":
        data = "standin" if absent else "real"
        why = f"{shown(absent[0])} is not there" if absent else f"the lists are in {shown(root)}"
    else:
        why = "as asked for"
    if scale == "auto":
        scale = "full" if data == "real" else "mini"
    if data == "standin":
        cfg = translate(cfg)
        root = prepare_standin(cfg, cache_folder(cache), workers)
    if scale == "mini":
        cfg = mini(cfg)
    return Setup(cfg, data, scale, root, f"{data} data ({why}), {scale} scale")


def check_choice(name: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ConfigError(f"{name}={value!r} is not possible; choose one of {', '.join(allowed)}")


def run_name(
    setup: Setup, seed: int, precision: str = "32-true", weights: Path | None = None
) -> str:
    """Folder name of a training run: its conditions, and a hash of everything it depends on.

    That is the configuration, the clips or lists, the file of weights it starts from (of a row
    that `pretrain` names, or that it is), and the precision.
    """
    cfg, parts = setup.cfg, [setup.cfg.hash, precision]
    if setup.data == "standin":
        parts.append(clips_id(setup.data_root))
    else:
        parts += [file_sha256(list_file(cfg, split, setup.data_root)) for split in ("train", "val")]
        parts.append(str(setup.data_root) if cfg.dataset == "custom" else "")
    if weights:
        parts.append(weights_hash(weights))
    elif Path(cfg.pretrain).is_file():
        parts.append(file_sha256(cfg.pretrain))
    digest = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:8]
    return f"{setup.data}-{setup.scale}-seed{seed}-{digest}"


def weights_hash(file: Path) -> str:
    """Hash of the weights in a checkpoint of ours: equal runs differ in their timings alone."""
    digest = hashlib.sha256()
    for name, value in read_checkpoint(file)["model"].items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


# --- checkpoints ----------------------------------------------------------------------------------


@dataclass
class State:
    """Where a training run stands; everything in it goes into the checkpoint."""

    epoch: int = 0
    step: int = 0  # batches of this epoch that are done
    loss_sum: float = 0.0
    hits: int = 0
    seen: int = 0
    seconds: float = 0.0
    best: float = -1.0
    history: list[dict[str, float]] = field(default_factory=list)
    bad: dict[str, str] = field(default_factory=dict)


class Saver:
    """Writes `last.pth` (everything needed to continue) and `best.pth`, all or nothing."""

    def __init__(
        self, fabric: Fabric, folder: Path, setup: Setup, run: str, seed: int, model, optimizer
    ):
        self.fabric, self.folder, self.setup = fabric, folder, setup
        self.run, self.seed = run, seed
        self.model, self.optimizer, self.saved = model, optimizer, time.perf_counter()
        if fabric.is_global_zero:
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise cannot_write(folder, error) from None

    def save(self, state: State) -> None:
        content = {
            "optimizer": self.optimizer.state_dict(),
            "state": vars(state),
            "processes": self.fabric.world_size,
            "rng": torch.get_rng_state(),
            "rng_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        }
        self._write("last.pth", content)
        self.saved = time.perf_counter()

    def save_sometimes(self, state: State, epoch_started: float) -> None:
        """In a long epoch, after a whole step."""
        now = time.perf_counter()
        if now - self.saved > SAVE_SECONDS:
            before, state.seconds = state.seconds, state.seconds + now - epoch_started
            self.save(state)
            state.seconds = before

    def keep_best(self, state: State, top1: float) -> None:
        if top1 > state.best:
            state.best = top1
            self._write("best.pth", {"epoch": state.epoch})

    def restore(self) -> State:
        """Where the run in this folder stopped, or its beginning."""
        file = self.folder / "last.pth"
        if not file.is_file():
            return State()
        content = read_checkpoint(file)
        _check_same_run(file, content, self.run)
        if content["processes"] != self.fabric.world_size:
            raise CheckpointError(
                f"{file} was written by {content['processes']} processes, these are "
                f"{self.fabric.world_size}; start as many, or start over with fresh=True"
            )
        self.model.load_state_dict(content["model"])
        self.optimizer.load_state_dict(content["optimizer"])
        torch.set_rng_state(content["rng"])
        if content["rng_cuda"] and torch.cuda.is_available():
            torch.cuda.set_rng_state_all(content["rng_cuda"])
        state = State(**content["state"])
        if self.fabric.global_rank > 0:  # the sums are those of the first process
            state.loss_sum, state.hits, state.seen = 0.0, 0, 0
        log.info("continuing %s: %d epochs, %d batches", shown(file), state.epoch, state.step)
        return state

    def _write(self, name: str, content: dict) -> None:
        if not self.fabric.is_global_zero:
            return
        weights = {k: v.detach().cpu() for k, v in self.model.state_dict().items()}
        content = {
            "model": weights,
            "config": to_dict(self.setup.cfg),
            "data": self.setup.data,
            "scale": self.setup.scale,
            "run": self.run,
            "seed": self.seed,
            **content,
        }
        write_atomic(self.folder / name, as_bytes(content))


def as_bytes(content: dict) -> memoryview:
    """What `torch.save` would write into a file."""
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getbuffer()


def _check_same_run(file: Path, content: dict, run: str) -> None:
    if "run" not in content or "state" not in content:
        raise CheckpointError(f"{file} holds weights only; a run cannot be continued from it")
    if content["run"] != run:
        raise CheckpointError(
            f"{file} belongs to another run, {content['run']}; this one is {run}: other settings, "
            "lists, clips or precision; choose another work_dir, or start over with fresh=True"
        )


def finished_record(folder: Path, cfg: Config, run: str) -> dict[str, Any] | None:
    """The record of a run that needs no more training. One without its weights does not count."""
    if not ((folder / "metrics.json").is_file() and (folder / "last.pth").is_file()):
        return None
    content = read_checkpoint(folder / "last.pth")
    _check_same_run(folder / "last.pth", content, run)
    if content["state"]["epoch"] < cfg.epochs:
        return None
    return {**read_record(folder), "run_dir": str(folder)}


MODEL_FIELDS = (
    "backbone", "width", "depth", "num_segments", "num_classes", "is_shift", "shift_div",
    "shift_place", "shift_direction", "shift_padding", "temporal_pool", "non_local",
)  # fmt: skip


DATA_FIELDS = (
    "class_names", "num_classes", "layout", "filename_tmpl", "start_index", "data_root",
    "train_list", "val_list", "train_prefix", "val_prefix", "flip_label_map",
)  # fmt: skip


def newest_checkpoint(setup: Setup, seed: int | None = None) -> Path | None:
    """The last weights of the newest finished run of this model on the same data and scale.

    Args:
        seed: of the run; None: any.

    Returns None if there is none on a stand-in.

    Raises:
        CheckpointError: there is none on real data.
    """
    folder = results_folder() / "local" / setup.cfg.name
    which = f"{setup.data}-{setup.scale}-seed{'*' if seed is None else seed}"
    runs = []
    for record in folder.glob(f"{which}-*/metrics.json"):
        trained = load_config(record.parent / "config.json")
        same = all(getattr(trained, f) == getattr(setup.cfg, f) for f in MODEL_FIELDS)
        if same and (record.parent / "last.pth").is_file():
            runs.append(record)
    if runs:
        return max(runs, key=lambda record: record.stat().st_mtime).parent / "last.pth"
    if setup.data == "real":
        raise CheckpointError(
            f"there is no finished run of {setup.cfg.name} on {setup.data} data at {setup.scale} "
            f"scale in {folder}; train it first (make train cfg={setup.cfg.name}), or name a file "
            "of weights (checkpoint=FILE; of a row that another one starts from: pretrain=FILE)"
        )
    return None


def for_evaluation(setup: Setup, asked: Config, content: dict, file: Path) -> Setup:
    """The setup that evaluates a checkpoint of ours: its model and sizes, the caller's data.

    Args:
        setup, asked: what the caller's configuration resolves to, and that configuration.
        content: of the checkpoint; `file` is its name for messages.

    Raises:
        CheckpointError: it is of another row, another number of classes, or contradicts a model
            field that the caller set.
    """
    trained = from_dict(content["config"])
    if trained.name != asked.name:
        raise CheckpointError(f"{file} is a checkpoint of {trained.name}, not of {asked.name}")
    if trained.num_classes != setup.cfg.num_classes:
        classes = f"{trained.num_classes} classes, the data have {setup.cfg.num_classes}"
        raise CheckpointError(f"{file} was trained for {classes}")
    for name in set(asked.explicit) & set(MODEL_FIELDS):
        if getattr(asked, name) != getattr(trained, name):
            raise CheckpointError(
                f"{file} was trained with {name}={getattr(trained, name)}, "
                f"not {name}={getattr(asked, name)}"
            )
    wanted = {name: getattr(setup.cfg, name) for name in (*DATA_FIELDS, *asked.explicit)}
    return dataclasses.replace(setup, cfg=dataclasses.replace(trained, **wanted))
