"""The pitfalls: each changes what it is about, alone, and leaves nothing behind."""

import io
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import simplejpeg
import torch
from helpers import resize_standins
from PIL import Image

from tsmlib import ConfigError, get_config, temporal_shift
from tsmlib.configs import views
from tsmlib.data import augmentation, loader
from tsmlib.data.annotations import DataError, VideoEntry, VideoList
from tsmlib.data.loader import ClipDataset
from tsmlib.data.sampling import sample_indices
from tsmlib.data.video import FrameFolder, VideoError, VideoFile, encode_frames, write_frames
from tsmlib.data.video import write_video as encode_video
from tsmlib.engine import test_loop as scoring
from tsmlib.engine.setup import prepare, resolve
from tsmlib.models.clip_network import ClipMixin
from tsmlib.models.recognizer import build_model, normalize
from tsmlib.parity.network_pitfalls import batch_statistics
from tsmlib.parity.pitfalls import list_pitfalls
from tsmlib.parity.reference_decoders import PyAVFile, opencv_resize
from tsmlib.parity.sensitivity import (
    Evaluator,
    combine_views,
    compare_logits,
    draw_entries,
    find_video_lists,
    paired_interval,
    sensitivity_table,
)
from tsmlib.parity.toggles import BASELINE, Pitfall
from tsmlib.report import parity_plots

GOLDEN = Path(__file__).parents[1] / "golden/preprocess"
# may leave every bit as it is: the same library, the same numbers by another way, or other names
HARMLESS = {"JPEG by PIL", "MIT's normalisation", "classes by name"}


def small_setup(row: str, folder: Path, **changes):
    with pytest.MonkeyPatch.context() as patch:
        resize_standins(patch, {"sthv1": (5, 10), "k400": (16, 6)})
        return prepare(resolve(get_config(row, **changes), data="standin", cache=folder), workers=0)


def model_of(setup):
    torch.manual_seed(0)
    model = build_model(setup.cfg).eval()
    torch.nn.init.normal_(model.head.weight)  # logits that differ
    return model


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def setup(cache):
    return small_setup("sthv1", cache)


@pytest.fixture(scope="module")
def model(setup):
    return model_of(setup)


@pytest.fixture(scope="module")
def table(setup, model):
    return sensitivity_table(setup, model, "efficient")


def by_name(name: str, cfg=None, layout: str = "rawframes") -> Pitfall:
    return next(t for t in list_pitfalls(cfg or get_config("sthv1"), {layout}) if t.name == name)


# --- the whole table -----------------------------------------------------------------------------


def test_every_pitfall_is_tried_once_and_none_is_nothing(setup, table):
    tried = [t.name for t in list_pitfalls(setup.cfg, {"rawframes"})]
    assert (
        list(table.pitfall[table.pitfall != "none"]) == tried
        and len(set(tried)) == len(tried) == 25
    )
    none = table[table.pitfall == "none"]
    assert list(none.protocol) == ["efficient", "published"]  # one of each protocol in use
    assert (none[["moved", "flipped", "difference"]] == 0).all(axis=None)
    assert (table.videos == 20).all()


def test_every_pitfall_moves_the_logits(table):
    moved = table.set_index("pitfall").moved.drop("none")
    assert (moved.drop(HARMLESS) > 1e-5).all()
    assert (moved[["JPEG by PIL", "classes by name"]] == 0).all()
    assert moved["MIT's normalisation"] < 1e-5


def test_pitfalls_are_of_very_different_size(table):
    moved = table.set_index("pitfall").moved
    assert moved["OpenCV's resize"] < moved["BGR"] < moved["pixels of 0 to 1"]


def test_a_shift_the_wrong_way_sees_a_reversed_clip(table):
    lines = table.set_index("pitfall").loc[["shift the wrong way", "sequence reversed"]]
    wrong, reverse = lines.drop(columns=["kind", "explanation", "protocol"]).to_numpy(float)
    assert wrong == pytest.approx(reverse, rel=1e-4)


def test_differences_are_those_of_top1_and_lie_in_their_intervals(table):
    base = table[table.pitfall == "none"].set_index("protocol").top1
    expected = table.top1 - table.protocol.map(base)
    assert table.difference.to_numpy() == pytest.approx(expected.to_numpy(), abs=1e-4)
    assert ((table.low < table.difference) & (table.difference < table.high)).all()


