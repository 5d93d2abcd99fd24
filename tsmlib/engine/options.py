"""Options of a run: where and how it is executed, apart from the experiment itself (`Config`)."""

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from ..configs import ConfigError
from ..configs.fields import FIELD_TYPES, RUNTIMES
from ..text import name_closest

DATA = ("auto", "real", "standin")
SCALES = ("auto", "full", "mini")
LOGS = ("csv", "tensorboard")
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True)
class RunOptions:
    """How a run is executed; data, scale, seed, precision, resume (and own data_root) name it.

    Attributes:
        data: real, standin, or auto: real where its lists are, else the stand-in.
        scale: full, mini, or auto: full on real data, mini on a stand-in.
        seed: of weights, order and augmentation of a training (default: 0); of an evaluation, that
            of the run to test (default: any).
        device: auto, cpu, cuda, mps ...
        devices: processes that share a run on this machine, one a GPU (default: one, or all
            that torchrun or srun started).
        precision: 32-true as published; bf16-mixed and 16-mixed are recorded departures.
        workers: loader processes (default: cores less one, up to 8). No result depends on it.
        data_root: folder of the real data (default: the configuration's, or TSM_DATA).
        cache: folder of generated clips (default: TSM_CACHE).
        work_dir: folder of the run (default: results/local/ROW/CONDITIONS).
        max_bad: largest share of unreadable videos; more end the run with an error.
        fresh: start over although there is a run to continue.
        resume: checkpoint of another run of the row, with another lr or schedule, to go on from.
        save_seconds: seconds between checkpoints within an epoch, more where writing them would
            take over 2 % of the time; 0: after every step.
        validate: evaluate at the row's interval, not only at the end.
        log: csv, or tensorboard: event files beside the csv, in `tensorboard/` of the run.
        deterministic: refuse operations that are not deterministic on the device.
        compiled: train through torch.compile: faster steps on GPUs, after a minute.
        recompute: gradient checkpointing: less memory, a third more time, the same numbers.
        runtime: form of the model in an evaluation, see `optimize_for_inference`.

    Raises:
        ConfigError: a choice that does not exist; the message lists those that do.
    """

    data: str = "auto"
    scale: str = "auto"
    seed: int | None = None
    device: str = "auto"
    devices: int | None = None
    precision: str = "32-true"
    workers: int | None = None
    data_root: str | Path | None = None
    cache: str | Path | None = None
    work_dir: str | Path | None = None
    max_bad: float = 0.01
    fresh: bool = False
    resume: str | Path | None = None
    save_seconds: float = 60.0
    validate: bool = True
    log: str = "csv"
    deterministic: bool = False
    compiled: bool = False
    recompute: bool = False
    runtime: str = "auto"

    def __post_init__(self):
        check_choice("data", self.data, DATA)
        check_choice("scale", self.scale, SCALES)
        check_choice("precision", self.precision, PRECISIONS)
        if self.devices is not None and self.devices < 1:
            raise ConfigError(f"devices={self.devices} must be at least 1")
        if self.seed is not None and not 0 <= self.seed < 2**32:
            raise ConfigError(f"seed={self.seed} must lie between 0 and {2**32 - 1}")
        if self.workers is not None and self.workers < 0:
            raise ConfigError(f"workers={self.workers} must be 0 or more")
        if not self.save_seconds >= 0:  # NaN, too
            raise ConfigError(f"save_seconds={self.save_seconds} must be 0 or more")
        if not 0 <= self.max_bad <= 1:
            raise ConfigError(f"max_bad={self.max_bad} must lie between 0 and 1")
        check_choice("log", self.log, LOGS)
        check_choice("runtime", self.runtime, RUNTIMES)
        if self.log == "tensorboard" and find_spec("tensorboard") is None:
            raise ConfigError("log=tensorboard needs pip install 'tsmlib[tensorboard]'")

    @property
    def training_seed(self) -> int:
        """The seed of a training run: 0 unless one is set."""
        return self.seed or 0

    @property
    def loader_workers(self) -> int:
        """Loader processes: as set, else those of `default_workers`."""
        from .devices import default_workers  # needs torch, which the options do not

        return default_workers() if self.workers is None else self.workers

    def with_changes(self, **changes) -> "RunOptions":
        """Return a copy with changes.

        Raises:
            ConfigError: an option that does not exist (the closest names are listed).
        """
        known = {field.name for field in dataclasses.fields(self)}
        for name in changes:
            if name not in known:
                raise ConfigError(
                    f"there is no option {name!r}; {name_closest(name, sorted(known))}"
                )
        return dataclasses.replace(self, **changes)


def make_options(options: RunOptions | None, keywords: dict[str, Any]) -> RunOptions:
    """Return `options`, or the defaults, changed by keywords: `train(cfg, seed=1)`."""
    options = options or RunOptions()
    return options.with_changes(**keywords) if keywords else options


def check_used(options: RunOptions, used: Collection[str], deed: str) -> None:
    """Check that no option is set which `deed`, part of a sentence, does not use.

    Raises:
        ConfigError: one would change nothing.
    """
    for field in dataclasses.fields(options):
        value = getattr(options, field.name)
        if field.name not in used and value != field.default:
            raise ConfigError(
                f"{field.name}={value} would change nothing: {deed} without it; leave it out"
            )


def sort_keywords(
    options: RunOptions | None, keywords: dict[str, Any]
) -> tuple[dict[str, Any], RunOptions]:
    """Sort keywords into fields of `Config` and options: `train("sthv1", epochs=1, seed=1)`.

    `data_root`, which both have, is an option.

    Returns:
        The fields, and the options with their changes.

    Raises:
        ConfigError: a name that neither has (the closest ones are listed).
    """
    known = {field.name for field in dataclasses.fields(RunOptions)}
    for name in keywords.keys() - known - FIELD_TYPES.keys():
        near = name_closest(name, sorted({*known, *FIELD_TYPES}))
        raise ConfigError(f"there is no option or field {name!r}; {near}")
    fields = {k: v for k, v in keywords.items() if k not in known}
    return fields, make_options(options, {k: v for k, v in keywords.items() if k in known})


def check_choice(name: str, value: str, allowed: Collection[str]) -> None:
    """Raise `ConfigError` for a value that is none of the allowed ones."""
    if value not in allowed:
        raise ConfigError(f"{name}={value!r} is not possible; choose one of {', '.join(allowed)}")
