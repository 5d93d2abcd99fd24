"""The rows: name, parent, and the fields that differ from the parent; and how a row is found.

The 36 published ones have the values of the resolved config files of MMAction2 0.x (40cb52e5),
which its TSM page links. Rows of ours stand apart: nobody published a recipe or an accuracy of
them.
"""

import logging
from pathlib import Path
from typing import Any

from ..text import name_closest
from .datasets import DATASETS
from .errors import ConfigError
from .fields import Config

log = logging.getLogger(__name__)

_E100 = {"epochs": 100, "milestones": (40, 80)}
_T16 = {"num_segments": 16, "batch_size": 48, "videos_per_device": 6}


# name: (parent, published label, what differs from the parent)
ROWS: dict[str, tuple[str | None, str, dict[str, Any]]] = {
    # Kinetics-400
    "k400_340x256": ("k400", "tsm_r50_1x1x8_50e_kinetics400_rgb", {"resolution": "340x256"}),
    "k400": (
        None, "tsm_r50_1x1x8_50e_kinetics400_rgb",
        {"resolution": "short-side 256", **DATASETS["k400"].list_fields()}),
    "k400_ss320": (
        "k400", "tsm_r50_1x1x8_50e_kinetics400_rgb", {"resolution": "short-side 320"}),
    "k400_100e": ("k400_ss320", "tsm_r50_1x1x8_100e_kinetics400_rgb", _E100),
    "k400_gpu_normalize": (
        "k400", "tsm_r50_gpu_normalize_1x1x8_50e_kinetics400_rgb", {"gpu_normalize": True}),
    "k400_video": (
        "k400", "tsm_r50_video_1x1x8_50e_kinetics400_rgb",
        {"layout": "video", "start_index": 0, "lr": 0.02,
         **DATASETS["k400"].list_fields("videos")}),
    "k400_dense": (
        "k400_ss320", "tsm_r50_dense_1x1x8_50e_kinetics400_rgb",
        {"sampling": "dense", "eval_sampling": "dense", "test_crops": 10, "eval_interval": 2}),
    "k400_dense_100e": ("k400_dense", "tsm_r50_dense_1x1x8_100e_kinetics400_rgb", _E100),
    "k400_t16_340x256": (
        "k400_t16", "tsm_r50_1x1x16_50e_kinetics400_rgb", {"resolution": "340x256"}),
    "k400_t16": (
        "k400", "tsm_r50_1x1x16_50e_kinetics400_rgb", {**_T16, "lr": 0.0075, "test_crops": 10}),
    "k400_t16_100e": (
        "k400_t16", "tsm_r50_1x1x16_100e_kinetics400_rgb",
        {**_E100, "resolution": "short-side 320"}),
    "k400_nl_embedded_gaussian": (
        "k400_ss320", "tsm_nl_embedded_gaussian_r50_1x1x8_50e_kinetics400_rgb",
        {"non_local": "embedded_gaussian"}),
    "k400_nl_gaussian": (
        "k400_ss320", "tsm_nl_gaussian_r50_1x1x8_50e_kinetics400_rgb", {"non_local": "gaussian"}),
    "k400_nl_dot_product": (
        "k400_ss320", "tsm_nl_dot_product_r50_1x1x8_50e_kinetics400_rgb",
        {"non_local": "dot_product"}),
    "k400_mobilenetv2_dense": (  # dense in validation and test only: it trains uniform
        "k400_100e", "tsm_mobilenetv2_dense_1x1x8_100e_kinetics400_rgb",
        {"backbone": "mobilenetv2", "eval_sampling": "dense", "weight_decay": 2e-5,
         "test_crops": 3, "test_crop_size": 256}),
    "k400_mobilenetv2_port": (
        "k400_mobilenetv2_dense", "tsm_mobilenetv2_dense_1x1x8_kinetics400_rgb_port",
        {"port_of": "k400_mobilenetv2_dense"}),
    # Diving48
    "diving48": (
        "k400_video", "tsm_r50_video_1x1x8_50e_diving48_rgb",
        {"resolution": None, "lr": 0.01, "eval_interval": 1,
         **DATASETS["diving48"].list_fields("videos")}),
    "diving48_t16": (
        "diving48", "tsm_r50_video_1x1x16_50e_diving48_rgb",
        {"num_segments": 16, "batch_size": 32, "videos_per_device": 4, "lr": 0.005}),
    # Something-Something V1 and V2
    "sthv1": (
        "k400", "tsm_r50_1x1x8_50e_sthv1_rgb",
        {"resolution": "height 100", "flip": 0.0,
         "filename_tmpl": "{:05}.jpg", "weight_decay": 5e-4, "eval_interval": 2,
         "twice_sample": True, "test_crops": 3, "test_crop_size": 256,
         **DATASETS["sthv1"].list_fields()}),
    "sthv1_flip": (
        "sthv1", "tsm_r50_flip_1x1x8_50e_sthv1_rgb",
        {"flip": 0.5, "flip_label_map": DATASETS["sthv1"].flip_label_map}),
    "sthv1_randaugment": (
        "sthv1", "tsm_r50_randaugment_1x1x8_50e_sthv1_rgb",
        {"augmentation": "imgaug_randaugment"}),
    "sthv1_ptv_randaugment": (
        "sthv1", "tsm_r50_ptv_randaugment_1x1x8_50e_sthv1_rgb",
        {"augmentation": "ptv_randaugment"}),
    "sthv1_ptv_augmix": (
        "sthv1", "tsm_r50_ptv_augmix_1x1x8_50e_sthv1_rgb", {"augmentation": "ptv_augmix"}),
    "sthv1_flip_randaugment": (
        "sthv1_flip", "tsm_r50_flip_randaugment_1x1x8_50e_sthv1_rgb",
        {"augmentation": "imgaug_randaugment"}),
    "sthv1_t16": ("sthv1", "tsm_r50_1x1x16_50e_sthv1_rgb", {**_T16, "lr": 0.0075}),
    "sthv1_r101": ("sthv1", "tsm_r101_1x1x8_50e_sthv1_rgb", {"backbone": "resnet101"}),
    "sthv2": (
        "sthv1", "tsm_r50_1x1x8_50e_sthv2_rgb",
        {"resolution": "height 256", "filename_tmpl": "img_{:05}.jpg", "batch_size": 48,
         "videos_per_device": 6, "lr": 0.0075, **DATASETS["sthv2"].list_fields()}),
    "sthv2_t16": ("sthv2", "tsm_r50_1x1x16_50e_sthv2_rgb", {"num_segments": 16}),
    "sthv2_r101": (
        "sthv2", "tsm_r101_1x1x8_50e_sthv2_rgb",
        {"backbone": "resnet101", "batch_size": 64, "videos_per_device": 8, "lr": 0.01}),
    "sthv1_mixup": ("sthv1", "tsm_r50_mixup_1x1x8_50e_sthv1_rgb", {"blending": "mixup"}),
    "sthv1_cutmix": ("sthv1", "tsm_r50_cutmix_1x1x8_50e_sthv1_rgb", {"blending": "cutmix"}),
    # Jester
    "jester": (
        "sthv1", "tsm_r50_1x1x8_50e_jester_rgb",
        {"train_crop": "random_resized", "flip": 0.5,
         "flip_label_map": DATASETS["jester"].flip_label_map, "val_crop_size": 256,
         **DATASETS["jester"].list_fields()}),
    # HMDB51 and UCF101, fine-tuned from Kinetics-400
    "hmdb51": (
        "k400", "tsm_k400_pretrained_r50_1x1x8_25e_hmdb51_rgb",
        {"resolution": None, "pretrain": "k400",
         "flip": 0.0, "batch_size": 96, "videos_per_device": 12, "lr": 0.0015, "epochs": 25,
         "milestones": (10, 20), "eval_interval": 1, **DATASETS["hmdb51"].list_fields()}),
    "hmdb51_t16": (
        "hmdb51", "tsm_k400_pretrained_r50_1x1x16_25e_hmdb51_rgb",
        {**_T16, "lr": 0.00075, "pretrain": "k400_t16"}),
    "ucf101": (
        "hmdb51", "tsm_k400_pretrained_r50_1x1x8_25e_ucf101_rgb",
        DATASETS["ucf101"].list_fields()),
    "ucf101_t16": (
        "ucf101", "tsm_k400_pretrained_r50_1x1x16_25e_ucf101_rgb",
        {**_T16, "lr": 0.00075, "pretrain": "k400_t16"}),
}  # fmt: skip

