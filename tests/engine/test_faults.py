"""Faults of disks, numbers and data: nothing is lost, and nothing is silently wrong."""

import os
import re
import shutil
import subprocess
from types import SimpleNamespace
from unittest.mock import patch

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from filelock import SoftFileLease
from helpers import assert_same_state, sliding, tiny

from tsmlib.configs import ConfigError
from tsmlib.data.annotations import DataError
from tsmlib.data.loader import ClipDataset
from tsmlib.data.video import write_video
from tsmlib.engine import checkpointing
from tsmlib.engine.devices import make_fabric
from tsmlib.engine.divergence import DivergedError, find_divergence
from tsmlib.engine.evaluate import evaluate
from tsmlib.engine.options import RunOptions
from tsmlib.engine.run_folder import CLAIM_SECONDS
from tsmlib.engine.train import train
from tsmlib.models.checkpoint_files import (
    CheckpointError,
    check_values,
    checkpoint_bytes,
    read_checkpoint,
)
from tsmlib.own_videos.predict import predict
from tsmlib.paths import results_folder
from tsmlib.records import ResultsError, read_checked
from tsmlib.results import mark_latest
from tsmlib.study.publish import publish

SIZES = {"short_side": 32, "crop_size": 32, "val_crop_size": 32, "test_crop_size": 32}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Eight videos of two classes: six to train on, two for validation."""
    folder = tmp_path_factory.mktemp("data")
    for i in range(8):
        write_video(folder / f"{i}.mp4", sliding(8, 3 * i))
    for name, numbers in (("train", range(6)), ("val", (6, 7))):
        (folder / f"{name}.txt").write_text("".join(f"{i}.mp4 8 {i % 2}\n" for i in numbers))
    return folder


def row(data, **changes):
    """Two epochs of three steps with a tiny network."""
    fields = {
        "dataset": "custom", "num_classes": 2, "layout": "video", "data_root": str(data),
        "train_list": "train.txt", "val_list": "val.txt", "train_prefix": None, "val_prefix": None,
        "pretrain": "none", "num_segments": 4, "epochs": 2, "eval_interval": 1, "batch_size": 2,
        "videos_per_device": 2, "lr": 0.01,
    }  # fmt: skip
    return tiny(**fields | SIZES | changes)


def run(data, folder, cfg=None, **options):
    options = {"workers": 0, "device": "cpu", "scale": "full", "work_dir": folder} | options
    return train(cfg or row(data), **options)


def weights(file):
    return torch.load(file, weights_only=True)["model"]


def flip_a_bit(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_damaged_last_checkpoint_gives_way_to_the_one_before_it(data, tmp_path, caplog):
    first = run(data, tmp_path)
    expected = weights(tmp_path / "last.pth")
    flip_a_bit(tmp_path / "last.pth")
    again = run(data, tmp_path)
    assert "last.pth is cut off, damaged" in caplog.text and "GOES ON FROM" in caplog.text
    assert_same_state(weights(tmp_path / "last.pth"), expected)
    assert again["top1"] == first["top1"]
    for name in ("last.pth", "previous.pth"):
        flip_a_bit(tmp_path / name)
    with pytest.raises(CheckpointError, match="can only start over, with fresh=True"):
        run(data, tmp_path)
    run(data, tmp_path, fresh=True)
    assert_same_state(weights(tmp_path / "last.pth"), expected)


def test_a_process_that_dies_between_two_names_loses_nothing(data, tmp_path, monkeypatch, caplog):
    whole = run(data, tmp_path / "whole")
    save, calls = checkpointing.Saver.save, []

    def killed(self, state):
        save(self, state)
        calls.append(state)
        if len(calls) == 4:  # as if after the first of the two renames
            (tmp_path / "run" / "last.pth").unlink()
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpointing.Saver, "save", killed)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "run", save_seconds=0)
    monkeypatch.undo()
    assert run(data, tmp_path / "run")["top1"] == whole["top1"]
    assert "last.pth is not there" in caplog.text
    assert_same_state(weights(tmp_path / "run/last.pth"), weights(tmp_path / "whole/last.pth"))


def test_a_process_that_dies_after_the_last_validation_keeps_its_rate(data, tmp_path, monkeypatch):
    whole = run(data, tmp_path / "whole")
    keep, calls = checkpointing.Saver.keep_best, []

    def killed(self, *args):
        keep(self, *args)
        calls.append(args)
        if len(calls) == 2:  # of the second epoch, whose batches are all done
            raise KeyboardInterrupt

    monkeypatch.setattr(checkpointing.Saver, "keep_best", killed)
    with pytest.raises(KeyboardInterrupt):
        run(data, tmp_path / "run", save_seconds=0)
    monkeypatch.undo()
    assert run(data, tmp_path / "run")["top1"] == whole["top1"]
    first, second = (
        pd.read_csv(tmp_path / name / "history.csv").drop(columns="seconds")
        for name in ("whole", "run")
    )
    assert first["lr"].nunique() == 2 and first.equals(second)


def test_leftovers_of_the_dead_are_swept(data, tmp_path):
    record = run(data, tmp_path / "run", row(data, epochs=1))
    published = publish(record["run_dir"])
    options = {"device": "cpu", "workers": 0, "work_dir": tmp_path / "evaluation"}
    for again in (False, True):
        for folder in (tmp_path / "run", published, tmp_path / "evaluation"):
            folder.mkdir(exist_ok=True)
            (folder / "last.pth.123.tmp").touch()
        run(data, tmp_path / "run", row(data, epochs=1), fresh=True)
        evaluate(row(data), tmp_path / "run/last.pth", **options)
        assert publish(record["run_dir"]) == published
        assert not [*tmp_path.rglob("*.tmp"), *published.rglob("*.tmp")], again
    read_checked(published)
    local = results_folder() / "local"
    dead = subprocess.Popen(["true"])
    dead.wait()
    alive = os.getppid()  # its own number is the name that `mark_latest` writes under
    for process in (dead.pid, alive):
        (local / f"last.json.{process}.tmp").touch()
    mark_latest(tmp_path)
    assert [file.name for file in local.glob("*.tmp")] == [f"last.json.{alive}.tmp"]
    (local / f"last.json.{alive}.tmp").unlink()
    (published / "metrics.json").write_text("{}")
    with pytest.raises(ResultsError, match="damaged"):
        read_checked(published)


@pytest.mark.parametrize("finished", [False, True])
def test_a_claim_without_a_name_holds_nobody_up(data, tmp_path, finished):
    """Its process died between two system calls."""
    folder = tmp_path / "run"
    folder.mkdir()
    if finished:
        run(data, folder, row(data, epochs=1))
    (folder / "claim").touch()
    assert run(data, folder, row(data, epochs=1))["top1"] >= 0
    assert not (folder / "claim").exists()


def test_what_a_process_left_that_died_after_its_record(data, tmp_path):
    folder = tmp_path / "run"
    record = run(data, folder, row(data, epochs=1))
    files = sorted(folder.rglob("*"))
    if not (child := os.fork()):
        claim = SoftFileLease(folder / "claim", lease_duration=CLAIM_SECONDS)
        claim.acquire()
        (folder / f"metrics.json.{os.getpid()}.tmp").touch()
        (folder / "SHA256SUMS").unlink()
        os._exit(0)
    os.waitpid(child, 0)
    assert sorted(folder.rglob("*")) != files
    assert run(data, folder, row(data, epochs=1)) == record
    assert sorted(folder.rglob("*")) == files


def test_checkpoints_take_a_fiftieth_of_the_time_at_most(data, tmp_path, monkeypatch):
    now = [0.0]
    clock = SimpleNamespace(perf_counter=lambda: now[0])
    monkeypatch.setattr(checkpointing, "time", clock)
    fabric = make_fabric("cpu")
    model = torch.nn.Linear(1, 1)
    saver = checkpointing.Saver(
        fabric, SimpleNamespace(folder=tmp_path), model, torch.optim.SGD(model.parameters()), 60
    )

    def write(*_):
        now[0] += 3

    monkeypatch.setattr(saver, "_write", write)
    now[0] = 61
    assert saver.is_due()
    saver.save(checkpointing.State())
    for seconds, due in ((100, False), (149, False), (151, True)):
        now[0] = 64 + seconds
        assert saver.is_due() == due
    saver.save_seconds = 0
    assert saver.is_due()


# --- numbers --------------------------------------------------------------------------------------


def assert_nothing_bad_was_written(folder):
    """No record and no JSON, and checkpoints that are whole and finite."""
    assert not [*folder.glob("*.json")]
    for file in folder.glob("*.pth"):
        check_values(read_checkpoint(file)["model"], file)


@pytest.mark.parametrize("lr", [1e7, 1e18, 1e30, 1e36])
@pytest.mark.parametrize("save_seconds", [0, 600])
def test_a_training_that_diverges_stops_and_says_where(data, tmp_path, lr, save_seconds):
    cfg = row(data, lr=lr, epochs=4, weight_decay=0.1)
    for _ in range(2):  # the same command comes to the same end
        with pytest.raises(DivergedError, match="the training diverged: ") as error:
            run(data, tmp_path, cfg, save_seconds=save_seconds)
        assert "smaller lr" in str(error.value)
        assert_nothing_bad_was_written(tmp_path)


def test_a_loss_that_is_not_finite_names_its_step_and_videos(data, tmp_path, monkeypatch):
    losses = iter([1.0, 1.0, float("inf")])
    original = F.cross_entropy
    monkeypatch.setattr(F, "cross_entropy", lambda *a, **k: original(*a, **k) * next(losses))
    with pytest.raises(DivergedError) as error:
        run(data, tmp_path, save_seconds=0)
    sentence = (
        r"the loss is inf in step 3 of epoch 1, at a learning rate of 0.01, on \d.mp4, \d.mp4"
    )
    assert re.search(sentence, str(error.value))
    assert f"resume={tmp_path / 'last.pth'}" in str(error.value)
    monkeypatch.undo()
    steps = read_checkpoint(tmp_path / "last.pth")["state"]["step"]
    assert steps == 2 and run(data, tmp_path)["top1"] >= 0  # the last good one is good


def test_a_run_goes_on_from_another_one_with_other_rates(data, tmp_path):
    whole = run(data, tmp_path / "whole")
    run(data, tmp_path / "half", row(data, epochs=1))
    resume = tmp_path / "half" / "last.pth"
    joined = run(data, tmp_path / "joined", resume=resume)
    assert joined["resumed_from"]["epoch"] == 1 and whole["resumed_from"] is None
    assert_same_state(weights(tmp_path / "joined/last.pth"), weights(tmp_path / "whole/last.pth"))
    slower = run(data, tmp_path / "slower", row(data, lr=1e-3), resume=resume)
    assert slower["lr"] == 1e-3
    history = pd.read_csv(tmp_path / "slower/history.csv")
    assert history["lr"].tolist() == [0.01, 0.0001]  # divided by 10 after an epoch
    for changes, why in (({"flip": 0.1}, "another flip"), ({"num_segments": 2}, "num_segments")):
        with pytest.raises(CheckpointError, match=why):
            run(data, tmp_path / "other", row(data, **changes), resume=resume)
    with pytest.raises(CheckpointError, match="another seed"):
        run(data, tmp_path / "other", seed=1, resume=resume)


def test_what_is_no_state_of_a_run_is_not_gone_on_from(data, tmp_path):
    run(data, tmp_path / "run", row(data, epochs=1))
    content = read_checkpoint(tmp_path / "run/last.pth")
    file = tmp_path / "odd.pth"
    whole = content["state"]
    for changes, why in (
        ({"data": None}, "odd.pth is damaged: it holds None as data"),
        ({"seed": torch.zeros(2)}, "odd.pth is damaged: it holds .* as seed"),
        ({"config": None}, "odd.pth holds weights only"),
        ({"config": {**content["config"], "lr": "a"}}, "odd.pth holds no configuration"),
        ({"state": None}, "odd.pth cannot be continued"),
        ({"state": {**whole, "surprise": 1}}, "surprise"),
        ({"optimizer": []}, "odd.pth cannot be continued"),
        ({"rng": torch.zeros(3)}, "odd.pth cannot be continued"),
        ({"model": {**content["model"], "fc.bias": 1}}, "int as fc.bias, not a plain tensor"),
        ({"model": []}, "is no checkpoint of a run of tsmlib"),
    ):
        file.write_bytes(checkpoint_bytes(content | changes))
        with pytest.raises(CheckpointError, match=why):
            run(data, tmp_path / "other", resume=file, lr=0.1)
    del content["rng"]
    file.write_bytes(checkpoint_bytes(content))
    with pytest.raises(CheckpointError, match="it holds no rng"):
        run(data, tmp_path / "other", resume=file)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ({"seed": -1}, "seed=-1 must lie between 0 and 4294967295"),
        ({"seed": 2**70}, "must lie between 0"),
        ({"workers": -1}, "workers=-1 must be 0 or more"),
        ({"save_seconds": float("nan")}, "save_seconds=nan must be 0 or more"),
        ({"max_bad": float("nan")}, "max_bad=nan must lie between 0 and 1"),
    ],
)
def test_options_that_no_run_can_have(options, why):
    with pytest.raises(ConfigError, match=why):
        RunOptions(**options)


def test_weights_that_give_no_scores_are_refused(data, tmp_path):
    run(data, tmp_path, row(data, epochs=1))
    file = tmp_path / "last.pth"
    content = read_checkpoint(file)
    for name in ("conv1.weight", "bn1.weight"):
        content["model"][name] *= 1e30
    file.write_bytes(checkpoint_bytes(content))
    with pytest.raises(CheckpointError, match=r"scores that are not finite \(NaN\)"):
        evaluate(row(data), file, device="cpu", workers=0, work_dir=tmp_path / "eval")
    with pytest.raises(CheckpointError, match=r"scores that are not finite \(NaN\)"):
        predict(data / "0.mp4", file, device="cpu", workers=0)
    assert not (tmp_path / "eval").exists()


def test_fp16_is_refused_where_it_would_be_another_precision(data, tmp_path):
    with pytest.raises(ConfigError, match="16-mixed needs a CUDA GPU, and this run is on cpu"):
        run(data, tmp_path, precision="16-mixed")


@pytest.mark.parametrize(
    ("norm", "loss", "scale", "says"),
    [
        (1.0, 1.0, None, ""),
        (torch.inf, 1.0, None, "the norm of the gradient is inf"),
        (torch.inf, 1.0, 1024.0, ""),  # fp16 leaves the step out, and scales less
        (torch.nan, 1.0, 0.5, "the norm of the gradient is nan"),
        (1.0, torch.nan, 1024.0, "the loss is nan"),
    ],
)
def test_what_of_a_step_is_not_finite(norm, loss, scale, says):
    scaler = None if scale is None else SimpleNamespace(get_scale=lambda: scale)
    fabric = SimpleNamespace(strategy=SimpleNamespace(precision=SimpleNamespace(scaler=scaler)))
    assert find_divergence(fabric, torch.tensor(norm), torch.tensor(loss)) == says


# --- records and data -----------------------------------------------------------------------------


@pytest.mark.parametrize("content", ["null", "{}", '{"top1": 100.0}', ""])
def test_a_damaged_record_of_a_finished_run_is_written_anew(data, tmp_path, content, caplog):
    first = run(data, tmp_path)
    (tmp_path / "metrics.json").write_text(content)
    again = run(data, tmp_path)
    assert "it is written anew, from the weights" in caplog.text
    timed = ("date", "evaluation_seconds")
    assert {**again, **{name: first[name] for name in timed}} == first
    assert run(data, tmp_path) == again


def test_a_mended_video_counts_again_and_many_bad_ones_end_a_run_at_once(data, tmp_path):
    folder = tmp_path / "data"
    shutil.copytree(data, folder)
    for name in ("0.mp4", "1.mp4"):
        (folder / name).write_bytes(b"no video")
    cfg, keywords = row(folder, batch_size=1, videos_per_device=1), {"save_seconds": 0}
    read = []
    with patch.object(ClipDataset, "__getitem__", noting(read)), pytest.raises(DataError) as error:
        run(folder, tmp_path / "run", cfg, max_bad=0.2, **keywords)
    assert "2 of 6 videos cannot be read" in str(error.value)
    assert len(read) < 12 and not (tmp_path / "run/best.pth").exists()  # nothing was validated
    shutil.copy(data / "0.mp4", folder)
    record = run(folder, tmp_path / "run", cfg, max_bad=0.2, **keywords)  # the same command
    assert 1 <= record["num_bad_training"] <= 2  # those that a step lacked, mended or not
    state = read_checkpoint(tmp_path / "run/last.pth")["state"]
    assert "1.mp4" in state["bad"] and not state["unread"]


def noting(keys):
    """Let a data set note what is read."""
    original = ClipDataset.__getitem__
    return lambda dataset, key: (keys.append(key), original(dataset, key))[1]
