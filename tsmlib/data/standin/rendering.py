"""Rendering of the stand-in's clips: textured objects move over a textured, drifting background."""

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Generator, Tensor


@dataclass
class Sprite:
    """A textured object and its path through a clip; lengths in short sides of the frame."""

    texture: Tensor  # [4, s, s]: RGB in 0..1 and opacity
    x: Tensor  # [T], centre, 0 is the middle of the frame
    y: Tensor  # [T]
    width: Tensor  # [T]
    height: Tensor  # [T]


@dataclass
class Scene:
    """A background and the sprites that move over it."""

    background: Tensor  # [3, s, s], RGB in 0..1, mirrored at its borders
    x: Tensor  # [T], centre of the visible part of the background, in short sides
    y: Tensor  # [T]
    sprites: list[Sprite] = field(default_factory=list)
    noise: float = 0.04  # deviation of the noise that is drawn anew for each frame


def render(scene: Scene, height: int, width: int, generator: Generator) -> Tensor:
    """Render a scene as uint8 `[T, height, width, 3]`."""
    frames = _background(scene, height, width)
    for sprite in scene.sprites:
        frames = _draw(frames, sprite)
    noise = torch.randn(frames.shape, generator=generator).mul_(scene.noise)
    flicker = 1 + 0.03 * torch.randn(len(frames), 1, 1, 1, generator=generator)
    frames = frames.mul_(flicker).add_(noise).mul_(255).round_().clamp_(0, 255).byte()
    return frames.permute(0, 2, 3, 1).contiguous()


def noise_texture(
    size: int, colors: Tensor, generator: Generator, cells: float = 6, stretch: float = 1.0
) -> Tensor:
    """Draw a smooth random texture `[3, size, size]` between two colours `[2, 3]`.

    `cells` is the number of blobs along a side; `stretch` makes them wider (> 1) or higher (< 1).
    """
    value = torch.zeros(1, 1, size, size)
    for octave in (1, 2, 4):
        rows = max(2, round(cells * octave * math.sqrt(stretch)))
        columns = max(2, round(cells * octave / math.sqrt(stretch)))
        coarse = torch.rand(1, 1, rows, columns, generator=generator)
        value += F.interpolate(coarse, (size, size), mode="bicubic", align_corners=True) / octave
    value = ((value[0] - value.mean()) / (2.5 * value.std()) + 0.5).clamp(0, 1)  # [1, s, s]
    return colors[0].view(3, 1, 1) * (1 - value) + colors[1].view(3, 1, 1) * value


def blob_mask(size: int, generator: Generator, edges: float = 0.25) -> Tensor:
    """Draw the opacity `[1, size, size]` of a random roundish outline."""
    axis = torch.linspace(-1, 1, size)
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angle, radius = torch.atan2(y, x), (x**2 + y**2).sqrt()
    outline = torch.full_like(radius, 0.8)
    for waves in (2, 3, 4):
        amplitude = edges * float(torch.rand((), generator=generator)) / waves
        phase = 2 * math.pi * float(torch.rand((), generator=generator))
        outline = outline + amplitude * torch.cos(waves * angle + phase)
    return ((outline - radius) * size / 4).clamp(0, 1)[None]


def bar_mask(size: int) -> Tensor:
    """Return the opacity `[1, size, size]` of a bar that fills its box."""
    return torch.ones(1, size, size)


def _background(scene: Scene, height: int, width: int) -> Tensor:
    """Cut `[T, 3, H, W]` out of the background: the window that each frame sees."""
    short = min(height, width)
    # one texture spans two short sides; grid_sample's unit is half a texture
    y = torch.linspace(-1, 1, height) * height / short / 2
    x = torch.linspace(-1, 1, width) * width / short / 2
    grid_y = y.view(1, -1, 1) + scene.y.view(-1, 1, 1)
    grid_x = x.view(1, 1, -1) + scene.x.view(-1, 1, 1)
    grid = torch.stack(torch.broadcast_tensors(grid_x, grid_y), dim=-1)  # [T, H, W, 2]
    texture = scene.background.expand(len(grid), -1, -1, -1)
    return F.grid_sample(texture, grid, padding_mode="reflection", align_corners=True)


def _draw(frames: Tensor, sprite: Sprite) -> Tensor:
    """Lay a sprite over `[T, 3, H, W]`, working only on the pixels that it ever touches."""
    height, width = frames.shape[-2:]
    short = min(height, width)
    rows, grid_y = _span(height, short, sprite.y, sprite.height)
    columns, grid_x = _span(width, short, sprite.x, sprite.width)
    if not len(grid_y[0]) or not len(grid_x[0]):
        return frames
    grid = torch.stack(torch.broadcast_tensors(grid_x[:, None, :], grid_y[:, :, None]), dim=-1)
    texture = sprite.texture.expand(len(grid), -1, -1, -1)
    drawn = F.grid_sample(texture, grid, padding_mode="zeros", align_corners=True)
    color, opacity = drawn[:, :3], drawn[:, 3:]
    part = frames[:, :, rows, columns]
    frames[:, :, rows, columns] = part * (1 - opacity) + color * opacity
    return frames


def _span(side: int, short: int, center: Tensor, size: Tensor) -> tuple[slice, Tensor]:
    """Return the pixels along a side that a sprite ever touches, and their place in it `[T, n]`."""
    pixels = torch.linspace(-1, 1, side) * side / short / 2
    low, high = float((center - size / 2).min()), float((center + size / 2).max())
    touched = ((pixels >= low) & (pixels <= high)).nonzero().flatten().tolist()
    span = slice(touched[0], touched[-1] + 1) if touched else slice(0, 0)
    return span, (pixels[span][None] - center[:, None]) / (size[:, None] / 2)
