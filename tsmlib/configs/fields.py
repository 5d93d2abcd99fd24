"""`Config`: every field of an experiment with its meaning, its type, and what it may be."""

import dataclasses
import difflib
import hashlib
import json
import math
import types
import typing
from dataclasses import dataclass
from typing import Any, Literal

Dataset = Literal["k400", "sthv1", "sthv2", "jester", "diving48", "hmdb51", "ucf101", "custom"]
Backbone = Literal["resnet18", "resnet50", "resnet101", "mobilenetv2", "r3d_18"]
NonLocal = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]
Augmentation = Literal["imgaug_randaugment", "ptv_randaugment", "ptv_augmix"]
Sampling = Literal["uniform", "dense"]
Shuffle = Literal["train", "test", "both"]


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

    # stand-ins of the studies
    standin_clips: tuple[int, ...] | None = None  # training and validation; None: the data set's
    standin_seed: int = 0  # of the clips; tuning has clips of its own
    order_share: float = 1.0  # of the clips that order decides; appearance decides the others
    shuffle_frames: Shuffle | None = None  # controls: the frames of a clip in random order

    # model
    backbone: Backbone = "resnet50"
    pretrain: str = "imagenet"  # imagenet (IMAGENET1K_V1), none, a row's name, or a file of weights
    port_of: str | None = None  # row whose weights, in MIT's layout, are converted; never trained
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
    mended_sampling: bool = False  # put the slips of the published training sampling right
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
            object.__setattr__(self, name, coerce(name, getattr(self, name), kind))
        _validate(self)

    @property
    def row_id(self) -> str:
        """Key of this row in results/reference.csv."""
        stored = (self.resolution or "").replace("short-side ", "ss").replace("height ", "h")
        return f"{self.published}__{stored}" if stored else self.published

    @property
    def hash(self) -> str:
        """8 hex digits of the experiment: every field but where the data lie on this machine.

        Fields at their defaults do not count: a field that is added later changes no older hash.
        """
        default = {f.name: f.default for f in dataclasses.fields(self)}
        fields = {
            name: value
            for name, value in to_dict(self).items()
            if name not in ("data_root", "explicit") and getattr(self, name) != default[name]
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]


KINDS = typing.get_type_hints(Config)
AT_LEAST_ONE = (
    "num_classes", "num_segments", "shift_div", "short_side", "crop_size", "val_crop_size",
    "test_crop_size", "batch_size", "videos_per_device", "epochs", "eval_interval",
)  # fmt: skip


def to_dict(cfg: Config) -> dict[str, Any]:
    """Fields of a config as JSON-able values (label maps get string keys, tuples become lists)."""
    return json.loads(json.dumps(dataclasses.asdict(cfg)))


def check_names(fields: dict[str, Any]) -> None:
    """Names that may be set; `explicit` says what was set and is not for the user."""
    for name in fields:
        if name not in KINDS or name == "explicit":
            near = difflib.get_close_matches(str(name), KINDS, n=3, cutoff=0.4)
            hint = f"closest: {', '.join(near)}" if near else "see tsmlib.Config"
            raise ConfigError(f"there is no configuration field {name!r}; {hint}")


def coerce(name: str, value: Any, kind: Any) -> Any:
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
        if typing.get_origin(kind) is tuple and not isinstance(value, str):
            return tuple(_plain(v, allowed[0]) for v in value)
        if typing.get_origin(kind) is dict:  # JSON has strings for keys
            return {_plain(int(k), int): _plain(v, int) for k, v in value.items()}
        if kind is float and isinstance(value, str):
            return float(value)  # YAML reads 1e-3 as text
        return _plain(value, kind)
    except (TypeError, ValueError, AttributeError, OverflowError):
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
    for name in ("flip", "dropout", "order_share"):
        if not 0 <= getattr(cfg, name) <= 1:
            raise ConfigError(f"{name}={getattr(cfg, name)} must lie between 0 and 1")
    for name in ("lr", "width", "clip_grad", "blending_alpha"):
        if not 0 < getattr(cfg, name) < math.inf:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be positive and finite")
    for name in ("weight_decay", "momentum", "gamma", "start_index", "standin_seed"):
        if not 0 <= getattr(cfg, name) < math.inf:
            raise ConfigError(f"{name}={getattr(cfg, name)} must be 0 or more")
    for name in ("depth", "milestones"):
        if any(value < 1 for value in getattr(cfg, name) or ()):
            raise ConfigError(f"{name}={getattr(cfg, name)} must hold numbers from 1 on")
    for name in ("val_crop_size", "test_crop_size"):
        if getattr(cfg, name) > cfg.short_side:
            size = f"{name}={getattr(cfg, name)}"
            raise ConfigError(f"{size} does not fit into frames of short_side={cfg.short_side}")
    if cfg.standin_clips is not None and (
        len(cfg.standin_clips) != 2 or any(n < 1 or n % 2 for n in cfg.standin_clips)
    ):
        raise ConfigError(
            f"standin_clips={list(cfg.standin_clips)} must be two even numbers of clips, "
            "training and validation: each rendering is there in both directions"
        )
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
