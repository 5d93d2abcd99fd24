"""One damaged or edited record is left out by name; the others are read as before."""

import json

import pytest

from tsmlib import ResultsError, get_config
from tsmlib.engine.find_model import newest_weights
from tsmlib.records import SUMS, read_checked
from tsmlib.results import read_runs, write_record
from tsmlib.study.publish import describe_run, publish
from tsmlib.study.records import find_recorded_runs


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """Two records of trainings on a stand-in; the second is to be damaged."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    cfg = get_config("sthv1", lr=0.02)
    record = {
        "cfg": "sthv1", "kind": "training", "data": "standin", "scale": "mini", "seed": 0,
        "protocol": "validation", "top1": 50.0, "num_videos": 12, "num_listed": 12, "lr": 0.02,
        "config_hash": cfg.hash, "date": "2026-01-01 00:00 UTC", "data_id": None,
    }  # fmt: skip
    for name in ("good", "odd"):
        folder = tmp_path / "local" / "sthv1" / name
        write_record(folder, cfg, record, [])
        (folder / "last.pth").touch()
    return folder


def without(text, name):
    return json.dumps({k: v for k, v in json.loads(text).items() if k != name})


def having(**fields):
    return lambda text: json.dumps(json.loads(text) | fields)


DAMAGE = {
    "null": lambda text: "null",
    "a list": lambda text: "[]",
    "text": lambda text: '"record"',
    "cut off": lambda text: text[: len(text) // 2],
    "nothing": lambda text: "",
    "nested": lambda text: "[" * 100_000,
    "bytes": lambda text: b"\xff\xfe\x00",
}
OF_RECORDS = {
    "no seed": lambda text: without(text, "seed"),
    "no cfg": lambda text: without(text, "cfg"),
    "odd seed": having(seed="a"),
    "large seed": having(seed=2**70),
    "odd top1": having(top1="best"),
    "odd kind": having(kind=[]),
    "NaN": having(top1=float("nan")),
    "edited top1": having(top1=60.0),
    "edited lr": having(lr=0.01),
    "edited cfg": having(cfg="k400"),
    "edited hash": having(config_hash="00000000"),
}
OF_CONFIGS = {
    "unknown field": having(surprise=1),
    "odd value": having(lr="fast"),
    "edited lr": having(lr=0.01),
}


@pytest.mark.parametrize("with_sums", [True, False])
@pytest.mark.parametrize(
    ("file", "damage"),
    [("metrics.json", name) for name in DAMAGE | OF_RECORDS]
    + [("config.json", name) for name in DAMAGE | OF_CONFIGS],
)
def test_a_damaged_or_edited_record_is_left_out_by_name(runs, caplog, file, damage, with_sums):
    if not with_sums:  # older records have none: what has to agree with other files still does
        (runs / SUMS).unlink()
        if file == "metrics.json" and damage in ("edited top1", "edited lr"):
            pytest.skip("`verify` finds it, by the scores")
    change = (DAMAGE | (OF_RECORDS if file == "metrics.json" else OF_CONFIGS))[damage]
    changed = change((runs / file).read_text())
    (runs / file).write_bytes(changed if isinstance(changed, bytes) else changed.encode())
    local = runs.parents[1]
    assert read_runs(local)["run"].tolist() == ["sthv1/good"]
    assert "sthv1/odd is left out: " in caplog.text and file in caplog.text
    assert len(find_recorded_runs()) == 1
    assert newest_weights("sthv1")[0].parent.name == "good"
    for reader in (read_checked, publish, describe_run):
        with pytest.raises(ResultsError, match="is damaged: ") as error:
            reader(runs)
        assert "\n" not in str(error.value)


def test_a_record_that_is_whole_is_read(runs):
    record, cfg = read_checked(runs)
    assert record["top1"] == 50.0 and cfg.lr == 0.02
    assert len(read_runs(runs.parents[1])) == 2
