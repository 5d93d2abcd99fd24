"""`Config`: every field of an experiment, with its type and its meaning."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from typing import Any, Literal, get_type_hints

from .validation import check_values, convert_value

NonLocal = Literal["embedded_gaussian", "gaussian", "dot_product", "concatenation"]
Augmentation = Literal["imgaug_randaugment", "ptv_randaugment", "ptv_augmix"]
Sampling = Literal["uniform", "dense"]
ClassWeights = Literal["balanced"]
Shuffle = Literal["train", "test", "both"]

# fields that the table of a configuration always has, and those that it has if the user set them
MAIN_FIELDS = (
    "dataset", "num_classes", "backbone", "pretrain", "num_segments", "is_shift", "shift_div",
    "sampling", "crop_size", "epochs", "lr", "batch_size", "weight_decay",
)  # fmt: skip
STORED_FIELDS = (
    "name", "published", "explicit", "class_names", "layout", "filename_tmpl", "start_index",
    "resolution", "train_list", "val_list", "train_prefix", "val_prefix",
)  # fmt: skip


RUNTIMES = ("auto", "fastest", "eager", "folded", "onednn", "compiled")  # forms for inference
UNHASHED_FIELDS = ("data_root", "allow_outside", "explicit")  # no result depends on them


@dataclass(frozen=True, repr=False)
class Config:
    """One experiment, complete. Devices, workers and folders are arguments of `train` instead."""

    name: str = ""  # short row name, or the stem of the user's YAML file
    published: str = ""  # label in the published tables (33 labels serve 36 rows)
    explicit: tuple[str, ...] = ()  # fields that the user set: no change of scale touches them

    # data set, on disk
    dataset: str = "k400"  # a record of datasets.py
    num_classes: int = 400
    class_names: tuple[str, ...] | None = None  # None: the published list of the data set
    layout: Literal["rawframes", "video", "auto"] = "rawframes"  # auto: by what the list names
    filename_tmpl: str = "img_{:05}.jpg"  # name of a frame in a raw-frame folder
    start_index: int = 1  # number of the first frame in that name
    resolution: str | None = None  # of the *stored* frames, as published; not the network's input
    data_root: str | None = None  # None: the data folder (TSM_DATA); lists are relative to it
    train_list: str = "kinetics400/kinetics400_train_list_rawframes.txt"  # "": there is none
    val_list: str = "kinetics400/kinetics400_val_list_rawframes.txt"
    train_prefix: str | None = "kinetics400/rawframes_train"  # folder of the listed names
    val_prefix: str | None = "kinetics400/rawframes_val"
    group: str | None = None  # regular expression: videos whose paths agree in it are one recording
    allow_outside: bool = False  # lists may name videos outside of their media folder

    # stand-ins of the studies
    standin_clips: tuple[int, ...] | None = None  # training and validation; None: the data set's
    standin_seed: int = 0  # of the generated clips; tuning takes others than reported runs
    order_share: float = 1.0  # of clips told apart by order alone; the others by appearance
    least_motion: float = 0.5  # shortest path of the object, in short sides of a frame
    shuffle_frames: Shuffle | None = None  # controls: the frames of a clip in random order
    seen_share: float = 1.0  # of a tested clip, from its beginning: early recognition

    # model
    backbone: str = "resnet50"  # a record of backbones.py
    pretrain: str = "imagenet"  # imagenet (IMAGENET1K_V1), none, a row's name, or a file of weights
    port_of: str | None = None  # row whose weights, in MIT's layout, are converted; never trained
    num_segments: int = 8  # T, frames a clip
    is_shift: bool = True  # False: TSN, the same network without shifts
    shift_div: int = 8  # 1/shift_div of the channels move each way
    shift_place: Literal["blockres", "block"] = "blockres"  # on the residual branch, or before all
    shift_direction: str = "bidirectional"  # or unidirectional: from the past only
    shift_padding: str = "zero"  # what enters at a clip's ends (shift_options.py)
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
    class_weights: ClassWeights | None = None  # of the loss: balanced is videos / classes / own
    balanced_sampling: bool = False  # an epoch draws all classes equally often, with replacement
    epochs: int = 50
    eval_interval: int = 5  # epochs between validations

    def __post_init__(self):
        for name, declared in FIELD_TYPES.items():
            object.__setattr__(self, name, convert_value(name, getattr(self, name), declared))
        check_values(self)

    def __repr__(self) -> str:
        """Return a table of the fields that people change, and of all others with a value.

        A star marks what the user set.
        """
        rows = [f"Config {self.name}".rstrip()]
        for field in dataclasses.fields(self):
            value, star = getattr(self, field.name), "*" if field.name in self.explicit else " "
            plain = value == field.default and field.name not in MAIN_FIELDS
            if not (star == " " and (plain or field.name in STORED_FIELDS)):
                text = "yes" if value is True else "no" if value is False else f"{value}"
                rows.append(
                    f" {star}{field.name:18} {text if len(text) < 60 else text[:57] + '...'}"
                )
        return "\n".join(rows)

    @property
    def row_id(self) -> str:
        """Return the key of this row in results/reference.csv."""
        stored = (self.resolution or "").replace("short-side ", "ss").replace("height ", "h")
        return f"{self.published}__{stored}" if stored else self.published

    @property
    def hash(self) -> str:
        """Return 8 hex digits of the experiment: of every field but those of UNHASHED_FIELDS.

        Fields at their defaults do not count: a field that is added later changes no older hash.
        """
        default = {f.name: f.default for f in dataclasses.fields(self)}
        fields = {
            name: value
            for name, value in to_dict(self).items()
            if name not in UNHASHED_FIELDS and getattr(self, name) != default[name]
        }
        return hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()[:8]


FIELD_TYPES = get_type_hints(Config)
# fields that make the function a network computes
MODEL_FIELDS = (
    "backbone", "width", "depth", "num_segments", "num_classes", "is_shift", "shift_div",
    "shift_place", "shift_direction", "shift_padding", "temporal_pool", "non_local",
)  # fmt: skip


def to_dict(cfg: Config) -> dict[str, Any]:
    """Turn a configuration into JSON values: label maps get string keys, tuples become lists."""
    return json.loads(json.dumps(vars(cfg)))