_ONE_WAY = {"shift_direction": "unidirectional"}

OWN_ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    # For videos of one's own, about a hundred: docs/own-videos.md gives the reasons. Batch norms
    # are trained (partial_bn=False). data/prepare/few_clips.py fits sizes and epochs to the videos.
    "few_clips": (
        "k400_video",
        {"resolution": None, "backbone": "mobilenetv2", "short_side": 128, "crop_size": 112,
         "val_crop_size": 112, "test_crop_size": 112, "optimizer": "adamw", "lr": 5e-4,
         "batch_size": 4, "videos_per_device": 4, "fc_lr5": False, "schedule": "cosine",
         "epochs": 15}),
    "few_clips_scratch": (  # where no weights can be had: a large network learns them by heart
        "few_clips",
        {"pretrain": "none", "backbone": "resnet18", "width": 0.25, "short_side": 64,
         "crop_size": 56, "val_crop_size": 56, "test_crop_size": 56, "lr": 1e-3,
         "batch_size": 8, "videos_per_device": 8, "epochs": 40}),
    # For streams (online/): a published row whose shift takes channels from the past alone. The
    # paper (section 3.3) describes the shift; neither MMAction2 nor MIT published a recipe for it.
    "k400_online": ("k400", _ONE_WAY),
    "k400_online_mobilenetv2": ("k400_mobilenetv2_dense", _ONE_WAY),
    "sthv1_online": ("sthv1", _ONE_WAY),
    "sthv1_online_r18": ("sthv1_online", {"backbone": "resnet18"}),
    "sthv1_online_r101": ("sthv1_r101", _ONE_WAY),
    "sthv2_online": ("sthv2", _ONE_WAY),
    "jester_online": ("jester", _ONE_WAY),
    "jester_online_mobilenetv2": (  # the network of MIT's online_demo; the decay of Kinetics' row
        "jester_online", {"backbone": "mobilenetv2", "weight_decay": 2e-5}),
}  # fmt: skip


