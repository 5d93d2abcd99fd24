"""Load clips: the same ones for the same seed, whatever the number of workers."""

import logging
import math
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..configs import Config, views
from ..paths import frame_cache_folder
from .annotations import VideoEntry, VideoList
from .augmentation import augment_clip, fixed_crops
from .class_balance import balanced_order
from .frame_cache import CachedVideo
from .sampling import sample_indices
from .shards import ShardIndex, open_sample
from .video import FrameFolder, VideoError, VideoFile

log = logging.getLogger(__name__)

# keys beyond any position: SHUFFLE is for the order of an epoch, BLEND + step for a step's blending
SHUFFLE, BLEND = 2**40, 2**41
AGAIN = 2**32  # added to the epoch in the key of a video that is drawn again in it


@dataclass
class Batch:
    """The clips of a batch of videos, and those of its videos that could not be read."""

    clips: Tensor  # uint8 [N, views, T, h, w, 3]
    labels: Tensor  # int64 [N]
    index: Tensor  # int64 [N], positions in the list
    bad: list[tuple[int, str]]  # position in the list, reason

    def pin_memory(self) -> "Batch":
        clips, labels, index = (t.pin_memory() for t in (self.clips, self.labels, self.index))
        return Batch(clips, labels, index, self.bad)


class ClipDataset(Dataset):
    """The videos of a list as uint8 clips.

    The key of an item is `(epoch, position)`. Its random numbers depend on the key and the seed
    alone, so neither the order of work nor the number of workers changes it.
    """

    def __init__(self, videos: VideoList, cfg: Config, protocol: str | None = None, seed: int = 0):
        """Take a list and a test protocol; None stands for random training clips."""
        self.videos, self.cfg, self.protocol, self.seed = videos, cfg, protocol, seed
        self.shards = ShardIndex(videos.prefix) if videos.sharded else None

    def __len__(self) -> int:
        return len(self.videos.entries)

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int, Tensor | None, str]:
        """Return (position, label, uint8 `[views, T, h, w, 3]`, "").

        The clip of a video that cannot be read is None, with the reason in place of "".
        """
        epoch, position = key
        entry = self.videos.entries[position]
        try:
            clips, label = self._clips(entry, epoch, position)
        except VideoError as error:
            return position, entry.label, None, str(error)
        return position, label, clips, ""

    def open(self, entry: VideoEntry) -> VideoFile | FrameFolder | CachedVideo:
        """Open the frames of an entry, however they are stored; cached ones are resized."""
        path, cfg, folder = self.videos.locate(entry), self.cfg, frame_cache_folder()
        numbering, frame_file = (cfg.filename_tmpl, cfg.start_index), None
        open_video: Callable
        if self.shards is not None:
            open_video, path = partial(open_sample, self.shards, entry), self.videos.prefix
        elif self.videos.is_file(entry):
            open_video = partial(VideoFile, path, entry.num_frames)
        else:
            root = self.videos.prefix if self.videos.confined else None
            frames = FrameFolder(path, entry.num_frames, *numbering, root)
            open_video, frame_file = (lambda: frames), frames.file
        if folder is None or not path.exists():
            return open_video()
        training = self.protocol is None
        short_side = None if training and cfg.train_crop == "random_resized" else cfg.short_side
        key = repr((entry, numbering))
        return CachedVideo(folder, path, key, open_video, short_side, frame_file)

    def _clips(self, entry: VideoEntry, epoch: int, position: int) -> tuple[Tensor, int]:
        video, cfg = self.open(entry), self.cfg
        if self.protocol is None:
            generator, mended = make_generator(self.seed, epoch, position), cfg.mended_sampling
            index = sample_indices(
                video.num_frames, cfg.num_segments, cfg.sampling, True, generator=generator,
                keep_tail=mended, last_start=mended, wrap=not mended,
            )  # fmt: skip
            if cfg.shuffle_frames in ("train", "both"):
                index = _shuffled(index, generator)
            x, flipped = augment_clip(video.frames(index[0].tolist()), cfg, generator, self.seed)
            label = (cfg.flip_label_map or {}).get(entry.label, entry.label)
            return x.movedim(1, -1).contiguous()[None], label if flipped else entry.label
        return self._test_clips(video, position), entry.label

    def _test_clips(self, video: VideoFile | FrameFolder | CachedVideo, position: int) -> Tensor:
        """Cut uint8 `[views, T, h, w, 3]`: crops vary slowest, then clips (MMAction2's order)."""
        cfg, num_views = self.cfg, views(self.cfg, self.protocol)
        twice = num_views["clips"] == 2
        index = sample_indices(
            math.ceil(cfg.seen_share * video.num_frames),
            cfg.num_segments,
            "uniform" if twice else cfg.eval_sampling,
            clips=num_views["clips"],
            twice_sample=twice,
        )
        if cfg.shuffle_frames in ("test", "both"):
            index = _shuffled(index, make_generator(self.seed, 0, position))
        numbers = index.flatten().tolist()
        unique = sorted(set(numbers))  # decode and resize each frame once
        crops = fixed_crops(video.frames(unique), cfg, num_views["crops"], num_views["size"])
        frames = crops.movedim(2, -1).contiguous()
        if numbers != unique:  # whole frames, repeated or moved
            frames = frames.index_select(1, torch.from_numpy(np.searchsorted(unique, numbers)))
        return frames.unflatten(1, index.shape).flatten(0, 1)


