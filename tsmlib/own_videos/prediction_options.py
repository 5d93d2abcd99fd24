"""Options of predictions and features: how videos are read and cut, and on which device."""

from dataclasses import dataclass

from ..configs import ConfigError
from ..engine.options import RunOptions, check_choice

DEVICES = ("auto", "cpu", "cuda", "mps")
SHORTEST = 1e-3  # seconds of a window: an hour would have millions of shorter ones


@dataclass(frozen=True)
class PredictionOptions:
    """How videos are read and cut for predictions and features.

    Attributes:
        window: seconds of a window: recordings that last longer are cut (default: as long as the
            clips of the training; own_videos/windows.py says how).
        stride: seconds from one window to the next (default: half a window).
        fps: frames a second of folders of JPEG frames, which have no times.
        device: auto, cpu, cuda or mps.
        workers: loader processes (default: cores less one, up to 8). No result depends on it.

    Raises:
        ConfigError: an impossible value.
    """

    window: float | None = None
    stride: float | None = None
    fps: float = 30.0
    device: str = "auto"
    workers: int | None = None

    def __post_init__(self):
        check_choice("device", self.device, DEVICES)
        for name in ("window", "stride", "fps"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise ConfigError(f"{name}={value} must be a number above 0")
        for name in ("window", "stride"):
            if (getattr(self, name) or 1) < SHORTEST:
                raise ConfigError(f"{name}={getattr(self, name)} is shorter than {SHORTEST} s")
        if self.window and self.stride and self.stride > self.window:
            raise ConfigError(
                f"stride={self.stride:g} is longer than window={self.window:g}: what lies between "
                "two windows would be left out"
            )

    @property
    def loader_workers(self) -> int:
        """Loader processes: as set, else those of `RunOptions`."""
        return RunOptions(workers=self.workers).loader_workers
