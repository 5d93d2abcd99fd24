"""Two processes do what one does that accumulates: the same groups of videos, the same steps."""

import json
import runpy
import subprocess
import sys

import pytest
import torch
import yaml

from tsmlib.configs import get_config, standin_config
from tsmlib.data.loader import EpochSampler
from tsmlib.data.standin.generate import prepare_standin
from tsmlib.results import read_scores


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
def runs(tmp_path_factory):
    """A folder in which one process (1/) and two (2/) have trained and evaluated the same list."""
    folder = tmp_path_factory.mktemp("processes")
    row = standin_config(get_config("sthv1"))
    root = prepare_standin(row)
    for split, count in (("train", 20), ("val", 7)):  # a last step in which one has less to do
        lines = (root / getattr(row, f"{split}_list")).read_text().splitlines()
        (folder / f"{split}.txt").write_text("\n".join(lines[:count]) + "\n")
    fields = {
        "base": "sthv1", "data_root": str(root / "sthv1" / "rawframes"), "num_classes": 10,
        "train_list": str(folder / "train.txt"), "val_list": str(folder / "val.txt"),
        "epochs": 1, "batch_size": 16, "videos_per_device": 8, "dropout": 0.0,
    }  # fmt: skip
    (folder / "own.yaml").write_text(yaml.safe_dump(fields))
    for processes in (1, 2):
        work = folder / str(processes)
        script = folder / f"run{processes}.py"
        names = {"cfg": "own.yaml", "weights": "1/last.pth", "out": f"scores{processes}.json"}
        files = {key: str(folder / name) for key, name in names.items()}
        script.write_text(COMMANDS.format(work=str(work), **files))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TSM_RESULTS", str(folder))
        runpy.run_path(str(folder / "run1.py"))
        patch.setenv("OMP_NUM_THREADS", "1")
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                   "--nproc_per_node", "2", str(folder / "run2.py")]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    return folder


# what `python -m tsmlib` does with these words, in one start of the processes
COMMANDS = """
from tsmlib.__main__ import main

options = ["--scale", "mini", "--workers", "0", "--device", "cpu"]
assert main(["train", {cfg!r}, *options, "--work-dir", {work!r}]) == 0
assert main(["evaluate", {cfg!r}, "--workers", "0", "--checkpoint", {weights!r},
             "--protocol", "validation", "--out", {out!r}]) == 0
"""


def test_two_processes_train_like_one(runs):
    records = [json.loads((runs / n / "metrics.json").read_text()) for n in ("1", "2")]
    assert [r["processes"] for r in records] == [1, 2]
    assert [r["batch"] for r in records] == [16, 16] and records[1]["num_videos"] == 7
    one, two = (torch.load(runs / n / "last.pth", weights_only=True)["model"]
                for n in ("1", "2"))  # fmt: skip
    for name in one:
        if "running" not in name and "tracked" not in name:  # statistics are each process's own
            torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)


def test_two_processes_score_what_one_scores(runs):
    scores = [read_scores(runs / f"scores{processes}.json") for processes in (1, 2)]
    (paths, labels, one), (other_paths, other_labels, two) = scores
    assert paths == other_paths and len(paths) == 7
    assert (labels == other_labels).all() and abs(one - two).max() < 1e-5
