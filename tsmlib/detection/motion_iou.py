"""Speed of an object: its IoU with itself in nearby frames.

From FGFA (Zhu et al., Flow-Guided Feature Aggregation for Video Object Detection, ICCV 2017,
section 5.1), which tells slow, medium and fast objects of ImageNet VID apart by it.
"""

from collections.abc import Sequence

import numpy as np

from ..data.annotations import DataError
from .vid_annotations import Target

REACH = 10  # frames before and after
# least and greatest motion IoU; both belong to it, as in FGFA's imagenet_vid_eval_motion.py
SPEEDS = {"slow": (0.9, 1.0), "medium": (0.7, 0.9), "fast": (0.0, 0.7)}


def motion_iou(targets: Sequence[Target], reach: int = REACH) -> list[np.ndarray]:
    """Average the IoU of each object with itself in the frames around.

    Frames in which it is not seen, and its own frame, do not count. An object that is seen in no
    other frame has 0, as it has where FGFA's table is read.

    Args:
        targets: the objects of all frames of one video, with `boxes` and `track_ids`.
        reach: frames before and after.

    Returns:
        float `[K]` for each frame, in the order of its objects.

    Raises:
        DataError: a frame has two objects of one track.
    """
    ids = [target["track_ids"].numpy() for target in targets]
    tracks = np.unique(np.concatenate(ids)) if ids else np.empty(0)
    columns = [np.searchsorted(tracks, present) for present in ids]
    boxes = np.full((len(targets), len(tracks), 4), np.nan)
    for frame, (column, target) in enumerate(zip(columns, targets, strict=True)):
        if len(np.unique(column)) < len(column):
            raise DataError(f"frame {frame} has two objects of one track: {ids[frame].tolist()}")
        boxes[frame, column] = target["boxes"].numpy()
    total, count = np.zeros((2, *boxes.shape[:2]))
    for distance in range(1, min(reach, len(targets) - 1) + 1):
        iou = box_iou(boxes[distance:], boxes[:-distance])  # NaN where it is not seen in both
        for part in (slice(distance, None), slice(None, -distance)):
            total[part] += np.nan_to_num(iou)
            count[part] += ~np.isnan(iou)
    mean = total / np.maximum(count, 1)
    return [mean[frame, column] for frame, column in enumerate(columns)]


def box_iou(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Compute the IoU of boxes `[..., 4]`, xyxy, one by one; shapes are broadcast."""
    sides = np.minimum(first[..., 2:], second[..., 2:]) - np.maximum(
        first[..., :2], second[..., :2]
    )
    overlap = sides.clip(0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).prod(axis=-1) for boxes in (first, second)]
    return overlap / (areas[0] + areas[1] - overlap)
