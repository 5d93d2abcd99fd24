"""Pairs of published rows that differ in one factor, for the study to compare."""

from itertools import combinations
from typing import NamedTuple

from ..configs import get_config, list_configs, to_dict


class Pair(NamedTuple):
    """Two rows that differ in one factor; `along` are fields that had to change with it."""

    first: str
    second: str
    factor: str
    along: tuple[str, ...]


_BATCH = {"batch_size", "videos_per_device", "lr"}
_LISTS = {"train_list", "val_list", "train_prefix", "val_prefix"}
# a factor: the fields that make it, and those that may change with it
_FACTORS: dict[str, tuple[set[str], set[str]]] = {
    "stored resolution": ({"resolution"}, set()),
    "storage": ({"layout", "start_index", *_LISTS}, {"lr"}),
    "schedule": ({"epochs", "milestones"}, set()),
    "frames": ({"num_segments"}, {*_BATCH, "test_crops", "pretrain"}),
    "backbone": ({"backbone"}, _BATCH),
    "dense sampling": ({"sampling", "eval_sampling"}, {"test_crops"}),
    "non-local": ({"non_local"}, set()),
    "blending": ({"blending"}, set()),
    "flip": ({"flip", "flip_label_map"}, set()),
    "augmentation": ({"augmentation"}, set()),
    "GPU normalisation": ({"gpu_normalize"}, set()),
    "training": ({"port_of"}, set()),
}


def one_factor_pairs() -> list[Pair]:
    """List all pairs of rows that differ in one factor alone, in the order of the tables."""
    pairs = []
    ignored = {"name", "published", "eval_interval"}
    for first, second in combinations(list_configs(), 2):
        a, b = to_dict(get_config(first)), to_dict(get_config(second))
        changed = {name for name in a if a[name] != b[name]} - ignored
        for factor, (fields, along) in _FACTORS.items():
            if changed & fields and changed <= fields | along:
                pairs.append(Pair(first, second, factor, tuple(sorted(changed - fields))))
    return pairs
