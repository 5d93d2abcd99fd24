"""Frame numbers: the published ones, a slow version of them, and what the mended variants do."""

import gzip
import json
from pathlib import Path

import pytest
import torch

from tsmlib import sample_indices

GOLDEN = json.loads(
    gzip.decompress((Path(__file__).parents[1] / "golden/sampling.json.gz").read_bytes())
)["mmaction2"]
FIXED = {
    "test": {},
    "test_twice": {"twice_sample": True},
    "dense_test": {"strategy": "dense", "clips": 10},
}
RANDOM = {"train": {"train": True}, "dense_train": {"strategy": "dense", "train": True}}


def cases(variants) -> list:
    chosen = [case for case in GOLDEN if case["variant"] in variants]
    return [pytest.param(c, id=f"{c['variant']}-{c['total_frames']}") for c in chosen]


def draws(n: int, segments: int, count: int, **options) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return sample_indices(n, segments, train=True, clips=count, generator=generator, **options)


def test_all_published_variants_are_walked():
    assert {case["variant"] for case in GOLDEN} == {*FIXED, *RANDOM}
    assert len(GOLDEN) == 95


@pytest.mark.parametrize("case", cases(FIXED))
def test_published_frames(case):
    found = sample_indices(case["total_frames"], 8, **FIXED[case["variant"]])
    assert found.dtype == torch.int64
    assert found.flatten().tolist() == case["indices"]


@pytest.mark.parametrize("case", cases(RANDOM))
def test_random_frames_stay_where_the_published_ones_do(case):
    """And reach the ends of their ranges, which the published sampler does in 300 draws."""
    options = RANDOM[case["variant"]]
    generator = torch.Generator().manual_seed(0)
    n = case["total_frames"]
    found = sample_indices(n, 8, clips=4000, generator=generator, **options)
    assert found.shape == (4000, 8)
    reached = torch.stack((found.amin(0), found.amax(0)), 1)
    ends = torch.tensor(case["support"])
    if case["variant"] == "dense_train":  # one start for all; 300 draws may miss the very ends
        choices = max(1, n - 64)
        allowed = [[(s + 8 * k) % n for s in range(choices)] for k in range(8)]
        ends = torch.tensor([[min(a), max(a)] for a in allowed])
    assert torch.equal(reached, ends)


def slow_uniform(n: int, segments: int) -> tuple[list[int], list[int]]:
    """Middle and start of each of `segments` equal parts, rounded down (MMAction2 as it stands)."""
    part = n / segments
    middles = [int(k * part + part / 2) for k in range(segments)]
    return middles, [int(k * part) for k in range(segments)]


@pytest.mark.parametrize("segments", [1, 2, 3, 5, 8, 16])
def test_uniform_test_sampling(segments):
    for n in range(1, 130):
        middles, starts = slow_uniform(n, segments)
        assert sample_indices(n, segments).tolist() == [middles]
        assert sample_indices(n, segments, twice_sample=True).tolist() == [middles, starts]
        assert sample_indices(n, segments, clips=2).tolist() == [middles, starts]


@pytest.mark.parametrize("segments", [4, 8, 16])
def test_uniform_training_takes_one_frame_of_each_part(segments):
    for n in (segments, 2 * segments + 1, 75):
        part = n // segments
        found = draws(n, segments, 1000)
        for k in range(segments):
            counts = found[:, k].bincount(minlength=n)[k * part : (k + 1) * part]
            assert int(counts.sum()) == 1000  # nowhere else
            assert float((counts - 1000 / part).abs().max()) < 5 * (1000 / part) ** 0.5  # alike


def test_dense_training_takes_every_start_but_the_last():
    found = draws(70, 8, 2000, strategy="dense")
    assert set(found[:, 0].tolist()) == set(range(6))  # 7 starts fit a window of 64
    assert torch.equal(found - found[:, :1], torch.arange(8).expand(2000, 8) * 8)


