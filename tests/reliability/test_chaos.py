"""A short form of `make chaos`; and it notices what is lost."""

from pathlib import Path

import pytest
import torch
from chaos import PHASES, Kill, Seen, chaos, outcome, start, undisturbed, wait, write_data

from tsmlib.models.checkpoint_files import checkpoint_bytes


@pytest.fixture(autouse=True)
def threads():
    """One thread, as other processes are forks."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_a_study_that_is_killed_ends_as_one_that_is_not():
    counts = chaos(kills=4, seed=0, say=lambda text: None)
    assert counts["processes killed"] >= 4
    assert sum(counts[f"killed in phase {phase}"] for phase in PHASES) >= 4


def test_what_is_lost_is_noticed(tmp_path):
    write_data(tmp_path)
    folder = tmp_path / "whole"
    folder.mkdir()
    whole = undisturbed(tmp_path, folder)
    assert all(whole.spans.values())  # each phase was gone through
    (file,) = Path(folder).rglob("best.pth")
    content = torch.load(file)
    content["model"]["fc.bias"] += 1e-6
    file.write_bytes(checkpoint_bytes(content))
    (folder / "results" / "left.1.tmp").touch()
    found = outcome(folder / "results")
    different = {k for k in found if found[k] != whole.outcome.get(k)}
    assert different == {str(file.relative_to(folder / "results")), "left.1.tmp"}


def test_a_moment_is_not_before_its_phase(tmp_path):
    write_data(tmp_path)
    whole = undisturbed(tmp_path, tmp_path)
    kill, seen = Kill("moment", 0, change=min(whole.spans["checkpoint"])), Seen()
    folder = tmp_path / "killed"
    folder.mkdir()
    assert wait(start(tmp_path, folder / "results", kill, seen), kill, seen) < 0
    assert seen.since(kill.change) >= 0


@pytest.mark.parametrize("kind", ["operation", "write", "moment"])
def test_every_kind_of_kill_kills(tmp_path, kind):
    write_data(tmp_path)
    kill, seen = Kill(kind, 0, 0), Seen()
    assert wait(start(tmp_path, tmp_path / "results", kill, seen), kill, seen) < 0
    assert not list(tmp_path.rglob("*.pth"))
