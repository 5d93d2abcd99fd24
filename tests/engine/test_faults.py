"""Faults of disks, numbers and data: nothing is lost, and nothing is silently wrong."""

import pytest
import torch
from helpers import assert_same_state, sliding, tiny

from tsmlib.data.video import write_video
from tsmlib.engine import checkpointing
from tsmlib.engine.train import train
from tsmlib.models.checkpoints import CheckpointError

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
