"""The 36 rows against the recorded facts, value by value."""

import csv
from pathlib import Path

import pytest
import torch
import yaml

from tsmlib.configs import (
    FIELD_TYPES,
    Config,
    get_config,
    list_configs,
    mini,
    replace,
    views,
)
from tsmlib.data import augmentation, sampling
from tsmlib.engine.optimizer import make_optimizer
from tsmlib.models.recognizer import HEAD_STD, build_model, normalize

HERE = Path(__file__).parents[1]
FACTS = yaml.safe_load((HERE / "golden/configs.yaml").read_text())
with (HERE.parent / "results/reference.csv").open() as file:
    REFERENCE = {row["row_id"]: row for row in csv.DictReader(file)}

# Keys of a recorded row that do not define the experiment, and why.
LEFT_OUT = {
    "caveats": "remarks",
    "checkpoint_interval": "how often the published runs saved; this project saves every epoch",
    "config_bases": "how the original file is put together",
    "metafile": "a count of parameters: test_parameters_are_as_published; operations: profiling",
    "seed_gpus": "where it ran; lr and batch are the ones of the config, for 8 GPUs",
    "table": "the heading it is printed under",
}
LOADER = ("videos_per_gpu", "train_batch_at_8_gpus")  # the rest: workers, and batches of the test
ORIGIN = "filename_tmpl_origin"  # says where the template was read


# --- a row, rendered as the recorded facts are ----------------------------------------------------


def normalisation() -> dict:
    """Mean and deviation, read off what `normalize` does to black and white."""
    black, white = (normalize(torch.full((3, 1, 1), v, dtype=torch.uint8)) for v in (0, 255))
    std = 255 / (white - black)
    mean = -black * std
    return {
        "mean": [round(float(v), 3) for v in mean.flatten()],
        "std": [round(float(v), 3) for v in std.flatten()],
    }


def sample_step(cfg: Config, split: str) -> dict:
    dense = (cfg.sampling if split == "train" else cfg.eval_sampling) == "dense"
    step = {"type": "DenseSampleFrames" if dense else "SampleFrames", "clip_len": 1}
    step |= {"frame_interval": 1, "num_clips": cfg.num_segments}
    if split != "train":
        step["test_mode"] = True
    if split == "test" and cfg.twice_sample:
        step["twice_sample"] = True
    return step


def train_steps(cfg: Config) -> list[dict]:
    multi_scale = {
        "type": "MultiScaleCrop", "input_size": cfg.crop_size, "random_crop": False,
        "scales": list(augmentation.SCALES), "max_wh_scale_gap": augmentation.MAX_SCALE_GAP,
        "num_fixed_crops": 13,  # all boxes: test_augmentation.py
    }  # fmt: skip
    size = [cfg.crop_size, cfg.crop_size]
    steps = {
        "multiscale": [{"type": "Resize", "scale": [-1, cfg.short_side]}, multi_scale],
        "random_resized": [{"type": "RandomResizedCrop"}],
    }[cfg.train_crop] + [{"type": "Resize", "scale": size, "keep_ratio": False}]
    if cfg.flip:
        flip = {"type": "Flip", "flip_ratio": cfg.flip}
        if cfg.flip_label_map:
            flip["flip_label_map"] = cfg.flip_label_map
        steps.append(flip)
    steps += {
        None: [],
        "imgaug_randaugment": [{"type": "Imgaug", "transforms": "default"}],
        "ptv_randaugment": [{"type": "pytorchvideo.RandAugment"}],
        "ptv_augmix": [{"type": "pytorchvideo.AugMix"}],
    }[cfg.augmentation]
    return steps


def eval_steps(cfg: Config, split: str) -> list[dict]:
    wanted = views(cfg, "validation" if split == "val" else "published")
    kind = {1: "CenterCrop", 3: "ThreeCrop", 10: "TenCrop"}[wanted["crops"]]
    short = {"type": "Resize", "scale": [-1, cfg.short_side]}
    return [short, {"type": kind, "crop_size": wanted["size"]}]


