"""Exported files that several tests use; each is written once."""

from functools import cache
from typing import NamedTuple

import pytest
import torch
from helpers import lively, tiny
from torch import nn

from tsmlib import Config, build_model
from tsmlib.configs import to_dict
from tsmlib.online.model_export import Exported, export_checkpoint

NAMES = ("wave, left", "wave, right", "clap", "jump", "sit")
SIZES = {
    "num_segments": 4, "short_side": 36, "val_crop_size": 32, "test_crop_size": 32,
    "crop_size": 32, "pretrain": "none", "class_names": NAMES,
}  # fmt: skip
MOBILE = {"backbone": "mobilenetv2", "depth": (1, 2, 2, 1, 1, 1, 1)}
ONE_WAY = {"shift_direction": "unidirectional"}
NETWORKS = {
    "resnet50 with non-local blocks": {"backbone": "resnet50", "non_local": "embedded_gaussian"},
    "resnet50": {"backbone": "resnet50", **ONE_WAY},
    "mobilenetv2 two-way": MOBILE,
    "mobilenetv2": {**MOBILE, **ONE_WAY},
    "resnet18 with temporal pooling": {"temporal_pool": True},
    "in front of blocks": {"shift_place": "block", **ONE_WAY},
    "no shift": {"is_shift": False},
}


class Case(NamedTuple):
    """A model, its checkpoint, and what was written of it."""

    cfg: Config
    model: nn.Module
    weights: str
    exported: Exported


@pytest.fixture(scope="session")
def export_once(tmp_path_factory):
    """A function that exports a network of `NETWORKS`, or returns what it exported before."""

    @cache
    def export(name: str, layout: str = "onnx", stream: bool = False) -> Case:
        folder = tmp_path_factory.mktemp("exported")
        cfg = tiny("sthv1", **SIZES, **NETWORKS[name])
        model = lively(build_model(cfg)).eval()
        content = {
            "model": model.state_dict(), "config": to_dict(cfg), "data": "standin",
            "scale": "mini", "run": "a-run",
        }  # fmt: skip
        torch.save(content, folder / "last.pth")
        out = folder / f"model.{layout}"
        exported = export_checkpoint(folder / "last.pth", out, layout, stream=stream)
        return Case(cfg, model, str(folder / "last.pth"), exported)

    return export
