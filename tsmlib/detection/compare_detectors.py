"""Compare detectors on the same videos: by the speed of objects, on clean and degraded frames."""

from collections.abc import Sequence

import pandas as pd

from .detector import Detection
from .mean_average_precision import Matches, map_interval, match_by_speed, match_detections
from .motion_iou import motion_iou
from .vid_dataset import VidDataset

Videos = Sequence[Sequence[Detection]]  # what a detector finds in each frame of each video


def match_parts(videos: Videos, dataset: VidDataset) -> dict[str, Matches]:
    """Match detections with all objects, with those of each speed, and those of each kind of frame.

    The parts are `all`, `slow`, `medium`, `fast`; of a stand-in also `clean` and `degraded`.
    What is drawn anew for an interval is a video; of a stand-in the two of a rendering together.
    """
    targets = [dataset.read_targets(number) for number in range(len(dataset.videos))]
    clusters = [
        number if entry.rendering is None else entry.rendering
        for number, entry in enumerate(dataset.videos)
        for _ in range(entry.num_frames)
    ]
    found, objects = (_join(each) for each in (videos, targets))
    speeds = [values for video in targets for values in motion_iou(video)]
    count = len(dataset.classes)
    parts = match_by_speed(found, objects, clusters, count, speeds)
    if dataset.videos[0].degradations is not None:
        degraded = [bool(kind) for entry in dataset.videos for kind in entry.degradations]
        for name, wanted in (("clean", False), ("degraded", True)):
            chosen = [i for i, kind in enumerate(degraded) if kind == wanted]
            part = ([each[i] for i in chosen] for each in (found, objects, clusters))
            if chosen:
                parts[name] = match_detections(*part, count)
    return parts


def compare(
    detectors: Sequence[Videos], baselines: Sequence[Videos], dataset: VidDataset,
    replicates: int = 300,
) -> pd.DataFrame:  # fmt: skip
    """Tabulate the mAP of two detectors by part, with 95 % intervals over seeds and videos.

    Args:
        detectors: what a detector finds, for each of its seeds.
        baselines: what another one finds, for the same seeds.
        dataset: the videos.
        replicates: of the bootstrap, which draws seeds and videos anew, the same for both.

    Returns:
        One row per part of `match_parts`; columns `detector`, `baseline` and `gain`, each also
        with `_low` and `_high`.
    """
    matched = [[match_parts(each, dataset) for each in seeds] for seeds in (detectors, baselines)]
    rows = {}
    for part in matched[0][0]:
        ours, theirs = ([each[part] for each in seeds] for seeds in matched)
        values = {"detector": (ours,), "baseline": (theirs,), "gain": (ours, theirs)}
        rows[part] = {
            f"{name}{end}": value
            for name, pair in values.items()
            for end, value in zip(
                ("", "_low", "_high"), map_interval(*pair, replicates=replicates), strict=True
            )
        }
    return pd.DataFrame(rows).T.rename_axis("part")


def _join(videos: Sequence[Sequence]) -> list:
    return [frame for video in videos for frame in video]
