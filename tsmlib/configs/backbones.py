"""The registry of backbones: one record each, with what a configuration can ask of it.

The module knows no torch. `tsmlib.models.backbones` has a class for each `family`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Backbone:
    """A network that is trained on clips: its size at each scale, and what it can be given."""

    name: str
    family: str  # key of tsmlib.models.backbones.FAMILIES
    block: str  # torchvision's class of its residual blocks
    depth: tuple[int, ...]  # blocks of each stage, as published
    mini_depth: tuple[int, ...] = (1, 1, 1, 1)  # and at mini scale
    imagenet: str | None = None  # torchvision's class of ImageNet weights; None: there are none
    shift_every: int = 1  # blocks from one shifted block to the next, with shift_place=blockres
    fixed: Mapping[str, Any] = field(default_factory=dict)  # options that have one value here
    fixed_for: str = ""  # sentence part: which networks these options are for, and which not
    volumetric: bool = False  # 3-D convolutions over the frames, which leave nothing to shift
    published_size: int = 224  # of the input, in pixels, that the published operations are for


BACKBONES = {
    backbone.name: backbone
    for backbone in (
        Backbone("resnet18", "resnet", "BasicBlock", (2, 2, 2, 2), imagenet="ResNet18_Weights"),
        Backbone("resnet50", "resnet", "Bottleneck", (3, 4, 6, 3), imagenet="ResNet50_Weights"),
        Backbone(
            "resnet101", "resnet", "Bottleneck", (3, 4, 23, 3), mini_depth=(1, 2, 2, 1),
            imagenet="ResNet101_Weights",
            shift_every=2,  # from 23 blocks in layer3 on (MMAction2 resnet_tsm.py, n_round)
        ),
        Backbone(
            "mobilenetv2", "mobilenetv2", "InvertedResidual", (1, 2, 3, 4, 3, 3, 1),
            mini_depth=(1, 2, 2, 2, 2, 2, 1), imagenet="MobileNet_V2_Weights", published_size=256,
            fixed={"non_local": None, "temporal_pool": False},
            fixed_for="ResNets, not for MobileNetV2",
        ),
        Backbone(
            "r3d_18", "r3d", "BasicBlock", (2, 2, 2, 2), volumetric=True,
            fixed={
                "is_shift": False, "non_local": None, "temporal_pool": False, "partial_bn": False,
            },
            fixed_for="2-D networks, not for r3d_18",
        ),
    )
}  # fmt: skip
