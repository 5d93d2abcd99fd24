"""Files of weights tell whether they are whole, whatever bit of them has changed."""

import hashlib
import json
import random
import zipfile

import pytest
import torch
from helpers import lively, tiny
from safetensors.torch import save

from tsmlib import build_model
from tsmlib.configs import ConfigError, to_dict
from tsmlib.engine.find_model import choose_config
from tsmlib.models import checkpoint_files
from tsmlib.models.checkpoint_files import (
    CheckpointError,
    checkpoint_bytes,
    read_checkpoint,
    safetensors_bytes,
    state_sha256,
    weights_hash,
)
from tsmlib.models.checkpoints import load_checkpoint
from tsmlib.models.recognizer import check_size, load_model

CONTENT = {"model": {"a": torch.randn(50), "b": torch.ones(3)}, "epoch": 3}


def test_every_flipped_bit_is_noticed(tmp_path):
    file, whole = tmp_path / "last.pth", bytes(checkpoint_bytes(CONTENT))
    file.write_bytes(whole)
    assert torch.equal(read_checkpoint(file)["model"]["a"], CONTENT["model"]["a"])
    assert torch.load(file)["epoch"] == 3  # other readers skip the digest
    draw, ends = random.Random(0), range(8 * (len(whole) - 100), 8 * len(whole))
    for bit in {*draw.sample(range(8 * len(whole)), 200), *ends[::7]}:
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match="damaged|no file of weights"):
            read_checkpoint(file)


def test_every_flipped_bit_of_safetensors_is_noticed(tmp_path):
    facts = {"config": {"name": "sthv1"}, "run": "a", "epoch": 3}
    file, whole = tmp_path / "a.safetensors", safetensors_bytes(CONTENT["model"], facts)
    file.write_bytes(whole)
    assert read_checkpoint(file)["epoch"] == 3
    for bit in range(0, 8 * len(whole), 3):
        damaged = bytearray(whole)
        damaged[bit // 8] ^= 1 << bit % 8
        file.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"a\.safetensors"):
            read_checkpoint(file)


def test_weights_of_any_type_have_a_hash(tmp_path):
    state = {"a": torch.randn(2, 3), "n": torch.tensor(5)}
    plain = hashlib.sha256()
    for name, value in state.items():
        plain.update(name.encode() + value.numpy().tobytes())
    assert state_sha256(state) == plain.hexdigest()
    types = (torch.bfloat16, torch.float8_e4m3fn, torch.float16, torch.bool, torch.complex64)
    state |= {str(t): torch.ones(3, 2).T.to(t) for t in types}
    state["parameter"] = torch.nn.Parameter(torch.ones(2))
    torch.save({"model": state}, tmp_path / "a.pth")
    assert weights_hash(tmp_path / "a.pth") == state_sha256(state)
    torch.save({"model": {1: torch.ones(2)}}, tmp_path / "b.pth")
    with pytest.raises(CheckpointError, match=r"b\.pth names a weight by 1, not by text"):
        weights_hash(tmp_path / "b.pth")


def test_safetensors_whose_digest_is_of_the_weights_alone_are_read(tmp_path):
    state = CONTENT["model"]
    facts = {"epoch": 3, "names": [*state], "sha256": state_sha256(state)}
    (tmp_path / "a.safetensors").write_bytes(save(state, {"tsmlib": json.dumps(facts)}))
    assert read_checkpoint(tmp_path / "a.safetensors")["epoch"] == 3


def test_the_checksums_of_other_archives_are_checked(tmp_path):
    file = tmp_path / "foreign.pth"
    torch.save(CONTENT, file)
    whole = file.read_bytes()
    assert read_checkpoint(file)["epoch"] == 3
    start = whole.index(CONTENT["model"]["a"].numpy().tobytes())
    for byte in range(start, start + 200, 7):
        file.write_bytes(whole[:byte] + bytes([whole[byte] ^ 4]) + whole[byte + 1 :])
        with pytest.raises(CheckpointError, match="the checksum of .*data/0 differs"):
            read_checkpoint(file)


