"""Recorded models of the published implementations (golden/models), and networks to compare."""

import gzip
import json
from pathlib import Path

import numpy as np
import torch
from golden import fill

from tsmlib import build_model

GOLDEN = Path(__file__).parent / "golden/models"
INDEX = json.loads((GOLDEN / "index.json").read_text())


def golden_keys(name: str) -> dict[str, list]:
    """Names of a recorded model's parameters, with shape and type."""
    return json.loads(gzip.decompress((GOLDEN / f"{name}.keys.json.gz").read_bytes()))


def golden_state(name: str) -> dict[str, torch.Tensor]:
    """The weights of a recorded model under its own names."""
    keys = golden_keys(name)
    state = fill.fill_state_dict(keys, INDEX[name]["factors"])
    assert fill.state_sha256(state) == INDEX[name]["state_sha256"]
    return {key: value.reshape(keys[key][0]) for key, value in state.items()}  # counters: no axis


def assert_logits_are_recorded(model, name: str, letters: str = "ab") -> None:
    """Logits of clips, of single frames and of the reversed clip, within 1e-4 of the deviation."""
    facts, expected, found = INDEX[name], np.load(GOLDEN / f"{name}.npz"), {}
    for letter in letters:
        clip = facts[f"clip_{letter}"]
        n, t, _, size, _ = clip["shape"]
        array = fill.make_clip(clip["name"], n, t, size)
        assert fill.array_sha256(array) == clip["sha256"]
        x = torch.from_numpy(array)
        with torch.inference_mode():
            found[f"frame_logits_{letter}"] = model.frame_logits(x).flatten(0, 1)
            found[f"logits_{letter}"] = model(x)
            if letter == "a":
                found["logits_a_reversed"] = model(x.flip(1))
    for key, value in found.items():
        assert np.abs(value.numpy() - expected[key]).max() <= 1e-4 * facts["logits_std"], key
    # the tolerance is far below what the smallest slip would do
    assert 100 * 1e-4 * facts["logits_std"] < min(facts["mistakes_max_abs"].values())


def on_meta(cfg):
    """A model of shapes alone."""
    with torch.device("meta"):
        return build_model(cfg)


def lively(model, seed: int = 1):
    """All numbers drawn anew, counters too, so that nothing is at its initial value."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in model.state_dict().items():
            if name.endswith("num_batches_tracked"):
                value.fill_(seed + 6)
            elif name.endswith("running_var"):
                value.uniform_(0.5, 1.5, generator=generator)
            else:
                fan = value[0].numel() if value.ndim > 1 else 2
                value.normal_(std=(2 / fan) ** 0.5, generator=generator)
    return model
