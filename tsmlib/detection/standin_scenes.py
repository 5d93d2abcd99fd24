"""Drawing of the detection stand-in: objects that move, and frames that are degraded."""

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Generator, Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from ..configs import ConfigError
from ..data.standin.rendering import noise_texture
from ..data.standin.scenes import make_rng

PAIRS = {"round": ("dog", "domestic_cat"), "square": ("bus", "car")}
DEGRADATIONS = ("blur", "noise", "occlusion")
SPLITS = ("train", "val")
FIRST_OF_VAL = 10_000  # number of the first validation rendering; training counts from 0
# distance that an object moves a frame, in its sizes: its motion IoU is mostly in FGFA's limits
STEPS = {"slow": (0.0, 0.006), "medium": (0.012, 0.025), "fast": (0.06, 0.14)}


@dataclass(frozen=True)
class DetectionStandin:
    """Parameters of a stand-in; those in pairs are of training and of validation.

    Raises:
        ConfigError: there is no such share or spell, or objects do not fit into the frames.
    """

    seed: int = 1  # the recipe was tuned on the videos of 0 and 100
    degraded_share: float = 0.5  # of the frames of each video
    spell: int = 2  # degraded frames in a row, with clean ones between the spells
    renderings: tuple[int, int] = (192, 32)  # each gives two videos
    num_frames: tuple[int, int] = (8, 24)  # motion IoU looks at 21
    height: int = 96
    width: int = 128

    def __post_init__(self):
        if not 0 <= self.degraded_share <= 1:
            raise ConfigError(f"degraded_share={self.degraded_share} is no share: choose 0 to 1")
        if self.spell < 1:
            raise ConfigError(f"spell={self.spell} must be at least 1 frame")
        if min(self.height // 2, self.width) < 40:  # the largest object has 39 pixels
            raise ConfigError(
                f"frames of {self.height} x {self.width} are too small for two objects, one below "
                "the other: choose a height of 80 or more and a width of 40 or more"
            )


@dataclass
class MovingObject:
    """An object of a rendering."""

    shape: str  # of PAIRS
    is_first: bool  # of its pair, in the first video
    boxes: Tensor  # int [T, 4], xyxy in pixels
    colors: Tensor  # [2, 3], of its body
    texture_seed: int


@dataclass
class Rendering:
    """What the two videos of a rendering share: objects, and what each frame suffers from."""

    objects: list[MovingObject]
    degradations: list[str]  # '' is a clean frame


def plan_rendering(standin: DetectionStandin, number: int) -> Rendering:
    """Draw one or two objects and the spells of a rendering, by its number."""
    rng = make_rng(standin.seed, number, 0)
    num_frames = standin.num_frames[number >= FIRST_OF_VAL]
    lanes = [(0, standin.height)]
    if rng.uniform() < 0.5:  # two objects keep to the upper and the lower half
        lanes = [(0, standin.height // 2), (standin.height // 2, standin.height)]
    objects = [_plan_object(standin, lane, num_frames, rng) for lane in lanes]
    return Rendering(objects, _plan_degradations(standin, num_frames, rng))


def _plan_degradations(
    standin: DetectionStandin, num_frames: int, rng: np.random.Generator
) -> list[str]:
    """Spread spells over a video; none follows another as long as there are clean frames enough."""
    degraded = round(standin.degraded_share * num_frames)
    gaps = num_frames - degraded + 1  # before, between and after the clean frames
    spells = math.ceil(degraded / standin.spell)
    order = np.concatenate([rng.permutation(gaps) for _ in range(spells // gaps + 1)])[:spells]
    frames: list[list[str]] = [[] for _ in range(gaps)]
    for number, gap in enumerate(order):
        length = min(standin.spell, degraded - number * standin.spell)
        frames[gap] += [str(rng.choice(DEGRADATIONS))] * length
    return [kind for gap in frames for kind in (*gap, "")][:-1]  # no clean frame after the last gap


def _plan_object(
    standin: DetectionStandin, lane: tuple[int, int], num_frames: int, rng: np.random.Generator
) -> MovingObject:
    time = np.arange(num_frames)
    size = rng.uniform(18, 34)
    width, height = (int(size * rng.uniform(0.85, 1.15)) for _ in range(2))
    low, high = STEPS[rng.choice(list(STEPS))]
    direction, step = rng.uniform(0, 2 * math.pi), size * rng.uniform(low, high)
    x = _bounce(step * math.cos(direction) * time, 0, standin.width - width, rng)
    y = _bounce(step * math.sin(direction) * time, lane[0], lane[1] - height, rng)
    shape = str(rng.choice(list(PAIRS)))
    tint = 0.15 * np.array((1, 0, -1) if shape == "round" else (-1, 0, 1))  # reddish or bluish
    color = rng.uniform(0.35, 0.65) + rng.uniform(-0.05, 0.05, 3) + tint
    return MovingObject(
        shape=shape,
        is_first=bool(rng.integers(2)),
        boxes=torch.from_numpy(np.stack((x, y, x + width, y + height), axis=1)),
        colors=torch.from_numpy(color + rng.uniform(-0.1, 0.1, (2, 3))).float(),
        texture_seed=int(rng.integers(2**62)),
    )


def _bounce(path: np.ndarray, low: int, high: int, rng: np.random.Generator) -> np.ndarray:
    """Start a path anywhere between two walls, and reflect it at them; whole pixels."""
    room = high - low
    unfolded = (rng.uniform(0, room) + path) % (2 * room)
    return (low + np.minimum(unfolded, 2 * room - unfolded)).round().astype(int)


def draw_videos(
    standin: DetectionStandin, number: int, rendering: Rendering
) -> tuple[Tensor, Tensor]:
    """Draw the two videos of a rendering, uint8 `[T, H, W, 3]`, by its number.

    In the second one every object is of the other class of its pair. Degraded frames are equal.
    """
    rng = make_rng(standin.seed, number, 1)
    generator = Generator().manual_seed(int(rng.integers(2**62)))
    num_frames, side = len(rendering.degradations), max(standin.height, standin.width)
    grey = torch.rand(1, 1, generator=generator) * 0.4 + torch.tensor([[0.1], [0.5]])
    colors = (grey + 0.05 * torch.randn(2, 3, generator=generator)).clamp(0, 1)
    background = noise_texture(side, colors, generator, cells=8)
    background = background[:, : standin.height, : standin.width]
    noise = torch.randn(num_frames, *background.shape, generator=generator)
    videos = []
    for twin in (False, True):
        frames = background.repeat(num_frames, 1, 1, 1)
        for item in rendering.objects:
            _draw_object(frames, item, rendering.degradations, item.is_first ^ twin)
        for frame, own_noise, kind in zip(frames, noise, rendering.degradations, strict=True):
            frame.copy_(_degrade(frame, own_noise, kind))
        frames = frames.mul(255).round().clamp(0, 255).byte()
        videos.append(frames.permute(0, 2, 3, 1).contiguous())
    return tuple(videos)


def _draw_object(
    frames: Tensor, item: MovingObject, degradations: list[str], first_of_pair: bool
) -> None:
    """Draw an object into `[T, 3, H, W]`; its stripes in clean frames only."""
    width, height = (item.boxes[0, 2:] - item.boxes[0, :2]).tolist()
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    y, x = (rows + 0.5) / height * 2 - 1, (columns + 0.5) / width * 2 - 1
    inside = x**2 + y**2 <= 1 if item.shape == "round" else torch.ones_like(x, dtype=torch.bool)
    generator = Generator().manual_seed(item.texture_seed)
    body = noise_texture(max(height, width), item.colors, generator, cells=3)[:, :height, :width]
    along = rows if first_of_pair else columns
    stripes = 0.25 * (1 - 2 * (along // 3 % 2))  # of three pixels each
    for frame, box, kind in zip(frames, item.boxes.tolist(), degradations, strict=True):
        drawn = body if kind else body + stripes
        part = frame[:, box[1] : box[3], box[0] : box[2]]
        part[:, inside] = drawn[:, inside]


def _degrade(frame: Tensor, noise: Tensor, kind: str) -> Tensor:
    """Blur `[3, H, W]`, drown it in noise, or set a fence before it; a camera's noise is in all."""
    if kind == "blur":
        frame = gaussian_blur(frame, [9, 9], [1.8, 1.8])
    if kind == "occlusion":
        bars = torch.arange(frame.shape[-1]) % 12 < 4
        frame = torch.where(bars, torch.full_like(frame, 0.35), frame)
    return frame + (0.15 if kind == "noise" else 0.01) * noise
