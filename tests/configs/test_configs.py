"""The 36 rows against the recorded facts, and everything that can be asked of a configuration."""

import csv
import json
import logging
import math
from pathlib import Path

import pytest
import torch
import yaml

from tsmlib.configs import (
    FIELD_TYPES,
    Config,
    ConfigError,
    changed_fields,
    from_dict,
    get_config,
    list_configs,
    load_config,
    mini,
    replace,
    scaled_lr,
    to_dict,
    validation_protocol,
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
    "explicit": (), "class_names": None, "data_root": None, "depth": None,
    "shift_direction": "bidirectional", "shift_padding": "zero", "mended_sampling": False,
    "standin_clips": None, "standin_seed": 0, "order_share": 1.0, "shuffle_frames": None,
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


# --- names ----------------------------------------------------------------------------------------


def test_names_are_those_of_the_tables():
    names = list_configs()
    assert len(names) == len(set(names)) == 36
    assert all(n and set(n) <= set("abcdefghijklmnopqrstuvwxyz0123456789_") for n in names)
    assert [get_config(n).row_id for n in names] == list(REFERENCE) == list(FACTS["rows"])
    assert [get_config(n).name for n in names] == names


@pytest.mark.parametrize("name", list_configs())
def test_row_has_several_names(name):
    cfg = get_config(name)
    assert get_config(cfg.row_id) == cfg
    for label in (cfg.published, f"{cfg.published}.py"):
        found = get_config(label)
        assert found.published == cfg.published
        assert found == cfg or found.resolution == "short-side 256"


@pytest.mark.parametrize(
    ("label", "taken", "others"),
    [
        ("tsm_r50_1x1x8_50e_kinetics400_rgb", "k400", ["k400_340x256", "k400_ss320"]),
        ("tsm_r50_1x1x16_50e_kinetics400_rgb", "k400_t16", ["k400_t16_340x256"]),
    ],
)
def test_ambiguous_label_takes_short_side_256(label, taken, others, caplog, monkeypatch):
    # notebook.parameters() hands the package's messages to a handler of its own
    monkeypatch.setattr(logging.getLogger("tsmlib"), "propagate", True)
    with caplog.at_level(logging.WARNING, logger="tsmlib"):
        assert get_config(label).name == taken
    assert all(other in caplog.text for other in others)


def test_33_labels_serve_36_rows(caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tsmlib"), "propagate", True)
    labels = {get_config(n).published for n in list_configs()}
    with caplog.at_level(logging.WARNING, logger="tsmlib"):
        assert len(labels) == 33 == len({get_config(label).name for label in labels})
    assert len(caplog.records) == 2  # no word where there is no choice


@pytest.mark.parametrize(
    ("name", "near"), [("sthv11", "sthv1"), ("k400_dens", "k400_dense"), ("hmdb", "hmdb51")]
)
def test_unknown_name_lists_the_closest(name, near):
    with pytest.raises(ConfigError, match=f"{name!r}; closest: .*{near}"):
        get_config(name)


def test_unknown_name_far_from_all():
    with pytest.raises(ConfigError, match="list_configs"):
        get_config("zzz")


@pytest.mark.parametrize(
    ("field", "near"), [("learning_rate", "lr|clip_grad|"), ("num_segment", "num_segments")]
)
def test_unknown_field_lists_the_closest(field, near):
    with pytest.raises(ConfigError, match=f"{field!r}; (closest: .*{near}|see )"):
        get_config("sthv1", **{field: 1})
    with pytest.raises(ConfigError, match=repr(field)):
        from_dict({field: 1})


# --- values ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("epochs", "many"), ("epochs", 2.5), ("epochs", True), ("epochs", None), ("epochs", 0),
        ("epochs", -1), ("epochs", float("inf")), ("num_segments", 0), ("shift_div", 0),
        ("shift_div", -8),
        ("batch_size", 0), ("videos_per_device", 0), ("crop_size", 0), ("num_classes", 0),
        ("lr", "fast"), ("lr", 0), ("lr", -0.1), ("lr", float("nan")), ("lr", False),
        ("is_shift", 1), ("is_shift", "yes"), ("fc_lr5", None), ("dropout", 1.5),
        ("flip", -0.1), ("width", 0), ("clip_grad", 0), ("backbone", "resnet34"),
        ("backbone", None), ("shift_place", "before"), ("non_local", "full"), ("test_crops", 5),
        ("dataset", "imagenet"), ("optimizer", "SGD"), ("schedule", "linear"),
        ("milestones", 20), ("milestones", (20.5,)), ("milestones", "20"), ("depth", ("a",)),
        ("flip_label_map", [1, 2]), ("flip_label_map", {"left": "right"}), ("train_list", 3),
        ("train_list", None), ("pretrain", None),
    ],
)  # fmt: skip
def test_impossible_value_is_named(field, value):
    with pytest.raises(ConfigError) as error:
        get_config("sthv1", **{field: value})
    shown = repr(value) if isinstance(value, str) else str(value)
    assert field in str(error.value)
    assert value is None or shown in str(error.value)


