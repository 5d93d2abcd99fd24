"""Prepare the paths of each benchmark: ours, a rendering of the published code, the 2-D network.

Paths are callables without arguments. They have equal inputs and weights from a `Workbench`, and
equal outputs, which is checked before anything is measured.
"""

import contextlib
import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..configs import Config, get_config, list_configs, mini
from ..data.annotations import find_list
from ..data.loader import ClipDataset
from ..data.video import encode_frames, write_frames
from ..engine.devices import make_fabric
from ..engine.optimizer import make_optimizer
from ..engine.options import RunOptions
from ..engine.setup import Setup, prepare
from ..engine.test_loop import predict_scores, to_device
from ..models.recognizer import normalize
from . import published_style as published
from .inference import growth_paths, network_name, random_clips
from .training import Trainer
from .workbench import Workbench, grey_level_difference, relative_difference

Paths = dict[str, Callable[[], Any]]
# Largest differences that are allowed, by precision: of logits, over the largest logit; of class
# probabilities, decoding included.
LOGITS = {"32-true": 1e-3, "bf16-mixed": 5e-2}
SCORES = {"32-true": 0.02, "bf16-mixed": 0.05}
GREY_LEVELS = 1.001  # of 256, between pixels: decoders and resizes round


def forward(model: nn.Module, clips: Tensor) -> Callable[[], Tensor]:
    """Make a call of a model."""

    @torch.inference_mode()
    def path() -> Tensor:
        return model(clips)

    return path


def shift(bench: Workbench) -> Paths:
    """Shift one clip eagerly: as ours, of all channels in place, as published, and not at all."""
    models = {
        "all channels in place": bench.ours(shift_div=2, shift_place="block"),
        "2-D": bench.ours(is_shift=False),
        "TSM": bench.ours(),
        "published TSM": bench.published(),
        "published 2-D": bench.published(shift_div=0),
    }
    paths = {name: forward(model, bench.clips()) for name, model in models.items()}
    for ours, theirs in (("TSM", "published TSM"), ("2-D", "published 2-D")):
        difference = relative_difference(paths[ours](), paths[theirs]())
        bench.check_agreement(f"shift: {ours}, logits", difference, LOGITS["32-true"])
    return paths


def inference(bench: Workbench) -> Paths:
    """Run one clip through the optimized models and the published rendering."""
    models = {
        "2-D": bench.optimized(is_shift=False),
        "ours": bench.optimized(),
        "published": bench.published(),
    }
    if not bench.no_bf16:
        models["ours, bf16"] = bench.optimized("bf16-mixed")
    paths = {name: forward(model, bench.clips()) for name, model in models.items()}
    expected = paths["published"]()
    for name in models.keys() - {"2-D", "published"}:
        allowed = LOGITS[models[name].precision]
        bench.check_agreement(
            f"inference: {name}, logits", relative_difference(paths[name](), expected), allowed
        )
    return paths


def training(bench: Workbench) -> Paths:
    """Take a training step in fp32: forward, cross entropy, backward, clipped gradient, SGD."""
    cfg, clips = bench.cfg(), bench.clips(bench.sizes.batch)
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
        difference = relative_difference(step["ours"](), step["published"]())
        bench.check_agreement(f"training: loss of step {i}", difference, LOGITS["32-true"])
    return step


def video(
    bench: Workbench, gop: int, load: Callable[[Path, int, int, int], Tensor] = published.video_clip
) -> Paths:
    """Load a video file as the normalised clip on the device; `load` is the published way."""
    sizes, name = bench.sizes, f"gop{gop}"
    scene = published.draw_scene(sizes.frames, *sizes.stored)
    published.write_h264(bench.folder / f"{name}.mp4", scene, gop)
    (bench.folder / f"{name}.txt").write_text(f"{name}.mp4 0\n")
    file, sizes = bench.folder / f"{name}.mp4", (sizes.segments, sizes.short_side, sizes.size)
    theirs = partial(load, file, *sizes)
    return _clip_paths(bench, f"video_{name}", bench.cfg(val_list=f"{name}.txt"), theirs)


def jpeg_folder(bench: Workbench) -> Paths:
    """Load a folder of JPEG frames as the normalised clip on the device."""
    sizes, folder = bench.sizes, bench.folder / "frames"
    folder.mkdir()
    scene = torch.from_numpy(published.draw_scene(sizes.frames, *sizes.stored))
    write_frames(folder, encode_frames(scene), "img_{:05}.jpg", 1)
    (bench.folder / "frames.txt").write_text(f"frames {sizes.frames} 0\n")
    cfg = bench.cfg(layout="rawframes", val_list="frames.txt")
    theirs = partial(
        published.jpeg_clip, folder, sizes.frames, sizes.segments, sizes.short_side, sizes.size
    )
    return _clip_paths(bench, "jpeg_folder", cfg, theirs)


