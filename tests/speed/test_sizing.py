"""Estimates are products of what records hold; without a record there is none."""

import json

import pytest

from tsmlib import get_config
from tsmlib.__main__ import main
from tsmlib.data.annotations import find_list
from tsmlib.results import ResultsError
from tsmlib.speed.sizing import estimate_cores, estimate_gigabytes, estimate_hours


@pytest.fixture
def records(tmp_path, monkeypatch):
    """Records of a GPU that trains 100 videos per second, and of a CPU."""
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    steps = [{"network": "TSN", "per_second": 120.0}, {"network": "TSM", "per_second": 100.0}]
    profile = {"device": "A GPU", "commit": "abc", "training": steps}
    rows = {"sthv1": {"full": profile, "mini": {**profile, "training": []}}}
    (folder / "a-gpu-rows.json").write_text(json.dumps({"device": "A GPU", "rows": rows}))
    laps = {"jpeg_folder": {"ours": [4.0, 5.0, 90.0], "published": [9.0]}}
    bench = {"device": "A CPU", "commit": "def", "threads": 2, "milliseconds": laps}
    (folder / "a-cpu.json").write_text(json.dumps(bench))
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    return folder


def test_hours(records):
    table = estimate_hours(get_config("sthv1", epochs=50), 72_000, records)
    assert table["hours"].tolist() == [50 * 72_000 / 100 / 3600, 50 * 72_000 / 800 / 3600]
    assert set(table["device"]) == {"A GPU"} and set(table["commit"]) == {"abc"}
    without_shift = estimate_hours(get_config("sthv1", is_shift=False), 72_000, records)
    assert set(without_shift["videos_per_second"]) == {120.0}
    assert estimate_hours(get_config("k400"), 72_000, records).empty


def test_cores(records):
    (row,) = estimate_cores(150.0, records).to_dict("records")
    assert row["cores"] == 2  # 150 x 5 ms x 2 threads = 1.5
    assert (row["cpu"], row["stored"], row["commit"]) == ("A CPU", "JPEG frames", "def")


def test_disk(tmp_path):
    for i in range(4):
        (tmp_path / f"{i}.mp4").write_bytes(bytes(1000 * (i + 1)))
    (tmp_path / "list.txt").write_text("".join(f"{i % 5}.mp4 0\n" for i in range(4)))
    (tmp_path / "own.yaml").write_text(
        f"base: k400_video\ndata_root: {tmp_path}\ntrain_list: list.txt\nval_list: list.txt\n"
        "num_classes: 2\n"
    )
    videos = find_list(get_config(str(tmp_path / "own.yaml")), "train", tmp_path)
    assert estimate_gigabytes(videos) == pytest.approx(1e-5)


def test_the_command_says_what_is_not_measured(records, capsys):
    assert main(["sizing", "sthv1", "--videos", "72000"]) == 0
    shown = capsys.readouterr().out
    assert "ESTIMATES" in shown and "10.00" in shown and "A GPU" in shown
    assert main(["sizing", "k400", "--videos", "72000"]) == 0
    assert "hours: not measured; tsm profile k400 --scale full" in capsys.readouterr().out
    assert main(["sizing", "k400"]) == 1
    assert "--videos" in capsys.readouterr().err


def test_a_damaged_record_is_named(records):
    (records / "a-cpu.json").write_text("{")
    with pytest.raises(ResultsError, match=r"a-cpu\.json is no record"):
        estimate_cores(1.0, records)
