"""Read the checkpoints in the folder of a run: which is whole, and who may go on from it."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from ..configs import Config, ConfigError, check_model, from_dict
from ..models.checkpoint_files import CheckpointError, check_values, read_checkpoint
from ..models.checkpoints import is_of_run
from ..paths import display_path
from ..records import RECORD, ResultsError, read_record
from .options import DATA, SCALES
from .setup import Setup

log = logging.getLogger(__name__)

LAST, PREVIOUS = "last.pth", "previous.pth"  # the two newest checkpoints
MAY_CHANGE = (  # of a run that goes on from the checkpoint of another
    "lr", "momentum", "weight_decay", "clip_grad", "schedule", "milestones", "gamma", "epochs",
    "eval_interval",
)  # fmt: skip
NOT_COMPARED = {*MAY_CHANGE, "explicit", "data_root"}
# what a checkpoint says of its run: types, or choices
FACTS: dict[str, Any] = {"run": str, "seed": int, "trained_on": list,
                         "data": DATA[1:], "scale": SCALES[1:]}  # fmt: skip
NEEDED = ("config", "data", "scale", "seed", "optimizer", "processes", "rng", "rng_cuda")


def stated_config(content: dict, file: Path) -> Config | None:
    """Return the configuration in a checkpoint of a run of ours; None: it is a file of others.

    Raises:
        CheckpointError: it is no configuration, or what it says of the run has other types.
    """
    if not is_of_run(content):
        return None
    try:
        cfg = from_dict(content["config"])
        check_model(cfg)
    except (ConfigError, LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{file} holds no configuration of a model ({reason})") from None
    for name, allowed in FACTS.items():
        value, choices = content.get(name), isinstance(allowed, tuple)
        if name in content and not (value in allowed if choices else isinstance(value, allowed)):
            raise CheckpointError(f"{file} is damaged: it holds {value!r:.40} as {name}")
    return cfg


def read_last(folder: Path) -> tuple[Path, dict[str, Any]] | None:
    """Read the newest checkpoint of a run that is whole; None: it has none yet.

    Raises:
        CheckpointError: all that are there are damaged.
    """
    damage = None
    for file in (folder / LAST, folder / PREVIOUS):
        if not file.is_file():
            continue
        try:
            content = read_checkpoint(file)
            check_values(content.get("model", {}), file)
        except CheckpointError as error:
            damage = damage or error
            continue
        if file.name == PREVIOUS:
            why = damage or f"{folder / LAST} is not there"
            log.warning("%s; THE RUN GOES ON FROM %s, the checkpoint before it", why, file)
        return file, content
    if damage:
        raise CheckpointError(f"{damage}; this run can only start over, with fresh=True")
    return None


def check_same_run(file: Path, content: dict, run: str) -> None:
    """Check that a checkpoint is of the run of this name."""
    if not is_of_run(content) or not {"run", "state"} <= content.keys():
        raise CheckpointError(f"{file} holds weights only; a run cannot be continued from it")
    if content["run"] != run:
        raise CheckpointError(
            f"{file} belongs to another run, {content['run']}; this one is {run}: other settings, "
            "lists, clips or precision; choose another work_dir, or start over with fresh=True"
        )


def check_no_training(folder: Path) -> None:
    """Check that a folder may hold the record of a test: a training has its own there.

    Raises:
        ResultsError: it is the folder of a training.
    """
    is_training = any((folder / name).is_file() for name in (LAST, PREVIOUS))
    with suppress(ResultsError):  # without a record, or with a damaged one
        is_training |= read_record(folder).get("kind") == "training"
    if is_training:
        raise ResultsError(
            f"{display_path(folder)} is the folder of a training, whose {RECORD} a test would "
            "overwrite; choose another work_dir"
        )


@contextmanager
def refusing_malformed(file: Path) -> Iterator[None]:
    """Raise `CheckpointError` where a checkpoint turns out to be malformed in the block."""
    try:
        yield
    except CheckpointError:
        raise
    except (LookupError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:120]
        raise CheckpointError(f"{file} cannot be continued: {reason}") from None


def check_resumable(file: Path, content: dict, setup: Setup, seed: int) -> None:
    """Check that a checkpoint differs from this run in fields of `MAY_CHANGE` alone.

    Raises:
        CheckpointError: it differs in more, or holds weights only.
    """
    check_same_run(file, content, run=content.get("run"))
    trained = stated_config(content, file)
    if missing := [name for name in NEEDED if name not in content]:
        raise CheckpointError(f"{file} cannot be continued: it holds no {missing[0]}")
    theirs, ours = vars(trained), vars(setup.cfg)
    other = [name for name in ours if name not in NOT_COMPARED and theirs[name] != ours[name]]
    conditions = {"seed": seed, "data": setup.data, "scale": setup.scale}
    other += [name for name, value in conditions.items() if content[name] != value]
    if other:
        raise CheckpointError(
            f"{file} cannot be continued: it has another {other[0]}; with resume only "
            f"{', '.join(MAY_CHANGE)} may change"
        )
