"""Two processes do what one does that accumulates: the same groups of videos, the same steps."""

import json
import os
import subprocess
import sys

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


def test_two_processes_train_like_one(tmp_path):
    row = standin_config(get_config("sthv1"))
    root = prepare_standin(row)
    for split, count in (("train", 20), ("val", 7)):  # a last step in which one has less to do
        lines = (root / getattr(row, f"{split}_list")).read_text().splitlines()
        (tmp_path / f"{split}.txt").write_text("\n".join(lines[:count]) + "\n")
    fields = {
        "base": "sthv1", "data_root": str(root / "sthv1" / "rawframes"), "num_classes": 10,
        "train_list": str(tmp_path / "train.txt"), "val_list": str(tmp_path / "val.txt"),
        "epochs": 1, "batch_size": 16, "videos_per_device": 8, "dropout": 0.0,
    }  # fmt: skip
    (tmp_path / "own.yaml").write_text(yaml.safe_dump(fields))
    records = []
    for processes in (1, 2):
        script = tmp_path / f"run{processes}.py"
        script.write_text(
            "from tsmlib import get_config, train\n"
            f"train(get_config({str(tmp_path / 'own.yaml')!r}), scale='mini', workers=0, "
            f"device='cpu', work_dir={str(tmp_path / str(processes))!r})\n"
        )
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                   "--nproc_per_node", str(processes), str(script)]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # sums in the same order
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        records.append(json.loads((tmp_path / str(processes) / "metrics.json").read_text()))
    assert [r["processes"] for r in records] == [1, 2]
    assert [r["batch"] for r in records] == [16, 16] and records[1]["num_videos"] == 7
    one, two = (torch.load(tmp_path / n / "last.pth", weights_only=True)["model"]
                for n in ("1", "2"))  # fmt: skip
    for name in one:
        if "running" not in name and "tracked" not in name:  # statistics are each process's own
            torch.testing.assert_close(one[name], two[name], rtol=1e-4, atol=1e-5)
    evaluated_alike(tmp_path)


def evaluated_alike(tmp_path):
    """Two processes of `python -m tsmlib evaluate` score what one scores."""
    scores = []
    for processes in (1, 2):
        out = tmp_path / f"scores{processes}.json"
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone",
                   "--nproc_per_node", str(processes), "-m", "tsmlib", "evaluate",
                   str(tmp_path / "own.yaml"), "--checkpoint", str(tmp_path / "1" / "last.pth"),
                   "--protocol", "validation", "--out", str(out)]  # fmt: skip
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "TSM_RESULTS": str(tmp_path)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
        assert done.returncode == 0, done.stderr[-2000:]
        scores.append(read_scores(out))
    (paths, labels, one), (other_paths, other_labels, two) = scores
    assert paths == other_paths and len(paths) == 7
    assert (labels == other_labels).all() and abs(one - two).max() < 1e-5
