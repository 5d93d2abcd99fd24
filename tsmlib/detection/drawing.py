"""Draw detections into their frame."""

from pathlib import Path

import matplotlib
import numpy as np
import torch
from torchvision.utils import draw_bounding_boxes

from ..online.drawing import LINES, MIN_LETTERS, SMALLEST
from .detector import Detection

FONT = Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf"


def draw_detections(
    picture: np.ndarray, detections: Detection, class_names: tuple[str, ...]
) -> np.ndarray:
    """Draw boxes with class and score into uint8 `[H, W, 3]`; small pictures are enlarged.

    Returns:
        uint8 `[H', W', 3]` with even sides, as encoders want them.
    """
    factor = -(-SMALLEST // min(picture.shape[:2]))
    picture = picture.repeat(factor, 0).repeat(factor, 1)
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    image = torch.from_numpy(picture[:height, :width]).permute(2, 0, 1)
    labels, scores = detections["labels"].tolist(), detections["scores"].tolist()
    if not labels:  # torchvision would warn
        return picture[:height, :width]
    texts = [f"{class_names[i - 1]} {100 * s:.0f} %" for i, s in zip(labels, scores, strict=True)]
    colors = [matplotlib.colors.to_hex(f"C{i - 1}") for i in labels]
    drawn = draw_bounding_boxes(
        image, detections["boxes"] * factor, texts, colors, width=2, font=str(FONT),
        font_size=max(MIN_LETTERS, min(height, width) // LINES),
    )  # fmt: skip
    return drawn.permute(1, 2, 0).numpy()
