"""Estimate what a row needs on a data set: hours, decoding cores for each device, disk.

Everything follows from measurements in results/benchmarks: a profile at full scale gives the
training step of a device, the benchmark gives the time of a clip from a stored video. What was not
measured is not estimated.
"""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from ..configs import Config
from ..data.annotations import VideoList
from ..results import ResultsError
from .profile import load_profiles

SAMPLE = 500  # media whose sizes stand for all
# the stored form of a clip, and its measurement in a benchmark
STORED = {"H.264, key frame every 12": "video_gop12", "H.264, every 250": "video_gop250",
          "JPEG frames": "jpeg_folder"}  # fmt: skip


def estimate_hours(
    cfg: Config, videos: int, folder: Path, devices: tuple[int, ...] = (1, 8)
) -> pd.DataFrame:
    """Estimate the hours of a row's training on each device that was measured.

    Hours are epochs x videos / (videos per second x devices): the step alone, as if loading were
    hidden, several devices scaled without loss, and validation and saving took no time. They are
    a lower bound.

    Args:
        cfg: the row.
        videos: in the training list.
        folder: of the records.
        devices: their numbers.

    Returns:
        Columns `device`, `devices`, `videos_per_second` (of one device), `hours`, `commit`; empty
        where the row was not profiled at full scale.
    """
    rows = []
    for file in sorted(folder.glob("*-rows.json")):
        profile = load_profiles(file).get(cfg.name, {}).get("full")
        steps = (profile or {}).get("training", [])
        rates = [step["per_second"] for step in steps if step["network"] == _network(cfg)]
        for count in devices if rates else ():
            hours = cfg.epochs * videos / (rates[0] * count) / 3600
            rows.append((profile["device"], count, rates[0], hours, profile["commit"]))
    columns = ["device", "devices", "videos_per_second", "hours", "commit"]
    return pd.DataFrame(rows, columns=columns)


def estimate_cores(videos_per_second: float, folder: Path) -> pd.DataFrame:
    """Estimate the cores that keep one training device busy, by how the clips are stored.

    Cores are videos per second x seconds of a clip x threads of the measurement: an upper bound, as
    two threads take less than half of the time of one.

    Returns:
        Columns `cpu`, `stored`, `ms` (of a clip), `threads`, `cores`, `commit`.
    """
    rows = []
    for file in sorted(folder.glob("*.json")):
        record = _read(file)
        for stored, name in STORED.items():
            laps = record.get("milliseconds", {}).get(name, {}).get("ours")
            if laps:
                ms, threads = float(pd.Series(laps).median()), record["threads"]
                cores = math.ceil(videos_per_second * ms / 1000 * threads)
                rows.append((record["device"], stored, ms, threads, cores, record["commit"]))
    columns = ["cpu", "stored", "ms", "threads", "cores", "commit"]
    return pd.DataFrame(rows, columns=columns)


def estimate_gigabytes(videos: VideoList) -> float:
    """Estimate the disk space of a list's media in GB, from SAMPLE of them spread over the list."""
    step = max(1, len(videos.entries) // SAMPLE)
    sizes = []
    for position in range(0, len(videos.entries), step):
        path = videos.prefix / videos.entries[position].path
        files = path.iterdir() if path.is_dir() else [path]
        sizes.append(sum(file.stat().st_size for file in files if file.is_file()))
    sizes = [size for size in sizes if size]  # some may be missing
    return len(videos.entries) * sum(sizes) / len(sizes) / 1e9 if sizes else math.nan


def _network(cfg: Config) -> str:
    return "TSM" if cfg.is_shift else "TSN"


def _read(file: Path) -> dict[str, Any]:
    try:
        record = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise ResultsError(f"{file} is no record: {error}; remove it") from None
    return record if isinstance(record, dict) else {}
