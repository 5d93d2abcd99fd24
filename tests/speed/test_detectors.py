"""The times of detectors, with shift and without."""

from itertools import count

from tsmlib.detection.recipes import get_recipe, mini
from tsmlib.speed.detectors import PLAIN, SHIFTED, time_detectors
from tsmlib.speed.timing import ratios


def test_both_take_turns():
    cfg = get_recipe("vid_r101", class_names=("dog", "cat"), width=0.125, min_size=32, max_size=48)
    ticks = count()
    table = time_detectors(mini(cfg), (32, 40), rounds=3, clock=lambda: float(next(ticks)))
    assert list(table.columns) == [SHIFTED, PLAIN] and (table == 1000).all().all()
    assert ratios(table, SHIFTED, PLAIN)["median"] == 1
