"""What the clips of a stand-in show: the scenes of its classes, drawn from a seed."""

import colorsys
import math

import numpy as np
import torch
from torch import Generator, Tensor

from .rendering import Scene, Sprite, bar_mask, blob_mask, noise_texture, render

# height, width; even, as H.264 wants; no width of 48, 96 or 144, which decord2 3.4 cannot copy
SIZES = ((64, 86), (72, 100), (72, 110), (84, 112), (96, 72))


def draw_clip(
    scene: str, num_frames: int, seed: int, number: int, look: int | None = None
) -> Tensor:
    """uint8 `[T, H, W, 3]` of a rendering, in the direction of the first class of a pair.

    `look`: a label that the colours of the background tell; None: they tell nothing.
    """
    random = random_of(seed, number, 1)
    generator = Generator().manual_seed(int(random.integers(2**62)))
    height, width = SIZES[int(random.integers(len(SIZES)))]
    time = torch.linspace(-0.5, 0.5, num_frames)
    of_a_place = scene in ("covered", "lowered") or scene.startswith("place")
    if of_a_place:
        shown = _place_scene(scene, time, random, generator)
    else:
        shown = _temporal_scene(scene, time, random, generator, look)
    return render(shown, height, width, generator)


def random_of(seed: int, number: int, stream: int) -> np.random.Generator:
    """Random numbers that belong to one rendering: stream 0 plans it, stream 1 draws it."""
    return np.random.default_rng((seed, number, stream))


def _temporal_scene(scene: str, time: Tensor, random, generator: Generator, look=None) -> Scene:
    """Something moves, or the camera does."""
    still = torch.zeros_like(time)
    colors = None if look is None else _colored(look, generator)
    shown = _drifting_background(time, random, generator, colors)
    extent = random.uniform(0.5, 0.9)  # short sides from the first frame to the last
    way = time * extent + _wobble(time, random, 0.02)
    size = random.uniform(0.34, 0.52) * torch.ones_like(time)
    x, y = random.uniform(-0.25, 0.25) + still, random.uniform(-0.2, 0.2) + still
    if scene in ("pushed right", "pushed left"):  # by a hand behind it
        x = x + (way if scene == "pushed right" else -way)
    elif scene in ("right", "fingers right"):
        x = x + way
    elif scene in ("up", "fingers up"):
        y = y - way
    elif scene == "closer":
        size = size * torch.exp(1.5 * way)
    elif scene == "camera left":  # everything moves to the right
        x, shown.x = x + way, shown.x - way
    elif scene == "camera up":
        y, shown.y = y + way, shown.y - way
    if random.uniform() < 0.5:
        shown.sprites.append(_distractor(time, random, generator))
    if scene.startswith("pushed") and random.uniform() < 0.85:  # sometimes only the way is left
        side = -1 if scene == "pushed right" else 1
        shown.sprites.append(_hand(x, y, size, side, random, generator))
    if scene == "apart":
        shown.sprites.append(_object(x, y - 0.5 * way - 0.2, 0.6 * size, random, generator))
        y, size = y + 0.5 * way + 0.2, 0.6 * size
    if scene.startswith("fingers"):
        shown.sprites += [_finger(x + side * 0.12, y, size, generator) for side in (-1, 1)]
    else:
        shown.sprites.append(_object(x, y, size, random, generator))
    return shown


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


def _colored(look: int, generator: Generator) -> Tensor:
    """Two colours `[2, 3]` of a background that tells one of ten labels, by its hue."""
    hues = [colorsys.hsv_to_rgb((look + 0.5) / 10, 0.65, value) for value in (0.45, 0.85)]
    return (torch.tensor(hues) + 0.04 * torch.randn(2, 3, generator=generator)).clamp(0, 1)


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


def _finger(x: Tensor, y: Tensor, size: Tensor, generator: Generator) -> Sprite:
    skin = torch.tensor([[0.8, 0.45, 0.3], [1.0, 0.7, 0.5]])
    texture = torch.cat((noise_texture(16, skin, generator, cells=2), bar_mask(16)))
    return Sprite(texture, x, y, 0.3 * size, 1.2 * size)


def _wobble(time: Tensor, random, amount: float) -> Tensor:
    """A slow random deviation from straight motion."""
    waves = float(random.uniform(0.5, 2))
    return amount * torch.sin(2 * math.pi * (waves * time + float(random.uniform())))


# colours of the places that appearance tells apart
_PLACES = torch.tensor([
    [[0.05, 0.15, 0.45], [0.30, 0.40, 0.60]],  # surfing water
    [[0.80, 0.82, 0.85], [0.95, 0.95, 1.00]],  # skiing
    [[0.15, 0.45, 0.15], [0.35, 0.60, 0.25]],  # playing tennis
    [[0.75, 0.55, 0.25], [0.95, 0.80, 0.50]],  # riding camel
    [[0.55, 0.60, 0.65], [0.70, 0.75, 0.80]],  # ice skating
    [[0.05, 0.60, 0.65], [0.40, 0.85, 0.85]],  # swimming
    [[0.35, 0.20, 0.15], [0.60, 0.45, 0.40]],  # a rock face
])  # fmt: skip
_SPREAD = 0.08  # deviation of a place's colours


def _place_scene(scene: str, time: Tensor, random, generator: Generator) -> Scene:
    """A place and an actor; where order counts, paper comes down, or the camera does."""
    colors = _muted(generator)
    if scene != "covered":
        place = -1 if scene == "lowered" else int(scene.split()[1])
        colors = _PLACES[place] + _SPREAD * torch.randn(2, 3, generator=generator)
    shown = _drifting_background(time, random, generator, colors.clamp(0, 1))
    size = random.uniform(0.3, 0.5) + torch.zeros_like(time)
    x, y = random.uniform(-0.2, 0.2) + 0 * time, random.uniform(-0.15, 0.15) + 0 * time
    way = time * random.uniform(0.5, 0.9)
    if scene == "covered":  # light paper comes down over a present; backwards it is lifted
        shown.sprites += [
            _object(x, y, size, random, generator),
            _paper(x, way - random.uniform(0.8, 1.1), 1.6 + 0 * x, generator),
        ]
    elif scene == "lowered":  # from the sky down a rock face, with the camera; backwards up
        light = torch.linspace(1.25, 0.65, shown.background.shape[-2])
        shown.background = (shown.background * light[:, None]).clamp(max=1)
        shown.y = shown.y + way
        shown.sprites.append(_object(x, y + 0.3 * way, size, random, generator))
    else:
        x = x + 0.4 * way * random.choice((-1, 1))
        shown.sprites += [
            _distractor(time, random, generator),
            _object(x, y, size, random, generator),
        ]
    return shown


def _paper(x: Tensor, y: Tensor, size: Tensor, generator: Generator) -> Sprite:
    colors = 0.55 + 0.45 * torch.rand(2, 3, generator=generator)
    texture = torch.cat((noise_texture(32, colors, generator), bar_mask(32)))
    return Sprite(texture, x, y, size, size)
