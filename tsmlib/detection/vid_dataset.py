"""ImageNet VID as it is published, and the mix with ImageNet DET on which detectors are trained.

    Data/VID/val/ILSVRC2015_val_00000000/000000.JPEG
    Annotations/VID/val/ILSVRC2015_val_00000000/000000.xml
    ImageSets/VID/val.txt, train_1.txt ... train_30.txt

Training takes 15 frames of every video and, of DET, at most 2,000 pictures of each of the 30
classes, as FGFA does (its lists VID_train_15frames and DET_train_30classes), and DFF, MEGA and
mmtracking after it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import simplejpeg
from torch import Tensor
from torch.utils.data import ConcatDataset, Dataset

from ..data.annotations import DataError
from ..data.video import FrameFolder, explain_error
from .vid_annotations import VID_CLASSES, Target, read_annotation

FRAME = "{:06}.JPEG"
HEADER = 4096  # bytes in which the size of nearly every picture is
Window = tuple[Tensor, list[Target]]  # uint8 [T, 3, H, W], the objects of each frame


@dataclass(frozen=True)
class VidVideo:
    """A video: its name below `Data/VID/<split>`, and its length.

    Of a stand-in it is known what each frame suffers from ('' for a clean one), and which videos
    are one rendering.
    """

    name: str
    num_frames: int
    degradations: tuple[str, ...] | None = None
    rendering: int | None = None


class VidDataset(Dataset):
    """Windows of consecutive frames of VID's videos, evenly spread over each.

    A window ends in the middle of its share of the video (FGFA: frames 10, 30, 50 ... of 300) and
    holds that frame and its past; before the beginning of the video its first frame is repeated.

    Args:
        root: the folder that holds `Data`, `Annotations` and `ImageSets`.
        split: `train` or `val`.
        num_frames: T of a window.
        windows_per_video: windows of each video.
        classes: names by WordNet id; label i is the i-th.

    Raises:
        DataError: no lists, no such video, or a video that lacks a frame.
    """

    def __init__(
        self, root: str | Path, split: str, num_frames: int = 8, windows_per_video: int = 15,
        classes: Mapping[str, str] = VID_CLASSES,
    ):  # fmt: skip
        self.root, self.split, self._classes = Path(root), split, dict(classes)
        self.classes = list(classes.values())
        self.num_frames, self.windows_per_video = num_frames, windows_per_video
        facts = _standin_facts(self.root, split)
        self.videos = [
            VidVideo(name, count_frames(self._folder("Data", name)), **facts.get(name, {}))
            for name in list_videos(self.root, split)
        ]

    def __len__(self) -> int:
        return len(self.videos) * self.windows_per_video

    def __getitem__(self, index: int) -> Window:
        video, part = divmod(range(len(self))[index], self.windows_per_video)
        length = self.videos[video].num_frames
        last = int((part + 0.5) * length / self.windows_per_video)
        return self.read(video, np.arange(last - self.num_frames + 1, last + 1).clip(0).tolist())

    def read(self, video: int, frames: Sequence[int] | None = None) -> Window:
        """Read frames of a video, all of them by default.

        Raises:
            VideoError: a frame cannot be decoded.
            DataError: an annotation cannot be read, or is of a picture of another size.
        """
        entry = self.videos[video]
        frames = range(entry.num_frames) if frames is None else frames
        folder = self._folder("Data", entry.name)
        pictures = FrameFolder(folder, entry.num_frames, FRAME, 0).frames(list(frames))
        return pictures.permute(0, 3, 1, 2), [
            self._target(entry, frame, tuple(pictures.shape[1:3])) for frame in frames
        ]

    def read_targets(self, video: int) -> list[Target]:
        """Read the objects of all frames of a video, without its pictures."""
        entry = self.videos[video]
        return [self._target(entry, frame) for frame in range(entry.num_frames)]

    def _target(self, video: VidVideo, frame: int, size: tuple[int, int] | None = None) -> Target:
        file = self._folder("Annotations", video.name) / f"{frame:06}.xml"
        annotated, target = read_annotation(file, self._classes)
        _check_size(file, annotated, size)
        return target

    def _folder(self, kind: str, video: str) -> Path:
        return self.root / kind / "VID" / self.split / video


class DetPictures(Dataset):
    """Pictures of ImageNet DET that show VID's classes, as windows of a video that stands still.

    FGFA's list `ImageSets/DET_train_30classes.txt` is followed where it is there. Otherwise the
    folders of the classes are, which hold the pictures that show the class; of those with more
    than `per_class`, evenly spaced ones are taken.

    Args:
        root: the folder that holds `Data`, `Annotations` and `ImageSets`.
        num_frames: T of a window.
        per_class: pictures of a class, at most.

    Raises:
        DataError: there is no such picture.
    """

    classes = list(VID_CLASSES.values())

    def __init__(self, root: str | Path, num_frames: int = 8, per_class: int = 2000):
        self.root, self.num_frames = Path(root), num_frames
        listed = self.root / "ImageSets" / "DET_train_30classes.txt"
        if listed.is_file():
            self.names = _first_words(listed)
        else:
            self.names = [n for c in VID_CLASSES for n in self._pictures_of(c, per_class)]
        if not self.names:
            raise DataError(f"{self.root / 'Data/DET/train/ILSVRC2013_train'} has no pictures")

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Window:
        name = self.names[index]
        file = self.root / "Data" / "DET" / f"{name}.JPEG"
        picture = FrameFolder(file.parent, 1, file.name, 0).frames([0])[0].permute(2, 0, 1)
        annotation = self.root / "Annotations" / "DET" / f"{name}.xml"
        size, target = read_annotation(annotation, VID_CLASSES, skip_others=True)
        _check_size(annotation, size, tuple(picture.shape[1:]))
        frames = picture.expand(self.num_frames, -1, -1, -1)
        return frames, [target] * self.num_frames

    def _pictures_of(self, wordnet_id: str, per_class: int) -> list[str]:
        folder = self.root / "Data" / "DET" / "train" / "ILSVRC2013_train" / wordnet_id
        names = sorted(file.stem for file in folder.glob("[!.]*.JPEG"))
        kept = np.linspace(0, len(names), min(len(names), per_class), endpoint=False).astype(int)
        return [f"train/ILSVRC2013_train/{wordnet_id}/{names[i]}" for i in kept]


def training_mix(
    root: str | Path, num_frames: int = 8, windows_per_video: int = 15
) -> ConcatDataset:
    """Join the windows of VID and DET on which FGFA's detectors are trained."""
    videos = VidDataset(root, "train", num_frames, windows_per_video)
    return ConcatDataset([videos, DetPictures(root, num_frames)])


