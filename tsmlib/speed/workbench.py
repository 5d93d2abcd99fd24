"""Hold all that benchmarks share: sizes, equal inputs and weights, the check that sides agree."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from ..configs import Config, get_config
from ..engine.fabric import Fabric
from ..models.inference_runtime import Optimized, optimize_for_inference
from ..models.recognizer import build_model, channels_last
from ..online.fast_streams import optimize_stream
from ..online.streams import OnlineTSM
from . import published_style as published
from .hardware import why_no_bf16
from .timing import Laps, synchronizer


class BenchmarkError(RuntimeError):
    """Two sides that do not compute the same: their speeds cannot be compared."""


@dataclass(frozen=True)
class Sizes:
    """Sizes of the benchmarks."""

    backbone: str = "resnet50"
    segments: int = 8
    size: int = 224  # of clips and centre crops
    short_side: int = 256  # of resized frames; side of the accurate protocol's crops
    stored: tuple[int, int] = (256, 340)  # height and width of the single video and the JPEG folder
    evaluated: tuple[int, int] = (240, 320)  # height and width of the evaluated videos
    frames: int = 300  # of every video
    videos: int = 2  # number of evaluated videos
    batch: int = 2  # clips of a training step
    pace: float = 1.0  # factor of the rounds, their time, and the calls before them
    stream_depth: tuple[int, ...] = ()  # blocks a stage of MobileNetV2; (): the published ones


FULL = Sizes()
QUICK = Sizes("resnet18", 4, 48, 56, (80, 112), (64, 80), 40, 2, 1, 0.04, (1, 1, 1, 1, 1, 1, 1))


class Workbench:
    """Makes the inputs and networks of all benchmarks, and compares the outputs of both sides.

    Args:
        sizes: of inputs and networks.
        fabric: of the device.
        folder: for videos.
        arms: networks of a study, by the names of its arms.
    """

    def __init__(
        self, sizes: Sizes, fabric: Fabric, folder: Path, arms: dict[str, Config] | None = None
    ):
        self.sizes, self.fabric, self.folder, self.arms = sizes, fabric, folder, arms or {}
        self.no_bf16 = why_no_bf16(fabric.device)
        self.differences: dict[str, float] = {}  # between ours and the published rendering
        self.optimizing: dict[str, float] = {}  # seconds for each optimized model, with compilation
        self._optimized: dict[tuple, Optimized | OnlineTSM] = {}

    def cfg(self, **changes) -> Config:
        """Configure the network of the benchmarks, with changes."""
        sizes = self.sizes
        fields = {
            "backbone": sizes.backbone, "num_segments": sizes.segments, "pretrain": "none",
            "crop_size": sizes.size, "val_crop_size": sizes.size, "short_side": sizes.short_side,
            "test_crop_size": sizes.short_side,
            "dropout": 0.0,  # so that losses can be compared
            "layout": "video", "val_prefix": ".", "filename_tmpl": "img_{:05}.jpg",
        }  # fmt: skip
        return get_config("sthv1", **fields | changes)

    @cached_property
    def weights(self) -> dict[str, Tensor]:
        """Make the state_dict that all networks share, as if trained."""
        torch.manual_seed(0)
        model = build_model(self.cfg())
        enliven(model, torch.randn(1, self.sizes.segments, 3, self.sizes.size, self.sizes.size))
        return model.state_dict()

    def clips(self, count: int = 1) -> Tensor:
        """Draw normalised clips `[count, T, 3, H, W]` on the device."""
        random = torch.Generator().manual_seed(1)
        size = (count, self.sizes.segments, 3, self.sizes.size, self.sizes.size)
        return self.fabric.to_device(torch.randn(size, generator=random))

    def ours(self, **changes) -> nn.Module:
        """Make our network for evaluation, with changes of its configuration."""
        model = channels_last(build_model(self.cfg(**changes)))
        model.load_state_dict(self.weights)
        return self.fabric.to_device(model).eval()

    def optimized(self, precision: str = "32-true", **changes) -> Optimized:
        """Optimize our network, once per precision and changes; the seconds are kept."""
        key = (precision, *changes.items())
        if key not in self._optimized:
            laps = Laps(synchronizer(self.fabric.device))
            self._optimized[key] = optimize_for_inference(self.ours(**changes), precision)
            laps(", ".join(map(str, key)))
            self.optimizing |= laps.seconds
        return self._optimized[key]

    def random_model(self, cfg: Config) -> nn.Module:
        """Make a network with random weights for evaluation."""
        return self.fabric.to_device(channels_last(build_model(cfg))).eval()

    def optimized_row(self, name: str, cfg: Config, runtime: str = "auto") -> Optimized:
        """Optimize a network with random weights, on clips of the benchmarks' size."""
        model, size = self.random_model(cfg), self.sizes.size
        self._optimized[(name,)] = optimize_for_inference(model, runtime=runtime, size=size)
        return self._optimized[(name,)]

    def stream(
        self, name: str, cfg: Config, frame_shape: tuple[int, ...], runtime: str
    ) -> OnlineTSM:
        """Optimize a network with random weights for a stream of frames, once per name."""
        if (name,) not in self._optimized:
            model = self.random_model(cfg)
            stream = optimize_stream(model, runtime=runtime, frame_shape=frame_shape)
            self.differences[f"{name}: logits, in deviations"] = stream.difference
            self._optimized[(name,)] = stream
        return self._optimized[(name,)]

    @property
    def runtimes(self) -> dict[str, str]:
        """The runtime that each optimized model has in the end."""
        return {", ".join(map(str, key)): m.runtime for key, m in self._optimized.items()}

    @property
    def tried(self) -> dict[str, dict[str, float]]:
        """Milliseconds of the forms among which the fastest was chosen."""
        return {key[0]: m.milliseconds for key, m in self._optimized.items() if m.milliseconds}

    def published(self, shift_div: int = 8) -> published.PublishedTSM:
        """Make the published rendering of the network for evaluation."""
        model = published.PublishedTSM(
            self.sizes.backbone, self.weights, self.sizes.segments, shift_div
        )
        return self.fabric.to_device(model).eval()

    def check_agreement(self, what: str, difference: float, allowed: float) -> None:
        """Record a difference between both sides.

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
    """Draw batch norms and a classifier as after a training: random, and fit for their inputs.

    The output of a block is small beside its input; else rounding would grow from block to block.
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


def relative_difference(output: Tensor, expected: Tensor) -> float:
    """Divide the largest difference by the largest absolute value that is expected."""
    return float((output.float() - expected).abs().max() / expected.abs().max())


def grey_level_difference(output: Tensor, expected: Tensor) -> float:
    """Find the largest difference of normalised tensors `[..., 3, h, w]` in grey levels."""
    std = torch.tensor(published.STD, device=output.device).view(3, 1, 1)
    return float(((output - expected) * std).abs().max())