def test_possible_values_are_listed():
    with pytest.raises(ConfigError, match="blockres, block"):
        get_config("sthv1", shift_place="before")
    with pytest.raises(ConfigError, match="concatenation, none"):
        get_config("sthv1", non_local="full")


def test_values_that_exclude_each_other():
    with pytest.raises(ConfigError, match="val_crop_size=300 .* short_side=256"):
        get_config("sthv1", val_crop_size=300)
    with pytest.raises(ConfigError, match="2 names, num_classes is 174"):
        get_config("sthv1", class_names=("a", "b"))
    with pytest.raises(ConfigError, match="sends 3 to 5 but not 5 back to 3"):
        get_config("sthv1", flip_label_map={3: 5})
    with pytest.raises(ConfigError, match="label 174 of 174 classes"):
        get_config("sthv1", flip_label_map={3: 174, 174: 3})


def test_values_of_files_become_the_declared_types():
    """JSON and YAML know no tuples and no int keys; `none` stands for None."""
    cfg = get_config(
        "sthv1", milestones=[5, 8], flip_label_map={"0": 1, "1": 0}, lr=1, non_local="none"
    )
    assert cfg.milestones == (5, 8) and cfg.flip_label_map == {0: 1, 1: 0}
    assert type(cfg.lr) is float and cfg.non_local is None


def test_config_is_frozen():
    with pytest.raises(AttributeError):
        get_config("sthv1").lr = 1.0


def test_protocols():
    sthv1 = get_config("sthv1")
    assert views(sthv1, "efficient") == {"clips": 1, "crops": 1, "size": 224}
    assert views(sthv1, "accurate") == {"clips": 2, "crops": 3, "size": 256}
    assert views(get_config("jester"), "efficient") == {"clips": 1, "crops": 1, "size": 256}
    for name in ("k400", "hmdb51", "diving48"):
        for protocol in ("efficient", "accurate"):
            with pytest.raises(ConfigError, match=f"{protocol}.*only"):
                views(get_config(name), protocol)
    with pytest.raises(ConfigError, match="'fast' is unknown; .*published, efficient"):
        views(sthv1, "fast")


def test_what_training_measures_has_the_published_name():
    """Something-Something's validation is `efficient`; where it equals the test, `published`."""
    named = {name: validation_protocol(get_config(name)) for name in list_configs()}
    for name, protocol in named.items():
        row = FACTS["rows"][get_config(name).row_id]
        same = row["val_views"] == row["test_views"]
        two = bool(REFERENCE[get_config(name).row_id]["top1_accurate"])
        assert protocol == ("published" if same else "efficient" if two else "validation")


# --- a user's YAML file ---------------------------------------------------------------------------

OWN = "base: sthv1\ntrain_list: train.txt\nval_list: val.txt\nnum_classes: 3\n"


@pytest.fixture
def own_file(tmp_path):
    def write(text: str, name: str = "mine.yaml") -> Path:
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return write


def test_yaml_is_a_row_with_changes(own_file, tmp_path):
    cfg = get_config(str(own_file(OWN + "lr: 0.002\nmilestones: [4, 8]\n")))
    assert (cfg.name, cfg.dataset, cfg.layout) == ("mine", "custom", "auto")
    assert (cfg.lr, cfg.milestones, cfg.num_classes) == (0.002, (4, 8), 3)
    assert Path(cfg.data_root) == tmp_path
    base = get_config("sthv1")
    assert (cfg.weight_decay, cfg.twice_sample) == (base.weight_decay, base.twice_sample)
    # nothing that belongs to the data set of the base stays
    assert cfg.flip_label_map is cfg.class_names is cfg.train_prefix is cfg.resolution is None
    assert {"lr", "milestones", "num_classes"} <= set(cfg.explicit)
    assert mini(cfg).lr == 0.002


