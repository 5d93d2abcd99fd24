"""Our networks against recorded outputs of the published implementations, on the same weights."""

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..configs import get_config
from ..models.recognizer import build_model
from ..models.state_dict_layouts import detect_layout, from_layout
from ..online.streams import OnlineTSM
from ..progress import track
from .recordings import STREAM, make_clip, make_state_dict, read_facts, read_outputs

# recorded model of a published implementation -> the row that is the same model
ROWS = {
    "mma_r50_8f_k400": "k400",
    "mma_mnv2_8f_k400": "k400_mobilenetv2_dense",
    "mma_nl_embedded_gaussian_8f_k400": "k400_nl_embedded_gaussian",
    "mit_r50_8f_k400": "k400",
}


def compare_with_published() -> pd.DataFrame:
    """Compare our logits with the recorded ones of each published implementation.

    Returns:
        One row per model: `model`, `peer` (the implementation), `difference` (the largest, in
        standard deviations of the logits, over clips, single frames and a reversed clip), and one
        column per recorded mistake: how far it would have moved the logits, in the same unit.
    """
    table = []
    for model in track([*ROWS, STREAM], "published outputs", "models"):
        facts = read_facts(model)
        std = facts["logits_std"]
        largest = compare_stream(facts) if model == STREAM else compare_clips(model, facts)
        mistakes = {name: value / std for name, value in facts["mistakes_max_abs"].items()}
        table.append(
            {"model": model, "peer": facts["peer"], "difference": largest / std, **mistakes}
        )
    return pd.DataFrame(table)


@torch.inference_mode()
def compare_clips(name: str, facts: dict[str, Any]) -> float:
    """Return the largest difference of a logit from the recorded ones, over all recorded clips."""
    model = _load_recorded(build_model(get_config(ROWS[name], pretrain="none")), name)
    expected, ours = read_outputs(name), {}
    for key in ("a", "b"):
        clip = make_clip(facts[f"clip_{key}"])
        ours[f"frame_logits_{key}"] = model.frame_logits(clip).flatten(0, 1)
        ours[f"logits_{key}"] = model(clip)
        if key == "a":
            ours["logits_a_reversed"] = model(clip.flip(1))
    return max(_largest_difference(ours[k], expected[k]) for k in ours if k in expected)


@torch.inference_mode()
def compare_stream(facts: dict[str, Any]) -> float:
    """Return the largest difference of a logit of the recorded stream, frame by frame."""
    fields = {"backbone": "mobilenetv2", "shift_direction": "unidirectional", "pretrain": "none"}
    cfg = get_config("jester", num_segments=facts["frames"], **fields)
    stream = OnlineTSM(_load_recorded(build_model(cfg), STREAM))
    frames = make_clip(facts["clip"])[0]  # [T, 3, H, W]
    logits = torch.cat([stream.step(frame[None]) for frame in frames])
    return _largest_difference(logits, read_outputs(STREAM)["frame_logits"])


def _load_recorded(model: nn.Module, name: str) -> nn.Module:
    """Load the weights of a recorded model into ours."""
    state = make_state_dict(name)
    state = from_layout(state, detect_layout(state), model)
    own = model.state_dict()
    model.load_state_dict({k: v.reshape(own[k].shape) for k, v in state.items()})
    return model.eval()


def _largest_difference(logits: Tensor, expected: np.ndarray) -> float:
    return float((logits - torch.as_tensor(expected).view_as(logits)).abs().max())