def pipeline(cfg: Config, split: str) -> list[dict]:
    sample = sample_step(cfg, split)
    if cfg.layout == "video":
        steps = [{"type": "DecordInit"}, sample, {"type": "DecordDecode"}]
    else:
        steps = [sample, {"type": "RawFrameDecode"}]
    steps += train_steps(cfg) if split == "train" else eval_steps(cfg, split)
    if not cfg.gpu_normalize:
        steps.append({"type": "Normalize", **normalisation(), "to_bgr": False})
    return steps + [
        {"type": "FormatShape", "input_format": "NCHW"},
        {"type": "Collect", "keys": ["imgs", "label"], "meta_keys": []},
        {"type": "ToTensor", "keys": ["imgs", "label"] if split == "train" else ["imgs"]},
    ]


def rendered_views(cfg: Config, protocol: str) -> dict:
    wanted = views(cfg, protocol)
    total = wanted["clips"] * wanted["crops"]
    return {
        "clips": wanted["clips"], "crops": wanted["crops"], "crop_size": wanted["size"],
        "total": total, "frames_forwarded": total * cfg.num_segments,
    }  # fmt: skip


def backbone(cfg: Config) -> dict:
    common = {
        "num_segments": cfg.num_segments, "is_shift": cfg.is_shift, "shift_div": cfg.shift_div,
        "norm_eval": False, "frozen_stages": -1,  # everything is trained
    }  # fmt: skip
    if cfg.backbone == "mobilenetv2":
        # other weights than the published run's (mmcls), a difference that records name
        own = {"type": "MobileNetV2TSM", "pretrained": "mmcls://mobilenet_v2"}
        return {**common, **own, "widen_factor": cfg.width}
    depth = int(cfg.backbone.removeprefix("resnet"))
    attention, positions = {}, [0, 0, 0, 0]
    if cfg.non_local:
        positions = [[0, 0, 0], [1, 0, 1, 0], [1, 0, 1, 0, 1, 0], [0, 0, 0]]
        attention = {
            "mode": cfg.non_local, "sub_sample": True, "use_scale": False, "reduction": 2,
            "zeros_init": True, "init_std": 0.01, "norm_cfg": {"type": "BN3d",
            "requires_grad": True},
        }  # fmt: skip
    return {
        **common, "type": "ResNetTSM", "depth": depth, "pretrained": f"torchvision://resnet{depth}",
        "shift_place": cfg.shift_place, "temporal_pool": cfg.temporal_pool,
        "partial_bn": cfg.partial_bn, "style": "pytorch",
        "non_local": positions, "non_local_cfg": attention,
    }  # fmt: skip


def render(cfg: Config) -> dict:
    """What the recorded facts should say of a row with this configuration."""
    video = cfg.layout == "video"
    flip = {"ratio": cfg.flip, "flip_label_map": cfg.flip_label_map} if cfg.flip else None
    blend = {"mixup": "MixupBlending", "cutmix": "CutmixBlending"}
    pretrain, load_from = "ImageNet", None
    if cfg.pretrain != "imagenet":
        pretrain = "Kinetics400"
        load_from = REFERENCE[get_config(cfg.pretrain).row_id]["ckpt_url"]
    hook = {
        "type": "GPUNormalize", "hooked_module": "backbone", "hook_pos": "forward_pre",
        "input_format": "NCHW", **normalisation(),
    }  # fmt: skip
    return {
        "seed_resolution": cfg.resolution,
        "pretrain": pretrain,
        "load_from": load_from,
        "backbone": backbone(cfg),
        "head": {
            "type": "TSMHead", "num_classes": cfg.num_classes, "num_segments": cfg.num_segments,
            "in_channels": 1280 if cfg.backbone == "mobilenetv2" else 2048,
            "is_shift": cfg.is_shift, "temporal_pool": cfg.temporal_pool,
            "dropout_ratio": cfg.dropout, "init_std": HEAD_STD, "spatial_type": "avg",
            "consensus": {"type": "AvgConsensus", "dim": 1}, "loss_cls": "CrossEntropyLoss",
            "label_smooth_eps": 0.0, "topk": [1, 5],
        },
        "blending": cfg.blending and {
            "type": blend[cfg.blending], "alpha": cfg.blending_alpha, "num_classes": cfg.num_classes
        },
        "test_cfg": {"average_clips": cfg.average_clips},
        "data": {
            "dataset_type": "VideoDataset" if video else "RawframeDataset",
            "frame_source": "video decode (decord)" if video else "rawframes",
            "filename_tmpl": None if video else cfg.filename_tmpl,
            "start_index": cfg.start_index,
            "train_ann": f"data/{cfg.train_list}", "train_prefix": f"data/{cfg.train_prefix}",
            "val_and_test_ann": f"data/{cfg.val_list}",
            "val_and_test_prefix": f"data/{cfg.val_prefix}",
        },
        "train_flip": flip,
        "train_pipeline": pipeline(cfg, "train"),
        "val_pipeline": pipeline(cfg, "val"),
        "test_pipeline": pipeline(cfg, "test"),
        "val_views": rendered_views(cfg, "validation"),
        "test_views": rendered_views(cfg, "published"),
        "loader": {
            "videos_per_gpu": cfg.videos_per_device, "train_batch_at_8_gpus": cfg.batch_size
        },
        "optimizer": {
            "type": cfg.optimizer.upper(), "lr": cfg.lr, "momentum": cfg.momentum,
            "nesterov": False, "weight_decay": cfg.weight_decay,
            "constructor": "TSMOptimizerConstructor", "paramwise_cfg": {"fc_lr5": cfg.fc_lr5},
        },
        "grad_clip": {"max_norm": cfg.clip_grad, "norm_type": 2},
        "lr_schedule": {
            "policy": cfg.schedule, "step": list(cfg.milestones), "gamma": cfg.gamma,
            "by_epoch": True, "warmup": None,
        },
        "total_epochs": cfg.epochs,
        "eval": {
            "interval": cfg.eval_interval, "metrics": ["top_k_accuracy", "mean_class_accuracy"]
        },
        "module_hooks": [hook] if cfg.gpu_normalize else [],
        "precise_bn": None,
    }  # fmt: skip


