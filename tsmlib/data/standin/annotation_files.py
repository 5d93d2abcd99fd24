"""Names and annotation files of a stand-in, in the official form of its data set (official.py)."""

import json
from pathlib import Path

from ...configs import Config
from ...paths import write_whole
from ..prepare.official_annotations import annotations_folder

Listed = tuple[str, str, int, int]  # split, path below the media folder, label, frames


def clip_path(dataset: str, name: str, number: int) -> str:
    """Path of a clip of class `name` below the folder of media, without suffix."""
    if dataset == "k400":
        return f"{name.replace(' ', '_')}/standin{number:06d}_000000_000010"
    if dataset == "diving48":
        return f"standin{number:06d}_00001"
    if dataset == "hmdb51":
        return f"{name}/standin_{name}_{number:06d}"
    if dataset == "ucf101":
        return f"{name}/v_{name}_g{number // 100:03d}_c{number % 100:02d}"
    return str(100_001 + number)


def write_annotations(cfg: Config, root: Path, clips: list[Listed]) -> None:
    """The annotation files of a stand-in whose classes are `cfg.class_names`."""
    folder = annotations_folder(cfg.dataset, root)
    for file, text in _WRITERS[cfg.dataset](cfg.class_names, clips).items():
        write_whole(folder / file, text)


def _k400(names: tuple[str, ...], clips: list[Listed]) -> dict[str, str]:
    files = {}
    for split in ("train", "val"):
        lines = ["label,youtube_id,time_start,time_end,split"]
        for _, path, label, _ in _of(clips, split):
            video, start, end = path.split("/")[1].rsplit("_", 2)
            lines.append(f"{names[label]},{video},{int(start)},{int(end)},{split}")
        files[f"kinetics_{split}.csv"] = "\n".join(lines) + "\n"
    return files


def _sthv1(names: tuple[str, ...], clips: list[Listed]) -> dict[str, str]:
    return _numbered_lines("something-something-v1", names, clips)


def _jester(names: tuple[str, ...], clips: list[Listed]) -> dict[str, str]:
    return _numbered_lines("jester-v1", names, clips)


def _numbered_lines(stem: str, names: tuple[str, ...], clips: list[Listed]) -> dict[str, str]:
    files = {f"{stem}-labels.csv": "\n".join(names) + "\n"}
    for split, word in (("train", "train"), ("val", "validation")):
        lines = (f"{path};{names[label]}\n" for _, path, label, _ in _of(clips, split))
        files[f"{stem}-{word}.csv"] = "".join(lines)
    return files


def _sthv2(names: tuple[str, ...], clips: list[Listed]) -> dict[str, str]:
    stem = "something-something-v2"
    files = {f"{stem}-labels.json": json.dumps({name: str(i) for i, name in enumerate(names)})}
    for split, word in (("train", "train"), ("val", "validation")):
        entries = [
            {"id": path, "template": names[label].replace("something", "[something]")}
            for _, path, label, _ in _of(clips, split)
        ]
        files[f"{stem}-{word}.json"] = json.dumps(entries, indent=0) + "\n"
    return files


def _diving48(names: tuple[str, ...], clips: list[Listed]) -> dict[str, str]:
    files = {"Diving48_vocab.json": json.dumps([name.split("+") for name in names])}
    for split, word in (("train", "train"), ("val", "test")):
        entries = [
            {"vid_name": path, "label": label, "start_frame": 0, "end_frame": frames}
            for _, path, label, frames in _of(clips, split)
        ]
        files[f"Diving48_V2_{word}.json"] = json.dumps(entries, indent=0) + "\n"
    return files


def _hmdb51(names: tuple[str, ...], clips: list[Listed]) -> dict[str, str]:
    flags = {"train": 1, "val": 2}
    files = {f"{name}_test_split1.txt": "" for name in names}
    for split, path, label, _ in clips:
        video = path.split("/")[1]
        files[f"{names[label]}_test_split1.txt"] += f"{video}.avi {flags[split]} \n"
    return files


def _ucf101(names: tuple[str, ...], clips: list[Listed]) -> dict[str, str]:
    numbered = (f"{i} {name}\n" for i, name in enumerate(names, 1))
    train = (f"{path}.avi {label + 1}\n" for _, path, label, _ in _of(clips, "train"))
    test = (f"{path}.avi\n" for _, path, _, _ in _of(clips, "val"))
    return {
        "classInd.txt": "".join(numbered),
        "trainlist01.txt": "".join(train),
        "testlist01.txt": "".join(test),
    }


def _of(clips: list[Listed], split: str) -> list[Listed]:
    return [clip for clip in clips if clip[0] == split]


_WRITERS = {
    "k400": _k400, "sthv1": _sthv1, "sthv2": _sthv2, "jester": _jester, "diving48": _diving48,
    "hmdb51": _hmdb51, "ucf101": _ucf101,
}  # fmt: skip