@pytest.mark.parametrize(("segments", "stride"), [(8, 8), (16, 4), (5, 12)])
def test_dense_test_spreads_starts_over_the_video(segments, stride):
    found = sample_indices(100, segments, "dense", clips=10).tolist()
    starts = [int(k * 36 / 9) for k in range(10)]  # 37 positions
    assert found == [[s + stride * k for k in range(segments)] for s in starts]


def test_short_training_videos_are_spread():
    assert draws(5, 8, 1).tolist() == [[0, 1, 1, 2, 2, 3, 4, 4]]


# --- the mended variants --------------------------------------------------------------------------


def test_keep_tail_reaches_the_whole_video():
    published, mended = draws(23, 8, 4000), draws(23, 8, 4000, keep_tail=True)
    assert int(published.max()) == 15  # 23 // 8 * 8 frames are seen
    assert set(mended.flatten().tolist()) == set(range(23))
    assert bool((mended.diff(dim=1) >= 0).all())
    for k in range(8):  # each from its own eighth
        assert set(mended[:, k].tolist()) == set(range(int(23 * k / 8), -(-23 * (k + 1) // 8)))


def test_last_start_is_taken_on_demand():
    mended = draws(70, 8, 2000, strategy="dense", last_start=True)
    assert set(mended[:, 0].tolist()) == set(range(7))
    at_the_edge = draws(65, 8, 200, strategy="dense", last_start=True)
    assert set(at_the_edge[:, 0].tolist()) == {0, 1}
    assert set(draws(65, 8, 200, strategy="dense")[:, 0].tolist()) == {0}


def test_without_wrap_the_last_frame_stays():
    assert draws(3, 8, 1).tolist() == [[0, 0, 1, 1, 2, 2, 2, 0]]
    assert draws(3, 8, 1, wrap=False).tolist() == [[0, 0, 1, 1, 2, 2, 2, 2]]
    dense = sample_indices(20, 8, "dense", wrap=False).tolist()
    assert dense == [[0, 8, 16, 19, 19, 19, 19, 19]]
    assert sample_indices(20, 8, "dense").tolist() == [[0, 8, 16, 4, 12, 0, 8, 16]]


def test_options_change_nothing_where_there_is_nothing_to_mend():
    mended = {"keep_tail": True, "last_start": True, "wrap": False}
    for n in (1, 8, 30, 100):
        for options in ({}, {"twice_sample": True}):
            plain = sample_indices(n, 8, **options)
            assert torch.equal(sample_indices(n, 8, **options, **mended), plain)


def test_generator_decides():
    def drawn(seed: int) -> list:
        generator = torch.Generator().manual_seed(seed)
        return sample_indices(300, 8, train=True, generator=generator).tolist()

    assert drawn(1) == drawn(1) != drawn(2)


@pytest.mark.parametrize("strategy", ["uniform", "dense"])
@pytest.mark.parametrize("train", [True, False])
def test_frames_are_always_in_the_video(strategy, train):
    for n in (*range(1, 20), 63, 64, 65, 66, 500):
        for segments in (1, 3, 8, 16, 64):
            for wrap in (True, False):
                found = sample_indices(n, segments, strategy, train, clips=2, wrap=wrap)
                assert found.shape == (2, segments)
                assert 0 <= int(found.min()) <= int(found.max()) < n


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 8), {}, "8 frames can be taken from 0 frames"),
        ((-1, 8), {}, "from -1 frames"),
        ((30, 0), {}, "clip of 0 frames"),
        ((30, 8), {"clips": 0}, "no clip"),
        ((30, 8), {"clips": 3}, "1 or 2 clips, not 3"),
        ((30, 8, "sparse"), {}, "strategy='sparse'"),
        ((30, 8), {"twice_sample": True, "train": True}, "twice_sample is for uniform"),
        ((30, 8, "dense"), {"twice_sample": True}, "twice_sample is for uniform"),
        ((30, 8), {"twice_sample": True, "clips": 10}, "gives 2 clips"),
    ],
)
def test_impossible_requests(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        sample_indices(*arguments, **options)
