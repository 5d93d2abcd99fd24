"""The networks behind the registry of configs/backbones.py: one class per family.

A class says how it is built, which of its modules are shifted and which blocks a non-local block
follows. Parameters keep torchvision's names, so image weights load as they are.
"""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torchvision.models import MobileNetV2, ResNet, resnet
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck
from torchvision.models.video.resnet import BasicBlock as VideoBlock
from torchvision.models.video.resnet import BasicStem, Conv3DSimple, VideoResNet

from ..configs import BACKBONES, Config
from .clip_network import ClipMixin, check_clips

# expansion, channels, stride of each stage (Sandler et al., MobileNetV2, table 2)
MOBILENET_ROWS = (
    (1, 16, 1), (6, 24, 2), (6, 32, 2), (6, 64, 2), (6, 96, 1), (6, 160, 2), (6, 320, 1),
)  # fmt: skip
# blocks that a non-local block follows, by stage (MMAction2 configs, MIT ops/non_local.py)
NON_LOCAL_BLOCKS = {"layer2": (0, 2), "layer3": (0, 2, 4)}


class ResNetRecognizer(ClipMixin, ResNet):
    """A ResNet of any width and depth over clips."""

    block_types = (BasicBlock, Bottleneck)

    @classmethod
    def build(cls, cfg: Config, num_classes: int) -> "ResNetRecognizer":
        backbone = BACKBONES[cfg.backbone]
        block, width = getattr(resnet, backbone.block), round(64 * cfg.width)
        return cls(block, cfg.depth or backbone.depth, width, num_classes, cfg.dropout)

    def __init__(
        self, block, layers: tuple[int, ...], width: int, num_classes: int, dropout: float,
        norm_layer: Callable[[int], nn.Module] = nn.BatchNorm2d,
    ):  # fmt: skip
        super().__init__(block, list(layers), num_classes=num_classes, norm_layer=norm_layer)
        if width != 64:  # torchvision fixes the stem's width; build the stages again
            self.inplanes = width
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = norm_layer(width)
            for i, blocks in enumerate(layers):
                stage = self._make_layer(block, width * 2**i, blocks, stride=1 if i == 0 else 2)
                setattr(self, f"layer{i + 1}", stage)
            self.fc = nn.Linear(self.inplanes, num_classes)
            for module in self.modules():
                if isinstance(module, nn.Conv2d):  # as torchvision's ResNet does
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.dropout = nn.Dropout(dropout)

    @property
    def head(self) -> nn.Linear:
        return self.fc

    @property
    def last_stage(self) -> nn.Module:
        return self.layer4

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        return self.layer1, self.layer2, self.layer3, self.layer4

    def shifted_modules(self, cfg: Config) -> list[nn.Module]:
        """List the modules whose input is shifted, in order (MMAction2 resnet_tsm.py)."""
        step = BACKBONES[cfg.backbone].shift_every if cfg.shift_place == "blockres" else 1
        blocks = [block for stage in self.stages for block in stage[::step]]
        return blocks if cfg.shift_place == "block" else [block.conv1 for block in blocks]

    def pooled_stages(self) -> tuple[nn.Sequential, ...]:
        """List the stages that temporal pooling, in front of the first of them, precedes."""
        return self.stages[1:]

    def non_local_blocks(self) -> list[tuple[nn.Module, int]]:
        """List the blocks that a non-local block follows, with their output channels."""
        blocks = [
            getattr(self, stage)[i]
            for stage, numbers in NON_LOCAL_BLOCKS.items()
            for i in numbers
            if i < len(getattr(self, stage))
        ]
        return [(block, getattr(block, "bn3", block.bn2).num_features) for block in blocks]

    def image_logits(self, x: Tensor) -> Tensor:
        """Map `[N*T, C, H, W]` to `[N*T', num_classes]`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


class MobileNetV2Recognizer(ClipMixin, MobileNetV2):
    """A MobileNetV2 of any width and depth over clips."""

    block_types = (InvertedResidual,)

    @classmethod
    def build(cls, cfg: Config, num_classes: int) -> "MobileNetV2Recognizer":
        depth = cfg.depth or BACKBONES[cfg.backbone].depth
        rows = [(e, c, n, s) for (e, c, s), n in zip(MOBILENET_ROWS, depth, strict=True)]
        return cls(rows, cfg.width, num_classes, cfg.dropout)

    def __init__(self, rows, width: float, num_classes: int, dropout: float):
        super().__init__(
            num_classes, width, inverted_residual_setting=[list(r) for r in rows], dropout=dropout
        )
        self.depth = tuple(n for _, _, n, _ in rows)  # blocks of each stage

    @property
    def head(self) -> nn.Linear:
        return self.classifier[1]

    @property
    def last_stage(self) -> nn.Module:
        return self.features

    def shifted_modules(self, cfg: Config) -> list[nn.Module]:
        """List the modules whose input is shifted, in order (MMAction2 mobilenet_v2_tsm.py).

        They are in blocks with a shortcut and an expansion: the shift precedes the expansion. With
        `shift_place=block`, which is ours (only ResNets have a published one), it precedes the
        whole block, so that the shortcut is shifted too.
        """
        blocks = [m for m in self.features if isinstance(m, InvertedResidual)]
        chosen = [block for block in blocks if block.use_res_connect and len(block.conv) == 4]
        return chosen if cfg.shift_place == "block" else [block.conv[0][0] for block in chosen]

    def image_logits(self, x: Tensor) -> Tensor:
        """Map `[N*T, C, H, W]` to `[N*T, num_classes]`."""
        return MobileNetV2.forward(self, x)


class R3DRecognizer(VideoResNet):
    """torchvision's R3D of any width and depth: the costly network that TSM's abstract speaks of.

    (Tran et al., A Closer Look at Spatiotemporal Convolutions.) Time is sub-sampled with space from
    layer2 on, so its frames have no logits of their own.
    """

    block_types = (VideoBlock,)

    @classmethod
    def build(cls, cfg: Config, num_classes: int) -> "R3DRecognizer":
        depth = cfg.depth or BACKBONES[cfg.backbone].depth
        return cls(depth, round(64 * cfg.width), num_classes, cfg.dropout)

    def __init__(self, layers: tuple[int, ...], width: int, num_classes: int, dropout: float):
        super().__init__(
            VideoBlock, [Conv3DSimple] * 4, list(layers), BasicStem, num_classes=num_classes
        )
        if width != 64:  # torchvision fixes the stem's width; build everything again
            self.inplanes = width
            self.stem[0] = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
            self.stem[1] = nn.BatchNorm3d(width)
            for i, blocks in enumerate(layers):
                channels, stride = width * 2**i, 1 if i == 0 else 2
                stage = self._make_layer(VideoBlock, Conv3DSimple, channels, blocks, stride)
                setattr(self, f"layer{i + 1}", stage)
            self.fc = nn.Linear(self.inplanes, num_classes)
            for module in self.modules():
                if isinstance(module, nn.Conv3d):  # as torchvision does
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.fc = nn.Sequential(nn.Dropout(dropout), self.fc)

    @property
    def head(self) -> nn.Linear:
        return self.fc[1]

    @property
    def last_stage(self) -> nn.Module:
        return self.layer4

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, T, C, H, W]`, RGB, normalised, to logits `[N, num_classes]`."""
        check_clips(x, self.num_segments)
        return super().forward(x.transpose(1, 2))


FAMILIES: dict[str, Any] = {  # by Backbone.family
    "resnet": ResNetRecognizer,
    "mobilenetv2": MobileNetV2Recognizer,
    "r3d": R3DRecognizer,
}
BLOCKS = tuple(block for family in FAMILIES.values() for block in family.block_types)


def get_family(name: str) -> Any:
    """Return the class of a backbone."""
    return FAMILIES[BACKBONES[name].family]
