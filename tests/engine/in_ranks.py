"""What the processes of test_distributed.py do; it does the same alone, to compare."""

import dataclasses
import os
import signal
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch

from tsmlib.data.loader import ClipDataset
from tsmlib.engine import train as engine
from tsmlib.engine import trained_weights
from tsmlib.engine.checkpointing import Saver
from tsmlib.engine.devices import gather_lists, make_fabric
from tsmlib.engine.fabric import Fabric
from tsmlib.engine.interruption import Interrupted
from tsmlib.engine.options import RunOptions
from tsmlib.engine.ranks import global_rank, is_restarted
from tsmlib.engine.setup import prepare, resolve
from tsmlib.engine.test_loop import predict_scores
from tsmlib.models.recognizer import build_model

OPTIONS = RunOptions(scale="mini", device="cpu", workers=0)
SIZES = (1, 2, 3, 5, 7)  # of the validation list


def train(folder: Path, name: str, **options) -> dict[str, Any]:
    """Train with frozen batch norms: their statistics are each process's own."""

    def frozen(*arguments, **keywords):
        model = build_model(*arguments, **keywords)
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.eval().train = lambda mode=True: None
        return model

    with patch.object(trained_weights, "build_model", frozen):
        options = OPTIONS.with_changes(work_dir=folder / name, **options)
        return engine.train(str(folder / "own.yaml"), options)


def train_recorded(folder: Path, name: str) -> dict[str, list]:
    """Train, and record the videos and the averaged gradients of each step."""
    steps, seen = {"videos": [], "gradients": []}, []
    item, clip = ClipDataset.__getitem__, Fabric.clip_gradients

    def noted_item(dataset, key):
        if dataset.protocol is None:
            seen.append(key)
        return item(dataset, key)

    def noted_step(fabric, model, optimizer, **options):
        steps["videos"].append(sorted(gather_lists(fabric, seen)))
        steps["gradients"].append([p.grad.clone() for p in model.parameters()])
        seen.clear()
        return clip(fabric, model, optimizer, **options)

    with (
        patch.object(ClipDataset, "__getitem__", noted_item),
        patch.object(Fabric, "clip_gradients", noted_step),
    ):
        train(folder, name)
    return steps


def train_signalled(folder: Path, name: str, number: int, step: int) -> str:
    """Train until the last process gets a signal before a step; returns what is said of it."""
    due, calls = Saver.is_due, []

    def signalled(saver):
        calls.append(1)
        if len(calls) == step and global_rank() == saver.fabric.world_size - 1:
            os.kill(os.getpid(), number)
        return due(saver)

    with patch.object(Saver, "is_due", signalled):
        try:
            train(folder, name, save_seconds=0.0)
        except Interrupted as stop:
            return str(stop)
    return ""


def count_videos(folder: Path) -> dict[int, tuple]:
    """Evaluate lists of any size: the number of videos, their order, and the accuracy."""
    fabric, setup = make_fabric("cpu"), prepare(resolve(str(folder / "own.yaml"), OPTIONS))
    torch.manual_seed(0)
    model, found = build_model(setup.cfg), {}
    for size in SIZES:
        entries = [setup.val_list.entries[i] for i in range(size)]
        part = dataclasses.replace(setup.val_list, entries=entries)
        outcome = predict_scores(fabric, dataclasses.replace(setup, val_list=part), model, OPTIONS)
        found[size] = outcome["num_videos"], outcome["paths"], outcome["top1"]
    return found


def be_two(folder: Path) -> dict[str, Any]:
    """Be one of two processes, of which the second is killed in its first training."""
    if not is_restarted():
        train_signalled(folder, "killed", signal.SIGKILL if global_rank() else 0, 3)
    train(folder, "killed")
    said = train_signalled(folder, "changed", signal.SIGUSR1, 4)
    return {"said": said, "steps": train_recorded(folder, "two"), "counts": count_videos(folder)}
