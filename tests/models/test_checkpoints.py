"""Files of weights: what is read, what is refused and never run, and what is loaded of it."""

import builtins
import copy
import functools
import io
import logging
import os
import pickle
import re
import tarfile
from argparse import Namespace
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from helpers import assert_same_state, tiny

from tsmlib import CheckpointError, build_model, load_checkpoint
from tsmlib.models.checkpoint_files import read_checkpoint
from tsmlib.models.checkpoints import load_pretrained
from tsmlib.models.state_dict_layouts import to_layout

LAYOUTS = ("mmaction2", "mit", "torchvision")


def lively(seed: int = 1, **changes):
    """A tiny model whose numbers are all drawn anew; a copy, as making one takes longer."""
    return copy.deepcopy(_draw(seed, **changes))


@functools.cache
def _draw(seed: int, **changes):
    model = build_model(tiny(**changes))
    generator = torch.Generator().manual_seed(seed)
    for value in model.state_dict().values():
        if value.is_floating_point():
            value.uniform_(0.5, 1.5, generator=generator)
        else:
            value.fill_(seed)
    return model


@pytest.fixture(scope="module")
def plain():
    """A model for files that are refused, which leave it as it is."""
    return lively()


@pytest.fixture
def file(tmp_path) -> Path:
    return tmp_path / "weights.pth"


def save(content, file: Path, legacy: bool) -> None:
    torch.save(content, file, _use_new_zipfile_serialization=not legacy)


def says(error, file: Path) -> str:
    """The message, which is one sentence and names the file."""
    message = str(error.value)
    assert str(file) in message and "\n" not in message and len(message) < 400
    return message.replace(str(file), "FILE")


class Trap:
    """An object that calls a function when it is unpickled, and sets a state of the result."""

    def __init__(self, function, *args, state=None):
        self.reduced = (function, args) if state is None else (function, args, state)

    def __reduce__(self):
        return self.reduced


NUMPY_SCALAR = np.float64(1).__reduce__()[0]  # what numbers of numpy are made by


# --- what is read ---------------------------------------------------------------------------------


def mits_extras() -> dict:
    """What a training script may have saved beside its weights."""
    return {
        "epoch": 50,
        "arch": "resnet50",
        "args": Namespace(lr=0.01, lr_steps=[20.0, 40.0], gpus=None, names=("a", "b")),
        "best_prec1": np.float64(71.25),
        "best_prec5": torch.tensor(89.5),
        "few": np.float32(0.5),
        "count": np.int64(-3),
        "yes": np.bool_(True),
        "big_endian": np.dtype(">i4").type(7),
    }


@pytest.mark.parametrize("numpy_1", [True, False])
def test_what_training_scripts_save_beside_weights(file, numpy_1):
    extras = mits_extras()
    save({"state_dict": to_layout(lively(), "mit"), **extras}, file, legacy=True)
    content = file.read_bytes()
    names = (b"numpy._core.multiarray\n", b"numpy.core.multiarray\n")
    assert names[0] in content or names[1] in content
    for old in names:  # lines of text in the pickle
        content = content.replace(old, names[numpy_1])
    file.write_bytes(content)
    found = read_checkpoint(file)
    for name, value in extras.items():
        assert type(found[name]) is type(value) and found[name] == value, name
    assert load_checkpoint(lively(2), file).layout == "mit"


def test_beside_weights_in_the_zip_format(file):
    save({"state_dict": {"fc.weight": torch.zeros(1)}, **mits_extras()}, file, legacy=False)
    found = read_checkpoint(file)
    assert found["best_prec1"] == 71.25 and found["args"].lr_steps == [20.0, 40.0]


def test_byte_orders(file):
    torch.save({"swapped": Trap(NUMPY_SCALAR, np.dtype(">i4"), b"\x00\x00\x01\x02")}, file)
    assert read_checkpoint(file)["swapped"] == 258


def test_what_is_allowed_in_a_file_is_not_allowed_elsewhere(file):
    torch.save({"args": Namespace(lr=1)}, file)
    read_checkpoint(file)
    assert Namespace not in torch.serialization.get_safe_globals()
    with pytest.raises(pickle.UnpicklingError, match="argparse.Namespace"):
        torch.load(file, weights_only=True)


