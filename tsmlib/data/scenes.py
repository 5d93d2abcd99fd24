"""What the clips of a stand-in show: the scenes of its classes, drawn from a seed."""

import math

import numpy as np
import torch
from torch import Generator, Tensor

from .rendering import Scene, Sprite, bar_mask, blob_mask, noise_texture, render

# height, width; even, as H.264 wants; no width of 48, 96 or 144, which decord2 3.4 cannot copy
SIZES = ((64, 86), (72, 100), (72, 110), (84, 112), (96, 72))


def draw_clip(family: str, label: int, num_frames: int, seed: int, number: int) -> Tensor:
    """uint8 `[T, H, W, 3]` of a rendering, in the direction of its even label."""
    random = random_of(seed, number, 1)
    generator = Generator().manual_seed(int(random.integers(2**62)))
    height, width = SIZES[int(random.integers(len(SIZES)))]
    draw = _temporal_scene if family == "temporal" else _kinetics_scene
    scene = draw(label, torch.linspace(-0.5, 0.5, num_frames), random, generator)
    return render(scene, height, width, generator)


def random_of(seed: int, number: int, stream: int) -> np.random.Generator:
    """Random numbers that belong to one rendering: stream 0 plans it, stream 1 draws it."""
    return np.random.default_rng((seed, number, stream))


def _temporal_scene(label: int, time: Tensor, random, generator: Generator) -> Scene:
    """A scene whose object, or camera, goes the way of the even label of a pair."""
    still = torch.zeros_like(time)
    scene = _drifting_background(time, random, generator)
    extent = random.uniform(0.5, 0.9)  # short sides from the first frame to the last
    way = time * extent + _wobble(time, random, 0.02)
    size = random.uniform(0.34, 0.52) * torch.ones_like(time)
    x, y = random.uniform(-0.25, 0.25) + still, random.uniform(-0.2, 0.2) + still
    if label in (0, 2):  # pushed to the right by a hand at its left, or to the left
        x = x + (way if label == 0 else -way)
    elif label == 4:
        y = y - way
    elif label == 6:
        size = size * torch.exp(1.5 * way)
    else:  # the camera turns left: everything moves to the right
        x, scene.x = x + way, scene.x - way
    if random.uniform() < 0.5:
        scene.sprites.append(_distractor(time, random, generator))
    if label in (0, 2) and random.uniform() < 0.85:  # sometimes only the way it moves is left
        scene.sprites.append(_hand(x, y, size, -1 if label == 0 else 1, random, generator))
    scene.sprites.append(_object(x, y, size, random, generator))
    return scene


def _drifting_background(time: Tensor, random, generator: Generator, colors=None) -> Scene:
    drift = random.uniform(0, 0.08) * np.exp(1j * random.uniform(0, 2 * math.pi))
    texture = noise_texture(
        128, _muted(generator) if colors is None else colors, generator,
        cells=random.uniform(4, 9), stretch=random.uniform(0.6, 1.6),
    )  # fmt: skip
    start = random.uniform(-0.4, 0.4, size=2)
    return Scene(
        texture,
        float(start[0]) + time * drift.real + _wobble(time, random, 0.01),
        float(start[1]) + time * drift.imag + _wobble(time, random, 0.01),
        noise=random.uniform(0.01, 0.03),
    )


def _muted(generator: Generator) -> Tensor:
    """Two colours `[2, 3]` of a background, greyish and not far apart."""
    grey = torch.tensor([[0.2], [0.6]]) + 0.2 * torch.rand(2, 1, generator=generator)
    return (grey + 0.08 * torch.randn(2, 3, generator=generator)).clamp(0, 1)


def _vivid(generator: Generator) -> Tensor:
    """Two colours `[2, 3]` of an object, strong ones."""
    return torch.rand(2, 3, generator=generator).round() * 0.8 + 0.2 * torch.rand(
        2, 3, generator=generator
    )


def _object(x: Tensor, y: Tensor, size: Tensor, random, generator: Generator) -> Sprite:
    texture = noise_texture(48, _vivid(generator), generator, cells=3)
    texture = torch.cat((texture, blob_mask(48, generator)))
    return Sprite(texture, x, y, size * random.uniform(0.85, 1.2), size)


def _distractor(time: Tensor, random, generator: Generator) -> Sprite:
    """A smaller thing that goes anywhere."""
    way = random.uniform(0, 0.3) * np.exp(1j * random.uniform(0, 2 * math.pi))
    x, y = random.uniform(-0.5, 0.5, size=2)
    size = random.uniform(0.1, 0.2) * torch.ones_like(time)
    return _object(float(x) + time * way.real, float(y) + time * way.imag, size, random, generator)


def _hand(x: Tensor, y: Tensor, size: Tensor, side: int, random, generator) -> Sprite:
    """A bar that reaches from beyond the frame to the object's left (-1) or right (1)."""
    skin = torch.tensor([[0.85, 0.45, 0.25], [1.0, 0.65, 0.45]]) * random.uniform(0.6, 1.0)
    texture = torch.cat((noise_texture(32, skin.clamp(max=1), generator, cells=2), bar_mask(32)))
    length = 1.2
    center = x + side * (0.4 * size + length / 2)
    return Sprite(texture, center, y + 0.05 * size, length + 0 * x, 0.5 * size)


def _wobble(time: Tensor, random, amount: float) -> Tensor:
    """A slow random deviation from straight motion."""
    waves = float(random.uniform(0.5, 2))
    return amount * torch.sin(2 * math.pi * (waves * time + float(random.uniform())))


# background colours of the classes that appearance tells apart, drawn close to each other
_PLACES = torch.tensor([
    [[0.15, 0.35, 0.55], [0.55, 0.70, 0.80]],  # surfing water
    [[0.55, 0.65, 0.80], [0.90, 0.92, 0.95]],  # skiing
    [[0.20, 0.45, 0.25], [0.45, 0.60, 0.35]],  # playing tennis
    [[0.65, 0.50, 0.30], [0.85, 0.75, 0.55]],  # camel ride
    [[0.60, 0.65, 0.70], [0.85, 0.88, 0.92]],  # ice skating
    [[0.20, 0.50, 0.60], [0.50, 0.75, 0.80]],  # swimming
])  # fmt: skip


def _kinetics_scene(label: int, time: Tensor, random, generator: Generator) -> Scene:
    """A place and an actor; in the first pair something is covered with time, or uncovered."""
    spread = 0.08
    if label == 0:
        colors = torch.rand(2, 3, generator=generator)
    else:
        colors = _PLACES[label - 2] + spread * torch.randn(2, 3, generator=generator)
    scene = _drifting_background(time, random, generator, colors.clamp(0, 1))
    still = torch.zeros_like(time)
    size = random.uniform(0.3, 0.5) + still
    x, y = random.uniform(-0.2, 0.2) + still, random.uniform(-0.15, 0.15) + still
    way = time * random.uniform(0.1, 0.4)
    if label == 0:  # a sheet comes down over the present; backwards it is lifted
        colors = torch.rand(2, 3, generator=generator)
        sheet = torch.cat((noise_texture(32, colors, generator), bar_mask(32)))
        drop = (0.5 - time) * random.uniform(0.6, 0.9)
        scene.sprites += [
            _object(x, y, size, random, generator),
            Sprite(sheet, x, y - drop, 1.2 * size, 1.2 * size),
        ]
    else:
        x = x + way * random.choice((-1, 1))
        scene.sprites += [
            _distractor(time, random, generator),
            _object(x, y, size, random, generator),
        ]
    return scene
