"""Write the weights of a run under the names that others use.

`python -m tsmlib export last.pth OUT.pth --layout mmaction2` (or mit, torchvision)
"""

from pathlib import Path

from ..engine.stored_checkpoints import stated_config
from ..models.checkpoint_files import CheckpointError, checkpoint_bytes, local_file, read_checkpoint
from ..models.checkpoints import saved_epoch
from ..models.recognizer import load_model
from ..models.state_dict_layouts import to_layout
from ..results import write_atomic

LAYOUTS = ("mmaction2", "mit", "torchvision")


def export(weights: str | Path, out: str | Path, layout: str) -> Path:
    """Write a checkpoint of ours as a file that the others' code loads.

    `mmaction2` is a dict with `meta` and `state_dict`, `mit` one with `arch` and `state_dict` (its
    names carry `module.`), `torchvision` the state_dict alone. Classes keep our numbering.

    Raises:
        CheckpointError: the file is no checkpoint of ours.
        ResultsError: `out` cannot be written.
        ValueError: another layout.
    """
    file = local_file(weights)
    content = read_checkpoint(file)
    cfg = stated_config(content, file)
    if cfg is None:
        raise CheckpointError(f"{weights} is no checkpoint of a run of tsmlib: it names no row")
    model, _ = load_model(cfg, content, file)
    state = to_layout(model, layout)
    wrapped = {
        "mmaction2": {
            "meta": {"config": cfg.published or cfg.name, "run": content.get("run")},
            "state_dict": state,
        },
        "mit": {"arch": cfg.backbone, "epoch": saved_epoch(content), "state_dict": state},
        "torchvision": state,
    }
    write_atomic(Path(out), checkpoint_bytes(wrapped[layout]))
    return Path(out)
