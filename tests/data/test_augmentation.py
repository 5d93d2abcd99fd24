"""Crops: the published boxes, sizes, orders and pixels, and what training draws."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tsmlib import ConfigError, get_config, list_configs, preprocess
from tsmlib.configs import mini, replace, views
from tsmlib.data import augmentation
from tsmlib.data.augmentation import augment_clip, multi_scale_boxes, resize, resize_short_side
from tsmlib.data.randaugment import make_augmentation

GOLDEN = Path(__file__).parents[1] / "golden/preprocess"
META = json.loads((GOLDEN / "meta.json").read_text())


@pytest.fixture(scope="module")
def picture() -> torch.Tensor:
    """The photograph of the published outputs as a clip of one frame, `[1, H, W, 3]`."""
    return torch.from_numpy(np.array(Image.open(GOLDEN / "a.png").convert("RGB")))[None]


def noise(t: int, height: int, width: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (t, height, width, 3), generator=generator, dtype=torch.uint8)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def cuts(frames: torch.Tensor, boxes, mirrored=False) -> list[torch.Tensor]:
    """Boxes (left, top, size) cut out of `[T, H, W, 3]`, each followed by its mirror image."""
    found = []
    for left, top, size in boxes:
        cut = frames[:, top : top + size, left : left + size].permute(0, 3, 1, 2)
        found += [cut, cut.flip(-1)] if mirrored else [cut]
    return found


# --- pixels ---------------------------------------------------------------------------------------


def within_one_level(found: torch.Tensor, name: str) -> bool:
    expected = np.load(GOLDEN / "outputs.npz")[name].astype(int)
    assert found.shape == expected.shape
    return np.abs(found.numpy().astype(int) - expected).max() <= 1


def test_published_resize(picture):
    chw = picture.permute(0, 3, 1, 2)
    short = resize_short_side(chw, 256)[0].permute(1, 2, 0)
    assert within_one_level(short, "mma_resize256_a")
    # the last step of training crops: no ratio is kept
    square = resize(chw, 224, 224)[0].permute(1, 2, 0)
    assert within_one_level(square, "mma_resize224x224_a")


def test_published_centre_crop(picture):
    crop = preprocess(picture, get_config("k400"), "test")
    assert within_one_level(crop[0, 0].permute(1, 2, 0), "mma_center224_a")


def test_published_three_crops(picture):
    """Left, right, middle: the order matters to nobody but this file."""
    crops = preprocess(picture, get_config("sthv1"), "test")
    assert within_one_level(crops[:, 0].permute(0, 2, 3, 1), "mma_threecrop256_a")


def slow_bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Pixel by pixel between the four neighbours; pixel centres lie at halves."""
    found = np.empty((height, width, image.shape[2]))
    for y in range(height):
        for x in range(width):
            v = np.clip((y + 0.5) * image.shape[0] / height - 0.5, 0, image.shape[0] - 1)
            u = np.clip((x + 0.5) * image.shape[1] / width - 0.5, 0, image.shape[1] - 1)
            top, left = int(v), int(u)
            low, right = min(top + 1, image.shape[0] - 1), min(left + 1, image.shape[1] - 1)
            upper = image[top, left] * (1 - u + left) + image[top, right] * (u - left)
            lower = image[low, left] * (1 - u + left) + image[low, right] * (u - left)
            found[y, x] = upper * (1 - v + top) + lower * (v - top)
    return found


@pytest.mark.parametrize("size", [(9, 7), (30, 41), (10, 12), (5, 30)])
def test_resize_is_bilinear_without_antialiasing(size):
    image = noise(1, 10, 12)
    found = resize(image.permute(0, 3, 1, 2), *size)[0].permute(1, 2, 0).numpy()
    expected = slow_bilinear(image[0].numpy().astype(float), *size)
    assert np.abs(found - expected).max() < 1.01  # half a level for each of two directions


@pytest.mark.parametrize(
    ("height", "width", "expected"),
    [
        (100, 176, (256, 451)),  # rounded to the nearest, not down
        (176, 100, (451, 256)),
        (256, 340, (256, 340)),
        (240, 320, (256, 341)),
        (100, 132, (256, 338)),
        (7, 7, (256, 256)),
    ],
)
def test_short_side_sizes(height, width, expected):
    found = resize_short_side(torch.zeros(1, 3, height, width, dtype=torch.uint8), 256)
    assert tuple(found.shape[2:]) == expected


# --- boxes ----------------------------------------------------------------------------------------


