"""What happens in an untrimmed stream, and when: its actions, as frames and labels. No torch."""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from ..data.annotations import DataError
from ..paths import write_whole

NO_CLASS = -1  # label of frames in a pause, and of frames at which a recognizer announces nothing
COLUMNS = ("start_frame", "end_frame", "label", "class_name")


class Action(NamedTuple):
    """An action of a stream: its first frame, the frame after its last one, and its label."""

    start: int
    end: int
    label: int


@dataclass(frozen=True)
class StreamTruth:
    """The actions of a stream in their order; between them there are pauses.

    Raises:
        DataError: no frames, or actions that overlap, do not lie in the stream, or have no name.
    """

    actions: tuple[Action, ...]
    num_frames: int
    class_names: tuple[str, ...]  # of all classes that a recognizer knows, in label order
    fps: float  # frames per second

    def __post_init__(self):
        if self.num_frames < 1 or self.fps <= 0:
            raise DataError(
                f"a stream of {self.num_frames} frames, {self.fps} a second, cannot be scored"
            )
        for action in self.actions:
            start, end, label = action
            if not 0 <= start < end <= self.num_frames:
                raise DataError(
                    f"{_describe(action)} does not lie in a stream of {self.num_frames} frames "
                    "(they count from 0, and the end is the first frame after it)"
                )
            if not 0 <= label < len(self.class_names):
                raise DataError(
                    f"{_describe(action)} has a label out of range for "
                    f"{len(self.class_names)} classes (0 to {len(self.class_names) - 1})"
                )
        for first, second in pairwise(self.actions):
            if second.start < first.end:
                raise DataError(
                    f"{_describe(second)} begins before {_describe(first)} ends; list actions in "
                    "their order, one at a time"
                )

    @property
    def labels(self) -> np.ndarray:
        """Return int64 `[num_frames]`, the label of each frame, `NO_CLASS` in pauses."""
        labels = np.full(self.num_frames, NO_CLASS)
        for start, end, label in self.actions:
            labels[start:end] = label
        return labels

    @property
    def starts(self) -> tuple[int, ...]:
        """Return the first frame of each action."""
        return tuple(action.start for action in self.actions)

    @property
    def minutes(self) -> float:
        """Return how long the stream lasts."""
        return self.num_frames / self.fps / 60

    def extend(self, frames: int) -> "StreamTruth":
        """Let each action last longer, at most to the next one: answers may come a little late."""
        following = (*self.starts, self.num_frames)[1:]
        actions = tuple(
            Action(start, min(end + frames, next_start), label)
            for (start, end, label), next_start in zip(self.actions, following, strict=True)
        )
        return StreamTruth(actions, self.num_frames, self.class_names, self.fps)

    def write(self, file: Path) -> None:
        """Write a CSV with one row per action: `start_frame,end_frame,label,class_name`."""
        rows = [(*action, self.class_names[action.label]) for action in self.actions]
        write_whole(file, pd.DataFrame(rows, columns=COLUMNS).to_csv(index=False))


def _describe(action: Action) -> str:
    return f"the action of frames {action.start} to {action.end} (label {action.label})"
