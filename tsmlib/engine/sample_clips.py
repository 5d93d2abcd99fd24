"""Clips to look at: what enters a network, and where it was right and wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import Config, class_names, load_config
from ..data.annotations import DataError, find_list
from ..data.loader import ClipDataset
from ..data.standin.generate import reversed_label
from ..results import read_scores
from .setup import Setup, resolve


def sample_clips(
    setup: Setup, count: int = 6, seed: int = 0, split: str = "train"
) -> tuple[np.ndarray, list[str]]:
    """Clips of different classes as a network sees them: uint8 `[count, T, h, w, 3]`, and names."""
    protocol = None if split == "train" else "validation"
    videos = find_list(setup.cfg, split, setup.data_root)
    dataset = ClipDataset(videos, setup.cfg, protocol, seed)
    entries, names = dataset.videos.entries, class_names(setup.cfg)
    first = {entry.label: i for i, entry in reversed(list(enumerate(entries)))}
    items = [dataset[0, first[label]] for label in sorted(first)[:count]]
    shown = [item for item in items if item[2] is not None]
    if not shown:
        raise DataError(f"the first video of each class cannot be read: {items[0][3]}")
    return np.stack([item[2][0] for item in shown]), [names[item[1]] for item in shown]


def right_and_wrong(
    cfg: Config, record: dict[str, Any], labels, scores, data_root=None, count: int = 3
) -> tuple[np.ndarray, list[str]]:
    """Clips of the most certain mistakes and of as many right answers, with what was said.

    Args:
        record: of the evaluation, whose run folder holds the configuration.
        labels, scores: `[N]` and averaged `[N, K]`, of `scores.json`.
    """
    setup = resolve(cfg, record["data"], record["scale"], data_root=data_root)
    setup = dataclasses.replace(setup, cfg=load_config(Path(record["run_dir"]) / "config.json"))
    dataset = ClipDataset(find_list(setup.cfg, "val", setup.data_root), setup.cfg, "validation")
    paths, _, _ = read_scores(Path(record["run_dir"]) / "scores.json")
    where = {entry.path: i for i, entry in enumerate(dataset.videos.entries)}
    best, sure = scores.argmax(1), scores.max(1)
    wrong = [i for i in np.argsort(-sure) if best[i] != labels[i]][:count]
    right = [i for i in np.linspace(0, len(labels) - 1, 4 * count, dtype=int)
             if best[i] == labels[i]][:count]  # fmt: skip
    names = record["class_names"]
    clips = np.stack([dataset[0, where[paths[i]]][2][0] for i in wrong + right])
    titles = [
        f"{'right' if best[i] == labels[i] else 'WRONG'}: {names[best[i]]}"
        + ("" if best[i] == labels[i] else f", is: {names[labels[i]]}")
        for i in wrong + right
    ]
    return clips, titles


def order_free_chance(setup: Setup) -> float:
    """Highest accuracy in percent of a network that cannot see the order of a stand-in's frames."""
    entries = find_list(setup.cfg, "val", setup.data_root).entries
    paired = [setup.data == "standin" and reversed_label(e.label, setup.cfg.dataset) is not None
              for e in entries]  # fmt: skip
    blind = [0.5 if has_reversal else 1.0 for has_reversal in paired]
    return 100 * float(np.mean(blind))
