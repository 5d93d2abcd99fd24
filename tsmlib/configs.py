"""`Config`, one experiment as a frozen dataclass; the 36 published rows are in rows.py.

Values of the rows are the resolved config files behind MMAction2's TSM page (0.x, 40cb52e5);
tests/test_configs.py walks all of them against the recorded facts, value by value.
"""

import dataclasses
import difflib
import hashlib
import json
import logging
import os
import types
import typing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import yaml

from .rows import ROWS, row_fields

log = logging.getLogger(__name__)

Dataset = Literal["k400", "sthv1", "sthv2", "jester", "diving48", "hmdb51", "ucf101", "custom"]
Backbone = Literal["resnet18", "resnet50", "resnet101", "mobilenetv2"]
NonLocal = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]
Augmentation = Literal["imgaug_randaugment", "ptv_randaugment", "ptv_augmix"]
Sampling = Literal["uniform", "dense"]


class ConfigError(ValueError):
    """A configuration that cannot be run as written; the message says what to change."""


@dataclass(frozen=True)
class Config:
    """One experiment, complete. Where it runs (devices, workers, folders) is said to `train`."""

    name: str = ""  # short row name, or the stem of the user's YAML file
    published: str = ""  # label in the published tables (33 labels serve 36 rows)
    explicit: tuple[str, ...] = ()  # fields that the user set: no change of scale touches them

    # data set, on disk
    dataset: Dataset = "k400"
    num_classes: int = 400
    class_names: tuple[str, ...] | None = None  # None: the published list of the data set
    layout: Literal["rawframes", "video", "auto"] = "rawframes"  # auto: by what the list names
    filename_tmpl: str = "img_{:05}.jpg"  # name of a frame in a raw-frame folder
    start_index: int = 1  # number of the first frame in that name
    resolution: str | None = None  # of the *stored* frames, as published; not the network's input
    data_root: str | None = None  # None: the data folder (TSM_DATA); lists are relative to it
    train_list: str = "kinetics400/kinetics400_train_list_rawframes.txt"
    val_list: str = "kinetics400/kinetics400_val_list_rawframes.txt"
    train_prefix: str | None = "kinetics400/rawframes_train"  # folder of the listed names
    val_prefix: str | None = "kinetics400/rawframes_val"

    # model
    backbone: Backbone = "resnet50"
    pretrain: str = "imagenet"  # imagenet (IMAGENET1K_V1), none, a row's name, or a file of weights
    num_segments: int = 8  # T, frames a clip
    is_shift: bool = True  # False: TSN, the same network without shifts
    shift_div: int = 8  # 1/shift_div of the channels move each way
    shift_place: Literal["blockres", "block"] = "blockres"  # on the residual branch, or before all
    shift_direction: Literal["bidirectional", "unidirectional"] = "bidirectional"  # uni: from past
    shift_padding: Literal["zero", "circular", "replicate"] = "zero"  # enters at a clip's ends
    temporal_pool: bool = False  # halve T by max pooling in front of layer2
    non_local: NonLocal | None = None
    dropout: float = 0.5
    partial_bn: bool = False  # freeze all batch norms but the first
    width: float = 1.0  # multiplier of every layer's channels
    depth: tuple[int, ...] | None = None  # blocks of each stage; None: as published

    # sampling and crops; sizes in pixels
    sampling: Sampling = "uniform"  # in training
    eval_sampling: Sampling = "uniform"  # in validation and test; dense is 10 clips there
    short_side: int = 256  # frames are resized to this short side before they are cropped
    train_crop: Literal["multiscale", "random_resized"] = "multiscale"  # latter: no resize before
    crop_size: int = 224  # of the training input
    flip: float = 0.5  # probability of a horizontal flip
    flip_label_map: dict[int, int] | None = None  # labels that change when flipped
    augmentation: Augmentation | None = None
    gpu_normalize: bool = False  # the row that normalises in front of the backbone
    blending: Literal["mixup", "cutmix"] | None = None
    blending_alpha: float = 0.2  # lambda ~ Beta(alpha, alpha)
    val_crop_size: int = 224  # centre crop of the validation during training
    twice_sample: bool = False  # 2 clips in the test
    test_crops: Literal[1, 3, 10] = 1  # centre; along the longer side; corners, centre, mirrored
    test_crop_size: int = 224
    average_clips: Literal["prob", "score"] = "prob"  # views: mean of probabilities, or of logits

    # optimisation
    batch_size: int = 64  # videos a step that `lr` was tuned for (8 GPUs in the published runs)
    videos_per_device: int = 8  # the group of videos that shares batch-norm statistics
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: float = 0.01
    momentum: float = 0.9
    weight_decay: float = 1e-4
    fc_lr5: bool = True  # the classifier learns 5 (weight) and 10 (bias) times faster
    clip_grad: float = 20.0  # largest total L2 norm of the gradient
    schedule: Literal["step", "cosine"] = "step"
    milestones: tuple[int, ...] = (20, 40)  # epochs after which lr is multiplied by gamma
    gamma: float = 0.1
    epochs: int = 50
    eval_interval: int = 5  # epochs between validations

    def __post_init__(self):
        for name, kind in KINDS.items():
            object.__setattr__(self, name, _coerce(name, getattr(self, name), kind))
        _validate(self)

    @property
    def row_id(self) -> str:
        """Key of this row in results/reference.csv."""
        stored = (self.resolution or "").replace("short-side ", "ss").replace("height ", "h")
        return f"{self.published}__{stored}" if stored else self.published

    @property
    def hash(self) -> str:
        """8 hex digits of the experiment: every field but where the data lie on this machine."""
        fields = {k: v for k, v in to_dict(self).items() if k not in ("data_root", "explicit")}
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]


