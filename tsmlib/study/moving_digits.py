"""Digits in motion: clips in which appearance and the order of frames both decide the class.

A handwritten digit moves over a textured background; a class is a digit and a direction. Left is
right played backwards, and up is down: a network blind to order names the digit, and tells two
directions from the other two at best, by where the digit is. As TSM starts from a network that was
trained on images, these start from one that was trained on stills of the digits.

The digits are the 1,797 images of 8 x 8 of scikit-learn (Alpaydin and Kaynak, UCI 1998), which 13
people wrote. The last third is tested: other images, and mostly other hands.
"""

import dataclasses
import hashlib
from functools import cache
from pathlib import Path

import numpy as np
import torch
from torch import Generator, Tensor

from ..configs import Config, replace
from ..data.standin.rendering import Scene, Sprite, noise_texture, render
from ..data.standin.scenes import make_rng
from ..data.video import encode_frames, write_frames
from ..locks import lock_folder
from ..paths import cache_folder, write_whole
from ..progress import track
from .annotated_videos import custom_config
from .plan import Digits
from .stored_frames import TEMPLATE

DIGITS = "digits"  # name of the configurations
DIRECTIONS = ("left", "right", "up", "down")
CLASSES = tuple(f"{digit} {direction}" for digit in range(10) for direction in DIRECTIONS)
SIZE, FRAMES, QUALITY = 40, 24, 95  # pixels and frames of a stored clip
STREAMS = ("train", "test", "stills-train", "stills-test")  # each has random numbers of its own
FORMAT = 1  # of the files in the cache
TESTED = (59, 62, 60, 62, 62, 59, 61, 61, 55, 58)  # images of each digit in the last third


