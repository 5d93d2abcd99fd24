"""Give hypothesis's texts and values to everything that reads files: an error of ours, or none.

Each function of `FUZZERS` checks one reader. What it must not do is to end in another exception, or
to say it in more than one line.
"""

import io
import json
import struct
import tempfile
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tsmlib.configs import ConfigError, from_dict, get_config, to_dict
from tsmlib.configs.fields import FIELD_TYPES
from tsmlib.data.annotations import DataError, find_list, read_list
from tsmlib.engine.find_model import choose_config
from tsmlib.models.checkpoint_files import CheckpointError, checkpoint_bytes, read_checkpoint
from tsmlib.models.recognizer import build_model, load_model
from tsmlib.records import ResultsError, read_checked
from tsmlib.results import read_runs
from tsmlib.text import to_terminal

# --- what is drawn --------------------------------------------------------------------------------

WORDS = (
    "a.mp4", "../a.mp4", "/etc/passwd", "walk/b.avi", "0", "1", "-1", "8", "1e3", "٣", "²",
    "9" * 30, "9" * 5000, "nan", "\u2028", "\ufeff", "\0", "\x85", "\t", " ", "\r", "\n", "\n\n",
    ",", ";", '"', "'", "$\\frac{$", "=1+1", "{}", "{:05}", "{0.__class__}", "~", "~x", "file:///",
)  # fmt: skip
YAML_WORDS = (
    "base: sthv1\n", "base: [", "&a ", "*a", "<<: *a\n", "? ", "!!python/object:os.system ", "#",
    "!!set ", "!!binary ", "2020-02-30", "0x", "1_0", "- ", "{", "}", "[", "]", "|\n", ">\n",
    "%YAML 9\n", "---\n", "lr: ", "num_classes: ", "train_list: ", "class_names: ",
    "data_root: ", "pretrain: ", ": ",
)  # fmt: skip
scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
    st.sampled_from(WORDS), st.sampled_from((2**63, -(2**63), 10**400, 0, 1, -1)),
)  # fmt: skip
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=3)
    ),
    max_leaves=6,
)
known = st.sampled_from(sorted(FIELD_TYPES))
names = st.one_of(known, known, known, st.text(max_size=6))
likely = st.sampled_from((1, 2, 8, 16, 0.5, 1e-3, True, None, [2, 4], "auto", "none"))
changes = st.dictionaries(names, st.one_of(likely, values), max_size=3)


def mixtures(*words: str) -> st.SearchStrategy[str]:
    """Draw texts of some words and of any characters."""
    pieces = st.one_of(st.sampled_from(words), st.text(max_size=5))
    return st.lists(pieces, max_size=12).map("".join)


def changed(content: dict[str, Any]) -> st.SearchStrategy[Any]:
    """Draw a dict with some other values, with missing keys, or something else altogether."""
    new = st.dictionaries(st.sampled_from(sorted(content)), st.one_of(likely, values), max_size=3)
    missing = st.sets(st.sampled_from(sorted(content)), max_size=2)
    mutants = st.builds(
        lambda new, extra, gone: {
            k: v for k, v in {**content, **new, **extra}.items() if k not in gone
        },
        new, st.dictionaries(st.text(max_size=4), values, max_size=1), missing,
    )  # fmt: skip
    return st.one_of(mutants, mutants, values)


def ends_well(call: Callable[[], Any], *errors: type[Exception]) -> str:
    """Call, and return `works` or `is refused`.

    Raises:
        AssertionError: an error of ours in more than one line. Other errors pass through.
    """
    try:
        call()
    except errors as error:
        assert to_terminal(str(error)).count("\n") == 0, f"no sentence: {error}"
        return "is refused"
    return "works"


# --- who reads it ---------------------------------------------------------------------------------


def lists(folder: Path, count: Callable) -> Callable:
    """Read list files of any text, alone and as those of a data set."""
    file = folder / "train.txt"
    row = get_config("sthv1", data_root=str(folder), train_list="train.txt", train_prefix=None)

    lines = ("a.mp4 1\n", "walk/b.avi 8 2\n", "c d/frames 30 173\r\n", "a.mp4 1 2 3\n")

    kinds = st.sampled_from(("auto", "video", "rawframes"))

    @given(mixtures(*WORDS, *lines, *lines, *lines), kinds, st.booleans())
    def check(text, layout, inside):
        file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        folders = (folder,) if inside else ()
        count(ends_well(lambda: read_list(file, layout, 174, folders), DataError))
        ends_well(lambda: find_list(row, "train", folder), DataError)

    return check


def list_bytes(folder: Path, count: Callable) -> Callable:
    """Read list files of any bytes."""
    file = folder / "train.txt"

    @given(st.binary(max_size=60))
    def check(content):
        file.write_bytes(content)
        count(ends_well(lambda: read_list(file, "auto", 174), DataError))

    return check


def yaml_files(folder: Path, count: Callable) -> Callable:
    """Read YAML files of any text."""
    file = folder / "own.yaml"

    @given(mixtures(*YAML_WORDS, *WORDS).map(lambda text: f"base: sthv1\n{text}"))
    def check(text):
        file.write_text(text, encoding="utf-8", errors="surrogatepass", newline="")
        count(ends_well(lambda: get_config(str(file)), ConfigError))

    return check