def test_yaml_paths_are_relative_to_it(own_file, tmp_path):
    (tmp_path / "clips").mkdir()
    cfg = get_config(str(own_file(OWN + "data_root: clips\n")))
    assert Path(cfg.data_root) == tmp_path / "clips"
    absolute = get_config(str(own_file(OWN + f"data_root: {tmp_path.parent}\n")))
    assert Path(absolute.data_root) == tmp_path.parent


def test_yaml_takes_changes_on_top(own_file):
    cfg = get_config(str(own_file(OWN + "lr: 0.002\n")), lr=0.5)
    assert cfg.lr == 0.5


def test_yaml_class_names(own_file, tmp_path):
    listed = get_config(str(own_file(OWN + "class_names: [up, down, still]\n")))
    assert listed.class_names == ("up", "down", "still")
    # a byte order mark, Windows line ends and an empty last line
    (tmp_path / "classes.txt").write_bytes(b"\xef\xbb\xbfup\r\ndown\r\nkeep still\r\n\r\n")
    read = get_config(str(own_file(OWN + "class_names: classes.txt\n")))
    assert read.class_names == ("up", "down", "keep still")
    with pytest.raises(ConfigError, match="no file others.txt"):
        get_config(str(own_file(OWN + "class_names: others.txt\n")))
    with pytest.raises(ConfigError, match="2 names, num_classes is 3"):
        get_config(str(own_file(OWN + "class_names: [up, down]\n")))


@pytest.mark.parametrize("line", ["train_list", "val_list", "num_classes", "base"])
def test_yaml_without_a_needed_line(own_file, line):
    kept = "".join(x for x in OWN.splitlines(keepends=True) if not x.startswith(line))
    with pytest.raises(ConfigError, match=f"mine.yaml needs a line `{line}:"):
        get_config(str(own_file(kept)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("base: [sthv1\n", "mine.yaml is not valid YAML"),
        ("- sthv1\n", "mine.yaml needs a line `base"),
        ("", "mine.yaml needs a line `base"),
        ("base: sthv7\n", "'sthv7'; closest: .*sthv1"),
        (OWN + "learnig_rate: 1\n", "no configuration field 'learnig_rate'"),
        (OWN + "epochs: many\n", "epochs='many'"),
        (OWN + "1: 2\n", "no configuration field 1"),
        (OWN.replace("train.txt", "3"), "train_list=3 is not of type str"),
        (OWN + "data_root: 3\n", "data_root=3 is not of type str"),
    ],
)
def test_wrong_yaml(own_file, text, message):
    with pytest.raises(ConfigError, match=message):
        get_config(str(own_file(text)))


def test_yaml_that_is_not_there(tmp_path):
    with pytest.raises(ConfigError, match="no configuration file .*mine.yaml"):
        get_config(str(tmp_path / "mine.yaml"))


def test_yaml_of_a_published_data_set(own_file):
    cfg = get_config(str(own_file("base: sthv1_flip\ndataset: sthv1\n")))
    assert (cfg.dataset, cfg.num_classes) == ("sthv1", 174)


# --- scale, copies, hash --------------------------------------------------------------------------

METHOD = (  # what mini scale never alters
    "name", "dataset", "backbone", "num_segments", "is_shift", "shift_div", "shift_place",
    "shift_direction", "shift_padding", "temporal_pool", "non_local", "blending", "blending_alpha",
    "sampling", "eval_sampling", "train_crop", "flip", "flip_label_map", "augmentation",
    "twice_sample", "test_crops", "average_clips", "optimizer", "schedule", "gamma", "dropout",
)  # fmt: skip


@pytest.mark.parametrize("name", list_configs())
def test_mini_keeps_the_method(name):
    cfg = get_config(name)
    small = mini(cfg)
    for field in METHOD:
        assert getattr(small, field) == getattr(cfg, field), field
    for protocol in ("validation", "published"):
        full, reduced = views(cfg, protocol), views(small, protocol)
        assert (full["clips"], full["crops"]) == (reduced["clips"], reduced["crops"])
        assert reduced["size"] * 4 == full["size"]
    assert small.pretrain == ("none" if cfg.pretrain == "imagenet" else cfg.pretrain)