def measure_digit_and_direction(scores: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Compute the percentages of clips whose digit, and whose direction, is answered right.

    Args:
        scores, labels: `[N, 40]` and `[N]`, of `CLASSES`.
    """
    return {
        measure: round(100 * float(answer_right(measure, labels, scores.argmax(1)).mean()), 4)
        for measure in ("appearance", "order")
    }


def answer_right(measure: str, labels: np.ndarray, answers: np.ndarray) -> np.ndarray:
    """Tell of each clip whether its digit (`appearance`), direction (`order`) or both are right.

    Args:
        measure: a field of the records.
        labels, answers: `[N]`, of `CLASSES`.
    """
    count = len(DIRECTIONS)
    parts = {"appearance": lambda k: k // count, "order": lambda k: k % count, "top1": lambda k: k}
    return parts[measure](labels) == parts[measure](answers)


def digits_config(cfg: Config, digits: Digits, root: Path | None = None) -> Config:
    """Return the configuration on digits in motion; without a root as it is recorded."""
    lists = {"train_list": f"{digits}", "val_list": f"{digits}"}
    if root:
        lists = {"train_list": "lists/train.txt", "val_list": "lists/test.txt"}
    return custom_config(cfg, DIGITS, CLASSES, f"{SIZE}x{SIZE}", root, lists)


def stills_config(cfg: Config, digits: Digits, root: Path) -> Config:
    """Return the configuration of the 2-D network on stills: one frame, and no shift."""
    lists = {"train_list": "lists/stills-train.txt", "val_list": "lists/stills-test.txt"}
    still = replace(
        cfg, is_shift=False, num_segments=1, pretrain="none", blending="none", temporal_pool=False,
        shift_place="blockres", shift_direction="bidirectional", non_local="none", shift_div=8,
        epochs=digits.still_epochs, eval_interval=digits.still_epochs, lr=digits.still_lr,
        milestones=(digits.still_epochs,) * 2, # none, whatever those of the clips are
    )  # fmt: skip
    return custom_config(still, "stills", tuple("0123456789"), f"{SIZE}x{SIZE}", root, lists)


def with_run_seed(digits: Digits, seed: int) -> Digits:
    """Let the clips be drawn with the seed of the run, unless they have one of their own."""
    return digits if digits.seed is not None else dataclasses.replace(digits, seed=seed)


# --- clips ----------------------------------------------------------------------------------------


def prepare_digits(digits: Digits, cache: str | Path | None = None) -> Path:
    """Draw the clips, stills and lists that are not in the cache yet; returns their data root."""
    digest = hashlib.sha256(f"{FORMAT} {SIZE} {FRAMES} {digits}".encode()).hexdigest()[:12]
    root = cache_folder(cache) / "digits" / digest
    with lock_folder(root):
        done = root / "lists" / "stills-test.txt"
        if not done.is_file():
            for name, text in _draw_all(digits, root / "rawframes").items():
                write_whole(root / "lists" / name, text)
    return root


def _draw_all(digits: Digits, frames: Path) -> dict[str, str]:
    """Write the frames of all clips and stills; returns the texts of the lists, last one last."""
    images = load_images()
    lists: dict[str, list[str]] = {}
    for kind, count, numbers in (("", FRAMES, digits.clips), ("stills-", 1, digits.stills)):
        for split, number in zip(("train", "test"), numbers, strict=True):
            name = f"{kind}{split}"
            for i in track(range(number), f"drawing {name}", "clips"):
                label = i % (len(CLASSES) if count > 1 else 10)
                digit = label // len(DIRECTIONS) if count > 1 else label
                rng = make_rng(digits.seed, i, STREAMS.index(name))
                image = images[split][digit][rng.integers(len(images[split][digit]))]
                clip = draw_clip(image, DIRECTIONS[label % len(DIRECTIONS)], digits, rng, count)
                (frames / name / f"{i:05}").mkdir(parents=True, exist_ok=True)
                write_frames(frames / name / f"{i:05}", encode_frames(clip, QUALITY), TEMPLATE, 1)
                lists.setdefault(f"{name}.txt", []).append(f"{name}/{i:05} {count} {label}\n")
    return {name: "".join(lines) for name, lines in lists.items()}


@cache
def number_tested_images(digits: Digits) -> np.ndarray:
    """Number the handwritten image of each test clip, `[clips]`, as `prepare_digits` draws it."""
    labels = np.arange(digits.clips[1]) % len(CLASSES) // len(DIRECTIONS)
    drawn = [
        make_rng(digits.seed, i, STREAMS.index("test")).integers(TESTED[digit])
        for i, digit in enumerate(labels)
    ]
    return np.cumsum((0, *TESTED))[labels] + drawn


def load_images() -> dict[str, list[np.ndarray]]:
    """Load the handwritten digits: for each split and digit float64 `[n, 8, 8]` of 0 to 16."""
    from sklearn.datasets import load_digits

    images, labels = (array for array in load_digits(return_X_y=True))
    images, first = images.reshape(-1, 8, 8), len(images) * 2 // 3
    parts = {"train": slice(first), "test": slice(first, None)}
    return {
        split: [images[part][labels[part] == digit] for digit in range(10)]
        for split, part in parts.items()
    }


def draw_clip(
    image: np.ndarray,
    direction: str,
    digits: Digits,
    rng: np.random.Generator,
    frames: int = FRAMES,
) -> Tensor:
    """Draw a digit that moves over a texture, uint8 `[frames, 40, 40, 3]`.

    Args:
        image: `[8, 8]` of 0 to 16.
        direction: of the motion, one of `DIRECTIONS`; a single frame shows it at any place.
        digits: contrast and noise.
        rng: decides everything else.
        frames: of the clip.
    """
    generator = Generator().manual_seed(int(rng.integers(2**62)))
    time = torch.linspace(-1, 1, frames) if frames > 1 else torch.tensor([rng.uniform(-1, 1)])
    along = rng.uniform(0.12, 0.3) * time.float() + rng.uniform(-0.05, 0.05)
    across = torch.full_like(along, rng.uniform(-0.25, 0.25))
    if direction in ("left", "up"):
        along = -along
    x, y = (along, across) if direction in ("left", "right") else (across, along)
    size = torch.full_like(along, rng.uniform(0.4, 0.55))
    grey = torch.rand(2, 3, generator=generator) * 0.6 + 0.2
    ink = (grey.mean(0) + digits.contrast * rng.choice((-1, 1))).clamp(0, 1)
    opacity = torch.as_tensor(image, dtype=torch.float32)[None] / 16
    texture = torch.cat([ink.view(3, 1, 1).expand(3, 8, 8), opacity])
    background = noise_texture(2 * SIZE, grey, generator, cells=16)
    still = torch.zeros(frames)
    scene = Scene(background, still, still, [Sprite(texture, x, y, size, size)], digits.noise)
    return render(scene, SIZE, SIZE, generator)
