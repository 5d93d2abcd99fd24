"""A tiny detector with random weights that detects something."""

import torch
from helpers import seeded

from tsmlib.detection.detector import VideoDetector, build_detector
from tsmlib.detection.recipes import DetectorConfig, get_recipe, mini

NAMES = ("dog", "cat", "bus")
BOX = {"boxes": torch.tensor([[4.0, 4, 20, 24]]), "labels": torch.tensor([1])}


def tiny_recipe(**changes) -> DetectorConfig:
    """Configure the mini detector for frames of 64 pixels, with random batch norms."""
    sizes = {"class_names": NAMES, "width": 0.125, "min_size": 64, "max_size": 96}
    return mini(get_recipe("vid_r101", **{**sizes, "score_threshold": 0.0, **changes}))


def lively_detector(cfg: DetectorConfig, seed: int = 1) -> VideoDetector:
    """Build a detector whose batch norms have the statistics of noise, in eval mode."""
    torch.manual_seed(seed)
    detector = build_detector(cfg)
    for norm in (m for m in detector.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.momentum = None  # the mean over all batches
    with torch.no_grad():
        detector.train()(list(seeded(torch.rand, 8, 3, 64, 80)), [BOX] * 8)
    return detector.eval()