def list_videos(root: Path, split: str) -> list[str]:
    """Read the names of a split's videos from its lists, which name videos or all their frames.

    Raises:
        DataError: there is no list, or an empty one, or one that cannot be read.
    """
    folder = root / "ImageSets" / "VID"
    files = [*folder.glob(f"{split}.txt"), *folder.glob(f"{split}_*.txt")]
    if not files:
        raise DataError(f"{folder} has no list {split}.txt and no {split}_1.txt: is {root} right?")
    names = set()
    for file in files:
        for word in _first_words(file):
            folder_of, _, last = word.rpartition("/")
            names.add(folder_of if len(last) == 6 and last.isdigit() else word)
    if not names:
        raise DataError(f"the lists {split}*.txt of {folder} are empty")
    return sorted(names)


def count_frames(folder: Path) -> int:
    """Count the frames of a video.

    Raises:
        DataError: there is none, or one is missing among them.
    """
    if not folder.is_dir():
        raise DataError(f"there is no video {folder}, though a list names it")
    names = {file.name for file in folder.iterdir() if file.name.endswith(".JPEG")}
    present = {name for name in names if not name.startswith(".")}  # macOS adds ._000000.JPEG
    missing = next(i for i in range(len(present) + 1) if FRAME.format(i) not in present)
    if not present or missing < len(present):
        raise DataError(f"{folder / FRAME.format(missing)} is missing: unpack the video again")
    return len(present)


def find_faults(
    root: str | Path, split: str, classes: Mapping[str, str] = VID_CLASSES
) -> Iterator[str]:
    """Read all annotations of a split and yield its faults; of a picture its size alone is read."""
    root = Path(root)
    for name in list_videos(root, split):
        folder, annotations = (root / k / "VID" / split / name for k in ("Data", "Annotations"))
        try:
            num_frames = count_frames(folder)
        except DataError as error:
            yield str(error)
            continue
        for frame in range(num_frames):
            try:
                file = annotations / f"{frame:06}.xml"
                size, _ = read_annotation(file, classes)
                _check_size(file, size, _read_size(folder / FRAME.format(frame)))
            except DataError as error:
                yield str(error)


def _first_words(file: Path) -> list[str]:
    """Read the first word of each line of a list that is not empty."""
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file} cannot be read as UTF-8 text: {explain_error(error)}") from None
    return [words[0] for words in map(str.split, lines) if words]


def _read_size(file: Path) -> tuple[int, int]:
    """Read height and width of a picture; most files have them within the first bytes."""
    try:
        with file.open("rb") as opened:
            start = opened.read(HEADER)
            try:
                return simplejpeg.decode_jpeg_header(start)[:2]
            except ValueError:
                return simplejpeg.decode_jpeg_header(start + opened.read())[:2]
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read: {explain_error(error)}") from None


def _check_size(file: Path, annotated: tuple[int, int], size: tuple[int, int] | None) -> None:
    if size is not None and size != annotated:
        text = " and ".join(f"{width} x {height}" for height, width in (annotated, size))
        raise DataError(f"{file} and its picture differ in size: {text}")


def _standin_facts(root: Path, split: str) -> dict[str, dict]:
    """Read what a stand-in knows of its videos, by name; real data have no such file."""
    file = root / "Annotations" / "VID" / f"standin_{split}.csv"
    if not file.is_file():
        return {}
    table = pd.read_csv(file, keep_default_na=False)
    return {
        name: {
            "degradations": tuple(rows.degradation),
            "rendering": int(rows.rendering.iloc[0]),
        }
        for name, rows in table.groupby("video")
    }
