"""Train what is missing first: the row that another one starts from, or the row to be evaluated.

`train` and `evaluate` never do this on their own: a notebook, a study or a user calls these steps.
"""

import logging
from pathlib import Path

from ..configs import Config
from ..engine.options import RunOptions, sort_keywords
from ..engine.run_folder import run_folder_lock
from ..engine.setup import Setup, resolve
from ..engine.train import train
from ..engine.trained_weights import find_checkpoint, parent_setup, ported_file, require_checkpoint
from ..models.checkpoint_files import checkpoint_bytes
from ..models.checkpoints import load_checkpoint
from ..models.recognizer import build_model
from ..models.state_dict_layouts import to_layout
from ..results import write_atomic

log = logging.getLogger(__name__)


def train_parent(
    cfg: Config | str | Setup, options: RunOptions | None = None, **keywords
) -> Path | None:
    """Return the weights that a row starts from; on a stand-in, train that row first if need be.

    Args:
        cfg: the row that needs them, as for `train`.
        options: of the row; its parent is trained on the same data, device and scale with seed 0.

    Returns:
        The parent's `last.pth`; None for a row that starts from no other one.

    Raises:
        CheckpointError: the data are real, and the parent has no finished run.
    """
    fields, options = sort_keywords(options, keywords)
    setup = resolve(cfg, options, **fields)
    parent = parent_setup(setup, options)
    if parent is None:
        return None
    if found := find_checkpoint(parent, seed=0, same_recipe=True):
        return found
    with run_folder_lock(parent.runs):  # several runs may ask
        found = find_checkpoint(parent, seed=0, same_recipe=True)
        if found is None and parent.data == "standin":
            log.warning(
                "%s starts from %s, which is trained first", setup.cfg.name, parent.cfg.name
            )
            run = train(parent, _parent_options(options))
            found = Path(run["run_dir"]) / "last.pth"
    return found or require_checkpoint(parent, seed=0)


def ensure_trained(
    cfg: Config | str | Setup, options: RunOptions | None = None, **keywords
) -> Path:
    """Return the newest weights of a row, after training it on the stand-in where there are none.

    The row that is a conversion of MIT's weights has its parent trained, and saved as MIT saves.

    Raises:
        CheckpointError: the data are real; such a training is started by name.
    """
    fields, options = sort_keywords(options, keywords)
    setup = resolve(cfg, options, ("val",), **fields)
    found = find_checkpoint(setup, options.seed)
    if found is None and setup.data == "standin":
        parent = train_parent(setup, options)
        if setup.cfg.port_of:
            return _port_to_mit(setup, parent)
        log.warning("there is no trained run of %s yet: training one first", setup.cfg.name)
        run = train(setup, options.with_changes(work_dir=None))
        found = Path(run["run_dir"]) / "last.pth"
    return found or require_checkpoint(setup, options.seed)


def _parent_options(options: RunOptions) -> RunOptions:
    """Keep what says where a run is executed; its own choices are the child's."""
    kept = ("data_root", "cache", "workers", "device", "devices", "precision")
    return RunOptions(**{name: getattr(options, name) for name in kept})


def _port_to_mit(setup: Setup, trained: Path) -> Path:
    """Save a run of the ported row in MIT's layout, as MIT publishes weights."""
    model, file = build_model(setup.cfg), ported_file(setup, trained)
    load_checkpoint(model, trained)
    content = {"arch": setup.cfg.backbone, "state_dict": to_layout(model, "mit")}
    write_atomic(file, checkpoint_bytes(content))
    return file
