"""Write what a detector has found: as a table, and as COCO's JSON of results."""

import csv
import gzip
import io
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from ..paths import display_path
from ..records import ResultsError
from ..results import write_atomic
from .detector import Detection
from .vid_dataset import VidDataset

log = logging.getLogger(__name__)

BOX = ["x1", "y1", "x2", "y2"]
COLUMNS = ["video", "frame", "label", "score", *BOX]


def write_detections(
    file: Path, videos: Sequence[Sequence[Detection]], dataset: VidDataset
) -> Path:
    """Write the detections of each frame of a data set's videos as csv.gz; one row each.

    Boxes are rounded to a tenth of a pixel.
    """
    content = io.BytesIO()  # compressed row by row: VID's millions of rows would fill the memory
    with (
        gzip.GzipFile("", "wb", fileobj=content, mtime=0) as packed,
        io.TextIOWrapper(packed, encoding="utf-8", newline="") as text,
    ):
        table = csv.writer(text, lineterminator="\n")
        table.writerow(COLUMNS)
        for entry, frames in zip(dataset.videos, videos, strict=True):
            for frame, found in enumerate(frames):
                for label, score, *box in list_detections(found):
                    sides = (f"{side:.1f}" for side in box)
                    table.writerow((entry.name, frame, label, f"{score:.4f}", *sides))
    write_atomic(file, content.getbuffer())
    return file


def read_detections(file: Path, dataset: VidDataset) -> list[list[Detection]]:
    """Read what `write_detections` wrote: the detections of each frame of each video.

    Raises:
        ResultsError: they are of a video or a frame that the data set does not have.
    """
    table = pd.read_csv(file)
    _check_videos(file, table, dataset)
    values = {
        "boxes": torch.tensor(table[BOX].to_numpy("float32")),
        "labels": torch.tensor(table["label"].to_numpy("int64")),
        "scores": torch.tensor(table["score"].to_numpy("float32")),
    }
    rows, none = table.groupby(["video", "frame"]).indices, np.empty(0, "int64")
    return [
        [_take(values, rows.get((entry.name, i), none)) for i in range(entry.num_frames)]
        for entry in dataset.videos
    ]


def _take(values: Detection, rows: np.ndarray) -> Detection:
    """Take some rows of the detections of all frames."""
    return {name: tensor[torch.from_numpy(rows)] for name, tensor in values.items()}


def _check_videos(file: Path, table: pd.DataFrame, dataset: VidDataset) -> None:
    """Check that detections are of videos of a data set; a video without any gives a warning."""
    lengths = {entry.name: entry.num_frames for entry in dataset.videos}
    strange = table[~(table["frame"] < table["video"].map(lengths))]  # NaN: no such video
    if len(strange):
        video, frame = strange.iloc[0][["video", "frame"]]
        raise ResultsError(
            f"{file} is of other data than {dataset.root}, which have no frame {frame} of a video "
            f"{video}; name the data that the detector was tested on"
        )
    if without := lengths.keys() - {*table["video"]}:
        count = f"{len(without)} of {len(lengths)} videos"
        log.warning("%s has no detections in %s, as %s", display_path(file), count, min(without))


def list_detections(found: Detection) -> Iterator[tuple]:
    """Yield label, score, x1, y1, x2 and y2 of each detection of a frame."""
    for label, score, box in zip(
        found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True
    ):
        yield label, score, *box
