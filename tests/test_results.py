"""Run records: written, read, published, and set beside the tables only where that is fair."""

import csv
import json
import subprocess
import sys
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tsmlib import ResultsError, get_config, list_configs
from tsmlib.__main__ import main
from tsmlib.configs import mini
from tsmlib.plots import curves
from tsmlib.reference import comparable, published_accuracy, read_log, read_reference
from tsmlib.report.published_curve import published_curve
from tsmlib.report.readme import write_report
from tsmlib.report.tables import beside_published
from tsmlib.results import (
    newest_run,
    read_hits,
    read_record,
    read_runs,
    read_scores,
    write_record,
    write_scores,
)
from tsmlib.study.publish import describe_run, publish, publish_all


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A results folder for each test."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def record_of(cfg, **changes) -> dict:
    whole = {
        "cfg": cfg.name, "kind": "evaluation", "data": "real", "scale": "full", "seed": 0,
        "protocol": "published", "views": {"clips": 2, "crops": 3, "size": 256}, "top1": 47.6,
        "top1_se": 0.47, "top5": 76.0, "mean_class_accuracy": 41.2, "num_videos": 11522,
        "num_listed": 11522, "device": "CPU", "commit": "0123456789ab",
    }  # fmt: skip
    return {**whole, **changes}


def written(folder, cfg, name: str = "run", history=(), **changes) -> Path:
    run = folder / "local" / cfg.name / name
    write_record(run, cfg, record_of(cfg, **changes), list(history))
    return run


# --- records --------------------------------------------------------------------------------------


def test_record_comes_back(folder):
    cfg = get_config("sthv1", lr=0.02)
    history = [{"epoch": 1, "loss": 2.5}, {"epoch": 2, "loss": 1.5, "top1": 30.0}]
    run = written(folder, cfg, history=history)
    assert read_record(run) == record_of(cfg)
    assert json.loads((run / "config.json").read_text())["lr"] == 0.02
    table = pd.read_csv(run / "history.csv")
    assert table["loss"].tolist() == [2.5, 1.5] and np.isnan(table["top1"][0])
    assert not list(folder.rglob("*.tmp"))


def test_runs_of_a_folder(folder):
    written(folder, get_config("sthv1"), "a")
    written(folder, get_config("sthv1", is_shift=False), "b", seed=3)
    written(folder, mini(get_config("k400")), "c", scale="mini")
    runs = read_runs(folder / "local").set_index("run")
    assert list(runs.index) == ["k400/c", "sthv1/a", "sthv1/b"]
    assert json.loads(runs.loc["sthv1/a", "changes"]) == {}
    assert json.loads(runs.loc["sthv1/b", "changes"]) == {"is_shift": False}
    assert runs.loc["sthv1/b", "seed"] == 3
    assert json.loads(runs.loc["k400/c", "changes"])["width"] == 0.125
    assert json.loads(runs.loc["k400/c", "explicit"]) == {}  # the scale is no change of the user
    assert read_runs(folder / "absent").empty


def test_scores_come_back(tmp_path):
    outcome = {
        "paths": ["a", "b c"], "labels": np.array([1, 0]),
        "scores": np.array([[0.25, 0.75], [0.1234567, 0.8765433]], np.float32),
    }  # fmt: skip
    write_scores(tmp_path / "scores.json", outcome)
    paths, labels, scores = read_scores(tmp_path / "scores.json")
    assert paths == outcome["paths"] and labels.tolist() == [1, 0]
    np.testing.assert_allclose(scores, outcome["scores"], atol=1e-6)


def test_missing_and_damaged_records(tmp_path):
    with pytest.raises(ResultsError, match="holds no record"):
        read_record(tmp_path)
    (tmp_path / "metrics.json").write_text('{"cfg": "sthv1"')
    with pytest.raises(ResultsError, match="metrics.json is damaged"):
        read_record(tmp_path)


# --- publishing -----------------------------------------------------------------------------------


def test_publishing_copies_only_what_is_small(folder):
    run = written(folder, get_config("sthv1"), history=[{"epoch": 1}])
    for name in ("last.pth", "best.pth"):
        (run / name).write_text("large")
    generator = np.random.default_rng(0)
    outcome = {
        "paths": [str(i) for i in range(3000)], "labels": generator.integers(0, 10, 3000),
        "scores": generator.random((3000, 10)),
    }  # fmt: skip
    write_scores(run / "scores.json", outcome)  # more than is published: predictions remain
    target = publish(run)
    assert target == folder / "runs/sthv1/run"
    names = sorted(file.name for file in target.iterdir())
    names.remove("SHA256SUMS")
    assert names == ["config.json", "history.csv", "metrics.json", "predictions.csv.gz"]
    assert (target / "predictions.csv.gz").stat().st_size < 10_000
    hits = outcome["scores"].argmax(1) == outcome["labels"]
    np.testing.assert_array_equal(read_hits(run), hits)
    np.testing.assert_array_equal(read_hits(target), hits)
    assert read_hits(folder) is None
    (run / "scores.json").write_text("[]")
    assert (publish(run) / "scores.json.gz").is_file()
    assert (target / "metrics.json").read_bytes() == (run / "metrics.json").read_bytes()