KINDS = typing.get_type_hints(Config)
AT_LEAST_ONE = (
    "num_classes", "num_segments", "shift_div", "short_side", "crop_size", "val_crop_size",
    "test_crop_size", "batch_size", "videos_per_device", "epochs", "eval_interval",
)  # fmt: skip


# --- public ---------------------------------------------------------------------------------------


def list_configs() -> list[str]:
    """Short names of the 36 published rows, in the order of the published tables."""
    return list(ROWS)


def get_config(name: str, **changes) -> Config:
    """The configuration of a row, with changes.

    Args:
        name: a short name (`sthv1`), a published name (`tsm_r50_1x1x8_50e_sthv1_rgb`, with or
            without `.py`), a `row_id` of results/reference.csv, or the path of a YAML file with
            `base:` and any fields (see README, "Your own videos").
        changes: any fields of `Config`.

    Raises:
        ConfigError: unknown name or field (the closest ones are listed), or an impossible value.
    """
    if str(name).endswith((".yaml", ".yml")):
        row, own = _read_yaml(Path(name))
        return replace(Config(**row), **{**own, **changes})
    return replace(Config(**row_fields(_resolve_name(str(name)))), **changes)


def to_dict(cfg: Config) -> dict[str, Any]:
    """Fields of a config as JSON-able values (label maps get string keys, tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(cfg)))


def from_dict(fields: dict[str, Any]) -> Config:
    """The inverse of `to_dict`."""
    _check_fields(fields)
    return Config(**fields)


def load_config(path: str | Path) -> Config:
    """The config in a run's `config.json`."""
    return from_dict(json.loads(Path(path).read_text()))


def mini(cfg: Config) -> Config:
    """The same recipe with every size reduced, for about a minute on two CPU cores.

    Sizes in pixels are a quarter, channels a quarter, one or two blocks a stage, 10 epochs with
    the milestones at the same fractions, batches of 8. It starts from scratch: the learning rate
    per video is higher (`MINI_LR`; ratios between rows stay), and the classifier, no newer than the
    rest, does not learn faster. Segments, shift, non-local, blending and sampling are untouched.
    """
    scratch = cfg.pretrain in ("imagenet", "none")
    depth = {"resnet18": (1, 1, 1, 1), "resnet50": (1, 1, 1, 1), "resnet101": (1, 2, 2, 1)}
    reduced = {
        "width": cfg.width / 4,
        "depth": depth.get(cfg.backbone, (1, 2, 2, 2, 2, 2, 1)),
        "pretrain": "none" if scratch else cfg.pretrain,
        "short_side": cfg.short_side // 4,
        "crop_size": cfg.crop_size // 4,
        "val_crop_size": cfg.val_crop_size // 4,
        "test_crop_size": cfg.test_crop_size // 4,
        "batch_size": MINI_BATCH,
        "videos_per_device": MINI_BATCH,
        "lr": cfg.lr / cfg.batch_size * MINI_BATCH * MINI_LR,
        "epochs": MINI_EPOCHS,
        "milestones": cfg.milestones if "epochs" in cfg.explicit else _at(cfg, MINI_EPOCHS),
        "fc_lr5": cfg.fc_lr5 and not scratch,
        "eval_interval": 5,
    }
    return dataclasses.replace(cfg, **{k: v for k, v in reduced.items() if k not in cfg.explicit})


MINI_EPOCHS = 10
MINI_BATCH = 8
MINI_LR = 16.0  # tuned on the stand-in of sthv1 with seeds 100-102, never on a reported seed


