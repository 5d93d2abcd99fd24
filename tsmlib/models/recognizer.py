"""Video recognizers: torchvision's image networks with temporal shifts and a consensus head.

Parameters keep torchvision's names, so image weights load as they are.
"""

from functools import lru_cache, partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models import MobileNetV2, ResNet
from torchvision.models.mobilenetv2 import InvertedResidual
from torchvision.models.resnet import BasicBlock, Bottleneck

from ..configs import Config, check_model
from .checkpoints import load_pretrained
from .nonlocal_block import NonLocalBlock, follow_with
from .r3d import LAYERS, R3DRecognizer
from .shift import TemporalShift, shifted_channels
from .shifted_conv import shift_input_of

# grey levels, RGB, of ImageNet's images (MMAction2 configs, img_norm_cfg)
MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
HEAD_STD = 0.001  # of the classifier's initial weights (MMAction2 tsm_head.py, MIT ops/models.py)
RESNETS = {
    "resnet18": (BasicBlock, (2, 2, 2, 2)),
    "resnet50": (Bottleneck, (3, 4, 6, 3)),
    "resnet101": (Bottleneck, (3, 4, 23, 3)),
}
EVERY_SECOND = ("resnet101",)  # from 23 blocks in layer3 on (MMAction2 resnet_tsm.py, n_round)
# expansion, channels, blocks, stride (Sandler et al., MobileNetV2, table 2)
MOBILENET_ROWS = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2),
    (6, 320, 1, 1),
)  # fmt: skip


# blocks that a non-local block follows, by stage (MMAction2 configs, MIT ops/non_local.py)
NON_LOCAL_BLOCKS = {"layer2": (0, 2), "layer3": (0, 2, 4)}


class ClipMixin:
    """Clips in, logits out: every frame through the 2-D network, then the mean over the frames."""

    num_segments: int
    num_classes: int
    partial_bn: bool = False

    def train(self, mode: bool = True):
        """As every module's; with partial BN all batch norms but the first stay as in a test."""
        super().train(mode)
        if self.partial_bn:
            for norm in _batch_norms(self)[1:]:
                norm.eval()
        return self

    def frame_logits(self, x: Tensor) -> Tensor:
        """`[N, T, C, H, W]`, RGB, normalised, to logits of each frame `[N, T', num_classes]`.

        T' is T, or half of it after temporal pooling.
        """
        if x.ndim != 5 or x.shape[1] != self.num_segments:
            wanted = f"[N, {self.num_segments}, 3, H, W]"
            raise ValueError(f"the model takes clips {wanted}, not {list(x.shape)}")
        frames = self.image_logits(x.flatten(0, 1))  # [N*T, C, H, W] -> [N*T', K]
        return frames.unflatten(0, (x.shape[0], -1))

    def forward(self, x: Tensor) -> Tensor:
        """`[N, T, C, H, W]` to logits `[N, num_classes]`: consensus is the mean over frames."""
        return self.frame_logits(x).mean(1)