def test_the_summary_has_a_line_for_each_published_record(folder):
    runs = [written(folder, get_config("sthv1"), top1=47.6)]
    runs.append(written(folder, get_config("k400"), "other", top1=70.2))
    publish_all(runs)
    assert not (folder / "summary.csv").exists()  # a report of its own
    assert write_report() == [folder / "summary.csv"]  # claims are of the repository alone
    with (folder / "summary.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(r["cfg"], r["run"], float(r["top1"])) for r in rows] == [
        ("k400", "k400/other", 70.2), ("sthv1", "sthv1/run", 47.6)
    ]  # fmt: skip
    assert {"data", "scale", "seed", "protocol", "num_videos", "device", "commit"} <= set(rows[0])
    publish(written(folder, get_config("sthv1"), top1=48.0))  # again: replaced, not doubled
    write_report()
    assert pd.read_csv(folder / "summary.csv")["top1"].tolist() == [70.2, 48.0]


def test_summary_of_nothing(folder):
    (summary,) = write_report()
    assert pd.read_csv(summary).empty


def test_publishing_what_is_no_run(tmp_path):
    with pytest.raises(ResultsError, match="holds no record"):
        publish(tmp_path)


def test_commands_publish_and_summarise(folder, capsys):
    run = written(folder, get_config("sthv1"), seed=4)
    assert main(["report", "publish", str(run)]) == 0
    printed = capsys.readouterr().out
    assert "runs/sthv1/run" in printed and "summary.csv" in printed
    assert main(["report", "publish", str(folder)]) == 1
    assert "holds no record" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "beside"),
    [
        ({}, "published: 47.70 %"),
        ({"protocol": "efficient"}, "published: 45.58 %"),
        ({"scale": "mini", "data": "standin"}, "beside it: this is a mini run on generated clips"),
        ({"scale": "mini"}, "beside it: this is a mini run on real data"),
        (
            {"num_listed": 11523},
            "beside it: the row, its protocol, the precision or the list differs",
        ),
    ],
)
def test_the_newest_run_is_described(folder, changes, beside):
    with pytest.raises(ResultsError, match="there is no run yet"):
        newest_run()
    written(folder, get_config("k400"), "older", top1=1.0)
    run = written(folder, get_config("sthv1"), seed=4, top1=46.125, **changes)
    assert newest_run() == run
    text = "\n".join(describe_run(run))
    for words in ("sthv1", "seed 4", "46.12 %", "45.2 to 47.0", "11522 videos", beside,
                  "sthv1/run"):  # fmt: skip
        assert words in text


def test_last_from_a_shell(folder):
    """Lines of text, or one sentence and a status."""
    command = [sys.executable, "-m", "tsmlib", "report", "last"]
    empty = subprocess.run(command, capture_output=True, text=True)
    assert empty.returncode == 1 and not empty.stdout
    assert "there is no run yet" in empty.stderr and "Traceback" not in empty.stderr
    written(folder, get_config("sthv1"))
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0 and not done.stderr
    assert len(done.stdout.splitlines()) >= 3 and "47.60 %" in done.stdout


# --- beside the tables ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cfg", "protocol", "published"),
    [
        ("sthv1", "efficient", {"top1": 45.58, "top5": 75.02}),
        ("sthv1", "published", {"top1": 47.70, "top5": 76.12}),
        ("sthv1", "accurate", {"top1": 47.70, "top5": 76.12}),
        ("sthv1", "validation", {}),
        ("k400", "published", {"top1": 70.59, "top5": 89.52}),
        ("k400_340x256", "published", {"top1": 70.24, "top5": 89.56}),
        ("k400", "efficient", {}),
        ("k400", "validation", {}),
        ("jester", "efficient", {"top1": 96.5}),  # no top-5 in the table
        ("jester", "published", {"top1": 97.2}),
        ("hmdb51_t16", "published", {"top1": 74.77, "top5": 93.86}),
        ("my_own", "published", {}),
    ],
)
def test_published_accuracy(cfg, protocol, published):
    assert published_accuracy(cfg, protocol) == published


def test_reference_names_every_row():
    assert read_reference()["cfg"].tolist() == list_configs()


@pytest.mark.parametrize(
    ("data", "scale", "changes", "videos"),
    list(product(("real", "standin"), ("full", "mini"), ({}, {"lr": 0.02}), (11522, 11521))),
)
def test_comparable_only_if_everything_is_as_published(data, scale, changes, videos):
    record = record_of(get_config("sthv1"), data=data, scale=scale, num_videos=videos)
    fair = (data, scale, changes, videos) == ("real", "full", {}, 11522)
    assert comparable(record, changes) is fair


def test_table_has_every_row_and_is_empty_without_runs(folder):
    table = beside_published(read_runs(folder / "local"))
    assert table["cfg"].tolist() == list_configs()
    assert table[["ours_top1", "ours_top1_accurate"]].isna().all(axis=None)
    assert table.loc[table["cfg"] == "sthv1", "top1"].item() == 45.58