def replace(cfg: Config, **changes) -> Config:
    """A copy with fields that the user sets; they keep their values at every scale.

    The milestones follow a change of `epochs`, unless they are set as well.
    """
    _check_fields(changes)
    explicit = tuple(sorted({*cfg.explicit, *changes}))
    changed = dataclasses.replace(cfg, **{**changes, "explicit": explicit})
    if "epochs" in changes and "milestones" not in explicit:
        return dataclasses.replace(changed, milestones=_at(cfg, changed.epochs))
    return changed


def _at(cfg: Config, epochs: int) -> tuple[int, ...]:
    """The milestones at the same fractions of another number of epochs."""
    return tuple(max(1, round(m * epochs / cfg.epochs)) for m in cfg.milestones)


def changed_fields(cfg: Config) -> dict[str, Any]:
    """What differs from the published row of the same name (empty: the row as published)."""
    row = to_dict(get_config(cfg.name)) if cfg.name in ROWS else {}
    ignored = ("data_root", "explicit")
    return {k: v for k, v in to_dict(cfg).items() if k not in ignored and v != row.get(k)}


def scaled_lr(cfg: Config, batch: int) -> float:
    """Learning rate for `batch` videos a step: linear in the batch, from the row's own pair.

    The published page's example (its note 1: lr 0.01 for 4 GPUs x 2 videos) is 8 times off the
    config files, which have 0.01 for 8 GPUs x 8 videos; the config files are followed.
    """
    return cfg.lr * batch / cfg.batch_size


def views(cfg: Config, protocol: str = "published") -> dict[str, int]:
    """Views of a test protocol: {"clips", "crops", "size"}.

    `published`: the row's test pipeline. `efficient` (1 clip, centre crop) and `accurate` (2 clips,
    3 crops) are notions of Something-Something and Jester (TSM, section 5.1; the published page's
    note 4). `validation`: what is measured during training.
    """
    _check_protocol(cfg, protocol)
    dense = 10 if cfg.eval_sampling == "dense" else 1
    if protocol in ("validation", "efficient"):
        return {"clips": dense, "crops": 1, "size": cfg.val_crop_size}
    if protocol == "accurate":
        return {"clips": 2, "crops": 3, "size": cfg.short_side}
    clips = 2 if cfg.twice_sample else dense
    return {"clips": clips, "crops": cfg.test_crops, "size": cfg.test_crop_size}


def validation_protocol(cfg: Config) -> str:
    """The published name of what is measured during training, if it has one."""
    if views(cfg, "validation") == views(cfg, "published"):
        return "published"
    return "efficient" if cfg.dataset in _TWO_PROTOCOLS else "validation"


PROTOCOLS = ("published", "efficient", "accurate", "validation")
_TWO_PROTOCOLS = ("sthv1", "sthv2", "jester")


# --- names, fields, values ------------------------------------------------------------------------


def _check_protocol(cfg: Config, protocol: str) -> None:
    if protocol not in PROTOCOLS:
        raise ConfigError(f"protocol {protocol!r} is unknown; choose one of {', '.join(PROTOCOLS)}")
    if protocol in ("efficient", "accurate") and cfg.dataset not in _TWO_PROTOCOLS:
        raise ConfigError(
            f"protocol {protocol!r} is defined for {', '.join(_TWO_PROTOCOLS)} only, "
            f"not for {cfg.dataset}; use 'published'"
        )


def _resolve_name(name: str) -> str:
    """Row of a short name, a published name or a row id."""
    if name in ROWS:
        return name
    plain = name.removesuffix(".py")
    by_id = [n for n in ROWS if get_config(n).row_id == plain]
    by_label = [n for n in ROWS if ROWS[n][1] == plain]
    found = by_id if len(by_id) == 1 else by_label
    if not found:
        known = [*ROWS, *{row[1] for row in ROWS.values()}]
        raise ConfigError(f"there is no configuration {name!r}; {_closest(plain, known)}")
    if len(found) == 1:
        return found[0]
    default = next(n for n in found if row_fields(n)["resolution"] == "short-side 256")
    others = ", ".join(n for n in found if n != default)
    log.warning("%s names %d rows: taking %s; the others are %s", name, len(found), default, others)
    return default


def _closest(name: str, known) -> str:
    near = difflib.get_close_matches(name, list(known), n=4, cutoff=0.4)
    return f"closest: {', '.join(near)}" if near else "list_configs() names all rows"


def _check_fields(fields: dict[str, Any]) -> None:
    for name in fields:
        if name not in KINDS:
            near = difflib.get_close_matches(name, KINDS, n=3, cutoff=0.4)
            hint = f"closest: {', '.join(near)}" if near else "see tsmlib.configs.Config"
            raise ConfigError(f"there is no configuration field {name!r}; {hint}")


