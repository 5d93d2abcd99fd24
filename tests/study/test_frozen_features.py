"""How far a shift moves the features of a network that is not trained with it."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from tsmlib.study.frozen_features import SHARES, measure_changes, relative_change

HOME = Path(__file__).parents[2]


def test_a_change_is_in_lengths_of_the_plain_features():
    plain = torch.tensor([[3.0, 4.0], [0.0, 2.0]])
    moved = torch.tensor([[3.0, 4.0], [2.0, 2.0]])
    assert relative_change(moved, plain).tolist() == [0.0, 1.0]


def test_changes_of_a_few_clips(shared):
    """As published; a shift in place moves more, and so do more channels."""
    weights = shared / "weights" / "mobilenet_v2_features.pth"
    found = measure_changes(shared / "data" / "pushup_phases", weights, limit=3)
    published = pd.read_csv(HOME / "results" / "pushups" / "frozen_features.csv")
    assert found["path"].tolist() == published["path"][:3].tolist()
    numbers = [f"{place} 1/{div}" for place in ("residual", "in place") for div in SHARES]
    assert found[numbers].to_numpy() == pytest.approx(published[numbers][:3].to_numpy(), abs=2e-3)
    for residual, in_place in zip(numbers[:4], numbers[4:], strict=True):
        assert (found[residual] < found[in_place]).all()


def test_the_page_says_what_the_table_has():
    table = pd.read_csv(HOME / "results" / "pushups" / "frozen_features.csv")
    page = (HOME / "docs" / "claims.md").read_text()
    groups = table.groupby("group").mean(numeric_only=True)
    for name in table.columns[2:]:
        mean, low, high = table[name].mean(), groups[name].min(), groups[name].max()
        assert f"| {name} | {mean:.2f} | {low:.2f} to {high:.2f} |" in page, name
