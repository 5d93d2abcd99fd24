"""What the benchmarks compare: ours, a plain rendering of the published path, and the 2-D network.

A benchmark prepares its paths, callables without arguments, from one `Bench`: equal inputs, equal
weights, equal outputs, which is checked.
"""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from ..configs import Config, get_config
from ..data.annotations import find_list
from ..data.loader import ClipDataset
from ..data.video import encode_frames, write_frames
from ..distributed import make_fabric
from ..models.recognizer import build_model, channels_last, normalize
from ..optimization import make_optimizer
from ..runs import Setup
from ..runtime import Optimized, optimize_for_inference
from ..scoring import run_test, to_device
from . import published_style as published
from .inference import growth_paths
from .timing import Laps, no_bf16, waiting
from .training import Trainer

Paths = dict[str, Callable[[], Any]]
SAME = {"32-true": 1e-3, "bf16-mixed": 5e-2}  # largest difference of logits, of the largest logit
SCORES = {"32-true": 0.02, "bf16-mixed": 0.05}  # of probabilities of a class, decoding included
LEVEL = 1.001  # of 256, between tensors: decoders and resizes round


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
    videos: int = 6  # that are evaluated
    batch: int = 2  # clips of a training step
    pace: float = 1.0  # share of the rounds and of their time


FULL = Plan()
QUICK = Plan("resnet18", 4, 64, 72, (80, 112), (64, 80), 40, 2, 1, pace=0.1)


class Bench:
    """What the benchmarks share: sizes, device, equal weights, a folder of videos."""

    def __init__(self, plan: Plan, fabric: Fabric, folder: Path):
        self.plan, self.fabric, self.folder = plan, fabric, folder
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
            laps = Laps(waiting(self.fabric.device))
            self._optimized[key] = optimize_for_inference(self.ours(**changes), precision)
            laps(", ".join(map(str, key)))
            self.making |= laps.seconds
        return self._optimized[key]

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


# --- the benchmarks -------------------------------------------------------------------------------


def _forward(model: nn.Module, clips: Tensor) -> Callable[[], Tensor]:
    @torch.inference_mode()
    def path() -> Tensor:
        return model(clips)

    return path


def shift(bench: Bench) -> Paths:
    """What shifting costs, eager, one clip: as ours, of all channels in place, as published."""
    models = {
        "all channels in place": bench.ours(shift_div=2, shift_place="block"),
        "2-D": bench.ours(is_shift=False),
        "TSM": bench.ours(),
        "published TSM": bench.published(),
        "published 2-D": bench.published(shift_div=0),
    }
    paths = {name: _forward(model, bench.clips()) for name, model in models.items()}
    for ours, theirs in (("TSM", "published TSM"), ("2-D", "published 2-D")):
        difference = relative(paths[ours](), paths[theirs]())
        bench.agree(f"shift: {ours}, logits", difference, SAME["32-true"])
    return paths


def inference(bench: Bench) -> Paths:
    """One clip through the optimized models and the published rendering."""
    models = {
        "2-D": bench.optimized(is_shift=False),
        "ours": bench.optimized(),
        "published": bench.published(),
    }
    if not no_bf16(bench.fabric.device):
        models["ours, bf16"] = bench.optimized("bf16-mixed")
    paths = {name: _forward(model, bench.clips()) for name, model in models.items()}
    expected = paths["published"]()
    for name in models.keys() - {"2-D", "published"}:
        allowed = SAME[models[name].precision]
        bench.agree(f"inference: {name}, logits", relative(paths[name](), expected), allowed)
    return paths


def training(bench: Bench) -> Paths:
    """A training step in fp32: forward, cross entropy, backward, clipped gradient, SGD."""
    cfg, clips = bench.cfg(), bench.clips(bench.plan.batch)
    labels = torch.arange(len(clips), device=clips.device)
    step = {}
    for name, one in (("2-D", bench.cfg(is_shift=False)), ("ours", cfg)):
        step[name] = partial(Trainer(one, bench.fabric, len(clips), bench.weights), clips, labels)
    model = bench.published().train()
    optimizer = make_optimizer(cfg, model.net, cfg.lr * len(clips) / cfg.batch_size)
    step["published"] = partial(
        published.train_step, model, optimizer, clips, labels, cfg.clip_grad
    )
    for i in (1, 2):  # the second loss follows from the first step
        difference = relative(step["ours"](), step["published"]())
        bench.agree(f"training: loss of step {i}", difference, SAME["32-true"])
    return step


