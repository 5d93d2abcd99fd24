"""Where the detections in a stream go: a table, or COCO's JSON."""

import csv
import json
from pathlib import Path
from typing import Any

from ..configs import ConfigError
from ..results import write_atomic
from .detections import list_detections
from .play import DetectedFrame

COLUMNS = ("frame", "time", "class", "score", "x1", "y1", "x2", "y2")


class DetectionCsv:
    """Writes one row per object; what is written survives whatever ends the process.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, class_names: tuple[str, ...]):
        try:
            self._file = path.open("w", newline="", encoding="utf-8", buffering=1)  # by lines
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
        self._names, self._table = class_names, csv.writer(self._file, lineterminator="\n")
        self._table.writerow(COLUMNS)

    def write(self, answer: DetectedFrame) -> None:
        """Add the objects of a frame."""
        for label, score, *box in list_detections(answer.detections):
            name, edges = self._names[label - 1], (f"{edge:.2f}" for edge in box)
            self._table.writerow(
                (answer.number, f"{answer.time:.3f}", name, f"{score:.4f}", *edges)
            )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class CocoJson:
    """Writes `images`, `categories` and `annotations` with scores, in COCO's form, at its end."""

    def __init__(self, path: Path, class_names: tuple[str, ...]):
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
        """Write the file."""
        content: dict[str, Any] = {"images": self._images, "categories": self._categories}
        write_atomic(self._path, json.dumps(content | {"annotations": self._annotations}) + "\n")
