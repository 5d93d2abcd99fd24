"""A stand-in of ImageNet VID, in its layout, in which a degraded frame alone does not tell classes.

Objects of a pair of classes differ in the stripes they bear, level or upright. Each rendering gives
two videos, in which all objects are of the one or of the other class. Spells of frames are blurred,
drowned in noise or behind a fence, and hide the stripes: these are not drawn there, so that a
degraded frame is the same picture in both videos. A detector that sees single frames is at chance
within pairs there by construction; one that remembers a clean frame before need not be.

Boxes are exact: objects are drawn on whole pixels, fill their boxes and never overlap.
"""

import hashlib
import shutil
from pathlib import Path

import pandas as pd
from filelock import FileLock
from torch import Tensor

from ..data.annotations import DataError
from ..data.standin import rendering, scenes
from ..data.video import encode_frames, write_frames
from ..locks import wait_for
from ..paths import cache_folder
from ..progress import track
from . import standin_scenes
from .standin_scenes import (
    FIRST_OF_VAL,
    PAIRS,
    SPLITS,
    DetectionStandin,
    MovingObject,
    draw_videos,
    plan_rendering,
)
from .vid_annotations import VID_CLASSES
from .vid_dataset import FRAME

STANDIN_CLASSES = {
    wordnet_id: name
    for wordnet_id, name in VID_CLASSES.items()
    if any(name in pair for pair in PAIRS.values())
}


def prepare_detection_standin(
    standin: DetectionStandin | None = None, cache: Path | None = None
) -> Path:
    """Generate a stand-in where it is missing, and return the root of its data.

    Args:
        standin: what it is drawn from; None: the defaults.
        cache: the folder of all caches, with `standin/` in it; None: TSM_CACHE.

    Raises:
        DataError: it cannot be written.
    """
    standin = standin or DetectionStandin()
    root = (cache or cache_folder()) / "standin" / f"detection-{standin.seed}-{_version(standin)}"
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with wait_for(FileLock(f"{root}.lock")):
            if not root.is_dir():
                unfinished = root.with_suffix(".tmp")
                shutil.rmtree(unfinished, ignore_errors=True)  # of a run that was killed
                for split in SPLITS:
                    _write_split(standin, unfinished, split)
                unfinished.rename(root)
    except OSError as error:
        text = f"the stand-in cannot be written to {root} (free some space, or set TSM_CACHE)"
        raise DataError(f"{text}: {error.strerror}") from None
    return root


def _version(standin: DetectionStandin) -> str:
    """Hash whatever could change the files."""
    digest = hashlib.sha256(repr(standin).encode())
    for file in (__file__, standin_scenes.__file__, scenes.__file__, rendering.__file__):
        digest.update(Path(file).read_bytes())
    return digest.hexdigest()[:8]


# --- files in VID's layout ------------------------------------------------------------------------


def _write_split(standin: DetectionStandin, root: Path, split: str) -> None:
    """Draw and write the videos of a split, its lists, and what is known of each frame."""
    facts, lists = [], {}
    count = standin.renderings[SPLITS.index(split)]
    for i in track(range(count), f"drawing videos ({split})", "renderings"):
        number = i + FIRST_OF_VAL * (split == "val")
        rendering = plan_rendering(standin, number)
        for twin, frames in enumerate(draw_videos(standin, number, rendering)):
            name = _video_name(split, 2 * i + twin)
            labels = [PAIRS[o.shape][o.is_first == twin] for o in rendering.objects]
            _write_video(root, f"{split}/{name}", frames, rendering.objects, labels)
            facts += [(name, i, *frame) for frame in enumerate(rendering.degradations)]
            for label in set(labels):
                lists.setdefault(label, []).append(name)
    table = pd.DataFrame(facts, columns=["video", "rendering", "frame", "degradation"])
    table.to_csv(root / "Annotations" / "VID" / f"standin_{split}.csv", index=False)
    _write_lists(root / "ImageSets" / "VID", split, table, lists)


def _video_name(split: str, number: int) -> str:
    folder = "ILSVRC2015_VID_train_0000/" if split == "train" else ""
    return f"{folder}ILSVRC2015_{split}_{number:08}"


def _write_lists(
    folder: Path, split: str, table: pd.DataFrame, videos_by_class: dict[str, list[str]]
) -> None:
    """Write one list of videos per class for training, one of all frames for validation."""
    folder.mkdir(parents=True, exist_ok=True)
    if split == "val":
        names = table.video + table.frame.map("/{:06}".format)
        lines = [f"{name} {i}\n" for i, name in enumerate(names, 1)]
        (folder / "val.txt").write_text("".join(lines))
        return
    for i, name in enumerate(VID_CLASSES.values(), 1):
        lines = [f"{video} 1\n" for video in videos_by_class.get(name, [])]
        (folder / f"train_{i}.txt").write_text("".join(lines))


def _write_video(
    root: Path, name: str, frames: Tensor, objects: list[MovingObject], labels: list[str]
) -> None:
    pictures, annotations = (root / kind / "VID" / name for kind in ("Data", "Annotations"))
    pictures.mkdir(parents=True)
    annotations.mkdir(parents=True)
    write_frames(pictures, encode_frames(frames), FRAME, 0)
    wordnet_ids = {class_name: wordnet_id for wordnet_id, class_name in VID_CLASSES.items()}
    for i in range(len(frames)):
        boxes = [item.boxes[i].tolist() for item in objects]
        items = "".join(
            _OBJECT.format(number, wordnet_ids[label], box[2] - 1, box[0], box[3] - 1, box[1])
            for number, (label, box) in enumerate(zip(labels, boxes, strict=True))
        )
        text = _ANNOTATION.format(name.split("/", 1)[1], i, *frames.shape[2:0:-1], items)
        (annotations / f"{i:06}.xml").write_text(text)


_ANNOTATION = """<annotation>
	<folder>{}</folder>
	<filename>{:06}</filename>
	<source><database>ILSVRC_2015</database></source>
	<size><width>{}</width><height>{}</height></size>
{}</annotation>
"""
_OBJECT = """	<object>
		<trackid>{}</trackid>
		<name>{}</name>
		<bndbox><xmax>{}</xmax><xmin>{}</xmin><ymax>{}</ymax><ymin>{}</ymin></bndbox>
		<occluded>0</occluded>
		<generated>0</generated>
	</object>
"""
