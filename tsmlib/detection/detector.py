"""torchvision's Faster R-CNN for the frames of a video, with the one-way shift in its backbone.

The shift moves 1/8 of the channels of each residual block from a frame to the next one (Lin, Gan
and Han, section 3.3), so the detector sees the past, at the price of a 2-D detector. Without the
shift it is torchvision's detector, bit for bit. Parameters keep torchvision's names.
"""

from collections import OrderedDict
from functools import partial

import torch
from torch import Tensor, nn
from torchvision.models import resnet
from torchvision.models._utils import IntermediateLayerGetter
from torchvision.models.detection import FasterRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.backbone_utils import BackboneWithFPN
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RPNHead
from torchvision.ops import FrozenBatchNorm2d, MultiScaleRoIAlign

from ..configs import BACKBONES, ConfigError
from ..models.backbones import ResNetRecognizer
from ..models.shift import TemporalShift
from ..models.shifted_conv import shift_input
from .recipes import DetectorConfig

ROI_SAMPLES = 2  # points a side of each cell in which RoIAlign samples a box (torchvision)
STAGES = ("layer4", "layer3", "layer2", "layer1", "conv1", "bn1")  # in the order of their thawing

Detection = dict[str, Tensor]  # boxes [K, 4] xyxy in pixels, labels [K] from 1, scores [K]


class VideoDetector(FasterRCNN):
    """torchvision's Faster R-CNN for frames of videos.

    It is called as torchvision's is: with a list of frames `[3, H, W]`, RGB from 0 to 1, and in
    training with their targets. Frames of a clip follow each other in the list.

    Attributes:
        num_segments: frames of each clip in a call; None: all frames of a call are one clip.
        loss_frames: `all` frames of a clip count in the loss, or the `last`.
    """

    num_segments: int | None = None
    loss_frames: str = "all"

    def forward(
        self, images: list[Tensor], targets: list[Detection] | None = None
    ) -> dict[str, Tensor] | list[Detection]:
        """Return the losses in training, else the detections of each frame."""
        length = self.num_segments or len(images)
        for module in self.modules():
            if isinstance(module, TemporalShift):
                module.num_segments = length
        if self.training and self.loss_frames == "last":
            return self._losses_of_last(images, targets, length)
        return super().forward(images, targets)

    def image_logits(self, frames: Tensor) -> list[Detection]:
        """Detect in frames `[N, 3, H, W]` that are of no common clip; `OnlineTSM` calls it."""
        return super().forward(list(frames))

    def _losses_of_last(
        self, images: list[Tensor], targets: list[Detection], length: int
    ) -> dict[str, Tensor]:
        """Compute the losses of the last frame of each clip; all frames give their features."""
        batch, targets = self.transform(images, targets)
        last = slice(length - 1, None, length)
        features = {name: maps[last] for name, maps in self.backbone(batch.tensors).items()}
        chosen, targets = ImageList(batch.tensors[last], batch.image_sizes[last]), targets[last]
        proposals, losses = self.rpn(chosen, features, targets)
        _, box_losses = self.roi_heads(features, proposals, chosen.image_sizes, targets)
        return {**box_losses, **losses}


class DilatedBackbone(nn.Module):
    """One feature map of stride 16, of a last stage that is dilated and does not stride (DC5)."""

    def __init__(self, network: ResNetRecognizer, channels: int):
        super().__init__()
        self.out_channels, in_channels = channels, network.inplanes
        _dilate(network.layer4)
        self.body = IntermediateLayerGetter(network, {"layer4": "0"})
        self.conv = nn.Conv2d(in_channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Map `[N, 3, H, W]` to the map `0`, `[N, channels, H / 16, W / 16]`."""
        return OrderedDict({"0": self.conv(self.body(x)["0"]).relu()})


def build_detector(cfg: DetectorConfig) -> VideoDetector:
    """Build a detector with new weights.

    Raises:
        ConfigError: `class_names` is empty.
    """
    if not cfg.class_names:
        raise ConfigError("a detector needs class_names, which its data set has")
    backbone = _build_backbone(cfg)
    maps = len(cfg.levels) if cfg.neck == "fpn" else 1
    sizes = (
        tuple((size,) for size in cfg.anchor_sizes) if cfg.neck == "fpn" else (cfg.anchor_sizes,)
    )
    anchors = AnchorGenerator(sizes, (cfg.aspect_ratios,) * len(sizes))
    detector = VideoDetector(
        backbone,
        min_size=cfg.min_size,
        max_size=cfg.max_size,
        rpn_anchor_generator=anchors,
        rpn_head=RPNHead(cfg.channels, anchors.num_anchors_per_location()[0]),
        rpn_pre_nms_top_n_train=cfg.candidates[0],
        rpn_pre_nms_top_n_test=cfg.candidates[1],
        rpn_post_nms_top_n_train=cfg.proposals[0],
        rpn_post_nms_top_n_test=cfg.proposals[1],
        rpn_batch_size_per_image=cfg.rpn_samples,
        box_roi_pool=MultiScaleRoIAlign([str(i) for i in range(maps)], cfg.roi_size, ROI_SAMPLES),
        box_head=TwoMLPHead(cfg.channels * cfg.roi_size**2, cfg.head_channels),
        box_predictor=FastRCNNPredictor(cfg.head_channels, len(cfg.class_names) + 1),
        box_score_thresh=cfg.score_threshold,
        box_batch_size_per_image=cfg.box_samples,
        box_positive_fraction=cfg.box_positives,
        box_bg_iou_thresh=cfg.background_iou,
    )
    detector.loss_frames = cfg.loss_frames
    return detector


def to_unit_range(frames: Tensor) -> Tensor:
    """Convert uint8 frames to floats from 0 to 1, as a detector takes them."""
    return frames.to(torch.float32).div_(255)


def _build_backbone(cfg: DetectorConfig) -> nn.Module:
    """Build the ResNet with its shifts and its neck, and freeze its first stages."""
    record = BACKBONES[cfg.backbone]
    # torchvision trained its COCO weights with eps=0 (fasterrcnn_resnet50_fpn)
    frozen = partial(FrozenBatchNorm2d, eps=0.0 if cfg.pretrain == "coco" else 1e-5)
    network = ResNetRecognizer(
        getattr(resnet, record.block), cfg.depth or record.depth, round(64 * cfg.width),
        num_classes=1000, dropout=0.0, norm_layer=frozen if cfg.frozen_bn else nn.BatchNorm2d,
    )  # fmt: skip
    if cfg.is_shift:
        for module in network.shifted_modules(cfg):
            shift = TemporalShift(cfg.num_segments, cfg.shift_div, cfg.shift_direction)
            shift_input(module, shift)
    thawed = STAGES[: cfg.trainable_layers + (cfg.trainable_layers == 5)]
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(name.startswith(thawed))
    if cfg.neck == "dc5":
        return DilatedBackbone(network, cfg.channels)
    maps = {f"layer{level}": str(i) for i, level in enumerate(cfg.levels)}
    channels = [network.inplanes // 2 ** (4 - level) for level in cfg.levels]
    return BackboneWithFPN(network, maps, channels, cfg.channels)


def _dilate(stage: nn.Sequential) -> None:
    """Replace the stride of a stage by a dilation, as torchvision's ResNet does.

    The first block reads the map of the stage before, so it is not dilated. torchvision has this
    for bottlenecks alone.
    """
    for i, block in enumerate(stage):
        for conv in (m for m in block.modules() if isinstance(m, nn.Conv2d)):
            conv.stride = (1, 1)
            if conv.kernel_size == (3, 3) and i > 0:
                conv.dilation = conv.padding = (2, 2)
