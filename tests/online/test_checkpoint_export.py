"""Weights of a run under the names of others, and back."""

import json

import pytest
import torch
import yaml

from tsmlib import CheckpointError, ResultsError, build_model, get_config, load_checkpoint
from tsmlib.__main__ import main
from tsmlib.configs import from_dict, load_config, mini, to_dict
from tsmlib.models.checkpoint_files import read_checkpoint, weights_hash
from tsmlib.models.state_dict_layouts import to_layout
from tsmlib.online.checkpoint_export import LAYOUTS, export
from tsmlib.online.hub import export_to_hub


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
    state = model.state_dict()
    for content in (state, {"state_dict": state, "config": {"lr": 1}, "state": "best"},
                    {"model": state, "config": {"lr": 1}}):  # fmt: skip
        torch.save(content, tmp_path / "plain.pth")
        with pytest.raises(CheckpointError, match="plain.pth is no checkpoint of a run of tsmlib"):
            export(tmp_path / "plain.pth", tmp_path / "out.pth", "mit")
        with pytest.raises(CheckpointError, match="plain.pth is no checkpoint of a run of tsmlib"):
            export_to_hub(tmp_path / "plain.pth", tmp_path / "hub")
    row = to_dict(get_config("sthv1"))
    for config, part in (({**row, "rate": 1}, "holds no configuration"),
                         (row, "states a larger model")):  # fmt: skip
        torch.save({"model": state, "config": config}, tmp_path / "plain.pth")
        with pytest.raises(CheckpointError, match=f"plain.pth {part}"):
            export_to_hub(tmp_path / "plain.pth", tmp_path / "hub")
    assert not (tmp_path / "hub").exists()
    with pytest.raises(ResultsError, match="cannot be written"):
        export(weights, weights / "out.pth", "mit")
    assert main(["export", str(tmp_path / "absent.pth"), "out.pth"]) == 1
    assert "the file of weights" in capsys.readouterr().err


# --- a folder for a model hub ---------------------------------------------------------------------


@pytest.fixture
def hub(run, tmp_path):
    pytest.importorskip("safetensors")
    weights, cfg, model = run
    assert main(["export", "--to", "hub", str(weights), str(tmp_path / "hub")]) == 0
    return tmp_path / "hub", cfg, model


def test_a_folder_of_weights_is_named_like_a_file(hub):
    folder, cfg, model = hub
    for source in (folder, folder / "model.safetensors"):
        other = build_model(cfg)
        report = load_checkpoint(other, source)
        assert (report.layout, report.missing, report.left_over) == ("tsmlib", (), ())
        for name, value in model.state_dict().items():
            assert torch.equal(other.state_dict()[name], value)


def test_a_folder_of_weights_is_the_same_checkpoint(hub, run):
    """With the configuration, the hash of the weights, and so the records of an evaluation."""
    content, original = read_checkpoint(hub[0]), read_checkpoint(run[0])
    assert from_dict(content["config"]) == from_dict(original["config"])
    assert (content["run"], content["epoch"]) == ("r", 3)
    assert [*content["model"]] == [*original["model"]]
    assert weights_hash(hub[0]) == weights_hash(run[0])
    again = export(hub[0], run[0].with_name("out.pth"), "mit")
    assert torch.load(again)["epoch"] == 3


def test_the_model_card(hub, run):
    folder, cfg, _ = hub
    header, card = (folder / "README.md").read_text().split("---\n")[1:]
    assert yaml.safe_load(header)["license"] == "other"
    for part in ("Not measured", "k400", "| `backbone` |", "123.675", "class 4", "Apache-2.0"):
        assert part in card
    record = {"kind": "training", "data": "real", "protocol": "published", "num_videos": 9,
              "top1": 61.234, "top5": 90, "mean_class_accuracy": 60, "num_trained_on": 2,
              "val_list_sha256": "0123456789ab"}  # fmt: skip
    (run[0].parent / "metrics.json").write_text(json.dumps(record))
    export_to_hub(run[0], folder, "cc-by-nc-4.0")
    card = (folder / "README.md").read_text()
    assert "| real | 01234567 | published | 9 | 2 | 61.23 | 90.00 | 60.00 |" in card
    assert 'license: "cc-by-nc-4.0"' in card
    assert load_config(folder / "config.json") == from_dict(to_dict(cfg))


@pytest.mark.parametrize("damage", ["flip", "cut", "header"])
def test_damaged_safetensors(hub, damage):
    file = hub[0] / "model.safetensors"
    content = bytearray(file.read_bytes())
    if damage == "flip":
        content[-100] ^= 1
    file.write_bytes({"cut": content[:-7], "header": bytes(8) + content[8:]}.get(damage, content))
    with pytest.raises(CheckpointError, match="model.safetensors is .*damaged"):
        load_checkpoint(build_model(hub[1]), hub[0])


def test_safetensors_of_others(run, tmp_path):
    """Weights without a configuration, in any of the layouts."""
    save_file = pytest.importorskip("safetensors.torch").save_file
    _, cfg, model = run
    save_file(to_layout(model, "mmaction2"), tmp_path / "theirs.safetensors")
    report = load_checkpoint(build_model(cfg), tmp_path / "theirs.safetensors")
    assert report.layout == "mmaction2"
