"""Scenes of the stand-in's classes, composed and drawn from a seed."""

import colorsys
import math

import numpy as np
import torch
from torch import Generator, Tensor

from .rendering import Scene, Sprite, bar_mask, blob_mask, noise_texture, render

# height, width; even, as H.264 wants; no width of 48, 96 or 144, which decord2 3.4 cannot copy
SIZES = ((64, 86), (72, 100), (72, 110), (84, 112), (96, 72))


def draw_clip(
    kind: str,
    num_frames: int,
    seed: int,
    number: int,
    appearance_label: int | None = None,
    least_motion: float = 0.5,
) -> Tensor:
    """Draw uint8 `[T, H, W, 3]` of a rendering, in the direction of the first class of a pair.

    Args:
        kind: the scene (see `Classes`).
        num_frames: length of the clip.
        seed: `standin_seed` of the row.
        number: number of the rendering.
        appearance_label: label that the background's colours show; None: they show nothing.
        least_motion: of what moves, in short sides of the frame; the most is 0.9.
    """
    rng = make_rng(seed, number, 1)
    generator = Generator().manual_seed(int(rng.integers(2**62)))
    height, width = SIZES[int(rng.integers(len(SIZES)))]
    time = torch.linspace(-0.5, 0.5, num_frames)
    if kind in ("covered", "lowered") or kind.startswith("place"):
        scene = _place_scene(kind, time, rng, generator)
    else:
        scene = _temporal_scene(kind, time, rng, generator, appearance_label, least_motion)
    return render(scene, height, width, generator)


def make_rng(seed: int, number: int, stream: int) -> np.random.Generator:
    """Seed the random numbers of one rendering: stream 0 plans it, stream 1 draws it."""
    return np.random.default_rng((seed, number, stream))


def _temporal_scene(
    kind: str,
    time: Tensor,
    rng,
    generator: Generator,
    appearance_label: int | None,
    least_motion: float,
) -> Scene:
    """Compose a scene in which something moves, or the camera does."""
    still = torch.zeros_like(time)
    colors = None if appearance_label is None else _colored(appearance_label, generator)
    scene = _drifting_background(time, rng, generator, colors)
    extent = rng.uniform(least_motion, 0.9)  # short sides from the first frame to the last
    travel = time * extent + _wobble(time, rng, 0.02)
    size = rng.uniform(0.34, 0.52) * torch.ones_like(time)
    x, y = rng.uniform(-0.25, 0.25) + still, rng.uniform(-0.2, 0.2) + still
    if kind in ("pushed right", "pushed left"):  # by a hand behind it
        x = x + (travel if kind == "pushed right" else -travel)
    elif kind in ("right", "fingers right"):
        x = x + travel
    elif kind in ("up", "fingers up"):
        y = y - travel
    elif kind == "closer":
        size = size * torch.exp(1.5 * travel)
    elif kind == "camera left":  # everything moves to the right
        x, scene.x = x + travel, scene.x - travel
    elif kind == "camera up":
        y, scene.y = y + travel, scene.y - travel
    if rng.uniform() < 0.5:
        scene.sprites.append(_distractor(time, rng, generator))
    if kind.startswith("pushed") and rng.uniform() < 0.85:  # sometimes without the hand
        side = -1 if kind == "pushed right" else 1
        scene.sprites.append(_hand(x, y, size, side, rng, generator))
    if kind == "apart":
        scene.sprites.append(_object(x, y - 0.5 * travel - 0.2, 0.6 * size, rng, generator))
        y, size = y + 0.5 * travel + 0.2, 0.6 * size
    if kind.startswith("fingers"):
        scene.sprites += [_finger(x + side * 0.12, y, size, generator) for side in (-1, 1)]
    else:
        scene.sprites.append(_object(x, y, size, rng, generator))
    return scene


def _drifting_background(time: Tensor, rng, generator: Generator, colors=None) -> Scene:
    drift = rng.uniform(0, 0.08) * np.exp(1j * rng.uniform(0, 2 * math.pi))
    texture = noise_texture(
        128, _muted(generator) if colors is None else colors, generator,
        cells=rng.uniform(4, 9), stretch=rng.uniform(0.6, 1.6),
    )  # fmt: skip
    start = rng.uniform(-0.4, 0.4, size=2)
    return Scene(
        texture,
        float(start[0]) + time * drift.real + _wobble(time, rng, 0.01),
        float(start[1]) + time * drift.imag + _wobble(time, rng, 0.01),
        noise=rng.uniform(0.01, 0.03),
    )


def _muted(generator: Generator) -> Tensor:
    """Draw two greyish colours `[2, 3]` of a background, not far apart."""
    grey = torch.tensor([[0.2], [0.6]]) + 0.2 * torch.rand(2, 1, generator=generator)
    return (grey + 0.08 * torch.randn(2, 3, generator=generator)).clamp(0, 1)


def _colored(appearance_label: int, generator: Generator) -> Tensor:
    """Draw two colours `[2, 3]` of a background whose hue shows one of ten labels."""
    hue = (appearance_label + 0.5) / 10
    colors = [colorsys.hsv_to_rgb(hue, 0.65, value) for value in (0.45, 0.85)]
    return (torch.tensor(colors) + 0.04 * torch.randn(2, 3, generator=generator)).clamp(0, 1)


