"""Weights of a run under the names of others, and back."""

import pytest
import torch

from tsmlib import CheckpointError, ResultsError, build_model, get_config, load_checkpoint
from tsmlib.__main__ import main
from tsmlib.configs import mini, to_dict
from tsmlib.engine.export import LAYOUTS, export


@pytest.fixture
def run(tmp_path):
    """A checkpoint as a run writes it."""
    cfg = mini(get_config("k400_nl_gaussian", num_classes=5))
    model = build_model(cfg)
    content = {
        "model": model.state_dict(),
        "config": to_dict(cfg),
        "run": "r",
        "state": {"epoch": 3},
    }
    torch.save(content, tmp_path / "last.pth")
    return tmp_path / "last.pth", cfg, model


@pytest.mark.parametrize("layout", LAYOUTS)
def test_what_is_exported_comes_back(run, tmp_path, layout, capsys):
    weights, cfg, model = run
    assert main(["export", str(weights), str(tmp_path / "out.pth"), "--layout", layout]) == 0
    assert "wrote" in capsys.readouterr().out
    other = build_model(cfg)
    report = load_checkpoint(other, tmp_path / "out.pth")
    assert report.layout == layout
    for name, value in model.state_dict().items():
        assert torch.equal(other.state_dict()[name], value)


def test_other_files_and_places_are_refused(run, tmp_path, capsys):
    weights, _, model = run
    torch.save(model.state_dict(), tmp_path / "plain.pth")
    with pytest.raises(CheckpointError, match="plain.pth is no checkpoint of a run here"):
        export(tmp_path / "plain.pth", tmp_path / "out.pth", "mit")
    with pytest.raises(ResultsError, match="cannot be written"):
        export(weights, weights / "out.pth", "mit")
    assert main(["export", str(tmp_path / "absent.pth"), "out.pth"]) == 1
    assert "no file of weights" in capsys.readouterr().err
