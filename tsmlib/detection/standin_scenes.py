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
FIRST_OF_VAL = 10_000  # number of the first validation rendering; training counts from 0
# sizes of an object that it moves a frame, which keep its motion IoU mostly within FGFA's limits
STEPS = {"slow": (0.0, 0.006), "medium": (0.012, 0.025), "fast": (0.06, 0.14)}


@dataclass(frozen=True)
class DetectionStandin:
    """What a stand-in is drawn from.

    Raises:
        ConfigError: there is no such share, or objects do not fit into the frames.
    """

    seed: int = 0
    degraded_share: float = 0.5  # of the frames
    spell: int | None = None  # frames that stay degraded or clean together; None: whole videos
    renderings: tuple[int, int] = (64, 32)  # for training and validation; each gives two videos
    num_frames: int = 24  # of a video: more than the 21 that motion IoU looks at
    height: int = 96
    width: int = 128

    def __post_init__(self):
        if not 0 <= self.degraded_share <= 1:
            raise ConfigError(f"degraded_share={self.degraded_share} is no share: choose 0 to 1")
        if min(self.height // 2, self.width) < 40:  # the largest object has 39 pixels
            raise ConfigError(
                f"frames of {self.height} x {self.width} are too small for two objects, one below "
                "the other: choose a height of 80 or more and a width of 40 or more"
            )


@dataclass
class MovingObject:
    """An object of a rendering, played forwards."""

    shape: str  # of PAIRS
    clockwise: bool  # way of its spot
    boxes: Tensor  # int [T, 4], xyxy in pixels
    colors: Tensor  # [2, 3], of its body
    spot: float  # brightness that the spot adds
    angles: Tensor  # [T], where the spot is
    texture_seed: int


def plan_degradations(standin: DetectionStandin, split: str) -> list[list[str]]:
    """Choose what each frame of each rendering suffers from; '' is a clean one.

    Spells of the share are drawn from all of the split, so that it is exact up to one of them.
    """
    renderings = standin.renderings[split == "val"]
    spell = standin.spell or standin.num_frames
    spells = math.ceil(standin.num_frames / spell)
    rng = make_rng(standin.seed, FIRST_OF_VAL * (split == "val"), 2)
    order = rng.permutation(renderings * spells)
    kinds = [""] * (renderings * spells)
    for position in range(round(standin.degraded_share * len(kinds))):
        kinds[order[position]] = DEGRADATIONS[position % len(DEGRADATIONS)]
    frames = np.arange(standin.num_frames) // spell
    return [[kinds[i * spells + s] for s in frames] for i in range(renderings)]


def plan_objects(standin: DetectionStandin, rng: np.random.Generator) -> list[MovingObject]:
    """Draw one or two objects; two of them keep to the upper and the lower half."""
    lanes = [(0, standin.height)]
    if rng.uniform() < 0.5:
        lanes = [(0, standin.height // 2), (standin.height // 2, standin.height)]
    return [_plan_object(standin, lane, rng) for lane in lanes]


def _plan_object(
    standin: DetectionStandin, lane: tuple[int, int], rng: np.random.Generator
) -> MovingObject:
    time = np.arange(standin.num_frames)
    size = rng.uniform(18, 34)
    width, height = (int(size * rng.uniform(0.85, 1.15)) for _ in range(2))
    low, high = STEPS[rng.choice(list(STEPS))]
    direction, step = rng.uniform(0, 2 * math.pi), size * rng.uniform(low, high)
    x = _bounce(step * math.cos(direction) * time, 0, standin.width - width, rng)
    y = _bounce(step * math.sin(direction) * time, lane[0], lane[1] - height, rng)
    turn = rng.uniform(0.8, 1.3) * rng.choice((-1, 1))  # radians a frame: a round takes 5 to 8
    return MovingObject(
        shape=str(rng.choice(list(PAIRS))),
        clockwise=bool(turn > 0),
        boxes=torch.from_numpy(np.stack((x, y, x + width, y + height), axis=1)),
        colors=torch.from_numpy(rng.uniform(0.2, 0.8, 3) + rng.uniform(-0.1, 0.1, (2, 3))).float(),
        spot=float(rng.choice((-0.45, 0.45))),
        angles=torch.from_numpy(rng.uniform(0, 2 * math.pi) + turn * time).float(),
        texture_seed=int(rng.integers(2**62)),
    )


def _bounce(path: np.ndarray, low: int, high: int, rng: np.random.Generator) -> np.ndarray:
    """Start a path anywhere between two walls, and reflect it at them; whole pixels."""
    room = high - low
    unfolded = (rng.uniform(0, room) + path) % (2 * room)
    return (low + np.minimum(unfolded, 2 * room - unfolded)).round().astype(int)


def draw_video(
    standin: DetectionStandin, number: int, degradations: list[str], reverse: bool
) -> tuple[Tensor, list[MovingObject]]:
    """Draw uint8 `[T, H, W, 3]` of a rendering or its reversal, and what moves in it, forwards.

    `degradations` are of its frames, forwards.
    """
    rng = make_rng(standin.seed, number, 1)
    generator = Generator().manual_seed(int(rng.integers(2**62)))
    objects = plan_objects(standin, rng)
    side = max(standin.height, standin.width)
    grey = torch.rand(1, 1, generator=generator) * 0.4 + torch.tensor([[0.1], [0.5]])
    colors = (grey + 0.05 * torch.randn(2, 3, generator=generator)).clamp(0, 1)
    background = noise_texture(side, colors, generator, cells=8)[
        :, : standin.height, : standin.width
    ]
    frames = background.expand(standin.num_frames, -1, -1, -1).clone()
    for item in objects:
        _draw_object(frames, item, degradations, item.clockwise ^ reverse)
    for i, kind in enumerate(degradations):
        frames[i] = _degrade(frames[i], kind, generator)
    frames += 0.01 * torch.randn(frames.shape, generator=generator)
    frames = frames.mul(255).round().clamp(0, 255).byte().permute(0, 2, 3, 1)
    return (frames.flip(0) if reverse else frames).contiguous(), objects


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
    stripes = 0.2 * (1 - 2 * (along // 2 % 2))  # of two pixels each, without a mean
    for frame, box, angle, kind in zip(
        frames, item.boxes.tolist(), item.angles, degradations, strict=True
    ):
        spot = (x - 0.5 * angle.cos()) ** 2 + (y - 0.5 * angle.sin()) ** 2 <= 0.35**2
        drawn = body + item.spot * spot + (0 if kind else stripes)
        part = frame[:, box[1] : box[3], box[0] : box[2]]
        part[:, inside] = drawn[:, inside]


def _degrade(frame: Tensor, kind: str, generator: Generator) -> Tensor:
    """Blur `[3, H, W]`, drown it in noise, or set a fence before it."""
    if kind == "blur":
        return gaussian_blur(frame, [9, 9], [1.8, 1.8])
    if kind == "noise":
        return frame + 0.15 * torch.randn(frame.shape, generator=generator)
    if kind == "occlusion":
        bars = torch.arange(frame.shape[-1]) % 12 < 4
        return torch.where(bars, torch.full_like(frame, 0.35), frame)
    return frame