def row_fields(name: str) -> dict[str, Any]:
    """Collect what a row and its ancestors change in the defaults of `Config`."""
    if name in OWN_ROWS:
        parent, changes = OWN_ROWS[name]
        published = ""
    else:
        parent, published, changes = ROWS[name]
    inherited = row_fields(parent) if parent else {}
    return {**inherited, **changes, "name": name, "published": published}


# --- names ----------------------------------------------------------------------------------------


def list_configs() -> list[str]:
    """List the short names of the 36 published rows, in the order of the published tables."""
    return list(ROWS)


def list_own_configs() -> list[str]:
    """List the names of the rows of ours, which no published table has."""
    return list(OWN_ROWS)


def is_row(name: str) -> bool:
    """Tell whether a row has this short name, a published one or one of ours."""
    return name in ROWS or name in OWN_ROWS


def is_video_folder(name: str) -> bool:
    """Tell whether a name is no row but a folder, or a csv: it is taken for one's own videos."""
    path = Path(name).expanduser()
    listed = path.suffix.lower() == ".csv" and path.is_file()
    return not is_row(name) and (listed or path.is_dir())


def resolve_name(name: str) -> str:
    """Find the row of a short name, a published name or a row id.

    Raises:
        ConfigError: an unknown name; the closest ones are listed.
    """
    if is_row(name):
        return name
    plain = name.removesuffix(".py")
    by_id = [n for n in ROWS if Config(**row_fields(n)).row_id == plain]
    by_label = [n for n in ROWS if ROWS[n][1] == plain]
    rows = by_id if len(by_id) == 1 else by_label
    if not rows:
        if Path(name).is_dir():
            raise ConfigError(
                f"{name} is a folder: `tsm train` takes it, and writes a YAML file to use elsewhere"
            )
        if "/" in name or name.startswith("~"):
            raise ConfigError(f"there is no folder or file {name}")
        known = [*ROWS, *OWN_ROWS, *{row[1] for row in ROWS.values()}]
        near = name_closest(plain, known, "`tsm list` names all rows")
        raise ConfigError(f"there is no configuration {name!r}; {near}")
    if len(rows) == 1:
        return rows[0]
    default = next(n for n in rows if row_fields(n)["resolution"] == "short-side 256")
    others = ", ".join(n for n in rows if n != default)
    log.warning("%s names %d rows: taking %s; the others are %s", name, len(rows), default, others)
    return default