def test_nothing_is_left_behind(setup, model, table):
    """After the whole table the first line comes out again, bit for bit."""
    lists = find_video_lists(setup)
    before = Evaluator(setup.cfg, model, lists).predict("efficient")
    state = {k: v.clone() for k, v in model.state_dict().items()}
    for pitfall in list_pitfalls(setup.cfg, {"rawframes", "video"}):
        with pytest.raises(KeyboardInterrupt), pitfall.toggle(model):
            raise KeyboardInterrupt
    assert torch.equal(Evaluator(setup.cfg, model, lists).predict("efficient"), before)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())


def test_a_network_blind_to_order_does_not_notice_a_reversal(cache):
    setup = small_setup("sthv1", cache, is_shift=False)
    lists, model = find_video_lists(setup), model_of(setup)
    base = Evaluator(setup.cfg, model, lists).predict("efficient")
    found = Evaluator(setup.cfg, model, lists).predict("efficient", by_name("sequence reversed"))
    assert torch.allclose(found, base, atol=1e-4 * float(base.std()))
    assert not [t for t in list_pitfalls(setup.cfg, {"rawframes"}) if "shift" in t.name]


def test_rows_of_one_view_have_no_pitfalls_of_views(cache):
    setup = small_setup("k400", cache)
    costs = sensitivity_table(setup, model_of(setup), videos=6).set_index("pitfall")
    assert "views" not in set(costs.kind) and set(costs.protocol) == {"validation"}
    assert "labels counted from 1" in costs.index and (costs.videos == 6).all()


def test_weights_that_number_classes_by_name(setup, model, table):
    """MIT's order costs nothing when it is known."""
    names = setup.cfg.class_names
    order = torch.tensor([names.index(name) for name in sorted(names)])  # ours, of each output
    theirs = build_model(setup.cfg).eval()
    theirs.load_state_dict(model.state_dict())
    with torch.no_grad():
        theirs.head.weight.copy_(model.head.weight[order])
        theirs.head.bias.copy_(model.head.bias[order])
    lists = find_video_lists(setup, None, 4)
    ours = Evaluator(setup.cfg, model, lists).predict("efficient")
    assert torch.allclose(Evaluator(setup.cfg, theirs, lists, "mit").predict("efficient"), ours)


def test_a_part_of_the_videos(setup):
    some = draw_entries(tuple(range(400)), 100)
    assert some == draw_entries(tuple(range(400)), 100) and list(some) == sorted(set(some))
    odd = sum(i % 2 for i in some)
    assert len(some) == 100 and 30 < odd < 70  # not one class of a list that alternates
    assert all(draw_entries((1, 2), most) == (1, 2) for most in (5, 2, None))
    with pytest.raises(ConfigError, match="videos=0"):
        sensitivity_table(setup, None, videos=0)


def test_explanations_fit_a_table():
    both = list_pitfalls(get_config("sthv1"), {"rawframes", "video"})
    assert all(0 < len(t.explanation) <= pd.get_option("display.max_colwidth") for t in both)


# --- real clips -----------------------------------------------------------------------------------


@pytest.fixture
def clips(tmp_path):
    frames = torch.randint(0, 256, (20, 70, 90, 3), generator=torch.Generator().manual_seed(1))
    frames = frames.byte()
    encode_video(tmp_path / "a.mp4", frames, gop=10)
    encode_video(tmp_path / "b.mp4", frames.flip(0), gop=10)
    (tmp_path / "c").mkdir()
    write_frames(tmp_path / "c", encode_frames(frames), "{:05}.jpg", 1)
    return tmp_path


def test_a_folder_of_clips_has_no_accuracy(setup, model, clips):
    (clips / "d.mp4").write_bytes(b"no video")
    costs = sensitivity_table(setup, model, clips=str(clips))
    assert (costs.videos == 3).all()  # the unreadable one is left out
    assert costs[["top1", "difference", "low", "high"]].isna().all(axis=None)
    kinds = costs.set_index("pitfall")
    assert (kinds.moved[["fast JPEG", "key frames", "full range"]] > 1e-4).all()
    axes = parity_plots.sensitivity(costs, "clips")
    assert "no labels" in axes[2].texts[0].get_text()


def test_a_folder_without_clips(setup, model, tmp_path):
    with pytest.raises(DataError, match="holds no video"):
        sensitivity_table(setup, model, clips=tmp_path)
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(DataError, match="none of 1 videos"):
        sensitivity_table(setup, model, clips=tmp_path)