def _shuffled(index: Tensor, generator: Generator) -> Tensor:
    """Put the frames of each clip of `[clips, T]` in random order, as a control."""
    orders = torch.rand(index.shape, generator=generator).argsort(1)
    return index.gather(1, orders)


class EpochSampler(Sampler):
    """Yields batches of `(epoch, position)`: shuffled in training, sharded over processes.

    Every process draws the same permutation and takes its own part of each step, so that several
    processes group videos as one that accumulates does. No video is repeated or dropped: the last
    batch may be smaller, or empty. With `labels`, one per video, classes are drawn equally often
    instead.
    """

    def __init__(
        self, length: int, batch: int, shuffle: bool, seed: int, rank: int, world: int,
        labels: Sequence[int] | None = None,
    ):  # fmt: skip
        self.labels = labels
        self.length, self.batch, self.shuffle, self.seed = length, batch, shuffle, seed
        self.rank, self.world, self.epoch, self.first = rank, world, 0, 0

    def start(self, epoch: int, first_batch: int = 0) -> None:
        """Go to an epoch, and in it to a batch (to continue an interrupted one)."""
        self.epoch, self.first = epoch, first_batch

    def __len__(self) -> int:
        return -(-self.length // (self.batch * self.world)) - self.first

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        keys, step = self._keys(), self.batch * self.world
        for first in range(self.first * step, self.length, step):
            yield keys[first : first + step][self.rank * self.batch :][: self.batch]

    def _keys(self) -> list[tuple[int, int]]:
        """List the keys of an epoch; drawn again, a video has another, so another clip."""
        generator = make_generator(self.seed, self.epoch, SHUFFLE)
        order = torch.arange(self.length)
        if self.labels is not None:
            order = balanced_order(self.labels, generator)
        elif self.shuffle:
            order = torch.randperm(self.length, generator=generator)
        keys, drawn = [], Counter[int]()
        for position in order.tolist():
            keys.append((self.epoch + AGAIN * drawn[position], position))
            drawn[position] += 1
        return keys


def make_loader(
    dataset: ClipDataset, batch: int, workers: int, shuffle: bool = False, rank=0, world=1
) -> DataLoader:
    """Make a loader of `Batch`; its `batch_sampler.start(epoch, first_batch)` chooses the epoch."""
    balanced = shuffle and dataset.cfg.balanced_sampling
    labels = [entry.label for entry in dataset.videos.entries] if balanced else None
    sampler = EpochSampler(len(dataset), batch, shuffle, dataset.seed, rank, world, labels)
    return DataLoader(
        dataset,
        batch_sampler=sampler,
        num_workers=workers,
        collate_fn=collate,
        pin_memory=torch.cuda.is_available(),
        persistent_workers=workers > 0,
        worker_init_fn=_leave_signals,
        generator=Generator(),  # its own: the global one must not depend on the number of workers
    )


def _leave_signals(worker: int) -> None:
    """Leave signals, which a terminal or scheduler sends to all processes, to the loader's owner.

    It needs its workers to finish a step. When it ends, so do they: a SIGTERM of its own counts.
    """
    for number in (signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2):
        signal.signal(number, signal.SIG_IGN)
    if hasattr(signal, "sigwaitinfo"):  # not on macOS, where a worker ends at once
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        threading.Thread(target=_end_with_owner, daemon=True).start()


def _end_with_owner() -> None:
    """Wait until the owner, which joins its workers as it exits, ends this process."""
    while signal.sigwaitinfo({signal.SIGTERM}).si_pid != os.getppid():
        pass
    os._exit(0)


def collate(items: list[tuple[int, int, Tensor | None, str]]) -> Batch:
    """Join items of `ClipDataset` to a `Batch`; unreadable ones are set aside."""
    good = [item for item in items if item[2] is not None]
    clips = torch.stack([item[2] for item in good]) if good else torch.empty(0, dtype=torch.uint8)
    labels, index = (torch.tensor([item[i] for item in good], dtype=torch.int64) for i in (1, 0))
    return Batch(clips, labels, index, [(i[0], i[3]) for i in items if i[2] is None])


def make_generator(seed: int, epoch: int, position: int) -> Generator:
    """Make the generator of one video, at its position in the list, in one epoch of a run."""
    state = np.random.SeedSequence((seed, epoch, position)).generate_state(1, np.uint64)
    return Generator().manual_seed(int(state[0] >> np.uint64(1)))
