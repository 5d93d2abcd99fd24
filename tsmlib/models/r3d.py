"""A 3-D convolutional network over clips: the costly alternative that TSM's abstract speaks of."""

from torch import Tensor, nn
from torchvision.models.video.resnet import BasicBlock, BasicStem, Conv3DSimple, VideoResNet

from ..configs import BACKBONES, Config
from .clip_network import check_clips


class R3DRecognizer(VideoResNet):
    """torchvision's R3D of any width and depth, with dropout in front of the classifier.

    (Tran et al., A Closer Look at Spatiotemporal Convolutions.) Time is sub-sampled with space from
    layer2 on, so its frames have no logits of their own.
    """

    block_types = (BasicBlock,)

    @classmethod
    def build(cls, cfg: Config, num_classes: int) -> "R3DRecognizer":
        depth = cfg.depth or BACKBONES[cfg.backbone].depth
        return cls(depth, round(64 * cfg.width), num_classes, cfg.dropout)

    def __init__(self, layers: tuple[int, ...], width: int, num_classes: int, dropout: float):
        super().__init__(
            BasicBlock, [Conv3DSimple] * 4, list(layers), BasicStem, num_classes=num_classes
        )
        if width != 64:  # torchvision fixes the stem's width; build everything again
            self.inplanes = width
            self.stem[0] = nn.Conv3d(3, width, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False)
            self.stem[1] = nn.BatchNorm3d(width)
            for i, blocks in enumerate(layers):
                channels, stride = width * 2**i, 1 if i == 0 else 2
                stage = self._make_layer(BasicBlock, Conv3DSimple, channels, blocks, stride)
                setattr(self, f"layer{i + 1}", stage)
            self.fc = nn.Linear(self.inplanes, num_classes)
            for module in self.modules():
                if isinstance(module, nn.Conv3d):  # as torchvision does
                    nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        self.fc = nn.Sequential(nn.Dropout(dropout), self.fc)

    @property
    def head(self) -> nn.Linear:
        return self.fc[1]

    def forward(self, x: Tensor) -> Tensor:
        """Map `[N, T, C, H, W]`, RGB, normalised, to logits `[N, num_classes]`."""
        check_clips(x, self.num_segments)
        return super().forward(x.transpose(1, 2))