def _vivid(generator: Generator) -> Tensor:
    """Draw two strong colours `[2, 3]` of an object."""
    return torch.rand(2, 3, generator=generator).round() * 0.8 + 0.2 * torch.rand(
        2, 3, generator=generator
    )


def _object(x: Tensor, y: Tensor, size: Tensor, rng, generator: Generator) -> Sprite:
    texture = noise_texture(48, _vivid(generator), generator, cells=3)
    texture = torch.cat((texture, blob_mask(48, generator)))
    return Sprite(texture, x, y, size * rng.uniform(0.85, 1.2), size)


def _distractor(time: Tensor, rng, generator: Generator) -> Sprite:
    """Draw a smaller object that moves in any direction."""
    velocity = rng.uniform(0, 0.3) * np.exp(1j * rng.uniform(0, 2 * math.pi))
    start_x, start_y = rng.uniform(-0.5, 0.5, size=2)
    size = rng.uniform(0.1, 0.2) * torch.ones_like(time)
    x, y = float(start_x) + time * velocity.real, float(start_y) + time * velocity.imag
    return _object(x, y, size, rng, generator)


def _hand(x: Tensor, y: Tensor, size: Tensor, side: int, rng, generator) -> Sprite:
    """Draw a bar that reaches from beyond the frame to the object's left (-1) or right (1)."""
    skin = torch.tensor([[0.85, 0.45, 0.25], [1.0, 0.65, 0.45]]) * rng.uniform(0.6, 1.0)
    texture = torch.cat((noise_texture(32, skin.clamp(max=1), generator, cells=2), bar_mask(32)))
    length = 1.2
    center = x + side * (0.4 * size + length / 2)
    return Sprite(texture, center, y + 0.05 * size, length + 0 * x, 0.5 * size)


def _finger(x: Tensor, y: Tensor, size: Tensor, generator: Generator) -> Sprite:
    skin = torch.tensor([[0.8, 0.45, 0.3], [1.0, 0.7, 0.5]])
    texture = torch.cat((noise_texture(16, skin, generator, cells=2), bar_mask(16)))
    return Sprite(texture, x, y, 0.3 * size, 1.2 * size)


def _wobble(time: Tensor, rng, amount: float) -> Tensor:
    """Draw a slow random deviation `[T]` from straight motion."""
    waves = float(rng.uniform(0.5, 2))
    return amount * torch.sin(2 * math.pi * (waves * time + float(rng.uniform())))


# background colours of the classes that appearance tells apart
_PLACES = torch.tensor([
    [[0.05, 0.15, 0.45], [0.30, 0.40, 0.60]],  # surfing water
    [[0.80, 0.82, 0.85], [0.95, 0.95, 1.00]],  # skiing
    [[0.15, 0.45, 0.15], [0.35, 0.60, 0.25]],  # playing tennis
    [[0.75, 0.55, 0.25], [0.95, 0.80, 0.50]],  # riding camel
    [[0.55, 0.60, 0.65], [0.70, 0.75, 0.80]],  # ice skating
    [[0.05, 0.60, 0.65], [0.40, 0.85, 0.85]],  # swimming
    [[0.35, 0.20, 0.15], [0.60, 0.45, 0.40]],  # a rock face
])  # fmt: skip
_SPREAD = 0.08  # standard deviation of these colours from clip to clip


def _place_scene(kind: str, time: Tensor, rng, generator: Generator) -> Scene:
    """Compose an actor in a place; where order counts, paper comes down, or the camera does."""
    colors = _muted(generator)
    if kind != "covered":
        place = -1 if kind == "lowered" else int(kind.split()[1])
        colors = _PLACES[place] + _SPREAD * torch.randn(2, 3, generator=generator)
    scene = _drifting_background(time, rng, generator, colors.clamp(0, 1))
    size = rng.uniform(0.3, 0.5) + torch.zeros_like(time)
    x, y = rng.uniform(-0.2, 0.2) + 0 * time, rng.uniform(-0.15, 0.15) + 0 * time
    travel = time * rng.uniform(0.5, 0.9)
    if kind == "covered":  # light paper comes down over a present; backwards it is lifted
        scene.sprites += [
            _object(x, y, size, rng, generator),
            _paper(x, travel - rng.uniform(0.8, 1.1), 1.6 + 0 * x, generator),
        ]
    elif kind == "lowered":  # from the sky down a rock face, with the camera; backwards up
        light = torch.linspace(1.25, 0.65, scene.background.shape[-2])
        scene.background = (scene.background * light[:, None]).clamp(max=1)
        scene.y = scene.y + travel
        scene.sprites.append(_object(x, y + 0.3 * travel, size, rng, generator))
    else:
        x = x + 0.4 * travel * rng.choice((-1, 1))
        scene.sprites += [
            _distractor(time, rng, generator),
            _object(x, y, size, rng, generator),
        ]
    return scene


def _paper(x: Tensor, y: Tensor, size: Tensor, generator: Generator) -> Sprite:
    colors = 0.55 + 0.45 * torch.rand(2, 3, generator=generator)
    texture = torch.cat((noise_texture(32, colors, generator), bar_mask(32)))
    return Sprite(texture, x, y, size, size)
