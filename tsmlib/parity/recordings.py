"""Recorded outputs of the published implementations, with the weights and clips they belong to.

No weights are stored: `fill` makes them from the names of the parameters. The files lie in
published_outputs/, whose README says how they were made.
"""

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from . import fill

FOLDER = Path(__file__).parent / "published_outputs"
STREAM = "mit_online_mnv2_stream"  # its facts have a file of their own


def read_facts(name: str) -> dict[str, Any]:
    """Read what is known of a recorded model: its clips, the spread of its logits, mistakes."""
    if name == STREAM:
        return json.loads((FOLDER / f"{name}.json").read_text())
    return json.loads((FOLDER / "index.json").read_text())[name]


def read_keys(name: str) -> dict[str, list]:
    """Read the names of a recorded model's parameters, each with its shape and type."""
    return json.loads(gzip.decompress((FOLDER / f"{name}.keys.json.gz").read_bytes()))


def read_outputs(name: str) -> dict[str, np.ndarray]:
    """Read the recorded logits of a model by name."""
    with np.load(FOLDER / f"{name}.npz") as arrays:
        return dict(arrays)


def make_state_dict(name: str) -> dict[str, Tensor]:
    """Make the weights of a recorded model under its own names."""
    keys = read_keys(name)
    state = fill.fill_state_dict(keys, read_facts(name)["factors"])
    return {key: value.reshape(keys[key][0]) for key, value in state.items()}  # counters: no axis


def make_clip(clip: dict[str, Any]) -> Tensor:
    """Make the normalised clip float `[N, T, 3, H, W]` that the facts of a model describe."""
    n, t, _, size, _ = clip["shape"]
    return torch.from_numpy(fill.make_clip(clip["name"], n, t, size))