@pytest.mark.parametrize(
    "changes",
    [
        {"scale": "mini"},
        {"data": "standin"},
        {"data": "standin", "scale": "mini"},
        {"num_videos": 11000},
        {"protocol": "validation"},
    ],
    ids=["mini", "stand-in", "both", "incomplete", "other views"],
)
def test_unfair_runs_stay_out_of_the_table(folder, changes):
    written(folder, get_config("sthv1"), **changes)
    table = beside_published(read_runs(folder / "local"))
    assert table[["ours_top1", "ours_top1_accurate"]].isna().all(axis=None)


def test_changed_rows_stay_out_of_the_table(folder):
    written(folder, get_config("sthv1", is_shift=False))
    written(folder, mini(get_config("sthv1")), "small")  # whatever the record says
    table = beside_published(read_runs(folder / "local"))
    assert table[["ours_top1", "ours_top1_accurate"]].isna().all(axis=None)


def test_fair_runs_stand_beside_the_right_number(folder):
    written(folder, get_config("sthv1"), "a", protocol="published", top1=47.0)
    written(folder, get_config("sthv1"), "b", protocol="efficient", top1=45.0)
    written(folder, get_config("k400"), "c", top1=70.0)
    table = beside_published(read_runs(folder / "local")).set_index("cfg")
    ours = table[["ours_top1", "ours_top1_accurate"]]
    assert ours.loc["sthv1"].tolist() == [45.0, 47.0]
    assert ours.loc["k400", "ours_top1"] == 70.0
    # nothing anywhere else, not even beside the two other rows of the same label
    assert int(ours.notna().to_numpy().sum()) == 3


# --- places that cannot be written, and what is not needed ----------------------------------------


@pytest.fixture
def closed(tmp_path, monkeypatch):
    """A results folder below a file: nobody can write there, root included."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path / "file/results"))
    return tmp_path / "file/results"


def test_records_that_cannot_be_written(closed):
    with pytest.raises(ResultsError, match="cannot be written: .*TSM_RESULTS") as error:
        written(closed, get_config("sthv1"))
    assert "\n" not in str(error.value)
    with pytest.raises(ResultsError, match="summary.csv cannot be written"):
        write_report()


def test_publishing_to_a_closed_folder_is_one_sentence(folder, closed):
    run = written(folder, get_config("sthv1"))
    with pytest.raises(ResultsError, match="cannot be written") as error:
        publish(run)
    assert "\n" not in str(error.value)


def test_tables_and_charts_need_no_torch():
    code = "import sys, tsmlib.study.publish, tsmlib.plots; assert 'torch' not in sys.modules"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# --- published logs -------------------------------------------------------------------------------


def test_a_published_log_becomes_a_curve(tmp_path):
    lines = [
        {"env_info": "sys.platform: linux", "config": "..."},
        {"mode": "train", "epoch": 1, "iter": 20, "lr": 0.01, "loss": 6.0},
        {"mode": "train", "epoch": 1, "iter": 40, "lr": 0.01, "loss": 5.0},
        {"mode": "train", "epoch": 2, "iter": 20, "lr": 0.01, "loss": 4.0},
        {"mode": "val", "epoch": 2, "iter": 40, "lr": 0.01, "top1_acc": 0.4558},
    ]
    (tmp_path / "log.json").write_text("\n".join(map(json.dumps, lines)) + "\n")
    curve = read_log(tmp_path / "log.json")
    assert list(curve.epoch) == [1, 2] and list(curve.loss) == [5.5, 4.0]
    assert np.isnan(curve.top1[0]) and abs(curve.top1[1] - 45.58) < 1e-9
    history = pd.DataFrame({"epoch": [1, 2], "loss": [5.0, 4.0], "train_top1": [1.0, 2.0]})
    axes = curves(history, {**record_of(get_config("sthv1"))}, curve)
    assert any("published" in line.get_label() for line in axes[1].lines)


@pytest.mark.parametrize("text", ["", "<html>", "[1, 2]", '{"mode": "train"}'])
def test_what_is_no_log_says_so(tmp_path, text):
    (tmp_path / "log.json").write_text(text)
    with pytest.raises(ResultsError, match="log.json is no training log"):
        read_log(tmp_path / "log.json")


def test_a_published_curve_is_laid_over_comparable_runs_alone(tmp_path):
    file = tmp_path / "log.json"
    file.write_text('{"mode": "train", "epoch": 1, "loss": 6.0}\n'
                    '{"mode": "val", "epoch": 1, "top1_acc": 0.1}\n')  # fmt: skip
    real = {"data": "real", "scale": "full"}
    assert published_curve("sthv1", "none", real) is None
    assert published_curve("sthv1", str(file), {**real, "scale": "mini"}) is None
    assert len(published_curve("sthv1", str(file), real)) == 1


def test_no_json_holds_nan(folder):
    with pytest.raises(ResultsError, match="metrics.json is not written, as it would hold NaN"):
        write_record(folder / "run", get_config("sthv1"), {"top1": float("nan")}, [])
    assert not (folder / "run" / "metrics.json").exists()