class ResNetRecognizer(ClipMixin, ResNet):
    """A ResNet of any width and depth over clips."""

    def __init__(
        self, block, layers: tuple[int, ...], width: int, num_classes: int, dropout: float
    ):
        super().__init__(block, list(layers), num_classes=num_classes)
        if width != 64:  # torchvision fixes the stem's width; build the stages again
            self.inplanes = width
            self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
            self.bn1 = nn.BatchNorm2d(width)
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

    def image_logits(self, x: Tensor) -> Tensor:
        """`[N*T, C, H, W]` to `[N*T', num_classes]`."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(self.dropout(self.avgpool(x).flatten(1)))


class MobileNetV2Recognizer(ClipMixin, MobileNetV2):
    """A MobileNetV2 of any width and depth over clips."""

    def __init__(self, rows, width: float, num_classes: int, dropout: float):
        super().__init__(
            num_classes, width, inverted_residual_setting=[list(r) for r in rows], dropout=dropout
        )
        self.blocks = tuple(n for _, _, n, _ in rows)  # of each layer

    @property
    def head(self) -> nn.Linear:
        return self.classifier[1]

    def image_logits(self, x: Tensor) -> Tensor:
        """`[N*T, C, H, W]` to `[N*T, num_classes]`."""
        return MobileNetV2.forward(self, x)


def build_model(cfg: Config, num_classes: int | None = None, pretrained: bool = False) -> nn.Module:
    """The recognizer of a configuration.

    Args:
        cfg: the configuration; its model fields are used.
        num_classes: outputs; None: as the configuration says.
        pretrained: load the weights that `cfg.pretrain` names (nothing is loaded otherwise).

    Returns:
        A module from `[N, T, C, H, W]` (float, RGB, normalised) to logits `[N, num_classes]`.
        `state_dict` keys are torchvision's. `.pretrained` says what was loaded.

    Raises:
        ConfigError: a part that does not exist for this backbone or is not there yet.
        CheckpointError: pretrained weights that cannot be had or do not fit.
    """
    check_model(cfg)
    classes = num_classes or cfg.num_classes
    if cfg.backbone == "mobilenetv2":
        rows = MOBILENET_ROWS
        if cfg.depth:
            rows = [(e, c, n, s) for (e, c, _, s), n in zip(rows, cfg.depth, strict=True)]
        model = MobileNetV2Recognizer(rows, cfg.width, classes, cfg.dropout)
    elif cfg.backbone == "r3d_18":
        width = round(64 * cfg.width)
        model = R3DRecognizer(cfg.depth or LAYERS, width, classes, cfg.dropout)
    else:
        block, layers = RESNETS[cfg.backbone]
        width = round(64 * cfg.width)
        model = ResNetRecognizer(block, cfg.depth or layers, width, classes, cfg.dropout)
    model.num_segments, model.num_classes = cfg.num_segments, classes
    init_head(model)
    if cfg.non_local:
        _add_non_local(model, cfg)
    model.pretrained = load_pretrained(model, cfg) if pretrained else None
    if cfg.is_shift:
        _add_shifts(model, cfg)
    if cfg.temporal_pool:
        model.layer2.temporal_pool = True
        model.layer2.register_forward_pre_hook(partial(_pool_time, cfg.num_segments))
    if cfg.partial_bn:
        _freeze_batch_norms(model)
    return model


def init_head(model: nn.Module) -> None:
    """Start the classifier anew, as published."""
    nn.init.normal_(model.head.weight, std=HEAD_STD)
    nn.init.zeros_(model.head.bias)


def channels_last(model: nn.Module) -> nn.Module:
    """The model itself, its weights in the memory order in which convolutions are fastest."""
    volumetric = any(isinstance(module, nn.Conv3d) for module in model.modules())
    return model.to(memory_format=torch.channels_last_3d if volumetric else torch.channels_last)


def moved_channels(model: nn.Module) -> dict[str, int]:
    """Channels that each shift of a model moves per direction, by the name of the shifted layer."""
    moved = {}
    for name, module in model.named_modules():
        if isinstance(getattr(module, "shift", None), TemporalShift):
            conv = next(m for m in module.modules() if isinstance(m, nn.Conv2d))
            moved[name] = shifted_channels(conv.in_channels, module.shift.options[1])
    return moved


def _add_shifts(model: nn.Module, cfg: Config) -> None:
    """Shift the inputs of the published layers; behind temporal pooling clips have T/2 frames."""
    late = set()
    if cfg.temporal_pool:
        late = {id(m) for s in (model.layer2, model.layer3, model.layer4) for m in s.modules()}
    for module in _shifted_modules(model, cfg):
        t = cfg.num_segments // 2 if id(module) in late else cfg.num_segments
        shift = TemporalShift(t, cfg.shift_div, cfg.shift_direction, cfg.shift_padding)
        shift_input_of(module, shift)


def _shifted_modules(model: nn.Module, cfg: Config) -> list[nn.Module]:
    """Modules whose input is shifted, in order (MMAction2 resnet_tsm.py, mobilenet_v2_tsm.py)."""
    if isinstance(model, MobileNetV2):
        # blocks with a shortcut and an expansion: the shift precedes the expansion
        blocks = [m for m in model.features if isinstance(m, InvertedResidual)]
        return [b.conv[0][0] for b in blocks if b.use_res_connect and len(b.conv) == 4]
    step = 2 if cfg.backbone in EVERY_SECOND and cfg.shift_place == "blockres" else 1
    stages = (model.layer1, model.layer2, model.layer3, model.layer4)
    blocks = [block for stage in stages for block in stage[::step]]
    return blocks if cfg.shift_place == "block" else [block.conv1 for block in blocks]


def _add_non_local(model: nn.Module, cfg: Config) -> None:
    for stage, numbers in NON_LOCAL_BLOCKS.items():
        blocks = getattr(model, stage)
        for block in (blocks[i] for i in numbers if i < len(blocks)):
            channels = getattr(block, "bn3", block.bn2).num_features
            follow_with(block, NonLocalBlock(channels, cfg.num_segments, cfg.non_local))


def _pool_time(num_segments: int, stage: nn.Module, args: tuple[Tensor]) -> Tensor:
    """`[N*T, C, H, W]` to `[N*T/2, C, H, W]`: the maximum over 3 frames around every second one.

    (MMAction2 resnet_tsm.py and MIT ops/temporal_shift.py, make_temporal_pool.)
    """
    clips = args[0].unflatten(0, (-1, num_segments)).transpose(1, 2)  # [N, C, T, H, W]
    pooled = F.max_pool3d(clips, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0))
    return pooled.transpose(1, 2).flatten(0, 1)


def _batch_norms(model: nn.Module) -> list[nn.Module]:
    """Those of the image network: the published non-local norms are 3-D, and always learn."""
    return [
        module
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d) and ".non_local." not in name
    ]


def _freeze_batch_norms(model: nn.Module) -> None:
    """All but the first keep statistics and parameters (MMAction2 and MIT, partial BN)."""
    model.partial_bn = True
    for norm in _batch_norms(model)[1:]:
        norm.requires_grad_(False)


def normalize(clips: Tensor) -> Tensor:
    """uint8 `[..., C, H, W]` RGB to float with ImageNet's mean and deviation (all 36 rows)."""
    out = clips.to(torch.float32, copy=True)  # one new tensor, not three
    pixels = out.movedim(-3, -1)  # [..., H, W, C]
    if pixels.is_contiguous():  # rows of pixels: passes over three values at a time would be slow
        mean, std = _statistics(pixels.shape[-2], clips.device)
        pixels.flatten(-2).sub_(mean).div_(std)
        return out
    mean, std = _statistics(1, clips.device)
    return out.sub_(mean.view(3, 1, 1)).div_(std.view(3, 1, 1))


@lru_cache
def _statistics(width: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Mean and deviation for a row of `width` pixels; a GPU would be waited for each time."""
    with torch.inference_mode(False):  # training may be the next to use them
        mean, std = (torch.tensor(values, device=device).repeat(width) for values in (MEAN, STD))
    return mean, std