def recorded(row_id: str) -> dict:
    row = {k: v for k, v in FACTS["rows"][row_id].items() if k not in (*LEFT_OUT, "config_file")}
    data = {k: v for k, v in row["data"].items() if k != ORIGIN}
    for key in ("train_prefix", "val_and_test_prefix"):
        data[key] = data[key].rstrip("/")  # UCF101's end in a slash
    return {**row, "data": data, "loader": {k: row["loader"][k] for k in LOADER}}


@pytest.mark.parametrize("name", list_configs())
def test_row_is_as_recorded(name):
    cfg = get_config(name)
    assert render(cfg) == recorded(cfg.row_id)


# A change of each field that the facts know. Without it the walk above could miss a field.
CHANGED = [
    ("num_classes", "sthv1", 3), ("num_classes", "sthv1_mixup", 3), ("layout", "k400", "video"),
    ("filename_tmpl", "sthv1", "{:06}.jpg"), ("start_index", "sthv1", 0),
    ("resolution", "k400", "short-side 320"),
    ("train_list", "k400", "a"), ("val_list", "k400", "a"),
    ("train_prefix", "k400", "a"), ("val_prefix", "k400", "a"), ("backbone", "k400", "resnet101"),
    ("pretrain", "k400", "k400"), ("pretrain", "hmdb51", "k400_t16"), ("num_segments", "k400", 16),
    ("is_shift", "k400", False), ("shift_div", "k400", 4), ("shift_place", "k400", "block"),
    ("temporal_pool", "k400", True), ("non_local", "k400", "gaussian"), ("dropout", "k400", 0.8),
    ("partial_bn", "k400", True), ("width", "k400_mobilenetv2_dense", 1.4),
    ("sampling", "k400_mobilenetv2_dense", "dense"), ("eval_sampling", "k400", "dense"),
    ("short_side", "k400", 320), ("train_crop", "k400", "random_resized"),
    ("crop_size", "k400", 192), ("flip", "k400", 0.0), ("flip", "k400", 0.4),
    ("flip_label_map", "sthv1_flip", None), ("augmentation", "sthv1", "ptv_augmix"),
    ("gpu_normalize", "k400", True), ("blending", "sthv1", "mixup"),
    ("blending_alpha", "sthv1_cutmix", 0.3), ("val_crop_size", "jester", 224),
    ("twice_sample", "sthv1", False), ("test_crops", "k400_dense", 3),
    ("test_crop_size", "sthv1", 224), ("average_clips", "k400", "score"),
    ("batch_size", "k400", 32), ("videos_per_device", "k400", 4), ("optimizer", "k400", "adamw"),
    ("lr", "k400", 0.02), ("momentum", "k400", 0.8), ("weight_decay", "k400", 0.0),
    ("fc_lr5", "k400", False), ("clip_grad", "k400", 40.0), ("schedule", "k400", "cosine"),
    ("milestones", "k400", (20, 41)), ("gamma", "k400", 0.5), ("epochs", "k400", 51),
    ("eval_interval", "k400", 1),
]  # fmt: skip
# Fields that the facts do not know, with the value that all rows have.
SAME_IN_ALL = {
    "explicit": (), "class_names": None, "data_root": None, "allow_outside": False, "depth": None,
    "shift_direction": "bidirectional", "shift_padding": "zero", "mended_sampling": False,
    "standin_clips": None, "standin_seed": 0, "order_share": 1.0, "shuffle_frames": None,
    "least_motion": 0.5, "seen_share": 1.0, "group": None, "class_weights": None,
    "balanced_sampling": False,
}  # fmt: skip
NAMES = {"name", "published", "dataset", "port_of"}  # compared with results/reference.csv below


