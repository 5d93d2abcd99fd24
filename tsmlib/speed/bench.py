"""What the benchmarks share: sizes, device, equal weights, and how far results may lie apart."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from ..configs import Config, get_config
from ..models.inference_runtime import Optimized, optimize_for_inference
from ..models.recognizer import build_model, channels_last
from . import published_style as published
from .timing import Laps, synchronizer


class BenchmarkError(RuntimeError):
    """Two sides that do not compute the same: their speeds cannot be compared."""


@dataclass(frozen=True)
class Plan:
    """Sizes of the benchmark."""

    backbone: str = "resnet50"
    segments: int = 8
    size: int = 224  # of clips and centre crops
    short_side: int = 256  # and of the accurate protocol's crops
    stored: tuple[int, int] = (256, 340)  # height and width of the single video and the JPEG folder
    evaluated: tuple[int, int] = (240, 320)  # of the evaluated videos
    frames: int = 300  # of every video
    videos: int = 2  # that are evaluated
    batch: int = 2  # clips of a training step
    pace: float = 1.0  # share of the rounds and of their time


FULL = Plan()
QUICK = Plan("resnet18", 4, 48, 56, (80, 112), (64, 80), 40, 2, 1, pace=0.04)


class Bench:
    """What the benchmarks share: sizes, device, equal weights, a folder of videos."""

    def __init__(
        self, plan: Plan, fabric: Fabric, folder: Path, arms: dict[str, Config] | None = None
    ):
        self.plan, self.fabric, self.folder = plan, fabric, folder
        self.arms = arms or {}  # networks of a study, by the names of its arms
        self.differences: dict[str, float] = {}  # between ours and the published rendering
        self.making: dict[str, float] = {}  # seconds that optimized models took, compilation too
        self._optimized: dict[tuple, Optimized] = {}

    def cfg(self, **changes) -> Config:
        plan = self.plan
        fields = {
            "backbone": plan.backbone, "num_segments": plan.segments, "pretrain": "none",
            "crop_size": plan.size, "val_crop_size": plan.size, "short_side": plan.short_side,
            "test_crop_size": plan.short_side,
            "dropout": 0.0,  # so that losses can be compared
            "layout": "video", "val_prefix": ".", "filename_tmpl": "img_{:05}.jpg",
        }  # fmt: skip
        return get_config("sthv1", **fields | changes)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """A state_dict, as if trained; equal for all networks."""
        torch.manual_seed(0)
        model = build_model(self.cfg())
        enliven(model, torch.randn(1, self.plan.segments, 3, self.plan.size, self.plan.size))
        return model.state_dict()

    def clips(self, count: int = 1) -> Tensor:
        random = torch.Generator().manual_seed(1)
        size = (count, self.plan.segments, 3, self.plan.size, self.plan.size)
        return self.fabric.to_device(torch.randn(size, generator=random))

    def ours(self, **changes) -> nn.Module:
        model = channels_last(build_model(self.cfg(**changes)))
        model.load_state_dict(self.weights)
        return self.fabric.to_device(model).eval()

    def optimized(self, precision: str = "32-true", **changes) -> Optimized:
        """Made once; the time that it takes is told apart."""
        key = (precision, *changes.items())
        if key not in self._optimized:
            laps = Laps(synchronizer(self.fabric.device))
            self._optimized[key] = optimize_for_inference(self.ours(**changes), precision)
            laps(", ".join(map(str, key)))
            self.making |= laps.seconds
        return self._optimized[key]

    def optimized_row(self, name: str, cfg: Config) -> Optimized:
        """A row's or an arm's network, with random weights."""
        model = self.fabric.to_device(channels_last(build_model(cfg))).eval()
        self._optimized[(name,)] = optimize_for_inference(model)
        return self._optimized[(name,)]

    @property
    def runtimes(self) -> dict[str, str]:
        """What the optimized models turned out to be."""
        return {", ".join(map(str, key)): m.runtime for key, m in self._optimized.items()}

    def published(self, shift_div: int = 8) -> published.PublishedTSM:
        model = published.PublishedTSM(
            self.plan.backbone, self.weights, self.plan.segments, shift_div
        )
        return self.fabric.to_device(model).eval()

    def agree(self, what: str, difference: float, allowed: float) -> None:
        """Keep a difference.

        Raises:
            BenchmarkError: it is larger than allowed.
        """
        self.differences[what] = float(difference)
        if not difference <= allowed:
            raise BenchmarkError(
                f"{what}: ours and the published rendering differ by {difference:.3g}, more than "
                f"{allowed:g}, so their speeds cannot be compared"
            )


@torch.no_grad()
def enliven(model: nn.Module, clip: Tensor) -> None:
    """Batch norms and a classifier as after a training: random, and fit for their inputs.

    What a block adds is small beside its input, or rounding would grow from block to block.
    """
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    blocks = [m for m in model.modules() if isinstance(m, BasicBlock | Bottleneck)]
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5)
        norm.bias.normal_(0, 0.1)
        norm.momentum = 1.0
    for block in blocks:
        getattr(block, "bn3", block.bn2).weight.uniform_(0.1, 0.5)
    nn.init.normal_(model.head.weight, std=0.05)
    model.train()(clip)  # statistics of a batch, which are then moved a little
    for norm in norms:
        norm.running_mean += 0.1 * norm.running_var.sqrt() * torch.randn_like(norm.running_mean)
        norm.running_var *= torch.empty_like(norm.running_var).uniform_(0.8, 1.25)
        norm.momentum = 0.1


def relative(found: Tensor, expected: Tensor) -> float:
    """Largest difference, of the largest absolute value that is expected."""
    return float((found.float() - expected).abs().max() / expected.abs().max())


def levels(found: Tensor, expected: Tensor) -> float:
    """Largest difference of normalised tensors `[..., 3, h, w]` in grey levels."""
    std = torch.tensor(published.STD, device=found.device).view(3, 1, 1)
    return float(((found - expected) * std).abs().max())
