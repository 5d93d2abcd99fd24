"""The ledger of traps: each is toggled alone, and leaves nothing behind."""

import numpy as np
import pytest
import torch

from tsmlib import get_config
from tsmlib.data import augmentation, loader, standin
from tsmlib.models.recognizer import build_model
from tsmlib.parity import PATCHED, _patched, sensitivity, traps
from tsmlib.runs import resolve


@pytest.fixture(scope="module")
def setup(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standin, "RENDERINGS", {"sthv1": (5, 10)})
        cache = tmp_path_factory.mktemp("cache")
        yield resolve(get_config("sthv1", is_shift=False), "standin", cache=cache, workers=0)


@pytest.fixture(scope="module")
def table(setup):
    torch.manual_seed(0)
    model = build_model(setup.cfg).eval()
    torch.nn.init.normal_(model.fc.weight)  # logits that differ
    return sensitivity(setup, model, "efficient").set_index("trap")


def test_every_trap_is_tried_and_none_is_nothing(setup, table):
    assert list(table.index) == ["none", *(trap.name for trap in traps(setup.cfg))]
    assert (table.loc["none", ["moved", "flipped", "difference"]] == 0).all()
    moved = table.drop(index=["none", "sequence reversed"])["moved"]
    assert (moved > 0).all()


def test_a_network_blind_to_order_does_not_notice_a_reversal(table):
    assert table.loc["sequence reversed", "flipped"] == 0
    assert table.loc["sequence reversed", "moved"] < 1e-5


def test_traps_are_of_very_different_size(table):
    moved = table["moved"]
    assert moved["bf16"] < moved["blue, green, red"] < moved["classes in order of names"]


def test_nothing_is_left_behind(setup):
    before = {name: getattr(module, name) for name, module in PATCHED.items()}
    frames = torch.randint(0, 256, (2, 70, 90, 3)).byte()
    for trap in traps(setup.cfg):
        with pytest.raises(KeyboardInterrupt), _patched(trap.patches):
            augmentation.test_crops(frames, setup.cfg, 1, 56)
            assert loader.sample_indices(20, 8).shape == (1, 8)
            raise KeyboardInterrupt
    assert {name: getattr(module, name) for name, module in PATCHED.items()} == before


def test_names_in_another_order_are_a_permutation(setup):
    trap = next(t for t in traps(setup.cfg) if t.columns)
    assert sorted(trap.columns) == list(range(10)) != trap.columns
    names = np.array(setup.cfg.class_names)
    assert (np.sort(names)[trap.columns] == names).all()