@pytest.mark.parametrize("name", list_configs())
def test_mini_reduces_every_size(name):
    cfg = get_config(name)
    small = mini(cfg)
    for field in ("width", "short_side", "crop_size", "val_crop_size", "test_crop_size"):
        assert getattr(small, field) == getattr(cfg, field) / 4
    assert small.epochs <= 12 and small.batch_size <= 8
    # at the same fractions of the training, to the nearest whole epoch
    for milestone, published in zip(small.milestones, cfg.milestones, strict=True):
        assert abs(milestone - published / cfg.epochs * small.epochs) <= 0.5


@pytest.mark.parametrize("name", ["sthv1", "k400_mobilenetv2_dense", "hmdb51"])
def test_mini_classifier_is_faster_only_after_pretraining(name):
    """From scratch it is no newer than the rest."""
    cfg = get_config(name)
    assert mini(cfg).fc_lr5 == (cfg.pretrain != "imagenet")
    assert mini(get_config(name, fc_lr5=True)).fc_lr5
    assert not mini(get_config(name, fc_lr5=False)).fc_lr5


def test_milestones_follow_the_epochs():
    hundred = get_config("k400", epochs=100)
    assert hundred.milestones == get_config("k400_100e").milestones
    assert get_config("k400", epochs=100, milestones=(7,)).milestones == (7,)
    assert mini(hundred).milestones == (40, 80) and mini(hundred).epochs == 100


def test_mini_keeps_ratios_of_learning_rates():
    """Per video, so that a row with another rate or batch keeps its relation to the others."""
    per_video = {n: get_config(n).lr / get_config(n).batch_size for n in list_configs()}
    reduced = {n: mini(get_config(n)).lr / mini(get_config(n)).batch_size for n in list_configs()}
    factors = [reduced[n] / per_video[n] for n in list_configs()]
    assert factors == pytest.approx([factors[0]] * 36)


def test_explicit_changes_survive_mini():
    changes = {
        "lr": 0.123, "epochs": 3, "width": 0.5, "crop_size": 96, "batch_size": 20,
        "milestones": (1, 2), "depth": (1, 1, 2, 1), "pretrain": "imagenet", "eval_interval": 1,
    }  # fmt: skip
    small = mini(get_config("sthv1", **changes))
    assert {field: getattr(small, field) for field in changes} == changes
    assert small.val_crop_size == 56  # the others are reduced all the same


@pytest.mark.parametrize("name", list_configs())
def test_round_trip_through_json(name, tmp_path):
    for cfg in (get_config(name), mini(get_config(name, lr=0.5, depth=None))):
        assert from_dict(to_dict(cfg)) == cfg
        (tmp_path / "config.json").write_text(json.dumps(to_dict(cfg)))
        assert load_config(tmp_path / "config.json") == cfg


def test_changed_fields():
    assert changed_fields(get_config("sthv1", lr=0.01, data_root="elsewhere")) == {}
    assert changed_fields(get_config("sthv1", shift_div=4)) == {"shift_div": 4}
    assert changed_fields(mini(get_config("sthv1")))["width"] == 0.25


def test_hash_is_of_the_experiment():
    cfg = get_config("sthv1")
    assert get_config("sthv1", data_root="elsewhere").hash == cfg.hash
    assert get_config("sthv1", lr=cfg.lr).hash == cfg.hash  # said aloud, but the same
    assert len(cfg.hash) == 8 and int(cfg.hash, 16) >= 0
    hashes = {get_config(n).hash for n in list_configs()}
    assert len(hashes) == 36
    fields = ({"lr": 0.02}, {"epochs": 51}, {"is_shift": False}, {"flip_label_map": {0: 1, 1: 0}})
    assert len({cfg.hash, *(get_config("sthv1", **change).hash for change in fields)}) == 5


def test_learning_rate_is_linear_in_the_batch():
    cfg = get_config("sthv2")
    assert (cfg.lr, cfg.batch_size) == (0.0075, 48)
    for batch in (1, 8, 48, 96, 1000):
        assert math.isclose(scaled_lr(cfg, batch), 0.0075 * batch / 48)


@pytest.mark.parametrize("name", list_configs())
def test_row_runs_at_mini_scale(name):
    cfg = mini(get_config(name))
    model = build_model(cfg).eval()
    with torch.inference_mode():
        logits = model(torch.randn(1, cfg.num_segments, 3, cfg.crop_size, cfg.crop_size))
    assert logits.shape == (1, cfg.num_classes) and logits.isfinite().all()