def test_the_chart_shows_every_pitfall_and_its_interval(table):
    axes = parity_plots.sensitivity(table, "a caption")
    labels = [label.get_text() for label in axes[0].get_yticklabels()]
    assert labels[::-1][0] == "JPEG by PIL" and labels[0] == "views interleaved (published)"
    assert len(labels) == 25 and axes[0].figure.get_supxlabel() == "a caption"
    low, high = axes[2].get_xlim()
    assert low < table.low.min() and table.high.max() < high


# --- numbers --------------------------------------------------------------------------------------


def test_the_interval_is_that_of_a_bootstrap():
    rng = np.random.default_rng(0)
    change = np.repeat([-1, 1, 0], (60, 25, 315))
    draws = [100 * change[rng.integers(400, size=400)].mean() for _ in range(4000)]
    assert paired_interval(60, 25, 400) == pytest.approx(np.percentile(draws, (2.5, 97.5)), abs=0.3)


@pytest.mark.parametrize(("lost", "gained", "n"), [(0.02, 0.0, 100), (0.1, 0.05, 40), (0, 0, 20)])
def test_the_interval_covers_the_truth(lost, gained, n):
    rng = np.random.default_rng(1)
    counts = rng.multinomial(n, (lost, gained, 1 - lost - gained), size=2000)
    truth = 100 * (gained - lost)
    inside = [
        low <= truth <= high for low, high in (paired_interval(a, b, n) for a, b, _ in counts)
    ]
    assert np.mean(inside) > 0.94


def test_intervals_of_few_videos():
    low, high = paired_interval(0, 0, 20)
    assert low == -high and 5 < high < 15  # nothing seen is not nothing
    assert paired_interval(5, 0, 5)[0] == -100 and paired_interval(0, 5, 5)[1] == 100


def test_averages_of_views():
    logits = torch.randn(4, 6, 3, generator=torch.Generator().manual_seed(0)) * 5
    for i, video in enumerate(logits.double().numpy()):
        probabilities = np.mean([np.exp(v) / np.exp(v).sum() for v in video], axis=0)
        slow = np.log(probabilities) - np.log(probabilities).mean()
        assert combine_views(logits, "prob")[i].numpy() == pytest.approx(slow, abs=1e-4)
        slow = video.mean(0) - video.mean()
        assert combine_views(logits, "score")[i].numpy() == pytest.approx(slow, abs=1e-4)


def test_a_line_of_the_table(setup):
    """Four videos by hand: one is unread, one flips to right, one to wrong."""
    base = torch.eye(10)[[0, 1, 2, 3]][:, None]
    found = torch.eye(10)[[0, 5, 6, 3]][:, None]
    found[3] = math.nan
    line = compare_logits(setup.cfg, BASELINE, "efficient", base, found, np.array([0, 5, 2, 3]))
    assert line["videos"] == 3 and line["flipped"] == pytest.approx(200 / 3)
    assert line["top1"] == pytest.approx(200 / 3) and line["difference"] == 0
    assert (line["low"], line["high"]) == paired_interval(1, 1, 3)
    assert line["moved"] == pytest.approx(0.2 * 2 / 3 / float(base[:3].std()), rel=1e-4)


def test_other_names_change_the_accuracy_and_no_logit(setup, table):
    line = table.set_index("pitfall").loc["classes by name"]
    names, reads = setup.cfg.class_names, by_name("classes by name", setup.cfg).label_permutation
    assert [names[r] for r in reads] == sorted(names) != list(names)
    same = np.mean([r == i for i, r in enumerate(reads)])
    assert line.moved == 0 and (line.flipped > 0 or same == 1)
    base = torch.eye(10)[:, None]  # every video is recognised
    pitfall = by_name("classes by name", setup.cfg)
    line = compare_logits(setup.cfg, pitfall, "efficient", base, base, np.arange(10))
    assert line["top1"] == pytest.approx(100 * same)
    assert line["flipped"] == pytest.approx(100 * (1 - same))


# --- decoders -------------------------------------------------------------------------------------


def test_jpeg_decoders(clips):
    folder, file = FrameFolder(clips / "c", 20, "{:05}.jpg", 1), clips / "c" / "00004.jpg"
    plain = folder.frames([3])[0]
    with by_name("JPEG by PIL").toggle(None):
        found = folder.frames([3])[0]
    assert np.array_equal(found, np.array(Image.open(io.BytesIO(file.read_bytes()))))
    with by_name("fast JPEG").toggle(None):
        found = folder.frames([3])[0]
    fast = simplejpeg.decode_jpeg(file.read_bytes(), "RGB", fastdct=True, fastupsample=True)
    assert np.array_equal(found, fast) and not np.array_equal(found, plain)


