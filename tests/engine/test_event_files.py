"""Event files hold the rows of the history, also of a run that was interrupted."""

import math

import pytest

from tsmlib import ConfigError
from tsmlib.engine.event_files import open_event_log
from tsmlib.engine.options import RunOptions

ROW = {"epoch": 1, "lr": 0.1, "loss": 2.0, "train_top1": math.nan, "seconds": 3.0}


def read(folder) -> dict[str, list[tuple[int, float]]]:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulator.EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        chart: [(event.step, event.value) for event in events.Scalars(chart)]
        for chart in events.Tags()["scalars"]
    }


def write(folder, history, *rows):
    with open_event_log(folder, "tensorboard", history) as write_event:
        for row in rows:
            write_event(row)


def test_rows_are_charts(tmp_path):
    pytest.importorskip("tensorboard")
    write(tmp_path, [], ROW, {**ROW, "epoch": 2, "loss": 1.0, "top1": 50.0})
    found = read(tmp_path)
    assert found["loss/training"] == [(1, 2.0), (2, 1.0)]
    assert found["top1/validation"] == [(2, 50.0)]
    assert set(found) == {"loss/training", "top1/validation", "lr"}  # nothing that is not a number


def test_a_run_that_continues_replaces_what_was_lost_and_one_that_starts_over_all(tmp_path):
    pytest.importorskip("tensorboard")
    write(tmp_path, [], ROW, {**ROW, "epoch": 2, "loss": 7.0})  # killed before epoch 2 was saved
    write(tmp_path, [ROW], {**ROW, "epoch": 2, "loss": 1.0})
    assert read(tmp_path)["loss/training"] == [(1, 2.0), (2, 1.0)]
    write(tmp_path, [], {**ROW, "loss": 5.0})
    assert read(tmp_path)["loss/training"] == [(1, 5.0)]


def test_no_event_files_unless_asked_for(tmp_path):
    with open_event_log(tmp_path, "csv", []) as write_event:
        write_event(ROW)
    assert not [*tmp_path.iterdir()]


def test_mistakes(monkeypatch):
    with pytest.raises(ConfigError, match="log='wandb' is not possible; choose one of csv, tensor"):
        RunOptions(log="wandb")
    monkeypatch.setattr("tsmlib.engine.options.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match="pip install"):
        RunOptions(log="tensorboard")
