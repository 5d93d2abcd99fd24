"""Windows of consecutive frames for training: in random order, mirrored at random."""

from collections.abc import Sequence

import torch
from torch import Generator, Tensor
from torch.utils.data import DataLoader, Dataset

from ..data.loader import EpochSampler, make_generator
from .detector import to_unit_range
from .vid_annotations import Target
from .vid_dataset import Window


class TrainingWindows(Dataset):
    """The windows of a data set, by keys `(epoch, position)`.

    A window's random numbers depend on the key and the seed alone, so neither the order of work
    nor the number of workers changes it.
    """

    def __init__(self, windows: Sequence[Window], flip: float, seed: int):
        self.windows, self.flip, self.seed = windows, flip, seed

    def __len__(self) -> int:
        return len(self.windows)

    def __getitem__(self, key: tuple[int, int]) -> Window:
        epoch, position = key
        window = self.windows[position]
        random = torch.rand((), generator=make_generator(self.seed, epoch, position))
        return mirror(window) if random < self.flip else window


def mirror(window: Window) -> Window:
    """Exchange left and right in all frames of a window, and in their boxes."""
    frames, targets = window
    mirrored = []
    for target in targets:
        x1, y1, x2, y2 = target["boxes"].unbind(-1)
        width = frames.shape[-1]
        mirrored.append({**target, "boxes": torch.stack((width - x2, y1, width - x1, y2), -1)})
    return frames.flip(-1), mirrored


def make_window_loader(
    dataset: TrainingWindows, batch: int, workers: int, rank: int = 0, world: int = 1
) -> DataLoader:
    """Make a loader of lists of windows; its `batch_sampler.start` chooses epoch and batch."""
    return DataLoader(
        dataset,
        batch_sampler=EpochSampler(len(dataset), batch, True, dataset.seed, rank, world),
        num_workers=workers,
        collate_fn=list,
        persistent_workers=workers > 0,
        generator=Generator(),  # its own: the global one must not depend on the number of workers
    )


def to_detector_input(
    windows: list[Window], device: torch.device
) -> tuple[list[Tensor], list[Target]]:
    """Put the frames of windows in a row, as a detector takes them, with their targets."""
    images = [frame for frames, _ in windows for frame in to_unit_range(frames.to(device))]
    targets = [
        {name: target[name].to(device) for name in ("boxes", "labels")}
        for _, window in windows for target in window
    ]  # fmt: skip
    return images, targets
