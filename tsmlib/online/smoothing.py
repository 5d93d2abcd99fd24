"""Steady answers of streams: the mean of the last logits, and the rules of the published demo."""

from collections import deque
from collections.abc import Sequence

import torch
from torch import Tensor

from ..configs import ConfigError, get_config, output_names

# MIT online_demo/main.py. Class numbers are of its order, the alphabetical one; so are the logits
# of its weights. Gestures that the demo never shows: Pulling Hand In, Rolling Hand Backward and
# Forward, Turning Hand Clockwise and Counterclockwise.
DEMO_STRIDE = 2  # the network sees every second frame of the camera
DEMO_LENGTH = 12  # logits that are added up
DEMO_HIDDEN = (3, 7, 8, 21, 22)
DOING_OTHER_THINGS, NO_GESTURE = 0, 2


def check_streams(streams: Sequence[int], count: int) -> list[int]:
    """Return the numbers of streams in a batch of so many.

    Raises:
        ValueError: the batch has no such stream.
    """
    if wrong := [i for i in streams if not 0 <= i < count]:
        raise ValueError(f"the batch has the streams 0 to {count - 1}, not {wrong}")
    return list(streams)


class RunningMean:
    """The mean of the last logits of each stream in a batch.

    Args:
        length: number of logits that count; fewer at the beginning of a stream.
    """

    def __init__(self, length: int):
        if length < 1:
            raise ValueError(f"length={length}: a mean needs at least one logit")
        self.length = length
        self.reset()

    def reset(self, streams: Sequence[int] | None = None) -> None:
        """Forget the logits of all streams, or of these: `OnlineTSM.reset`."""
        if streams is None:
            self._last: list[deque[Tensor]] = []
        elif self._last:  # else nothing has begun
            for i in check_streams(streams, len(self._last)):
                self._last[i].clear()

    def __call__(self, logits: Tensor) -> Tensor:
        """Map the newest logits `[N, num_classes]` to the means `[N, num_classes]`.

        Raises:
            ValueError: another number of streams than before.
        """
        if not self._last:
            self._last = [deque(maxlen=self.length) for _ in logits]
        if len(self._last) != len(logits):
            raise ValueError(
                f"there were {len(self._last)} streams, and now {len(logits)}; reset() begins anew"
            )
        for last, newest in zip(self._last, logits, strict=True):
            last.append(newest)
        return torch.stack([torch.stack([*last]).mean(0) for last in self._last])


class DemoSmoothing:
    """The answers of the published Jester demo, for each stream in a batch (MIT online_demo).

    The sum of the last 12 logits decides. Hidden gestures repeat the previous answer, and "Doing
    other things" becomes "No gesture". A change is accepted if the last two answers agree. The demo
    begins with one answer, "No gesture", and fails if the first frame has another; here there are
    two.

    Args:
        names: of the classes, in the order of the logits.

    Raises:
        ConfigError: they are not Jester's in alphabetical order, as those of the demo's weights.
    """

    def __init__(self, names: Sequence[str]):
        if tuple(names) != tuple(output_names(get_config("jester"), "mit")):
            raise ConfigError(
                "the rules of the published demo are for its own weights, whose classes are the 27 "
                f"of Jester in alphabetical order; these {len(names)} are others"
            )
        self._mean = RunningMean(DEMO_LENGTH)
        self.reset()

    def reset(self, streams: Sequence[int] | None = None) -> None:
        """Begin all streams anew, or these: `OnlineTSM.reset`."""
        self._mean.reset(streams)
        if streams is None:
            self._answers: list[tuple[int, int]] = []  # the last two of each stream
        elif self._answers:
            for i in check_streams(streams, len(self._answers)):
                self._answers[i] = (NO_GESTURE, NO_GESTURE)

    def __call__(self, logits: Tensor) -> Tensor:
        """Map the newest logits `[N, 27]`, of every second frame, to class numbers `[N]`."""
        classes = self._mean(logits).argmax(1).tolist()
        self._answers = self._answers or [(NO_GESTURE, NO_GESTURE)] * len(classes)
        self._answers = [
            (last, _accept(best, before, last))
            for best, (before, last) in zip(classes, self._answers, strict=True)
        ]
        return torch.tensor([last for _, last in self._answers])


def _accept(best: int, before: int, last: int) -> int:
    if best in DEMO_HIDDEN:
        best = last
    if best == DOING_OTHER_THINGS:
        best = NO_GESTURE
    return best if before == last else last
