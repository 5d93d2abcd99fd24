"""Pitfalls of the network itself, of the order of its classes and of the average of its views."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from ..configs import Config, class_names
from ..configs.shift_options import PADDINGS
from ..engine import test_loop
from ..models.clip_network import ClipMixin
from ..models.shift_plan import ShiftPlan, altered_plans
from .toggles import Pitfall, Toggle, exchange

# --- network --------------------------------------------------------------------------------------


def _mean_of_probabilities(_, model: ClipMixin, x: Tensor) -> Tensor:
    return model.frame_logits(x).log_softmax(-1).logsumexp(1)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Let batch norms use the statistics of the whole batch; nothing in them is updated."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.running_mean, norm.running_var) for norm in norms]
    chunk = test_loop.CHUNK_FRAMES
    test_loop.CHUNK_FRAMES = 2**40  # a part of a batch would be another group
    try:
        for norm in norms:
            norm.running_mean = norm.running_var = None
        yield
    finally:
        test_loop.CHUNK_FRAMES = chunk
        for norm, (mean, var) in zip(norms, before, strict=True):
            norm.running_mean, norm.running_var = mean, var


def batch_norm_pitfall(videos: int) -> Pitfall:
    """Return the pitfall of batch norms that use the statistics of `videos` videos."""
    group = f"{videos} video{'s' * (videos > 1)}"
    return Pitfall(
        "network",
        f"batch norms of {group}",
        "statistics of a group, as in training",
        batch_statistics,
        batch_size=videos,
    )


def _change_plan(change: Callable[[ShiftPlan], ShiftPlan]) -> Toggle:
    """Make a toggle that changes which channels the shift moves, and where to."""
    return lambda model: altered_plans(change)


NOTHING = slice(0, 0)
SHIFTS = [
    Pitfall(
        "network",
        "shift the wrong way",
        "the two folds exchanged: as a reversed clip",
        _change_plan(lambda plan: plan._replace(ahead=plan.behind, behind=plan.ahead)),
    ),
    Pitfall(
        "network",
        "shift wraps around",
        "the last frame beside the first one",
        _change_plan(lambda plan: plan._replace(padding=PADDINGS["circular"])),
    ),
    Pitfall(
        "network",
        "no shift",
        "the weights in a 2-D network",
        _change_plan(lambda plan: plan._replace(ahead=NOTHING, behind=NOTHING)),
    ),
]
NETWORK = [
    Pitfall(
        "network",
        "softmax of frames",
        "mean over frames of probabilities, not logits",
        exchange(ClipMixin, "forward", _mean_of_probabilities),
    ),
    Pitfall("network", "bf16", "mixed precision", precision="bf16-mixed"),
]


# --- classes and views ----------------------------------------------------------------------------


def label_pitfall(cfg: Config) -> Pitfall:
    """Return the pitfall of another order of the classes, by name or counted from 1."""
    names = class_names(cfg)
    if list(names) == sorted(names) or names[0] == "class 0":
        permutation = [*range(1, len(names)), 0]
        return Pitfall(
            "classes", "labels counted from 1", "UCF101's classInd", label_permutation=permutation
        )
    permutation = [names.index(name) for name in sorted(names)]
    return Pitfall(
        "classes",
        "classes by name",
        "MIT's order of Something and Jester",
        label_permutation=permutation,
    )


def view_pitfall(cfg: Config) -> Pitfall:
    """Return the pitfall of the other average of the views than the row's."""
    if cfg.average_clips == "prob":
        name, why = "logits of views", "MIT's mean; MMAction2's is of probabilities"
    else:
        name, why = "probabilities of views", "MMAction2's mean; MIT's is of logits"
    other = "score" if cfg.average_clips == "prob" else "prob"
    return Pitfall("views", name, why, average=other, many_views=True)
