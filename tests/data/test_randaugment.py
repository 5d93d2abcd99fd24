"""Colour and geometry augmentations: PIL, slow versions, and what is drawn."""

import math
import pickle
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageOps

from tsmlib import ConfigError
from tsmlib.data.randaugment import (
    ImgaugRandAugment,
    apply_op,
    augmix_chain,
    make_augmentation,
    ptv_augmix,
    ptv_randaugment,
)
from tsmlib.data.randaugment_ops import IMGAUG_OPS, PTV_AUGMIX, PTV_RANDAUGMENT, SIGNED

KINDS = ["imgaug_randaugment", "ptv_randaugment", "ptv_augmix"]
PICTURE = Path(__file__).parents[1] / "golden/preprocess/a.png"


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noise(t: int = 2, height: int = 48, width: int = 40, low: int = 0, high: int = 256):
    shape = (t, 3, height, width)
    return torch.randint(low, high, shape, generator=generator(), dtype=torch.uint8)


@pytest.fixture(scope="module")
def clip() -> torch.Tensor:
    """A photograph and noise, `[2, 3, 48, 40]`, all levels from 0 to 255 in use."""
    photograph = Image.open(PICTURE).convert("RGB").resize((40, 48))
    frames = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)[None]
    x = torch.cat((frames, noise(1)))
    x[..., 0, 0], x[..., 0, 1] = 0, 255
    return x


def imgaug(name: str, x: torch.Tensor, *more: float, sign: int = 1) -> torch.Tensor:
    function, *values = IMGAUG_OPS[name]
    return function(x, *[sign * value for value in values], *more)


def with_pil(x: torch.Tensor, function) -> torch.Tensor:
    frames = [Image.fromarray(frame.permute(1, 2, 0).numpy()) for frame in x]
    return torch.stack([torch.from_numpy(np.array(function(f))).permute(2, 0, 1) for f in frames])


def gap(a: torch.Tensor, b: torch.Tensor) -> int:
    return int((a.int() - b.int()).abs().max())


# --- grey levels ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, function, tolerance",
    [
        ("Posterize", lambda f: ImageOps.posterize(f, 3), 0),
        ("Solarize", lambda f: ImageOps.solarize(f, 230), 0),
        ("EnhanceColor", lambda f: ImageEnhance.Color(f).enhance(1.72), 0),
        ("EnhanceContrast", lambda f: ImageEnhance.Contrast(f).enhance(1.72), 0),
        ("EnhanceBrightness", lambda f: ImageEnhance.Brightness(f).enhance(1.72), 0),
        # the sums are the same up to float32, but both are cut off to whole levels
        ("EnhanceSharpness", lambda f: ImageEnhance.Sharpness(f).enhance(1.72), 1),
        ("Autocontrast", ImageOps.autocontrast, 1),
        ("Equalize", ImageOps.equalize, 0),
        ("Invert", ImageOps.invert, 0),
    ],
)
def test_like_pil(clip, name, function, tolerance):
    dark = noise(low=20, high=200)
    for x in (clip, clip.to(memory_format=torch.channels_last), dark):
        if name == "Equalize" and x is dark:
            continue  # see test_equalize
        assert gap(imgaug(name, x), with_pil(x, function)) <= tolerance