def test_all_frames_by_pyav_are_those_of_decord(clips):
    file = PyAVFile(clips / "a.mp4", None)
    assert file.num_frames == 20
    index = [7, 3, 19, 3]
    decord = VideoFile(clips / "a.mp4", decoder="decord")
    assert torch.equal(file.frames(index), decord.frames(index))
    assert torch.equal(file.frames([25]), file.frames([19]))  # past the end: the last frame


def test_key_frames(clips):
    file = PyAVFile(clips / "a.mp4", 20, key_frames=True)
    plain = PyAVFile(clips / "a.mp4", 20)
    assert torch.equal(file.frames([0, 5, 9, 10, 14]), plain.frames([0, 0, 0, 10, 10]))


@pytest.mark.parametrize(
    ("name", "red", "blue", "low", "high"),
    [("colours of BT.709", 0.2126, 0.0722, 16, 235), ("full range", 0.299, 0.114, 0, 255)],
)
def test_colours(tmp_path, name, red, blue, low, high):
    """A plain colour, encoded by BT.601 with 16 to 235, read by the formula of another one."""
    rgb = np.array([180.0, 90, 60])
    encode_video(tmp_path / "a.mp4", torch.tensor(rgb).byte().expand(2, 32, 32, 3), qp=1)
    luma = 0.299 * rgb[0] + 0.587 * rgb[1] + 0.114 * rgb[2]
    y = 16 + 219 / 255 * luma
    u, v = (224 / 255 * (rgb[i] - luma) / (2 * (1 - k)) for i, k in ((2, 0.114), (0, 0.299)))
    y = (y - low) * 255 / (high - low)
    u, v = (c * (255 / 224 if low else 1) for c in (u, v))
    r, b = y + 2 * (1 - red) * v, y + 2 * (1 - blue) * u
    expected = np.array([r, (y - red * r - blue * b) / (1 - red - blue), b])
    opened = by_name(name, layout="video")
    entry = VideoEntry("a.mp4", None, 0)
    videos = VideoList(tmp_path, "", "video", tmp_path, (entry,))
    dataset = ClipDataset(videos, get_config("k400_video"), "validation")
    with opened.toggle(None):
        found = dataset.open(entry).frames([1])[0, 16, 16].numpy().astype(float)
    plain = PyAVFile(tmp_path / "a.mp4", 2).frames([1])[0, 16, 16].numpy().astype(float)
    assert plain == pytest.approx(rgb, abs=4)  # the converter is up to 3 levels too dark
    assert found - plain == pytest.approx(expected - rgb, abs=3)
    assert np.abs(found - plain).max() > 6


def test_what_pyav_cannot_decode(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match="a.mp4"):
        PyAVFile(tmp_path / "a.mp4", None)


# --- pixels ---------------------------------------------------------------------------------------


def test_opencvs_resize_of_the_published_pipeline():
    picture = np.array(Image.open(GOLDEN / "a.png").convert("RGB"))
    x, expected = torch.from_numpy(picture).permute(2, 0, 1), np.load(GOLDEN / "outputs.npz")
    for name, size in (("mma_resize256_a", (256, 341)), ("mma_resize224x224_a", (224, 224))):
        assert np.array_equal(opencv_resize(x, *size).permute(1, 2, 0), expected[name])


def test_opencvs_resize_of_any_size():
    cv2 = pytest.importorskip("cv2")
    rng = np.random.default_rng(0)
    for height, width, *size in rng.integers(1, 90, (200, 4)).tolist():
        picture = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        found = opencv_resize(torch.from_numpy(picture).permute(2, 0, 1), *size).permute(1, 2, 0)
        expected = cv2.resize(picture, size[::-1], interpolation=cv2.INTER_LINEAR)
        assert np.array_equal(found, expected.reshape(found.shape))


def slow_fixed_point(row: list[int], size: int) -> list[int]:
    """One row of one line, weight by weight: OpenCV's columns keep 11 bits, rows are plain."""
    found = []
    for i in range(size):
        where = (i + 0.5) * len(row) / size - 0.5
        low = math.floor(where)
        part = where - low if 0 <= low < len(row) - 1 else 0.0
        a, b = row[max(0, min(low, len(row) - 1))], row[max(0, min(low + 1, len(row) - 1))]
        total = a * round((1 - part) * 2048) + b * round(part * 2048)
        found.append((((total >> 4) * 2048 >> 16) + 2) >> 2)
    return found