def _clip_paths(bench: Workbench, name: str, cfg: Config, theirs: Callable[[], Tensor]) -> Paths:
    fabric = bench.fabric
    dataset = ClipDataset(find_list(cfg, "val", bench.folder), cfg, "efficient")

    def ours() -> Tensor:
        _, _, clips, reason = dataset[0, 0]
        assert not reason, reason
        return normalize(to_device(fabric, clips))[0]

    paths = {"ours": ours, "published": lambda: fabric.to_device(theirs())}
    bench.check_agreement(
        f"{name}: grey levels",
        grey_level_difference(*(path() for path in paths.values())),
        GREY_LEVELS,
    )
    return paths


def evaluate(
    bench: Workbench, load: Callable[[Path, int, int], Tensor] = published.accurate_views
) -> Paths:
    """Evaluate videos on disk, 2 clips x 3 crops each; `load` is the published way to them."""
    sizes, folder, device = bench.sizes, bench.folder, bench.fabric.device
    files = [folder / f"evaluated{i}.mp4" for i in range(sizes.videos)]
    for seed, file in enumerate(files):
        scene = published.draw_scene(sizes.frames, *sizes.evaluated, seed)
        published.write_h264(file, scene, 12)
    model, entries = bench.published(), [(file, 0) for file in files]
    _, expected = published.evaluate(model, entries, sizes.short_side, device, load)
    # every second video is labelled as it is recognised
    labels = (expected.argmax(1) + np.arange(sizes.videos) % 2) % expected.shape[1]
    entries = list(zip(files, labels.tolist(), strict=True))
    top1 = 100 * float((expected.argmax(1) == labels).mean())
    (folder / "val.txt").write_text("".join(f"{file.name} {label}\n" for file, label in entries))
    setup = prepare(
        Setup(bench.cfg(val_list="val.txt"), "real", "full", folder, "benchmark"), ("val",)
    )
    theirs = partial(published.evaluate, model, entries, sizes.short_side, device, load)
    paths = {"ours": _test(bench, setup, "32-true"), "published": theirs}
    if not bench.no_bf16:
        paths["ours, bf16"] = _test(bench, setup, "bf16-mixed")
    for name in paths.keys() - {"published"}:
        found, allowed = paths[name](), SCORES["bf16-mixed" if "bf16" in name else "32-true"]
        difference = float(np.abs(found["scores"] - expected).max())
        bench.check_agreement(f"evaluate: {name}, scores", difference, allowed)
        bench.differences[f"evaluate: {name}, top-1"] = abs(found["top1"] - top1)
    bench.check_agreement("evaluate: ours, top-1", bench.differences["evaluate: ours, top-1"], 1e-3)
    return paths


def _test(bench: Workbench, setup: Setup, precision: str) -> Callable[[], dict[str, Any]]:
    """Make a call of all that `tsmlib.evaluate` does between building a model and its record."""
    fabric = make_fabric(bench.fabric.device.type, precision)
    model, options = bench.optimized(precision), RunOptions(workers=0, max_bad=0.0)

    def path() -> dict[str, Any]:
        with contextlib.redirect_stderr(io.StringIO()):  # its progress bar
            return predict_scores(fabric, setup, model, options, "accurate")

    return path


def growth(bench: Workbench) -> Paths:
    """Run 1, 2 and 4 times the clips, views and segments through the optimized model."""
    return growth_paths(bench.cfg(), bench.fabric)


def rows(bench: Workbench) -> Paths:
    """Run one clip through each network of the published rows, optimized, all at one size.

    A quick run takes these networks at mini scale.
    """
    cfgs = {network_name(cfg): cfg for cfg in map(get_config, list_configs())}
    if bench.sizes.pace < 1:
        cfgs = {name: mini(cfg) for name, cfg in cfgs.items()}
    return {name: _one_clip(bench, name, cfg, bench.sizes.size) for name, cfg in cfgs.items()}


def arms(bench: Workbench) -> Paths:
    """Run one clip through each network of a study, optimized, at the study's size."""
    return {name: _one_clip(bench, name, cfg, cfg.crop_size) for name, cfg in bench.arms.items()}


def _one_clip(bench: Workbench, name: str, cfg: Config, size: int) -> Callable[[], Tensor]:
    return forward(bench.optimized_row(name, cfg), random_clips(cfg, 1, size, bench.fabric))
