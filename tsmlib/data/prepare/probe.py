"""Read every video of a list once: is it there, whole, and as long as the list says?"""

import math
import os
from pathlib import Path
from typing import NamedTuple

from torch import Generator
from torch.utils.data import DataLoader, Dataset

from ...configs import Config
from ...progress import track
from ..annotations import VideoEntry, VideoList
from ..shards import ShardIndex, open_sample
from ..video import FrameFolder, VideoError, VideoFile
from ..video_packets import MISSING_FRAMES
from .extraction import CHUNK
from .write_lists import count_frames

STALE = "write the lists again"


class ProbeResult(NamedTuple):
    """Result for an entry; frames and their size are 0 if it cannot be read."""

    position: int
    present: bool
    problem: str
    num_frames: int = 0
    height: int = 0
    width: int = 0


def probe_videos(
    cfg: Config, videos: VideoList, full: bool = False, workers: int | None = None, split: str = ""
) -> list[ProbeResult]:
    """Read every listed video, in processes, in the order of the list; see `check_data`."""
    dataset = _Probe(cfg, videos, full)
    workers = min(os.cpu_count() or 1 if workers is None else workers, len(dataset))
    loader = DataLoader(
        dataset, batch_size=None, num_workers=workers, in_order=False, generator=Generator()
    )
    name = f"checking {split or videos.prefix.name}"
    results = track(loader, name, "videos", len(dataset))
    return sorted(results, key=lambda result: result.position)


class _Probe(Dataset):
    """Reads one listed video per item (a data set, so that workers share it)."""

    def __init__(self, cfg: Config, videos: VideoList, full: bool):
        self.cfg, self.videos, self.full = cfg, videos, full
        self.shards = ShardIndex(videos.prefix) if videos.sharded else None

    def __len__(self) -> int:
        return len(self.videos.entries)

    def __getitem__(self, i: int) -> ProbeResult:
        entry = self.videos.entries[i]
        path = self.videos.prefix / entry.path
        if not (path.exists() if self.shards is None else entry.path in self.shards):
            return ProbeResult(i, False, "not on disk")
        try:
            path = self.videos.locate(entry)
            video, problem = self._open(path, entry)
            size = _decode(video, self.full)
        except (RuntimeError, ValueError) as error:  # VideoError, or what a decoder says
            reason = str(error).replace(f"{path}: ", "")
            return ProbeResult(i, True, f"damaged: {reason}")
        return ProbeResult(i, True, problem, video.num_frames, *size)

    def _open(self, path: Path, entry: VideoEntry) -> tuple[VideoFile | FrameFolder, str]:
        if self.shards is not None:
            return open_sample(self.shards, entry), ""
        if self.videos.is_file(entry):
            video = VideoFile(path, entry.num_frames)
            more = f"more frames: {video.num_frames}, the list says {entry.num_frames}; {STALE}"
            longer = video.num_frames * (1 - MISSING_FRAMES) > (entry.num_frames or math.inf)
            return video, more if longer else ""
        template, start = self.cfg.filename_tmpl, self.cfg.start_index
        count, _ = count_frames(path, template, start)
        if count < entry.num_frames:
            raise VideoError(f"{count} frames without a gap, the list promises {entry.num_frames}")
        more = f"more frames: {count}, the list says {entry.num_frames}; {STALE}"
        problem = more if count > entry.num_frames else ""
        root = self.videos.prefix if self.videos.confined else None
        return FrameFolder(path, entry.num_frames, template, start, root), problem


def _decode(video: VideoFile | FrameFolder, full: bool) -> tuple[int, int]:
    """Decode the first and the last frame, or all, and return their (height, width)."""
    last = video.num_frames - 1
    starts = range(0, last + 1, CHUNK)
    chunks = [range(i, min(i + CHUNK, last + 1)) for i in starts] if full else [(0, last)]
    sizes = {tuple(video.frames(list(chunk)).shape[1:3]) for chunk in chunks}
    if len(sizes) > 1:
        raise VideoError(f"frames differ in size: {sorted(sizes)}")
    return sizes.pop()