def test_what_somebody_allowed_stays_allowed(file):
    torch.save({"args": Namespace(lr=1)}, file)
    with torch.serialization.safe_globals([Namespace]):
        read_checkpoint(file)
        assert torch.load(file, weights_only=True)["args"].lr == 1


# --- what is refused ------------------------------------------------------------------------------


def traps(marker: Path) -> dict[str, Trap]:
    """Ways to create the marker, by the name that the message must give."""
    opening = f"open({str(marker)!r}, 'w')"
    return {
        f"{os.system.__module__}.system": Trap(os.system, f"touch {marker}"),
        "eval": Trap(builtins.eval, opening),
        "exec": Trap(builtins.exec, opening),
        f"{open.__module__}.open": Trap(open, str(marker), "w"),
        "logging.FileHandler": Trap(logging.FileHandler, str(marker)),
        f"{np.memmap.__module__}.memmap": Trap(np.memmap, str(marker), "u1", "w+", 0, (1,)),
    }


TRAPS = tuple(traps(Path("x")))


@pytest.mark.parametrize("place", ["top", "beside", "inside", "namespace"])
@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("what", TRAPS)
def test_code_is_named_and_never_run(tmp_path, plain, file, what, legacy, place):
    trap = traps(tmp_path / "ran")[what]
    state = {"fc.weight": torch.zeros(2)}
    content = {
        "top": trap,
        "beside": {"state_dict": state, "optimizer": trap},
        "inside": {"state_dict": {**state, "fc.bias": trap}},
        "namespace": {"state_dict": state, "args": Namespace(lr=trap)},
    }[place]
    save(content, file, legacy)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(plain, file)
    message = says(error, file)
    assert f"FILE holds {what}: nothing in it was run or loaded" in message
    assert "its owner can convert it" in message and "torch.save(model.state_dict()" in message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("what", TRAPS)
def test_the_traps_work(tmp_path, file, what, legacy):
    """Loaded with trust they do run: else the test above would prove nothing."""
    save({"weight": traps(tmp_path / "ran")[what]}, file, legacy)
    torch.load(file, weights_only=False)
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize("legacy", [True, False])
def test_types_of_numpy_are_only_names(file, legacy):
    """Its own dtype would take over flags and sizes, with which numbers become pointers."""
    state = (3, "<", None, None, None, -1, -1, 63)
    save({"x": Trap(np.dtype, "f8", False, True, state=state)}, file, legacy)
    assert not isinstance(read_checkpoint(file)["x"], np.dtype)
    save({"x": Trap(NUMPY_SCALAR, np.dtype("O"), b"\x01" * 8)}, file, legacy)
    with pytest.raises(CheckpointError, match="OBJECT"):
        read_checkpoint(file)
    save({"x": np.zeros(3)}, file, legacy)
    with pytest.raises(CheckpointError, match="holds numpy.*_reconstruct"):
        read_checkpoint(file)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_whole_model_is_named_by_its_class(file, legacy):
    save(torchvision.models.resnet18(), file, legacy)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(file)
    assert "FILE holds torchvision.models.resnet.ResNet: " in says(error, file)


PAGES = {
    "page": "<!DOCTYPE html>\n<html><head><title>404</title></head></html>",
    "login": "\ufeff\r\n  <HTML lang='en'><body>Sign in</body></html>",
    "xml": '<?xml version="1.0"?><Error><Code>AccessDenied</Code></Error>',
}
TEXTS = {
    "json": ('{"message": "Not Found"}', '\'{"message": "Not Found"}\''),
    "log": ('{"mode": "train"}\n' * 99, "mode"),
    "pointer": ("version https://git-lfs.github.com/spec/v1\noid sha256:12\n", "git-lfs"),
    "words": ("Zugriff verweigert: ä ö ü\n" * 40, "Zugriff"),
}


@pytest.mark.parametrize("what", PAGES)
def test_a_web_page_under_the_name_of_weights(file, what):
    file.write_text(PAGES[what])
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(file)
    expected = "FILE looks like a web page, not weights: download it again"
    assert says(error, file) == expected