def equalized(levels: list[int]) -> list[int]:
    """imgaug's equalize of one channel, level by level."""
    count = Counter(levels)
    step = sum(count[level] for level in range(255)) // 255
    if len(count) < 2 or step == 0:
        return levels
    table, below = [], step // 2
    for level in range(256):
        table.append(min(255, below // step))
        below += count[level]
    return [table[level] for level in levels]


def test_equalize():
    x = noise(low=20).clamp(max=120)  # PIL leaves out the many pixels of level 120
    x[1, 0] = 77  # a flat channel stays
    x[1, 1] = 255
    x[1, 2] = 255
    x[1, 2, 0, :9] = 3  # too few pixels for a step
    expected = [equalized(channel.tolist()) for channel in x.flatten(2).flatten(0, 1)]
    found = imgaug("Equalize", x)
    assert found.flatten(2).flatten(0, 1).tolist() == expected
    assert gap(found[0], with_pil(x, ImageOps.equalize)[0]) > 0  # the known difference
    small = x[..., :30, :]  # 3600 values: PIL's own
    assert torch.equal(imgaug("Equalize", small), with_pil(small, ImageOps.equalize))


def test_statistics_are_each_frames_own(clip):
    for table in (IMGAUG_OPS, PTV_RANDAUGMENT):
        for name in ("EnhanceContrast", "Autocontrast", "AutoContrast", "Equalize"):
            if name in table:
                function, *values = table[name]
                x = torch.cat((clip, noise(1, low=90, high=120)))
                values = values[:1]
                alone = torch.cat([function(frame[None], *values) for frame in x])
                assert torch.equal(function(x, *values), alone)


def test_cutout():
    x = noise(2, 50, 100)
    found = imgaug("Cutout", x, 0.5, 0.5)  # a square of 0.18 of the height
    inside = torch.zeros(50, 100, dtype=torch.bool)
    inside[20:29, 45:54] = True  # 25 - 4.5 to 25 + 4.5, cut off
    assert (found[..., inside] == 128).all()
    assert torch.equal(found[..., ~inside], x[..., ~inside])
    corner = imgaug("Cutout", x, 0.0, 1.0)
    assert torch.equal(corner[..., :45, :], x[..., :45, :]) and (corner[..., 45:, :4] == 128).all()


# --- geometry -------------------------------------------------------------------------------------


def slow_warp(x: torch.Tensor, source, step: int | None = None) -> torch.Tensor:
    """Bilinear and black outside, pixel by pixel; `source(x, y)` in pixels, rounded to 1/step."""
    frame = x.double()
    height, width = x.shape[-2:]
    found = torch.zeros_like(frame)
    for row in range(height):
        for column in range(width):
            u, v = source(column, row)
            if step:
                u, v = math.floor(step * u + 0.5) / step, math.floor(step * v + 0.5) / step
            for i in (math.floor(u), math.floor(u) + 1):
                for j in (math.floor(v), math.floor(v) + 1):
                    if 0 <= i < width and 0 <= j < height:
                        weight = (1 - abs(u - i)) * (1 - abs(v - j))
                        found[..., row, column] += weight * frame[..., j, i]
    return found


def inverse(name: str, value: float, height: int, width: int):
    """Where imgaug's pixel comes from."""
    cx, cy = (width - 1) / 2, (height - 1) / 2
    cos, sin = math.cos(math.radians(value)), math.sin(math.radians(value))
    moves = {
        # x' = x - sin * y, y' = cos * y
        "ShearX": lambda x, y: (x + sin / cos * y, y / cos),
        # x' = cos * x, y' = y + sin * x
        "ShearY": lambda x, y: (x / cos, y - sin / cos * x),
        "Rotate": lambda x, y: (cos * x + sin * y, cos * y - sin * x),
        "TranslateX": lambda x, y: (x - value * width, y),
        "TranslateY": lambda x, y: (x, y - value * height),
    }

    def source(x, y):
        u, v = moves[name](x - cx, y - cy)
        return u + cx, v + cy

    return source


@pytest.mark.parametrize("name", SIGNED)
@pytest.mark.parametrize("sign", [-1, 1])
def test_imgaug_warps(name, sign):
    y, x = torch.meshgrid(torch.arange(9.0), torch.arange(12.0), indexing="ij")
    smooth = torch.stack((10 * x, 10 * y, 100 + x * y)).to(torch.uint8)[None]
    found = imgaug(name, smooth, sign=sign)
    expected = slow_warp(smooth, inverse(name, sign * IMGAUG_OPS[name][1], 9, 12), step=32)
    # positions on the border between two steps may fall on either side: 1/32 of a step of 100
    assert (found - expected).abs().max() <= 4
    assert ((found - expected).abs() <= 1).double().mean() > 0.97


def test_directions():
    x = torch.zeros(1, 3, 21, 21, dtype=torch.uint8)
    x[..., 10, 18] = 255  # right of the centre

    def brightest(y):
        return divmod(int(y[0, 0].argmax()), 21)

    assert brightest(imgaug("Rotate", x))[0] > 10  # clockwise: down
    assert brightest(imgaug("TranslateX", x, sign=-1)) == (10, 14)
    assert brightest(imgaug("ShearY", x))[0] > 10
    assert brightest(PTV_RANDAUGMENT["Rotate"][0](x, 27))[0] < 10  # counter-clockwise: up
    assert brightest(PTV_RANDAUGMENT["TranslateX"][0](x, 1 / 7)) == (10, 15)
    assert brightest(PTV_RANDAUGMENT["TranslateY"][0](x, 1 / 7)) == (7, 18)
    assert brightest(imgaug("ShearX", x.mT.flip(-2)))[1] > 10  # above the centre: right


def test_whole_pixels_are_slices():
    x = noise(2, 50, 100)  # 0.18 of 50 and 100 pixels: 9 and 18
    for sign in (-1, 1):
        expected = torch.zeros_like(x)
        a, b = slice(18, None), slice(None, -18)
        to, origin = (a, b) if sign == 1 else (b, a)
        expected[..., to] = x[..., origin]
        assert torch.equal(imgaug("TranslateX", x, sign=sign), expected)
        expected = torch.zeros_like(x)
        a, b = slice(9, None), slice(None, -9)
        to, origin = (a, b) if sign == 1 else (b, a)
        expected[..., to, :] = x[..., origin, :]
        assert torch.equal(imgaug("TranslateY", x, sign=sign), expected)
    expected = torch.zeros_like(x)
    expected[..., :-25] = x[..., 25:]
    assert torch.equal(PTV_RANDAUGMENT["TranslateX"][0](x, 0.25), expected)


@pytest.mark.parametrize("axis", [0, 1])
def test_ptv_shear_keeps_an_edge(axis):
    x = noise(1, 9, 12)
    found = PTV_RANDAUGMENT[("ShearX", "ShearY")[axis]][0](x, 0.3)

    def source(u, v):
        return (u + 0.3 * (v + 0.5), v) if axis == 0 else (u, v + 0.3 * (u + 0.5))

    expected, weight = slow_warp(x, source), slow_warp(torch.full_like(x, 1), source)
    expected = weight * expected + (1 - weight) * 0.5  # torchvision weighs the border twice
    assert (found - expected).abs().max() <= 0.51


def test_fill_is_black():
    white = torch.full((1, 3, 20, 20), 255, dtype=torch.uint8)
    for table in (IMGAUG_OPS, PTV_RANDAUGMENT):
        for name in SIGNED:
            function, *values = table[name]
            found = function(white, 20.0 if name == "Rotate" else values[0] or 0.3)
            assert found.min() == 0 and found.max() == 255


# --- what is drawn --------------------------------------------------------------------------------


def record(table: dict[str, tuple]) -> tuple[dict[str, tuple], list[tuple[str, tuple]]]:
    """Copy a table with operations that only note their name and values, and the notes."""
    calls: list[tuple[str, tuple]] = []

    def noting(name):
        def function(x, *values):
            calls.append((name, values))
            return x

        return function

    return {name: (noting(name), *row[1:]) for name, row in table.items()}, calls


def test_published_lists():
    assert list(IMGAUG_OPS) == [
        "ShearX", "ShearY", "TranslateX", "TranslateY", "Rotate", "Posterize", "Solarize",
        "EnhanceColor", "EnhanceContrast", "EnhanceBrightness", "EnhanceSharpness",
        "Autocontrast", "Equalize", "Invert", "Cutout",
    ]  # fmt: skip
    values = [row[1] for row in IMGAUG_OPS.values() if len(row) == 2]
    assert values == pytest.approx(
        [15.471, 15.471, 0.18, 0.18, 27, 3, 230, 1.72, 1.72, 1.72, 1.72, 0.18]
    )
    pixels = {"Rotate": (0, 30), "Posterize": (4, 4), "Solarize": (1, 1)}
    pixels |= {"ShearX": (0, 0.3), "ShearY": (0, 0.3), "AutoContrast": (), "Equalize": ()}
    adjust = ["AdjustBrightness", "AdjustContrast", "AdjustSaturation", "AdjustSharpness"]
    negated = {"Rotate", "ShearX", "ShearY", "TranslateX", "TranslateY"}
    tables = [
        (PTV_RANDAUGMENT, 0.45, (1, 0.9), {"Invert": ()}, negated | set(adjust)),
        (PTV_AUGMIX, 1 / 3, (0.1, 1.8), {}, negated),
    ]
    for table, share, factor, more, drawn in tables:
        expected = pixels | more | {"TranslateX": (0, share), "TranslateY": (0, share)}
        expected |= dict.fromkeys(adjust, factor)
        assert {name: row[1:3] for name, row in table.items()} == expected
        assert {name for name, row in table.items() if row[3:] == (0,)} == drawn
        assert {name for name, row in table.items() if row[3:] == (-1,)} == {
            "Posterize", "Solarize",
        }  # fmt: skip


def test_imgaug_draws_two_in_order():
    ops, calls = record(IMGAUG_OPS)
    augment, g, seen, x = ImgaugRandAugment(0, ops), generator(), Counter(), noise(1, 4, 4)
    order = list(IMGAUG_OPS)
    for _ in range(600):
        calls.clear()
        augment(x, g)
        first, second = (name for name, _ in calls)
        assert order.index(first) < order.index(second)
        for name, values in calls:
            assert len(values) == len(IMGAUG_OPS[name]) - 1 + 2 * (name == "Cutout")
        seen.update((first, second))
    assert set(seen) == set(order)
    assert all(40 < number < 130 for number in seen.values())  # 80 expected of each


def test_signs_belong_to_the_object():
    ops, calls = record(IMGAUG_OPS)
    x, drawn = noise(1, 4, 4), {}
    for seed in range(12):
        augment = ImgaugRandAugment(seed, ops)
        assert augment.signs == make_augmentation(KINDS[0], seed).signs
        assert list(augment.signs) == list(SIGNED)
        before, g = dict(augment.signs), generator(seed)
        calls.clear()
        for _ in range(100):
            augment(x, g)
        assert augment.signs == before
        for name, values in calls:
            expected = list(IMGAUG_OPS[name][1:])
            expected = [augment.signs.get(name, 1) * value for value in expected]
            assert list(values)[: len(expected)] == expected
        for name, sign in augment.signs.items():
            drawn.setdefault(name, set()).add(sign)
    assert all(signs == {-1, 1} for signs in drawn.values())


def test_ptv_randaugment_draws():
    ops, calls = record(PTV_RANDAUGMENT)
    x, g, number, levels, signs = noise(1, 4, 4), generator(), Counter(), [], Counter()
    for _ in range(2000):
        calls.clear()
        ptv_randaugment(x, g, ops)
        number[len(calls)] += 1
        assert len({name for name, _ in calls}) == len(calls)
        for name, values in calls:
            if name in ("Rotate", "ShearX", "AdjustContrast"):
                base, span, _ = PTV_RANDAUGMENT[name][1:]
                levels.append(10 * abs(values[0] - base) / span)
                signs[values[0] > base] += 1
    assert 0.44 < number[1] / 2000 < 0.56 and 0.21 < number[0] / 2000 < 0.29
    levels = torch.tensor(levels)
    assert levels.min() > 6 and levels.max() <= 10 + 1e-4
    assert 8.9 < levels.mean() < 9.1 and 0.4 < levels.std() < 0.55
    assert 0.4 < signs[True] / signs.total() < 0.6


def test_augmix_chains():
    ops, calls = record(PTV_AUGMIX)
    x, g, lengths, levels, repeated = noise(1, 4, 4), generator(), Counter(), [], 0
    for _ in range(1500):
        calls.clear()
        assert augmix_chain(x, g, ops) is x
        lengths[len(calls)] += 1
        repeated += len({name for name, _ in calls}) < len(calls)
        levels += [10 * (v[0] - 0.1) / 1.8 for name, v in calls if name == "AdjustContrast"]
        levels += [10 * (1 - v[0]) for name, v in calls if name == "Solarize"]
    assert set(lengths) == {1, 2, 3} and min(lengths.values()) > 400
    assert repeated > 0
    assert 0.1 - 1e-4 < min(levels) < 0.3 and 2.8 < max(levels) < 3  # not whole numbers


def test_augmix_mixes():
    """Chains that paint the clip show their weights; the four parts sum to one."""
    shares = []
    for seed in range(50):
        parts = []
        for which in (0, 1, 2, None):
            count = iter(range(3))

            def paint(x, generator, count=count, which=which):
                return torch.full_like(x, 200 * (next(count) == which))

            x = torch.full((1, 3, 2, 2), 200 * (which is None), dtype=torch.uint8)
            found = ptv_augmix(x, generator(seed), paint)
            assert found.unique().numel() == 1
            parts.append(int(found.max()) / 200)
        assert 1 - 4 / 200 <= sum(parts) <= 1 + 1e-6  # each is cut off to whole levels
        shares.append(parts)
    mean = torch.tensor(shares).mean(0)
    assert (mean[:3] - 1 / 6).abs().max() < 0.07 and abs(mean[3] - 1 / 2) < 0.12
    x = noise()
    found = [ptv_augmix(x, generator(seed), lambda x, generator: x) for seed in range(10)]
    found = torch.stack(found)
    assert set((x - found).unique().tolist()) == {0, 1}  # cut off, not rounded


def test_uint8_quirks():
    x = noise(1, 20, 20)
    for level, bits, threshold in [(9.0, 1, 25), (9.9, 1, 2), (10.0, 0, 0), (3.0, 3, 178)]:
        found = apply_op(PTV_RANDAUGMENT["Posterize"], x, level, None)
        assert torch.equal(found, x & (256 - 2 ** (8 - bits)) if bits else torch.zeros_like(x))
        found = apply_op(PTV_RANDAUGMENT["Solarize"], x, level, None)
        assert torch.equal(found, torch.where(x >= threshold, 255 - x, x))
    dark = apply_op(PTV_AUGMIX["AdjustBrightness"], x, 3.0, None)
    assert torch.equal(dark, (x.float() * 0.64).to(torch.uint8))  # AugMix only weakens


# --- all three ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_clip_in_clip_out(kind, clip):
    augment = make_augmentation(kind)
    still = clip[:1].expand(4, -1, -1, -1)
    before, changed, state = still.clone(), 0, torch.get_rng_state()
    python, numpy = random.getstate(), np.random.get_state()[1].copy()
    for seed in range(30):
        g = generator(seed)
        found = augment(still, g)
        assert found.shape == still.shape and found.dtype == torch.uint8
        assert (found == found[:1]).all()  # the same for all frames
        assert torch.equal(still, before)
        assert torch.equal(found, augment(still, generator(seed)))
        changed += not torch.equal(found, still)
    assert changed > 15
    assert torch.equal(state, torch.get_rng_state())
    assert python == random.getstate() and (numpy == np.random.get_state()[1]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_global_generator_and_pickle(kind, clip):
    augment = make_augmentation(kind, seed=3)
    again = pickle.loads(pickle.dumps(augment))
    with torch.random.fork_rng():
        torch.manual_seed(5)
        first = [augment(clip) for _ in range(5)]
        torch.manual_seed(5)
        assert all(torch.equal(x, again(clip)) for x in first)
    assert len({x.numpy().tobytes() for x in first}) > 1


@pytest.mark.parametrize("table", [IMGAUG_OPS, PTV_RANDAUGMENT, PTV_AUGMIX])
def test_every_op(table):
    """Shape, type, an untouched input, and the same result from channels-last memory."""
    clip = noise(low=60, high=240)
    for name, (function, *values) in table.items():
        if table is IMGAUG_OPS:
            values += [0.4, 0.6] if name == "Cutout" else []
        elif values:
            values = [values[0] + 0.3 * values[1] * (values[2] or 1)]
        before, found = clip.clone(), function(clip, *values)
        assert found.shape == clip.shape and found.dtype == torch.uint8, name
        assert torch.equal(clip, before) and not torch.equal(found, clip), name
        other = function(clip.to(memory_format=torch.channels_last), *values)
        assert gap(other, found) <= 1, name  # sums in another order


def test_bad_input():
    with pytest.raises(ConfigError, match="'mosaic' is none of imgaug_randaugment, ptv_rand"):
        make_augmentation("mosaic")
    for kind in KINDS:
        augment = make_augmentation(kind)
        for x in (noise().float(), noise()[0], noise().permute(0, 2, 3, 1)):
            with pytest.raises(ValueError, match="a clip must be uint8"):
                augment(x)
