"""Text files of a stand-in: annotations in the official form of its data set, and its lists."""

import json
from pathlib import Path

from ...configs import DATASETS, Config
from ...configs.datasets import SPLITS, Official
from .plan import StandinClip


def compose_annotations(cfg: Config, root: Path, clips: list[StandinClip]) -> dict[Path, str]:
    """Compose the annotation files of a stand-in whose classes are `cfg.class_names`."""
    dataset = DATASETS[cfg.dataset]
    folder, official = dataset.annotations_folder(root), dataset.official
    files = WRITERS[official.form](official, cfg.class_names, clips)
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


def _k400(official: Official, names: tuple[str, ...], clips: list[StandinClip]) -> dict[str, str]:
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


WRITERS = {  # by the form of the annotations (configs/datasets.py)
    "kinetics": _k400, "lines of labels": _lines_of_labels, "templates": _templates,
    "diving48": _diving48, "hmdb51": _hmdb51, "ucf101": _ucf101,
}  # fmt: skip