def test_published_boxes():
    """All of them as often as MMAction2 can give them, for a frame of 256x340."""
    table = META["mma_multiscalecrop_x1_y1_x2_y2_count"]["256x340/13"]
    published = Counter({(x1, y1, x2, y2): count for x1, y1, x2, y2, count in table})
    boxes = multi_scale_boxes(256, 340, 224)
    assert Counter((x, y, x + w, y + h) for x, y, w, h in boxes) == published
    assert len(boxes) == 10 * 13


def test_thirteen_positions():
    """Corners, centre, middles of edges and quarter points of the free space, for each size."""
    boxes = multi_scale_boxes(256, 456, 224)
    grid = {(0, 0), (4, 0), (0, 4), (4, 4), (2, 2), (0, 2), (4, 2), (2, 0), (2, 4)}
    grid |= {(1, 1), (3, 1), (1, 3), (3, 3)}
    for width, height in {(w, h) for _, _, w, h in boxes}:
        places = [(x, y) for x, y, w, h in boxes if (w, h) == (width, height)]
        dx, dy = (456 - width) // 4, (256 - height) // 4
        assert Counter(places) == Counter((i * dx, j * dy) for i, j in grid)


def test_sides_near_the_input_become_it():
    # 0.875 of 258 is 225, one pixel from 224; 0.875 of 260 is 227, three pixels
    assert {w for _, _, w, _ in multi_scale_boxes(258, 300, 224)} == {258, 224, 193, 170}
    assert {w for _, _, w, _ in multi_scale_boxes(260, 300, 224)} == {260, 227, 195, 171}


def test_training_draws_every_box_alike():
    """A picture whose pixels say where they are: the crop's corner names its box."""
    cfg = mini(get_config("k400", flip=0.0))  # 64 pixels: boxes are 64, 56, 48, 42 wide
    y, x = torch.meshgrid(torch.arange(64), torch.arange(84), indexing="ij")
    frames = torch.stack((x, y, torch.zeros_like(x)), -1).byte()[None]
    source = generator()
    seen = Counter()
    for _ in range(4000):
        crop = augment_clip(frames, cfg, source)[0][0]
        seen[tuple(crop[:2, 0, 0].tolist() + crop[:2, -1, -1].tolist())] += 1
    expected = Counter()
    for left, top, w, h in multi_scale_boxes(64, 84, 56):
        chw = frames[:, top : top + h, left : left + w].permute(0, 3, 1, 2)
        crop = resize(chw, 56, 56)[0]
        expected[tuple(crop[:2, 0, 0].tolist() + crop[:2, -1, -1].tolist())] += 4000 / 130
    assert set(seen) == set(expected)
    assert all(abs(seen[box] - n) < 6 * n**0.5 for box, n in expected.items())


def test_random_resized_boxes():
    """Jester: area and ratio within their limits, the frame as it is stored, every corner."""
    source, height, width = generator(), 100, 176
    boxes = [augmentation.random_resized_box(height, width, source) for _ in range(3000)]
    for left, top, w, h in boxes:
        assert 0 <= left <= width - w and 0 <= top <= height - h
        slack = 1 / w + 1 / h  # sides are whole pixels
        assert 0.08 - slack <= w * h / (height * width) <= 1
        assert (3 / 4) * (1 - slack) <= w / h <= (4 / 3) * (1 + slack)
    areas = np.array([w * h for _, _, w, h in boxes]) / (height * width)
    assert areas.min() < 0.1 and areas.max() > 0.6
    ratios = np.log([w / h for _, _, w, h in boxes])[areas < 0.4]  # larger ones must be wide to fit
    assert abs(ratios.mean()) < 0.02  # as often wide as tall
    assert {left == 0 for left, *_ in boxes} == {True, False}


def test_random_resized_falls_back_to_the_central_square():
    """In a strip no box of the allowed area has the allowed ratio."""
    assert augmentation.random_resized_box(10, 400, generator()) == (195, 0, 10, 10)


# --- crops of a test ------------------------------------------------------------------------------


def test_centre_crop_rounds_down():
    frames = noise(2, 256, 341)
    found = preprocess(frames, get_config("k400"), "val")
    assert torch.equal(found[0], cuts(frames, [(58, 16, 224)])[0])


@pytest.mark.parametrize(("height", "width"), [(256, 341), (341, 256)])
def test_three_crops_are_first_last_middle(height, width):
    frames = noise(2, height, width)
    places = [(0, 0, 256), (84, 0, 256), (42, 0, 256)]  # twice 85 // 2
    if height > width:
        places = [(y, x, size) for x, y, size in places]
    found = preprocess(frames, get_config("sthv1"), "test")
    assert torch.equal(found, torch.stack(cuts(frames, places)))