@pytest.mark.parametrize("size", [3, 8, 13, 16, 40])
def test_opencvs_resize_of_one_line(size):
    row = [0, 255, 3, 190, 77, 78, 254, 1]
    found = opencv_resize(torch.tensor([[row]]).byte(), 1, size)[0, 0]
    assert found.tolist() == slow_fixed_point(row, size)


def toggled_crops(name: str, frames, cfg):
    with by_name(name).toggle(None):
        return augmentation.fixed_crops(frames, cfg, 1, cfg.val_crop_size)[0]


@pytest.fixture(scope="module")
def picture():
    return torch.from_numpy(np.array(Image.open(GOLDEN / "a.png").convert("RGB")))[None]


def test_pixels_are_as_each_pitfall_says(picture):
    cfg = get_config("sthv1", short_side=64, val_crop_size=56, test_crop_size=64)
    plain = toggled_crops("bf16", picture, cfg)  # a pitfall that is not about pixels
    left, top = (85 - 56) // 2, (64 - 56) // 2
    pil = np.array(Image.fromarray(picture[0].numpy()).resize((85, 64), Image.BILINEAR))
    pil = pil[top : top + 56, left : left + 56].transpose(2, 0, 1)
    assert np.array_equal(toggled_crops("PIL's resize", picture, cfg)[0], pil)
    smooth = toggled_crops("antialiased resize", picture, cfg)[0].numpy().astype(int)
    assert np.abs(smooth - pil).max() <= 1 < np.abs(smooth - plain[0].numpy()).max()
    opencv = toggled_crops("OpenCV's resize", picture, cfg).int() - plain.int()
    assert 0 < opencv.abs().max() <= 1
    assert torch.equal(toggled_crops("BGR", picture, cfg), plain.flip(1))
    mirrored = toggled_crops("mirrored", picture, cfg)
    assert torch.equal(mirrored, augmentation.fixed_crops(picture.flip(2), cfg, 1, 56)[0])
    squeezed = toggled_crops("squeezed", picture, cfg)
    whole = augmentation.resize(picture.permute(0, 3, 1, 2), 64, 64)
    assert torch.equal(squeezed, whole[..., 4:60, 4:60])


def test_truncated_sizes(picture):
    """176x100 becomes 450x256, where the published code makes 451x256."""
    x = torch.zeros(1, 3, 100, 176).byte()
    assert augmentation.resize_short_side(x, 256).shape[-2:] == (256, 451)
    with by_name("sizes truncated").toggle(None):
        assert augmentation.resize_short_side(x, 256).shape[-2:] == (256, 450)
        for side in range(1, 300):  # the short side stays exact
            x = torch.zeros(1, 1, side, side + 1).byte()
            assert augmentation.resize_short_side(x, 64).shape[-2] == 64


def test_normalisations():
    clips = torch.randint(0, 256, (1, 2, 3, 4, 4)).byte()
    mit, wrong = by_name("MIT's normalisation"), by_name("pixels of 0 to 1")
    with mit.toggle(None):
        assert torch.allclose(scoring.normalize(clips), normalize(clips), atol=1e-5)
        assert not torch.equal(scoring.normalize(clips), normalize(clips))
    with wrong.toggle(None):
        assert torch.equal(scoring.normalize(clips), normalize(clips / 255))


