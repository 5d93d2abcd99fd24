"""Choose clips to look at: what enters a network, and where it is right and wrong."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from ..configs import Config, get_config, load_config
from ..data.annotations import DataError
from ..data.loader import ClipDataset
from ..engine.setup import Setup, prepare, resolve
from ..online.untrimmed import draw_standin_stream, write_stream
from ..paths import cache_folder
from ..results import read_scores


def sample_clips(
    setup: Setup, count: int = 6, seed: int = 0, split: str = "train"
) -> tuple[np.ndarray, list[str]]:
    """Draw clips of different classes as the network sees them, and their class names.

    Args:
        setup: prepared, with the list of the split.
        count: clips at most.
        seed: of the random training crops.
        split: `train`, as in training, or `val`, as in validation.

    Returns:
        uint8 `[count, T, h, w, 3]`, and the name of each clip's class.

    Raises:
        DataError: none of the first videos of the classes can be read.
    """
    protocol = None if split == "train" else "validation"
    videos = setup.train_list if split == "train" else setup.val_list
    dataset = ClipDataset(videos, setup.cfg, protocol, seed)
    entries, names = videos.entries, setup.class_names
    first = {entry.label: i for i, entry in reversed(list(enumerate(entries)))}
    items = [dataset[0, first[label]] for label in sorted(first)[:count]]
    readable = [item for item in items if item[2] is not None]
    if not readable:
        raise DataError(f"the first video of each class cannot be read: {items[0][3]}")
    return np.stack([item[2][0] for item in readable]), [names[item[1]] for item in readable]


def standin_videos(row: str, count: int = 6) -> list[Path]:
    """List videos of different classes in the validation list of a row's stand-in."""
    videos = prepare(resolve(row, data="standin"), ("val",)).val_list
    first = {entry.label: entry.path for entry in reversed(videos.entries)}
    return [videos.prefix / first[label] for label in sorted(first)[:count]]


def standin_recording(row: str, actions: int = 6) -> Path:
    """Draw a recording of some actions of a row's stand-in, with pauses, into the cache."""
    cfg = get_config(row)
    file = cache_folder() / "recordings" / f"{row}-{actions}.mp4"
    if not file.is_file():
        write_stream(file, draw_standin_stream(cfg, seed=0, actions=actions, size=64))
    return file


def right_and_wrong(
    cfg: Config, record: dict[str, Any], labels, scores, data_root=None, count: int = 3
) -> tuple[np.ndarray, list[str]]:
    """The most confident errors and as many correct clips, titled with prediction and label.

    Args:
        record: of the evaluation, whose run folder holds the configuration.
        labels, scores: `[N]` and averaged `[N, K]`, of `scores.json`.
    """
    where = {"data": record["data"], "scale": record["scale"], "data_root": data_root}
    setup = resolve(cfg, splits=("val",), **where)
    setup = dataclasses.replace(setup, cfg=load_config(Path(record["run_dir"]) / "config.json"))
    dataset = ClipDataset(prepare(setup, ("val",)).val_list, setup.cfg, "validation")
    paths, _, _ = read_scores(Path(record["run_dir"]) / "scores.json")
    position = {entry.path: i for i, entry in enumerate(dataset.videos.entries)}
    best, confidence = scores.argmax(1), scores.max(1)
    wrong = [i for i in np.argsort(-confidence) if best[i] != labels[i]][:count]
    right = [i for i in np.linspace(0, len(labels) - 1, 4 * count, dtype=int)
             if best[i] == labels[i]][:count]  # fmt: skip
    names = record["class_names"]
    clips = np.stack([dataset[0, position[paths[i]]][2][0] for i in wrong + right])
    titles = [
        f"{'right' if best[i] == labels[i] else 'WRONG'}: {names[best[i]]}"
        + ("" if best[i] == labels[i] else f", is: {names[labels[i]]}")
        for i in wrong + right
    ]
    return clips, titles


def order_free_chance(setup: Setup) -> float:
    """Highest accuracy in percent of a network that cannot see the order of a stand-in's frames."""
    pairs = setup.reversed_labels or (-1,) * setup.cfg.num_classes
    chances = [1.0 if pairs[entry.label] < 0 else 0.5 for entry in setup.val_list.entries]
    return 100 * float(np.mean(chances))