def yaml_fields(folder: Path, count: Callable) -> Callable:
    """Read YAML files of any fields."""
    file = folder / "own.yaml"

    @given(changes)
    def check(fields):
        file.write_text(yaml.safe_dump({"base": "sthv1", **fields}), errors="surrogatepass")
        count(ends_well(lambda: get_config(str(file)), ConfigError))

    return check


def configs(folder: Path, count: Callable) -> Callable:
    """Make configurations of any fields."""

    @given(changes)
    def check(fields):
        fields.pop("name", None)
        count(ends_well(lambda: get_config("sthv1", **fields), ConfigError))
        ends_well(lambda: from_dict({**to_dict(get_config("sthv1")), **fields}), ConfigError)

    return check


def records(folder: Path, count: Callable) -> Callable:
    """Read records of any content, one by one and in a table."""
    run, cfg = folder / "runs" / "sthv1" / "a", get_config("sthv1")
    run.mkdir(parents=True, exist_ok=True)
    record = {
        "cfg": "sthv1", "kind": "training", "data": "standin", "scale": "full", "seed": 0,
        "protocol": "validation", "top1": 50.0, "config_hash": cfg.hash, "num_videos": 8,
    }  # fmt: skip

    @given(changed(record), st.one_of(st.just(to_dict(cfg)), changed(to_dict(cfg))))
    def check(metrics, config):
        for name, content in (("metrics.json", metrics), ("config.json", config)):
            (run / name).write_text(json.dumps(content))
        count(ends_well(lambda: read_checked(run), ResultsError))
        read_runs(folder / "runs")

    return check


def record_bytes(folder: Path, count: Callable) -> Callable:
    """Read records of any bytes."""
    run = folder / "runs" / "sthv1" / "a"
    run.mkdir(parents=True, exist_ok=True)
    parts = st.one_of(st.binary(max_size=20), st.sampled_from((b"null", b"[]", b"{}", b"[" * 9999)))

    @given(parts, parts)
    def check(metrics, config):
        (run / "metrics.json").write_bytes(metrics)
        (run / "config.json").write_bytes(config)
        count(ends_well(lambda: read_checked(run), ResultsError))

    return check


def configurations_in_weights(folder: Path, count: Callable) -> Callable:
    """Build the model that is stated in a file of weights, of any fields."""
    cfg = get_config("sthv1", backbone="resnet18", width=0.125, depth=(1, 1, 1, 1), num_classes=3)
    state, file = build_model(cfg).state_dict(), folder / "weights.pth"

    facts = st.dictionaries(st.sampled_from(("run", "seed", "scale")), values, max_size=1)

    @given(st.one_of(st.just(to_dict(cfg)), changed(to_dict(cfg))), facts)
    def check(config, said):
        content = {"model": state, "config": config, **said}
        errors = (CheckpointError, ConfigError)
        count(ends_well(lambda: _build_as_stated(content, file), *errors))

    return check


def _build_as_stated(content: dict, file: Path) -> None:
    load_model(choose_config(content, file, None), content, file)


def checkpoint_files(folder: Path, count: Callable) -> Callable:
    """Read weights of any bytes: pickles, archives of anything, headers of safetensors."""
    seals = st.sampled_from((b"", b"sha256 " + b"0" * 64))
    opcodes = (
        b"\x80\x02", b"}", b"c__builtin__\neval\n", b"cos\nsystem\n", b"X\x01\0\0\0a", b"K\x01",
        b"R", b"(", b"t", b"s", b"q\0", b"h\0", b".", b"Q", b"\x8c\x01a",
    )  # fmt: skip
    pickles = st.lists(st.sampled_from(opcodes), max_size=10).map(b"".join)
    headers = st.builds(
        lambda value, length, rest: struct.pack("<Q", length) + json.dumps(value).encode() + rest,
        values, st.integers(0, 2**64 - 1), st.binary(max_size=9),
    )  # fmt: skip

    @given(st.one_of(st.binary(max_size=60), pickles, headers), pickles, seals, st.booleans())
    def check(raw, pickled, seal, archived):
        if archived:
            raw = _archive(pickled, raw, seal)
        for name in ("weights.pth", "weights.safetensors"):
            (folder / name).write_bytes(raw)
            count(ends_well(lambda name=name: read_checkpoint(folder / name), CheckpointError))

    return check


def _archive(pickled: bytes, data: bytes, seal: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/data/0", data)
        archive.writestr("archive/version", b"3\n")
        archive.comment = seal
    return buffer.getvalue()


def checkpoint_contents(folder: Path, count: Callable) -> Callable:
    """Read weights of any objects, with a good digest."""
    file = folder / "weights.pth"

    @given(values)
    def check(content):
        file.write_bytes(checkpoint_bytes(content))
        count(ends_well(lambda: read_checkpoint(file), CheckpointError))

    return check


FUZZERS = (
    lists, list_bytes, yaml_files, yaml_fields, configs, records, record_bytes,
    configurations_in_weights, checkpoint_files, checkpoint_contents,
)  # fmt: skip


def fuzz(make: Callable, examples: int, number: int) -> Counter:
    """Give one reader so many examples; return how many worked and how many were refused.

    Raises:
        Exception: of the reader, with hypothesis's smallest example as a note.
    """
    counts: Counter = Counter()
    with tempfile.TemporaryDirectory() as folder:
        check = make(Path(folder), lambda outcome: counts.update([outcome]))
        slow = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
        options = settings(
            max_examples=examples, deadline=None, database=None, suppress_health_check=slow
        )
        seed(number)(options(check))()
    return counts
