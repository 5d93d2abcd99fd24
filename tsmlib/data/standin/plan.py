"""Plan of a stand-in: which clips it has, and how each is drawn, played and labelled."""

import itertools
import math
from dataclasses import dataclass

from ...configs import DATASETS, Config, ConfigError, standin_names
from ...configs.datasets import SPLITS
from .scenes import make_rng

LENGTHS = {"temporal": (18, 20, 24, 27, 30), "scene": (66, 70, 76)}  # dense needs 64 and more
FIRST_OF_VAL = 10_000  # number of the first validation rendering; training counts from 0


@dataclass(frozen=True)
class StandinClip:
    """One planned clip: its rendering, its direction, and its path without suffix."""

    split: str
    rendering: int
    scene: str
    reverse: bool
    label: int
    path: str
    num_frames: int
    appearance_label: int | None = None  # label that the background shows; None: order decides


def plan_clips(cfg: Config) -> list[StandinClip]:
    """Plan all clips of a stand-in.

    Classes take turns, and every rendering whose class has a reversal gives two clips. The row's
    `standin_clips` overrides the numbers of renderings of its data set.

    Raises:
        ConfigError: the data set has no stand-in, or its classes cannot share out the order.
    """
    standin_names(cfg.dataset)  # is there a stand-in?
    standin = DATASETS[cfg.dataset].standin
    if cfg.order_share < 1 and standin.family != "temporal":
        temporal = [n for n, d in DATASETS.items() if d.standin and d.standin.family == "temporal"]
        raise ConfigError(
            f"order_share={cfg.order_share} is for stand-ins whose classes order alone tells apart "
            f"({', '.join(temporal)}), not for that of {cfg.dataset}"
        )
    counts = cfg.standin_clips or (None, None)
    return [
        clip
        for split, num_renderings, num_clips in zip(SPLITS, standin.renderings, counts, strict=True)
        for clip in _plan_split(cfg, split, num_renderings, num_clips)
    ]


def _plan_split(
    cfg: Config, split: str, num_renderings: int, num_clips: int | None
) -> list[StandinClip]:
    standin, names = DATASETS[cfg.dataset].standin, standin_names(cfg.dataset)
    lengths = LENGTHS[standin.family]
    # Kinetics' classes differ in size too; with fewer clips of a pair its order is not learned
    repeats = 1 if standin.family == "scene" and split == "train" else 0
    turns = standin.turns + repeats * len(standin.pairs)
    clips: list[StandinClip] = []
    for i in itertools.count():
        if len(clips) >= num_clips if num_clips else i == num_renderings:
            break
        number = i if split == "train" else FIRST_OF_VAL + i
        length = lengths[int(make_rng(cfg.standin_seed, number, 0).integers(len(lengths)))]
        turn = i % turns if i % turns < standin.turns else i % turns % len(standin.pairs)
        scene, members = standin.get_turn(turn)
        visible = _visible_member(i // turns, cfg.order_share)
        for reverse, name in enumerate(members):
            path = standin.format_path(name, 2 * number + reverse)
            label = names.index(name if visible is None else members[visible])
            look = None if visible is None else label
            clips.append(
                StandinClip(split, number, scene, bool(reverse), label, path, length, look)
            )
    return clips


def _visible_member(cycle: int, order_share: float) -> int | None:
    """Choose the class of a pair that the background colour shows; None: only the order tells.

    The share is exact for every pair and from the first clips on. The two classes alternate.
    """
    by_order = math.floor(cycle * order_share)
    if math.floor((cycle + 1) * order_share) > by_order:
        return None
    return (cycle - by_order) % 2
