"""Where the detections in a stream go: a table, or COCO's JSON."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..online.writers import RowWriter, check_writable, writing
from ..text import csv_cell
from .detections import list_detections
from .play import DetectedFrame

COLUMNS = ("frame", "time", "class", "score", "x1", "y1", "x2", "y2")


class DetectionCsv(RowWriter):
    """Writes one row per object."""

    def __init__(self, path: Path, class_names: Sequence[str]):
        super().__init__(path, COLUMNS)
        self._names = [csv_cell(name) for name in class_names]

    def write(self, answer: DetectedFrame) -> None:
        """Add the objects of a frame."""
        self.add_rows(
            (
                answer.number, f"{answer.time:.3f}", self._names[label - 1], f"{score:.4f}",
                *(f"{edge:.2f}" for edge in box),
            )
            for label, score, *box in list_detections(answer.detections)
        )  # fmt: skip


class CocoJson:
    """Writes `images`, `categories` and `annotations` with scores, in COCO's form, at its end.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, class_names: Sequence[str]):
        with writing(path):
            check_writable(path)
        self._path, self._images, self._annotations = path, [], []
        self._categories = [{"id": i, "name": name} for i, name in enumerate(class_names, 1)]

    def write(self, answer: DetectedFrame) -> None:
        """Add a frame and its objects."""
        height, width = answer.picture.shape[:2]
        image = {"id": answer.number, "file_name": f"{answer.number:06}", "width": width}
        self._images.append({**image, "height": height})
        for label, score, x1, y1, x2, y2 in list_detections(answer.detections):
            box = [round(edge, 2) for edge in (x1, y1, x2 - x1, y2 - y1)]
            self._annotations.append({
                "id": len(self._annotations) + 1, "image_id": answer.number, "category_id": label,
                "bbox": box, "area": round(box[2] * box[3], 2), "iscrowd": 0,
                "score": round(score, 4),
            })  # fmt: skip

    def close(self) -> None:
        """Write the file, if there was a frame."""
        if not self._images:
            return
        content: dict[str, Any] = {"images": self._images, "categories": self._categories}
        with writing(self._path):
            text = json.dumps(content | {"annotations": self._annotations})
            self._path.write_text(f"{text}\n", encoding="utf-8")
