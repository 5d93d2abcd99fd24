"""Write what a detector has found: as a table, and as COCO's JSON of results."""

import gzip
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch

from ..results import write_atomic
from .detector import Detection
from .vid_dataset import VidDataset

BOX = ["x1", "y1", "x2", "y2"]
COLUMNS = ["video", "frame", "label", "score", *BOX]


def write_detections(
    file: Path, videos: Sequence[Sequence[Detection]], dataset: VidDataset
) -> Path:
    """Write the detections of each frame of a data set's videos as csv.gz; one row each.

    Boxes are rounded to a tenth of a pixel.
    """
    rows = [
        (entry.name, frame, label, f"{score:.4f}", *(f"{side:.1f}" for side in box))
        for entry, frames in zip(dataset.videos, videos, strict=True)
        for frame, found in enumerate(frames)
        for label, score, *box in list_detections(found)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False)
    write_atomic(file, gzip.compress(table.encode(), mtime=0))
    return file


def read_detections(file: Path, dataset: VidDataset) -> list[list[Detection]]:
    """Read what `write_detections` wrote: the detections of each frame of each video."""
    table = pd.read_csv(file)
    groups = dict(list(table.groupby(["video", "frame"])))
    empty = table.iloc[:0]
    return [
        [_to_detection(groups.get((entry.name, i), empty)) for i in range(entry.num_frames)]
        for entry in dataset.videos
    ]


def list_detections(found: Detection) -> Iterator[tuple]:
    """Yield label, score, x1, y1, x2 and y2 of each detection of a frame."""
    for label, score, box in zip(
        found["labels"].tolist(), found["scores"].tolist(), found["boxes"].tolist(), strict=True
    ):
        yield label, score, *box


def _to_detection(rows: pd.DataFrame) -> Detection:
    return {
        "boxes": torch.tensor(rows[BOX].to_numpy(), dtype=torch.float32).reshape(-1, 4),
        "labels": torch.tensor(rows["label"].to_numpy(), dtype=torch.int64),
        "scores": torch.tensor(rows["score"].to_numpy(), dtype=torch.float32),
    }