# --- frames ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("t", [8, 16])
def test_tails_and_starts_are_those_of_a_loop(t):
    for n in range(1, 90):
        length = n // t
        with by_name("tail left out").toggle(None):
            found = loader.sample_indices(n, t, "uniform", clips=1, twice_sample=False)[0]
        if length:
            assert found.tolist() == [int(k * length + length / 2) for k in range(t)]
        else:
            assert torch.equal(found, sample_indices(n, t)[0])
        with by_name("starts of segments").toggle(None):
            found = loader.sample_indices(n, t, "uniform", clips=2, twice_sample=True)
        assert found.tolist() == [[k * n // t for k in range(t)]] * 2


def test_dense_clips_without_the_last_start():
    with by_name("tail left out").toggle(None):
        found = loader.sample_indices(100, 8, "dense", clips=10, twice_sample=False)
        short = loader.sample_indices(40, 8, "dense", clips=10)
    starts = [int(x) for x in np.linspace(0, 100 - 64 - 1, 10)]
    assert found[:, 0].tolist() == starts and torch.equal(found[3], starts[3] + torch.arange(8) * 8)
    assert torch.equal(short, sample_indices(40, 8, "dense", clips=10))
    assert not [
        t for t in list_pitfalls(get_config("k400_dense"), {"rawframes"}) if "starts" in t.name
    ]


def test_frames_too_early_and_reversed():
    plain = sample_indices(30, 8)
    with by_name("frames counted from 0").toggle(None):
        assert torch.equal(loader.sample_indices(30, 8), plain - 1)
        assert loader.sample_indices(1, 8).tolist() == [[0] * 8]
    with by_name("sequence reversed").toggle(None):
        assert torch.equal(loader.sample_indices(30, 8), plain.flip(1))


# --- network and views ----------------------------------------------------------------------------


def test_shifts_are_those_of_a_loop():
    x = torch.randn(2 * 4, 8, 2, 2)
    plain = temporal_shift(x, 4)
    clips = x.unflatten(0, (2, 4))
    with by_name("shift the wrong way").toggle(None):
        found = temporal_shift(x, 4)
    turned = temporal_shift(clips.flip(1).flatten(0, 1), 4)  # of the reversed clips
    assert torch.equal(found, turned.unflatten(0, (2, 4)).flip(1).flatten(0, 1))
    with by_name("shift wraps around").toggle(None):
        found = temporal_shift(x, 4).unflatten(0, (2, 4))
    for t in range(4):
        assert torch.equal(found[:, t, 0], clips[:, (t + 1) % 4, 0])
        assert torch.equal(found[:, t, 1], clips[:, t - 1, 1])
        assert torch.equal(found[:, t, 2:], clips[:, t, 2:])
    with by_name("no shift").toggle(None):
        assert torch.equal(temporal_shift(x, 4), x)
    assert torch.equal(temporal_shift(x, 4), plain)


@torch.no_grad()
def test_batch_norms_of_a_group_are_those_of_training(model):
    x = torch.randn(3, 8, 3, 56, 56)
    plain = model(x)
    with batch_statistics(model):
        found = model(x)
    momenta = {m: m.momentum for m in model.modules() if hasattr(m, "momentum")}
    for norm in momenta:
        norm.momentum = 0.0  # running statistics stay
        norm.train()
    expected = model(x)
    for norm, momentum in momenta.items():
        norm.momentum = momentum
        norm.eval()
        norm.num_batches_tracked.zero_()
    assert torch.equal(found, expected) and not torch.allclose(found, plain, atol=0.1)
    assert torch.equal(model(x), plain)


def test_a_group_goes_through_at_once(setup, model, monkeypatch):
    """However little fits: a part of a batch would be another group."""
    seen = []
    lists = find_video_lists(setup, None, 6)
    monkeypatch.setattr(scoring, "CHUNK_FRAMES", 1)
    hook = model.register_forward_pre_hook(lambda _, args: seen.append(len(args[0])))
    for pitfall in [t for t in list_pitfalls(setup.cfg, {"rawframes"}) if t.batch_size]:
        Evaluator(setup.cfg, model, lists).predict("efficient", pitfall)
    hook.remove()
    assert seen == [6] + [1] * 6 and scoring.CHUNK_FRAMES == 1


def test_softmax_before_the_consensus(model):
    x = torch.randn(2, 8, 3, 56, 56)
    with torch.no_grad(), by_name("softmax of frames").toggle(model):
        found = model(x)
    probabilities = model.frame_logits(x).detach().softmax(-1).mean(1)
    assert torch.allclose(found.softmax(-1), probabilities, atol=1e-5)
    assert ClipMixin.forward.__qualname__ == "ClipMixin.forward"


def test_interleaved_views(setup):
    dataset = ClipDataset(find_video_lists(setup)[0], setup.cfg, "published")
    plain = dataset[0, 0][2]
    with by_name("views interleaved").toggle(None):
        found = dataset[0, 0][2]
    count = math.prod(views(setup.cfg, "published")[k] for k in ("clips", "crops"))
    mixed = [plain[i % count, i // count] for i in range(count * 8)]  # views fastest
    assert torch.equal(found.flatten(0, 1), torch.stack(mixed))


def test_the_other_average():
    assert by_name("logits of views").average == "score"
    cfg = get_config("sthv1", average_clips="score")
    assert by_name("probabilities of views", cfg).average == "prob"
