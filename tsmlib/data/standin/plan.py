"""Plan of a stand-in: which clips it has, how each is drawn, played and labelled, and the text of
the annotation files, in the official form of its data set, and of the lists that name them.
"""

import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

from ...configs import DATASETS, Config, ConfigError, standin_names
from ...configs.datasets import SPLITS, Official
from .scenes import make_rng

# No length is a multiple of 16: so with 8 or 16 segments uniform sampling takes, in a test, the
# same frames of a clip and of its reversal. With 4 it does not at length 24, nor in the second
# clip of `twice_sample`. Dense sampling needs 64 frames and more.
LENGTHS = {"temporal": (18, 20, 24, 27, 30), "scene": (66, 70, 76)}
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
    `standin_clips`, numbers of clips, replace the numbers of renderings of its data set.

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
    """Plan so many clips, or the clips of so many renderings; scenes train on each pair twice."""
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


# --- annotations and lists ------------------------------------------------------------------------


def compose_annotations(cfg: Config, root: Path, clips: list[StandinClip]) -> dict[Path, str]:
    """Compose the annotation files of a stand-in whose classes are `cfg.class_names`."""
    dataset = DATASETS[cfg.dataset]
    folder, official = dataset.annotations_folder(root), dataset.official
    files = ANNOTATIONS[official.form](official, cfg.class_names, clips)
    return {folder / name: text for name, text in files.items()}


def compose_lists(cfg: Config, root: Path, clips: list[StandinClip]) -> dict[Path, str]:
    """Compose the list files, as `prepare.write_lists` makes them from the annotations."""
    files = {}
    for split in SPLITS:
        listed = _select(clips, split)
        if "<class>" in getattr(DATASETS[cfg.dataset].official, split):
            listed.sort(key=lambda clip: clip.label)  # annotated in a file per class
        lines = (
            f"{clip.path}.mp4 {clip.label}\n" if cfg.layout == "video"
            else f"{clip.path} {clip.num_frames} {clip.label}\n"
            for clip in listed
        )  # fmt: skip
        files[root / getattr(cfg, f"{split}_list")] = "".join(lines)
    return files


def _kinetics(
    official: Official, names: tuple[str, ...], clips: list[StandinClip]
) -> dict[str, str]:
    files = {}
    for split in SPLITS:
        lines = ["label,youtube_id,time_start,time_end,split"]
        for clip in _select(clips, split):
            video, start, end = clip.path.split("/")[1].rsplit("_", 2)
            lines.append(f"{names[clip.label]},{video},{int(start)},{int(end)},{split}")
        files[getattr(official, split)] = "\n".join(lines) + "\n"
    return files


def _lines_of_labels(
    official: Official, names: tuple[str, ...], clips: list[StandinClip]
) -> dict[str, str]:
    files = {f"{official.train.rsplit('-', 1)[0]}-labels.csv": "\n".join(names) + "\n"}
    for split in SPLITS:
        lines = (f"{clip.path};{names[clip.label]}\n" for clip in _select(clips, split))
        files[getattr(official, split)] = "".join(lines)
    return files


def _templates(
    official: Official, names: tuple[str, ...], clips: list[StandinClip]
) -> dict[str, str]:
    numbers = {name: str(i) for i, name in enumerate(names)}
    files = {f"{official.train.rsplit('-', 1)[0]}-labels.json": json.dumps(numbers)}
    for split in SPLITS:
        entries = [
            {"id": clip.path, "template": names[clip.label].replace("something", "[something]")}
            for clip in _select(clips, split)
        ]
        files[getattr(official, split)] = json.dumps(entries, indent=0) + "\n"
    return files


def _diving48(
    official: Official, names: tuple[str, ...], clips: list[StandinClip]
) -> dict[str, str]:
    files = {"Diving48_vocab.json": json.dumps([name.split("+") for name in names])}
    for split in SPLITS:
        entries = [
            {"vid_name": c.path, "label": c.label, "start_frame": 0, "end_frame": c.num_frames}
            for c in _select(clips, split)
        ]
        files[getattr(official, split)] = json.dumps(entries, indent=0) + "\n"
    return files


def _hmdb51(official: Official, names: tuple[str, ...], clips: list[StandinClip]) -> dict[str, str]:
    flags = {"train": 1, "val": 2}
    files = {official.train.replace("<class>", name): "" for name in names}
    for clip in clips:
        file, video = official.train.replace("<class>", names[clip.label]), clip.path.split("/")[1]
        files[file] += f"{video}.avi {flags[clip.split]} \n"
    return files


def _ucf101(official: Official, names: tuple[str, ...], clips: list[StandinClip]) -> dict[str, str]:
    numbered = (f"{i} {name}\n" for i, name in enumerate(names, 1))
    train = (f"{clip.path}.avi {clip.label + 1}\n" for clip in _select(clips, "train"))
    test = (f"{clip.path}.avi\n" for clip in _select(clips, "val"))
    return {
        "classInd.txt": "".join(numbered),
        official.train: "".join(train),
        official.val: "".join(test),
    }


def _select(clips: list[StandinClip], split: str) -> list[StandinClip]:
    return [clip for clip in clips if clip.split == split]


ANNOTATIONS = {  # by the form of the annotations (configs/datasets.py)
    "kinetics": _kinetics, "lines of labels": _lines_of_labels, "templates": _templates,
    "diving48": _diving48, "hmdb51": _hmdb51, "ucf101": _ucf101,
}  # fmt: skip