def test_a_small_file_that_unpacks_to_much_is_refused_by_what_it_states(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint_files, "MAX_UNPACKED", 2**20)
    file = tmp_path / "bomb.pth"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"")
        archive.writestr("archive/data/0", bytes(2**20 + 1))
    with pytest.raises(CheckpointError, match="bytes unpack to 1048577"):
        read_checkpoint(file)


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("conv1.weight", float("nan"), "nan in conv1.weight"),
        ("fc.bias", -float("inf"), "infinity in fc.bias"),
        ("bn1.running_var", -0.5, "a negative variance, -0.5, in bn1.running_var"),
    ],
)
def test_impossible_values_are_refused(tmp_path, name, value, found):
    model, file = lively(build_model(tiny())), tmp_path / "weights.pth"
    state = {k: v.clone() for k, v in model.state_dict().items()}
    state[name].flatten()[-1] = value
    torch.save({"state_dict": state}, file)
    with pytest.raises(CheckpointError, match=f"holds {found}"):
        load_checkpoint(model, file)
    assert torch.isfinite(model.state_dict()[name]).all()


@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor")
def test_sparse_weights_and_those_without_values_are_refused(tmp_path):
    cfg = tiny()
    state = build_model(cfg).state_dict()
    weight = state["conv1.weight"]
    quantized = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    for odd in (weight.to_sparse(), weight.to("meta"), quantized, 1, None):
        for name in ("conv1.weight", "beside"):
            content = {"model": {**state, name: odd}, "config": to_dict(cfg)}
            sentence = f"x.pth holds {type(odd).__name__} as {name}, not a plain tensor"
            with pytest.raises(CheckpointError, match=sentence):
                load_model(cfg, content, tmp_path / "x.pth")
    with pytest.raises(CheckpointError, match="x.pth names a weight by 3, not by text"):
        load_model(cfg, {"model": {**state, 3: weight}, "config": to_dict(cfg)}, tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"width": 1.0}, "a larger model"),
        ({"width": 200}, "width=200.0 must lie between 0.0078125 and 8"),
        ({"num_classes": 2_000_000_000}, "num_classes=2000000000 must be at most"),
        ({"depth": [900] * 4}, "a larger model"),
        ({"num_segments": 2**31 - 1}, "num_segments=2147483647 must be at most 16384"),
        ({"lr": None}, "lr must have a value"),
        ({"surprise": 1}, "no configuration field 'surprise'"),
        ({"width": 1e-6}, "width=1e-06 must lie between"),
    ],
)
def test_a_configuration_in_a_file_is_no_larger_than_its_weights(tmp_path, changes, why):
    cfg, file = tiny(), tmp_path / "x.pth"
    content = {"model": build_model(cfg).state_dict(), "config": to_dict(cfg) | changes}
    with pytest.raises(CheckpointError, match=why):
        load_model(choose_config(content, file, None), content, file)
    content["config"] = to_dict(cfg)
    assert choose_config(content, file, None) == cfg
    load_model(cfg, content, file)
    state = content["model"]
    half = {k: v.half() if v.is_floating_point() else v for k, v in state.items()}
    load_model(cfg, {**content, "model": half}, file)  # numbers count, not bytes
    old = {k: v for k, v in state.items() if not k.endswith("num_batches_tracked")}
    load_model(cfg, {**content, "model": old}, file)
    headless = {k: v for k, v in state.items() if not k.startswith("fc.")}
    check_size(cfg, headless, file)


@pytest.mark.parametrize(
    ("fact", "value"),
    [
        ("run", 1),
        ("seed", "x"),
        ("scale", torch.zeros(2)),
        ("scale", "huge"),
        ("data", []),
        ("trained_on", None),
    ],
)
def test_facts_of_a_run_have_their_types(tmp_path, fact, value):
    content = {"model": {}, "config": to_dict(tiny()), fact: value}
    with pytest.raises(CheckpointError, match=f"x.pth is damaged: it holds .* as {fact}"):
        choose_config(content, tmp_path / "x.pth", None)


@pytest.mark.parametrize("config", ["a.yaml", None, {"lr": 0.1}, {"name": "resnet"}, ["tsm"]])
def test_others_may_save_a_configuration_beside_a_model(tmp_path, config):
    """It is theirs, and says nothing of ours: the weights are used with the user's row."""
    cfg, file = tiny(), tmp_path / "x.pth"
    content = {"model": build_model(cfg).state_dict(), "config": config, "seed": "x"}
    with pytest.raises(ConfigError, match="does not say which row it is of"):
        choose_config(content, file, None)
    assert choose_config(content, file, cfg) == cfg
    assert load_model(cfg, content, file)[1].layout == "tsmlib"