def video(bench: Bench, gop: int) -> Paths:
    """A video file to the normalised clip on the device."""
    plan, name = bench.plan, f"gop{gop}"
    scene = published.moving_scene(plan.frames, *plan.stored)
    published.write_h264(bench.folder / f"{name}.mp4", scene, gop)
    (bench.folder / f"{name}.txt").write_text(f"{name}.mp4 0\n")
    theirs = partial(
        published.video_clip,
        bench.folder / f"{name}.mp4",
        plan.segments,
        plan.short_side,
        plan.size,
    )
    return _clip_paths(bench, f"video_{name}", bench.cfg(val_list=f"{name}.txt"), theirs)


def jpeg_folder(bench: Bench) -> Paths:
    """A folder of JPEG frames to the normalised clip on the device."""
    plan, folder = bench.plan, bench.folder / "frames"
    folder.mkdir()
    scene = torch.from_numpy(published.moving_scene(plan.frames, *plan.stored))
    write_frames(folder, encode_frames(scene), "img_{:05}.jpg", 1)
    (bench.folder / "frames.txt").write_text(f"frames {plan.frames} 0\n")
    cfg = bench.cfg(layout="rawframes", val_list="frames.txt")
    theirs = partial(
        published.jpeg_clip, folder, plan.frames, plan.segments, plan.short_side, plan.size
    )
    return _clip_paths(bench, "jpeg_folder", cfg, theirs)


def _clip_paths(bench: Bench, name: str, cfg: Config, theirs: Callable[[], Tensor]) -> Paths:
    fabric, dataset = (
        bench.fabric,
        ClipDataset(find_list(cfg, "val", bench.folder), cfg, "efficient"),
    )

    def ours() -> Tensor:
        _, _, clips, reason = dataset[0, 0]
        assert not reason, reason
        return normalize(to_device(fabric, clips))[0]

    paths = {"ours": ours, "published": lambda: fabric.to_device(theirs())}
    bench.agree(f"{name}: grey levels", levels(*(path() for path in paths.values())), LEVEL)
    return paths


def evaluate(bench: Bench) -> Paths:
    """Videos on disk to their accuracy under the accurate protocol: 2 clips x 3 crops."""
    plan, folder, device = bench.plan, bench.folder, bench.fabric.device
    files = [folder / f"evaluated{i}.mp4" for i in range(plan.videos)]
    for seed, file in enumerate(files):
        scene = published.moving_scene(plan.frames, *plan.evaluated, seed)
        published.write_h264(file, scene, 12)
    model, entries = bench.published(), [(file, 0) for file in files]
    _, expected = published.evaluate(model, entries, plan.short_side, device)
    # every second video is labelled as it is recognised
    labels = (expected.argmax(1) + np.arange(plan.videos) % 2) % expected.shape[1]
    entries = list(zip(files, labels.tolist(), strict=True))
    top1 = 100 * float((expected.argmax(1) == labels).mean())
    (folder / "val.txt").write_text("".join(f"{file.name} {label}\n" for file, label in entries))
    setup = Setup(bench.cfg(val_list="val.txt"), "real", "full", folder, "benchmark")
    theirs = partial(published.evaluate, model, entries, plan.short_side, device)
    paths = {"ours": _test(bench, setup, "32-true"), "published": theirs}
    if not no_bf16(device):
        paths["ours, bf16"] = _test(bench, setup, "bf16-mixed")
    for name in paths.keys() - {"published"}:
        found, allowed = paths[name](), SCORES["bf16-mixed" if "bf16" in name else "32-true"]
        difference = float(np.abs(found["scores"] - expected).max())
        bench.agree(f"evaluate: {name}, scores", difference, allowed)
        bench.differences[f"evaluate: {name}, top-1"] = abs(found["top1"] - top1)
    bench.agree("evaluate: ours, top-1", bench.differences["evaluate: ours, top-1"], 1e-3)
    return paths


def _test(bench: Bench, setup: Setup, precision: str) -> Callable[[], dict[str, Any]]:
    """What `tsmlib.evaluate` does between building the model and writing the record."""
    fabric = make_fabric(bench.fabric.device.type, precision)
    model = bench.optimized(precision)

    def path() -> dict[str, Any]:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            return run_test(fabric, setup, model, 0, 0.0, "accurate")

    return path


def growth(bench: Bench) -> Paths:
    """1, 2 and 4 times the clips, views and segments through the optimized model."""
    return growth_paths(bench.cfg(), bench.fabric)