def _read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What follows from a user's YAML file (row, place of the data), and the fields it sets."""
    if not path.is_file():
        raise ConfigError(f"there is no configuration file {path}")
    try:
        own = yaml.safe_load(path.read_text()) or {}
    except yaml.YAMLError as error:
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(own, dict) or "base" not in own:
        raise ConfigError(f"{path} needs a line `base: ROW`, for example `base: sthv1`")
    fields = row_fields(_resolve_name(str(own.pop("base"))))
    _check_fields(own)
    home = path.resolve().parent
    root = home / Path(own.get("data_root") or ".").expanduser()
    if isinstance(own.get("class_names"), str):
        own["class_names"] = _names_in_file(own["class_names"], (root, home))
    if "train_list" in own or "val_list" in own:
        fields |= _own_data(path, own, root)
    elif "data_root" in own:
        fields["data_root"] = str(root)
    own.pop("data_root", None)
    return fields, own


def _own_data(path: Path, own: dict[str, Any], root: Path) -> dict[str, Any]:
    """What changes in a row whose lists are the user's own; list names become relative to root."""
    for required in ("train_list", "val_list", "num_classes"):
        if own.get(required) is None:
            raise ConfigError(f"{path} needs a line `{required}:` (see README, 'Your own videos')")
    for name in ("train_list", "val_list"):  # in the data root, or beside the YAML file
        beside = path.resolve().parent / own[name]
        if not (root / own[name]).is_file() and beside.is_file():
            own[name] = os.path.relpath(beside, root)
    return {
        "name": path.stem, "dataset": "custom", "layout": "auto", "resolution": None,
        "num_classes": own["num_classes"],
        "flip_label_map": None, "train_prefix": None, "val_prefix": None, "data_root": str(root),
    }  # fmt: skip


def _names_in_file(name: str, folders: tuple[Path, ...]) -> list[str]:
    """Class names, one a line."""
    file = next((folder / name for folder in folders if (folder / name).is_file()), None)
    if file is None:
        where = " or ".join(dict.fromkeys(map(str, folders)))
        raise ConfigError(f"class_names: there is no file {name} in {where}")
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _coerce(name: str, value: Any, kind: Any) -> Any:
    """`value` as the declared type of a field (YAML and JSON know no tuples or int keys)."""
    union = typing.get_origin(kind) in (types.UnionType, typing.Union)
    options = typing.get_args(kind) if union else (kind,)
    if value is None or (value == "none" and type(None) in options):
        if type(None) in options:
            return None
        raise ConfigError(f"{name} must have a value")
    kind = options[0]
    allowed = typing.get_args(kind)
    if typing.get_origin(kind) is Literal:
        if value not in allowed:
            names = ", ".join(str(a) for a in (*allowed, *["none"] * (len(options) > 1)))
            raise ConfigError(f"{name}={value!r} is not possible; choose one of {names}")
        return value
    try:
        if typing.get_origin(kind) is tuple:
            return tuple(_plain(v, allowed[0]) for v in value)
        if typing.get_origin(kind) is dict:
            return {int(k): int(v) for k, v in value.items()}
        return _plain(value, kind)
    except (TypeError, ValueError, AttributeError):
        plain = getattr(kind, "__name__", kind)
        raise ConfigError(f"{name}={value!r} is not of type {plain}") from None


def _plain(value: Any, kind: type) -> Any:
    """An int, float, bool or str, without conversions that hide a slip (2.5 to 2, 1 to True)."""
    if isinstance(value, bool) != (kind is bool) or (kind is not str and isinstance(value, str)):
        raise TypeError
    if kind(value) != value:
        raise ValueError
    return kind(value)


def _validate(cfg: Config) -> None:
    for name in AT_LEAST_ONE:
        if getattr(cfg, name) < 1:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be at least 1")
    for name in ("flip", "dropout"):
        if not 0 <= getattr(cfg, name) <= 1:
            raise ConfigError(f"{name}={getattr(cfg, name)} must lie between 0 and 1")
    for name in ("lr", "width", "clip_grad"):
        if not getattr(cfg, name) > 0:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be positive")
    for name in ("val_crop_size", "test_crop_size"):
        if getattr(cfg, name) > cfg.short_side:
            size = f"{name}={getattr(cfg, name)}"
            raise ConfigError(f"{size} does not fit into frames of short_side={cfg.short_side}")
    if cfg.class_names is not None and len(cfg.class_names) != cfg.num_classes:
        raise ConfigError(
            f"class_names lists {len(cfg.class_names)} names, num_classes is {cfg.num_classes}"
        )
    flips = cfg.flip_label_map or {}
    for a, b in flips.items():
        if flips.get(b) != a:
            raise ConfigError(f"flip_label_map sends {a} to {b} but not {b} back to {a}")
        if not 0 <= a < cfg.num_classes:
            raise ConfigError(f"flip_label_map names label {a} of {cfg.num_classes} classes")
