"""Write the history of a run as TensorBoard's event files as well (`log=tensorboard`).

Look at them with `tensorboard --logdir results/local`.
"""

import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

# column of history.csv: name of the chart in TensorBoard
CHARTS = {
    "loss": "loss/training",
    "loss_val": "loss/validation",
    "train_top1": "top1/training",
    "top1": "top1/validation",
    "mean_class_accuracy": "mean_class_accuracy/validation",
    "lr": "lr",
}


@contextmanager
def open_event_log(
    folder: Path, log: str, history: Sequence[dict]
) -> Iterator[Callable[[dict], None]]:
    """Give a function that writes a row of the history, one scalar per chart.

    Args:
        folder: of the run; the files are in its `tensorboard/`.
        log: `csv`, for which nothing is written here, or `tensorboard`.
        history: rows of the epochs that are finished, which are written anew: event files may hold
            epochs that an interrupted run has lost, or lack one that it has saved.
    """
    if log == "csv":
        yield lambda row: None
        return
    from torch.utils.tensorboard import SummaryWriter  # an extra, which RunOptions asks for

    target = folder / "tensorboard"
    shutil.rmtree(target, ignore_errors=True)
    with SummaryWriter(str(target)) as writer:
        for row in history:
            _write_row(writer, row)
        yield partial(_write_row, writer)


def _write_row(writer, row: dict[str, float]) -> None:
    for column, chart in CHARTS.items():
        value = row.get(column, math.nan)
        if not math.isnan(value):
            writer.add_scalar(chart, value, row["epoch"])
    writer.flush()