@pytest.mark.parametrize("what", TEXTS)
def test_text_under_the_name_of_weights(file, what):
    text, quoted = TEXTS[what]
    file.write_text(text)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(file)
    assert re.fullmatch(r"FILE is text, not weights \(.*\): download it again", says(error, file))
    assert quoted in str(error.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({}, "FILE holds an empty dict, no weights: name another file"),
        ([torch.zeros(2)], "FILE holds a list, not a dict of weights: its owner can"),
        (torch.zeros(2), "FILE holds a Tensor, not a dict of weights: its owner can"),
        (None, "FILE holds a NoneType, not a dict of weights: its owner can"),
        ("weights", "FILE holds a str, not a dict of weights: its owner can"),
    ],
)
@pytest.mark.parametrize("legacy", [True, False])
def test_what_is_no_dict_of_weights(file, content, message, legacy):
    save(content, file, legacy)
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(file)
    assert says(error, file).startswith(message)


@pytest.mark.parametrize(
    "content",
    [{"epoch": 3}, {"state_dict": {}}, {"state_dict": {"a": 1}}, {"model": {}},
     {"state_dict": {}, "optimizer": {"momentum": torch.zeros(3)}}],
)  # fmt: skip
def test_a_dict_without_tensors(plain, file, content):
    torch.save(content, file)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(plain, file)
    found = ", ".join(content)
    assert says(error, file) == f"FILE holds no weights, at the top or as state_dict ({found})"


@pytest.mark.parametrize("legacy", [True, False])
def test_a_file_that_was_cut_off(file, legacy):
    """Wherever: also a legacy file in the middle of a number or of a name."""
    save({"state_dict": lively().state_dict(), "epoch": 3}, file, legacy)
    whole = file.read_bytes()
    for end in [1, 2, 5, 30, 100, *range(150, 1000, 53), *range(2000, len(whole), 30_000)]:
        file.write_bytes(whole[:end])
        with pytest.raises(CheckpointError) as error:
            read_checkpoint(file)
        assert says(error, file).startswith(("FILE is cut off, damaged", "FILE is text", "FILE h"))
    assert "cut off" in str(error.value) and "fetch it again" in str(error.value)
    file.write_bytes(b"")
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(file)
    assert says(error, file) == "FILE is empty: remove it and fetch it again"


@pytest.mark.parametrize(
    ("source", "why"), [("absent.pth", "does not exist"), (".", "is a folder; name a file in it")]
)
def test_no_file(plain, tmp_path, source, why):
    wanted = re.escape(f"the file of weights {tmp_path / source} {why}")
    with pytest.raises(CheckpointError, match=wanted):
        load_checkpoint(plain, tmp_path / source)


@pytest.mark.parametrize("address", ["ftp://host/x.pth", "file:///tmp/x.pth", "HTTP://[::1/x.pth"])
def test_no_address(plain, address):
    with pytest.raises(CheckpointError, match=f"{re.escape(address)} is not the http address"):
        load_checkpoint(plain, address)


