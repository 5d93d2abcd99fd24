"""Two processes do what one does that accumulates, and outlive a death and a change of number."""

import json
import os
from pathlib import Path

import in_ranks
import pandas as pd
import pytest
import torch
import yaml

from tsmlib.configs import ConfigError, get_config, standin_config
from tsmlib.data.loader import EpochSampler
from tsmlib.data.standin.generate import prepare_standin
from tsmlib.engine import launch
from tsmlib.engine.options import RunOptions
from tsmlib.models.checkpoint_files import CheckpointError


def test_every_video_once_whatever_the_number_of_processes():
    alone = EpochSampler(23, 4, True, seed=3, rank=0, world=1)
    parts = [EpochSampler(23, 4, True, seed=3, rank=rank, world=2) for rank in (0, 1)]
    for sampler in (alone, *parts):
        sampler.start(5)
    batches = [list(part) for part in parts]
    assert len(batches[0]) == len(batches[1]) == len(parts[0]) == 3
    woven = [batch for pair in zip(*batches, strict=True) for batch in pair]
    assert [b for b in woven if b] == list(alone)
    assert sorted(i for b in woven for _, i in b) == list(range(23))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Lists of which a last step leaves nothing to one of two processes."""
    folder = tmp_path_factory.mktemp("processes")
    row = standin_config(get_config("sthv1"))
    root = prepare_standin(row)
    for split, count in (("train", 20), ("val", 7)):
        lines = (root / getattr(row, f"{split}_list")).read_text().splitlines()
        (folder / f"{split}.txt").write_text("\n".join(lines[:count]) + "\n")
    fields = {
        "base": "sthv1", "data_root": str(root / "sthv1" / "rawframes"), "num_classes": 10,
        "train_list": str(folder / "train.txt"), "val_list": str(folder / "val.txt"),
        "epochs": 2, "batch_size": 8, "videos_per_device": 4, "dropout": 0.0,
    }  # fmt: skip
    (folder / "own.yaml").write_text(yaml.safe_dump(fields))
    return folder


@pytest.fixture(scope="module")
def two(folder):
    """What two processes have done, of which one was killed once."""
    with pytest.MonkeyPatch.context() as patch:
        paths = (str(Path(__file__).parent), os.environ.get("PYTHONPATH"))
        patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
        patch.setenv("TSM_RESULTS", str(folder))
        return launch.launch(2, in_ranks.be_two, folder)


@pytest.fixture(scope="module")
def one(folder, two):
    """The same of one process, which also ends what two began."""
    steps, counts = in_ranks.train_recorded(folder, "one"), in_ranks.count_videos(folder)
    in_ranks.train(folder, "changed")
    return {"steps": steps, "counts": counts}


def record(folder: Path, *ignored: str) -> dict:
    times = ("date", "training_seconds", "evaluation_seconds", "device")
    content = json.loads((folder / "metrics.json").read_text())
    return {name: value for name, value in content.items() if name not in (*times, *ignored)}


def history(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "history.csv").drop(columns="seconds")


def weights(folder: Path) -> dict:
    return torch.load(folder / "last.pth", weights_only=True)["model"]


def test_steps_have_the_same_videos_and_gradients(one, two):
    assert one["steps"]["videos"] == two["steps"]["videos"]
    assert [len(step) for step in two["steps"]["videos"]] == [8, 8, 4] * 2
    first = zip(one["steps"]["gradients"][0], two["steps"]["gradients"][0], strict=True)
    for alone, shared in first:  # later ones are of weights that differ by rounding
        torch.testing.assert_close(alone, shared, rtol=0, atol=1e-6)


def test_counts_are_exact_for_any_list(one, two):
    assert one["counts"] == two["counts"]
    assert [count for count, _, _ in two["counts"].values()] == list(in_ranks.SIZES)


def test_a_killed_process_changes_nothing(folder, two):
    assert record(folder / "killed") == record(folder / "two")
    pd.testing.assert_frame_equal(history(folder / "killed"), history(folder / "two"))
    killed, whole = weights(folder / "killed"), weights(folder / "two")
    assert all(torch.equal(killed[name], whole[name]) for name in whole)


def test_a_signal_to_one_stops_both_and_another_number_goes_on(folder, one, two):
    place = folder / "changed"
    assert two["said"] == (
        f"stopped by SIGUSR1 after 1 batches of epoch 2; saved in {place}, the same command goes "
        "on from there"
    )
    assert record(place) == record(folder / "one")
    assert record(place, "processes") == record(folder / "two", "processes")
    pd.testing.assert_frame_equal(history(place), history(folder / "one"), rtol=1e-4)
    for name, value in weights(folder / "one").items():
        torch.testing.assert_close(weights(place)[name], value, rtol=1e-4, atol=1e-5)


def test_another_batch_is_refused(folder, two):
    content = torch.load(folder / "two" / "last.pth", weights_only=True)
    (folder / "three").mkdir()
    content |= {"processes": 3, "state": content["state"] | {"epoch": 1}}
    torch.save(content, folder / "three" / "last.pth")
    with pytest.raises(CheckpointError, match="12 videos a step on 3 devices, and 1 devices make"):
        in_ranks.train(folder, "three")


def test_more_devices_than_there_are(monkeypatch):
    monkeypatch.setattr("tsmlib.engine.devices.usable_cores", lambda: 2)
    assert launch.is_needed(RunOptions(device="cpu", devices=2))
    assert not launch.is_needed(RunOptions(device="cpu", devices=1))
    with pytest.raises(ConfigError, match="3 processes .* this process sees 2 cores"):
        launch.is_needed(RunOptions(device="cpu", devices=3))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ConfigError, match="8 processes .* this process sees 1 GPU$"):
        launch.is_needed(RunOptions(devices=8))
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not launch.is_needed(RunOptions(devices=4))
    with pytest.raises(ConfigError, match="devices=8, but torchrun or srun started 4 processes"):
        launch.is_needed(RunOptions(devices=8))
