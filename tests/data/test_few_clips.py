"""The row for few clips follows the number of clips, their size and the cores."""

import pytest

from tsmlib import get_config
from tsmlib.data.prepare.few_clips import BUDGET, SIZES, few_clips

PIXELS = 30 * 320 * 240  # of a short clip


@pytest.mark.parametrize("pretrain", ["imagenet", "none", "w.pth"])
@pytest.mark.parametrize("clips", [3, 76, 5000])
def test_it_is_a_configuration(clips, pretrain):
    recipe = few_clips(clips, PIXELS, 2, pretrain)
    cfg = get_config(recipe.row, **recipe.fields)
    scratch = pretrain == "none"
    assert (cfg.pretrain, cfg.width) == (("none", 0.25) if scratch else ("imagenet", 1))
    assert cfg.crop_size == cfg.val_crop_size == cfg.test_crop_size < cfg.short_side


def test_a_hundred_clips_train_in_minutes_on_two_cores():
    for pretrain in ("imagenet", "none"):
        assert few_clips(75, PIXELS, 2, pretrain).seconds <= BUDGET


def test_the_input_is_as_large_as_the_time_allows():
    chosen = [few_clips(clips, PIXELS, 2, "imagenet") for clips in (10, 75, 1000)]
    sizes = [recipe.fields["crop_size"] for recipe in chosen]
    assert sizes == sorted(sizes, reverse=True) and sizes[-1] == SIZES[-1]
    faster = few_clips(1000, PIXELS, 100, "imagenet")
    assert faster.fields["crop_size"] > sizes[-1] and faster.seconds <= BUDGET


def test_large_videos_take_longer():
    assert few_clips(75, 300 * 1920 * 1080, 2, "none").seconds > 1000