def in_a_tar(content: bytes) -> bytes:
    """As torch.save packed before version 0.1.10: read member by member, each a pickle."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name in ("storages", "tensors", "pickle"):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.mark.filterwarnings("ignore:.*jit:DeprecationWarning", "ignore:.*jit:FutureWarning")
def test_other_kinds_of_files(tmp_path, plain, recwarn):
    """What torch reads only with trust, or not at all: its advice to trust is not passed on."""
    trap = Trap(os.system, f"touch {tmp_path / 'ran'}")
    torch.jit.trace(torch.nn.ReLU(), torch.zeros(1)).save(tmp_path / "script.pth")
    torch.save({"fc.weight": torch.zeros(1), "x": trap}, tmp_path / "new.pth", pickle_protocol=4)
    (tmp_path / "pickle.pth").write_bytes(pickle.dumps(trap, protocol=5))
    (tmp_path / "tar.pth").write_bytes(in_a_tar(pickle.dumps(trap, protocol=2)))
    (tmp_path / "picture.pth").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(200))
    recwarn.clear()
    for name in ("script", "new", "pickle", "tar", "picture"):
        with pytest.raises(CheckpointError) as error:
            load_checkpoint(plain, tmp_path / f"{name}.pth")
        message = says(error, tmp_path / f"{name}.pth")
        assert message.startswith("FILE is no file of weights, or has an unsupported form (")
        assert "fetch it again, or its owner can convert it" in message
        assert "documentation" not in message
    assert not recwarn.list and not (tmp_path / "ran").exists()


def test_a_home_folder_is_understood(file, monkeypatch):
    monkeypatch.setenv("HOME", str(file.parent))
    torch.save(lively().state_dict(), file)
    assert load_checkpoint(lively(2), "~/weights.pth").layout == "torchvision"


# --- what is loaded -------------------------------------------------------------------------------


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_report_of_a_file_that_fits(file, layout, legacy):
    model, fresh = lively(1), lively(2)
    save({"state_dict": to_layout(model, layout)}, file, legacy)
    report = load_checkpoint(fresh, file)
    assert_same_state(fresh.state_dict(), model.state_dict())
    assert sorted(report.matched) == sorted(fresh.state_dict())
    assert (report.missing, report.left_over, report.layout) == ((), (), layout)


@pytest.mark.parametrize("prefix", ["", "module.", "module.module."])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("backbone", ["resnet18", "mobilenetv2"])
def test_names_of_models_that_were_wrapped(file, backbone, layout, prefix):
    small = {"width": 0.25, "depth": (1, 2, 1, 1, 1, 1, 1)} if backbone == "mobilenetv2" else {}
    model, fresh = (lively(seed, backbone=backbone, **small) for seed in (1, 2))
    state = {
        prefix + name.removeprefix("module."): value
        for name, value in to_layout(model, layout).items()
    }
    torch.save({"state_dict": state}, file)
    assert load_checkpoint(fresh, file).layout == layout
    assert_same_state(fresh.state_dict(), model.state_dict())


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("key", ["model", "state_dict", None])
def test_optimizer_and_averages_beside_the_weights_are_ignored(file, key, prefix):
    model, fresh, other = lively(1), lively(2), lively(3).state_dict()
    state = OrderedDict((prefix + k, v) for k, v in model.state_dict().items())
    beside = {"optimizer": {"state": {0: {"momentum_buffer": torch.zeros(3)}}},
              "ema_state_dict": other, "state_dict_ema": other, "epoch": 7}  # fmt: skip
    torch.save({**beside, key: state} if key else {**state, **beside}, file)
    report = load_checkpoint(fresh, file)
    assert_same_state(fresh.state_dict(), model.state_dict())
    assert report.left_over == ()
    assert report.layout == ("tsmlib" if key == "model" else "torchvision")


@pytest.mark.parametrize("layout", ["mmaction2", "mit"])
def test_other_projects_also_say_model(file, layout):
    model, fresh = lively(1), lively(2)
    torch.save({"model": to_layout(model, layout)}, file)
    assert load_checkpoint(fresh, file).layout == layout
    assert_same_state(fresh.state_dict(), model.state_dict())


@pytest.mark.parametrize("layout", LAYOUTS)
def test_counters_may_be_absent(file, layout):
    """Files of before PyTorch 0.4.1 have none; the model keeps its own."""
    model, fresh = lively(1), lively(2)
    state = {k: v for k, v in to_layout(model, layout).items() if "num_batches" not in k}
    torch.save({"state_dict": state}, file)
    report = load_checkpoint(fresh, file)
    assert report.missing == tuple(k for k in fresh.state_dict() if "num_batches" in k)
    assert sorted(report.matched + report.missing) == sorted(fresh.state_dict())
    for name, value in fresh.state_dict().items():
        if name in report.missing:
            assert value == 2
        else:
            assert torch.equal(value, model.state_dict()[name])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("own", [torch.float32, torch.bfloat16])
def test_other_precisions_are_converted(file, dtype, own, caplog):
    caplog.set_level(logging.INFO)
    model, fresh = lively(1).to(dtype), lively(2).to(own)
    torch.save(to_layout(model, "mmaction2"), file)
    load_checkpoint(fresh, file)
    assert_same_state(fresh.state_dict(), model.to(own).state_dict())
    note = f"{file}: weights of {dtype} are converted to {own}"
    assert (note in caplog.text) == (dtype != own)


def test_nothing_is_said_of_weights_that_need_no_conversion(file, caplog):
    caplog.set_level(logging.INFO)
    torch.save(lively().state_dict(), file)
    load_checkpoint(lively(2), file)
    assert not caplog.records


# --- another classifier ---------------------------------------------------------------------------


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_new_head(file, layout, caplog):
    caplog.set_level(logging.INFO)
    model, fresh = lively(1, num_classes=7), lively(2)
    before = {k: v.clone() for k, v in fresh.state_dict().items()}
    torch.save({"state_dict": to_layout(model, layout)}, file)
    report = load_checkpoint(fresh, file, new_head=True)
    assert set(report.missing) == set(report.left_over) == {"fc.weight", "fc.bias"}
    assert set(report.matched) == set(before) - {"fc.weight", "fc.bias"}
    for name, value in fresh.state_dict().items():
        source = before if name.startswith("fc.") else model.state_dict()
        assert torch.equal(value, source[name]), name
    assert "another number of classes and is not loaded" in caplog.text


def test_a_new_head_of_mobilenetv2(file):
    small = {"backbone": "mobilenetv2", "width": 0.25, "depth": (1, 1, 1, 1, 1, 1, 1)}
    torch.save(to_layout(lively(1, num_classes=7, **small), "mit"), file)
    report = load_checkpoint(lively(2, **small), file, new_head=True)
    assert set(report.missing) == {"classifier.1.weight", "classifier.1.bias"}


def test_a_new_head_is_not_made_where_the_old_one_fits(file):
    model, fresh = lively(1), lively(2)
    torch.save(model.state_dict(), file)
    report = load_checkpoint(fresh, file, new_head=True)
    assert_same_state(fresh.state_dict(), model.state_dict())
    assert report.missing == report.left_over == ()


def test_a_file_without_a_classifier(file):
    state = {k: v for k, v in lively(1).state_dict().items() if not k.startswith("fc.")}
    torch.save(state, file)
    with pytest.raises(CheckpointError, match="it lacks fc.weight and 1 more$"):
        load_checkpoint(lively(2), file)
    report = load_checkpoint(lively(2), file, new_head=True)
    assert report.missing == ("fc.weight", "fc.bias") and report.left_over == ()


def test_a_new_head_excuses_nothing_else(file):
    torch.save(lively(1, num_classes=7, width=0.25).state_dict(), file)
    with pytest.raises(CheckpointError, match=r"conv1.weight is \[16, 3, 7, 7\] instead of \[8"):
        load_checkpoint(lively(2), file, new_head=True)


def test_pretraining_makes_a_new_head_by_itself(file):
    state = lively(1, num_classes=7).state_dict()
    torch.save(state, file)
    fresh = lively(2, pretrain=str(file))
    assert load_pretrained(fresh, tiny(pretrain=str(file)))["source"] == str(file)
    assert torch.equal(fresh.conv1.weight, state["conv1.weight"])
    assert fresh.fc.weight.shape == (5, 64)


# --- what does not fit ----------------------------------------------------------------------------


def other_network() -> dict[str, torch.Tensor]:
    return torch.nn.TransformerEncoderLayer(16, 2, 32).state_dict()


DIFFERENT = {
    "classes": (
        lambda: lively(num_classes=7).state_dict(),
        "it has other shapes: fc.weight is [7, 64] instead of [5, 64] and 1 more; it has 7 "
        "classes, the model 5: new_head=True keeps the model's classifier",
    ),
    "deeper": (
        lambda: lively(depth=(1, 1, 1, 2)).state_dict(),
        "it has unknown layer4.1.conv1.weight and 11 more; it is of another depth, 5 blocks "
        "instead of 4",
    ),
    "another network": (
        other_network,
        "it lacks conv1.weight and 61 more; it is of another network",
    ),
    "another backbone": (
        lambda: lively(backbone="mobilenetv2", depth=(1,) * 7, width=0.25).state_dict(),
        "it lacks conv1.weight and 61 more; it is of another network",
    ),
    "integers": (
        lambda: {k: v.to(torch.int8) for k, v in lively().state_dict().items()},
        "it has other types: conv1.weight is torch.int8 instead of torch.float32 and 61 more",
    ),
    "sparse": (
        lambda: {**lively().state_dict(), "fc.weight": torch.ones(5, 64).to_sparse()},
        "it has other types: fc.weight is torch.float32 (sparse) instead of torch.float32",
    ),
    "no values": (
        lambda: {**lively().state_dict(), "fc.bias": torch.ones(5, device="meta")},
        "it has other types: fc.bias is torch.float32 without values instead of torch.float32",
    ),
    "no axes": (
        lambda: {**lively().state_dict(), "fc.weight": torch.tensor(1.0)},
        "it has other shapes: fc.weight is [] instead of [5, 64]",
    ),
}


@pytest.mark.parametrize("what", DIFFERENT)
def test_one_sentence_for_what_does_not_fit(file, what):
    make, sentence = DIFFERENT[what]
    model = lively(2)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    torch.save(make(), file)
    with pytest.raises(CheckpointError) as error:
        load_checkpoint(model, file)
    assert says(error, file) == f"FILE does not fit the model: {sentence}"
    assert_same_state(model.state_dict(), before)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_the_same_weights_twice(file, layout):
    """Under two names of one meaning: which of them counts would be chance."""
    state = {k.removeprefix("module."): v for k, v in to_layout(lively(), layout).items()}
    name = next(iter(state))
    torch.save({**state, f"module.{name}": state[name] + 1}, file)
    with pytest.raises(CheckpointError, match=f"{file} holds some weights twice"):
        load_checkpoint(lively(2), file)


def test_two_classifiers(file):
    state = to_layout(lively(), "mit")
    heads = {k.replace("new_fc", "base_model.fc"): v for k, v in state.items() if "new_fc" in k}
    torch.save({**state, **heads}, file)
    with pytest.raises(CheckpointError, match=f"{file} holds some weights twice"):
        load_checkpoint(lively(2), file)


# --- other shifts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["mmaction2", "mit"])
@pytest.mark.parametrize(
    ("there", "here", "note"),
    [
        ({}, {"is_shift": False}, "only the file shifts or pools"),
        ({"is_shift": False}, {}, "only the model shifts or pools"),
        ({"shift_place": "block"}, {}, "only the file shifts or pools"),
        ({"temporal_pool": True}, {}, "only the file shifts or pools"),
        ({}, {}, None),
        ({"temporal_pool": True}, {"temporal_pool": True}, None),
        ({}, {"shift_div": 4}, None),  # which no name tells
    ],
)
def test_weights_of_a_network_that_shifts_elsewhere(file, caplog, layout, there, here, note):
    """They fit, and give another function than the published one: that is said."""
    torch.save({"state_dict": to_layout(lively(1, **there), layout)}, file)
    load_checkpoint(lively(2, **here), file)
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == (note is not None)
    assert (
        not note or f"{file} is from a network with other shifts than the model: {note}" in lines[0]
    )


@pytest.mark.parametrize("direction", ["bidirectional", "unidirectional"])
def test_the_streaming_demos_weights_only_look_back(file, caplog, direction):
    small = {"backbone": "mobilenetv2", "width": 0.25, "depth": (1, 2, 1, 1, 1, 1, 1)}
    named = to_layout(lively(1, **small), "mit")
    plain = {
        k.removeprefix("module.base_model.").replace(".net.", "."): v for k, v in named.items()
    }
    plain = {k.replace("module.new_fc", "classifier"): v for k, v in plain.items()}
    torch.save(plain, file)
    model = lively(2, shift_direction=direction, **small)
    assert load_checkpoint(model, file).layout == "mit_online"
    assert ("shift_direction=unidirectional" in caplog.text) == (direction == "bidirectional")
