"""The classes of a configuration: their names, their order in weights, and those of a stand-in."""

import dataclasses
from typing import Any

from .datasets import DATASETS, published_names
from .errors import ConfigError
from .fields import Config


def class_names(cfg: Config) -> tuple[str, ...]:
    """Return the names of the labels: the configuration's own, the published ones, or numbers."""
    if cfg.class_names is not None:
        return cfg.class_names
    names, numbered = published_names(cfg.dataset), range(cfg.num_classes)
    return names if len(names) == len(numbered) else tuple(f"class {i}" for i in numbered)


def output_names(cfg: Config, label_order: str | None) -> tuple[str, ...]:
    """Return the class names in the order in which weights number them.

    Args:
        cfg: the row.
        label_order: of `load_checkpoint`: `mit` numbers the sorted names of Something-Something and
            Jester (MIT tools/gen_label_sthv1.py; the streaming demo's list), others the row's.
    """
    names = class_names(cfg)
    renumbered = label_order == "mit" and DATASETS[cfg.dataset].renumbered
    return tuple(sorted(names)) if renumbered and names[0] != "class 0" else names


def standin_names(dataset: str) -> tuple[str, ...]:
    """Return the class names of a stand-in, in the order in which the data set numbers them.

    Raises:
        ConfigError: the data set has no stand-in.
    """
    standin = DATASETS[dataset].standin
    if standin is None:
        whose = "videos of your own" if dataset == "custom" else dataset
        raise ConfigError(f"there is no stand-in of {whose}; run with data=real")
    names = {name for turn in range(standin.turns) for name in standin.get_turn(turn)[1]}
    return tuple(name for name in published_names(dataset) if name in names)


def reversed_labels(dataset: str) -> tuple[int, ...]:
    """List, for each class of a stand-in, the label of its clips played backwards; -1 for none."""
    names = standin_names(dataset)
    labels: dict[str, int] = {}
    for _, forward, backward in DATASETS[dataset].standin.pairs:
        labels |= {forward: names.index(backward), backward: names.index(forward)}
    return tuple(labels.get(name, -1) for name in names)


def standin_config(cfg: Config) -> Config:
    """Turn a configuration into that of its data set's stand-in: fewer classes, flips by name."""
    names = standin_names(cfg.dataset)
    if "num_classes" in cfg.explicit and cfg.num_classes != DATASETS[cfg.dataset].num_classes:
        raise ConfigError(
            f"num_classes={cfg.num_classes} needs real data: the stand-in of {cfg.dataset} has "
            f"{len(names)} classes"
        )
    published = class_names(cfg)
    flips = {}
    for a, b in (cfg.flip_label_map or {}).items():
        if published[a] in names and published[b] in names:
            flips[names.index(published[a])] = names.index(published[b])
    classes: dict[str, Any] = {
        "num_classes": len(names),
        "class_names": names,
        "flip_label_map": flips or None,
    }
    return dataclasses.replace(cfg, **classes, data_root=None)