def test_ten_crops_are_five_with_their_mirrors():
    frames = noise(2, 256, 341)
    # steps of (341 - 224) // 4 = 29 and (256 - 224) // 4 = 8
    places = [(0, 0), (116, 0), (0, 32), (116, 32), (58, 16)]
    expected = cuts(frames, [(x, y, 224) for x, y in places], mirrored=True)
    found = preprocess(frames, get_config("k400_dense"), "test")
    assert torch.equal(found, torch.stack(expected))


@pytest.mark.parametrize("name", list_configs())
def test_shapes(name):
    cfg = get_config(name)
    frames = noise(2, 100, 132)  # two frames are enough to see where T goes
    two = ("efficient", "accurate") if cfg.dataset in ("sthv1", "sthv2", "jester") else ()
    for protocol in ("published", "validation", *two):
        wanted = views(cfg, protocol)
        found = preprocess(frames, cfg, "test", protocol)
        assert found.shape == (wanted["crops"], 2, 3, wanted["size"], wanted["size"])
        assert found.dtype == torch.uint8
    validated = preprocess(frames, cfg, "val")
    assert torch.equal(validated, preprocess(frames, cfg, "test", "validation"))
    if cfg.augmentation is None:
        trained = preprocess(frames, cfg, "train", generator=generator())
        assert trained.shape == (1, 2, 3, 224, 224) and trained.dtype == torch.uint8


def test_arrays_and_tensors_are_alike():
    frames = noise(2, 60, 80)
    cfg = mini(get_config("sthv1"))
    assert torch.equal(preprocess(frames.numpy(), cfg, "test"), preprocess(frames, cfg, "test"))


# --- training -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["k400", "jester"])
def test_training_crop_follows_the_generator(name):
    cfg = mini(get_config(name))
    frames = noise(3, 64, 90)
    crops = [preprocess(frames, cfg, "train", generator=generator(seed)) for seed in (1, 1, 2, 3)]
    assert torch.equal(crops[0], crops[1])
    assert not torch.equal(crops[0], crops[2]) and not torch.equal(crops[2], crops[3])


@pytest.mark.parametrize("name", ["k400", "jester"])
def test_all_frames_of_a_clip_get_the_same_crop_and_flip(name):
    cfg = mini(get_config(name))
    frames = noise(1, 64, 90).expand(5, -1, -1, -1)
    for seed in range(20):
        crop, _ = augment_clip(frames, cfg, generator(seed))
        assert bool((crop == crop[:1]).all())


def test_flip_is_said_and_happens_half_the_time():
    cfg = mini(get_config("k400"))
    frames = noise(2, 64, 90)
    flips = 0
    for seed in range(400):
        crop, flipped = augment_clip(frames, cfg, generator(seed))
        plain, never = augment_clip(frames, mini(get_config("k400", flip=0.0)), generator(seed))
        assert never is False
        assert torch.equal(crop, plain.flip(-1) if flipped else plain)
        flips += flipped
    assert 150 < flips < 250  # five standard deviations


def test_flip_can_be_certain():
    cfg = mini(get_config("k400", flip=1.0))
    assert all(augment_clip(noise(1, 64, 64), cfg, generator(seed))[1] for seed in range(50))


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frames",
    [
        torch.zeros(2, 3, 60, 80, dtype=torch.uint8),
        torch.zeros(60, 80, 3, dtype=torch.uint8),
        torch.zeros(2, 60, 80, 3),
        np.zeros((2, 60, 80, 4), np.uint8),
    ],
    ids=["channels first", "one frame", "float", "four channels"],
)
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_other_frames_are_refused(frames, split):
    with pytest.raises(ValueError, match=r"uint8 \[T, H, W, 3\], not "):
        preprocess(frames, get_config("k400"), split)


def test_other_requests_are_refused():
    frames = noise(1, 60, 80)
    with pytest.raises(ValueError, match="split='valid' is none of train, val, test"):
        preprocess(frames, get_config("k400"), "valid")
    with pytest.raises(ConfigError, match="'efficient' is defined for sthv1"):
        preprocess(frames, get_config("k400"), "test", "efficient")
    with pytest.raises(ConfigError, match="three crops of 224 need a side of 224, not 341x256"):
        preprocess(frames, get_config("sthv1", test_crop_size=224), "test")


@pytest.mark.parametrize("name", ["sthv1_flip_randaugment", "sthv1_ptv_augmix"])
def test_colour_augmentation_comes_after_the_flip(name):
    cfg, frames = get_config(name), noise(1, 60, 80)
    crop, flipped = augment_clip(frames, cfg, generator(3), seed=5)
    random = generator(3)
    plain, same = augment_clip(frames, replace(cfg, augmentation=None), random, seed=5)
    assert flipped == same
    assert torch.equal(crop, make_augmentation(cfg.augmentation, 5)(plain, random))
