"""Prepare the data of the figures of the README and the notebooks, and draw them."""

import hashlib

import pandas as pd
import torch
from matplotlib.figure import Figure

from ..configs import mini, standin_config
from ..models.recognizer import build_model, moved_channels
from ..study.plan import Study
from .answers import order_within_pairs, plot_order
from .replications import plot_replications, summarise_census

STANDIN = "stand-in data, mini scale: not comparable with published accuracies"


def channels_moved(study: Study) -> dict[str, str]:
    """Say how many channels each arm of a study of `shift_div` moves each way, for its chart.

    Studies of something else have no such notes.
    """
    notes = {}
    for arm in study.arms.values() if study.axis == "shift_div" else ():
        with torch.device("meta"):  # shapes alone
            model = build_model(mini(standin_config(arm.cfg)))
        moved = list(moved_channels(model).values())
        notes[arm.name] = f"moves {moved[0]} to {moved[-1]} channels" if moved else "moves none"
    return notes


def draw_figures(runs: pd.DataFrame) -> dict[str, tuple[Figure, str]]:
    """Draw the figures of results/figures by name, each with a hash of the data it shows."""
    pairs = order_within_pairs(runs)
    drawn = {
        "order": (plot_order(pairs), pairs),
        "replications": (plot_replications(), summarise_census()),
    }
    return {name: (ax.figure, _hash(*tables)) for name, (ax, *tables) in drawn.items()}


def _hash(*tables: pd.DataFrame | pd.Series) -> str:
    text = "".join(table.round(4).to_csv() for table in tables)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
