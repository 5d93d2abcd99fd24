"""What needs no learning on push-ups: the sign of the vertical motion of the whole image.

python -c "from tsmlib.study.vertical_motion import *; write_motions('pushup_phases')"
"""

from itertools import islice
from pathlib import Path

import pandas as pd
from torch import Tensor

from ..data.annotations import read_list
from ..data.video import VideoFile
from ..paths import results_folder, write_whole
from .plan import get_study
from .stored_frames import recording_of


def vertical_motion(frames: Tensor) -> float:
    """Estimate how far the image moves down from frame to frame, in pixels.

    The least-squares solution of the brightness constancy equation for one vertical motion of all
    pixels of all frames (Lucas and Kanade 1981), v = - sum(I_y I_t) / sum(I_y^2).

    Args:
        frames: uint8 `[T, H, W, 3]`.
    """
    light = frames.float().mean(-1)
    along_time = light.diff(dim=0)[:, 1:-1]
    middle = (light[1:] + light[:-1]) / 2
    down = (middle[:, 2:] - middle[:, :-2]) / 2
    return float(-(down * along_time).sum() / down.square().sum().clamp(min=1e-6))


def measure_motions(root: str | Path, limit: int | None = None) -> pd.DataFrame:
    """Measure the tested clips of `pushups2`: `path`, `group`, `label` (0 down, 1 up), `motion`.

    Args:
        root: folder of the videos and lists.
        limit: number of clips; None: all.
    """
    folds = get_study("pushups").arms["none"].folds
    rows = []
    entries = read_list(Path(root) / "val_order2.txt", "video", 2)[1]
    for entry in islice(entries, limit):
        video = VideoFile(Path(root) / "videos" / entry.path)
        motion = vertical_motion(video.frames(list(range(video.num_frames))))
        group = folds.group_of(recording_of(entry.path))
        rows.append([entry.path, group, entry.label, round(motion, 4)])
    return pd.DataFrame(rows, columns=["path", "group", "label", "motion"])


def write_motions(root: str | Path) -> None:
    """Write results/pushups/vertical_motion.csv from a folder of the videos."""
    text = measure_motions(root).to_csv(index=False)
    write_whole(results_folder() / "pushups" / "vertical_motion.csv", text)