@pytest.mark.parametrize(("field", "name", "value"), CHANGED)
def test_a_wrong_value_is_noticed(field, name, value):
    cfg = get_config(name)
    assert render(replace(cfg, **{field: value})) != recorded(cfg.row_id)


def test_every_field_is_compared():
    walked = {field for field, _, _ in CHANGED}
    assert {*walked, *SAME_IN_ALL, *NAMES} == set(FIELD_TYPES)
    for name in list_configs():
        cfg = get_config(name)
        assert {field: getattr(cfg, field) for field in SAME_IN_ALL} == SAME_IN_ALL
        assert cfg.width == 1  # of ResNets too, where the facts have no such word


@pytest.mark.parametrize("name", list_configs())
def test_row_is_where_the_tables_have_it(name):
    cfg = get_config(name)
    row = REFERENCE[cfg.row_id]
    assert row["config"].removesuffix(".py") == cfg.published
    assert row["dataset"] == {"k400": "kinetics400"}.get(cfg.dataset, cfg.dataset)
    assert row["resolution"] == (cfg.resolution or "")
    assert int(row["frames"]) == cfg.num_segments
    # the table's cell of the R101 row says ResNet50; its name and its config file say ResNet101
    known = "resnet101" if "ResNet101" in row["backbone_note"] else row["backbone"].lower()
    assert known == cfg.backbone
    linked = Path(FACTS["rows"][cfg.row_id]["config_file"]).stem
    # a conversion of MIT's weights, which links the config of the trained row
    ported = {"k400_mobilenetv2_port": "tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb"}
    assert linked == ported.get(name, cfg.published)
    assert (cfg.port_of == "k400_mobilenetv2_dense") == (name in ported)


def test_class_defaults_are_as_recorded():
    """What the published pipelines leave to the defaults of their classes."""
    defaults = FACTS["step_defaults"]
    crop = defaults["RandomResizedCrop"]
    assert list(augmentation.AREA) == crop["area_range"]
    assert list(augmentation.RATIO) == crop["aspect_ratio_range"]
    assert crop["max_attempts"] == augmentation.ATTEMPTS
    assert defaults["DenseSampleFrames"]["sample_range"] == sampling.DENSE_WINDOW
    dense = views(get_config("k400_dense"), "validation")["clips"]
    assert dense == defaults["DenseSampleFrames"]["num_sample_positions"]


@pytest.mark.parametrize("name", list_configs())
def test_parameters_are_as_published(name):
    cfg = get_config(name)
    published = FACTS["rows"][cfg.row_id]["metafile"]
    if published is None:
        pytest.skip("the published metafile lacks this row")
    with torch.device("meta"):  # shapes alone
        model = build_model(cfg)
    assert sum(p.numel() for p in model.parameters()) == published["params"]


@pytest.mark.parametrize("name", ["k400", "sthv2", "hmdb51_t16"])
def test_optimizer_is_plain_sgd(name):
    cfg = get_config(name)
    optimizer = make_optimizer(cfg, build_model(mini(replace(cfg, pretrain="none"))), cfg.lr)
    assert type(optimizer) is torch.optim.SGD
    assert {(g["momentum"], g["nesterov"], g["dampening"]) for g in optimizer.param_groups} == {
        (cfg.momentum, False, 0)
    }
