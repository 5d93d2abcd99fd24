"""The study of detectors: its arms, its records, and the answers to its questions."""

import json
from pathlib import Path

import pytest

from tsmlib.detection import evaluate_detector as evaluation
from tsmlib.detection import train_detector as training
from tsmlib.detection.data import standin_recipe
from tsmlib.detection.evaluate_detector import IN_ORDER, SHUFFLED
from tsmlib.study.findings import findings
from tsmlib.study.plan import get_study
from tsmlib.study.publish import publish
from tsmlib.study.records import find_recorded_runs, identify_run, tabulate_accuracies
from tsmlib.study.run_study import run_study, summarise_progress

STUDY = get_study("detection")
MAP = {"one-way": 80.0, "2-D": 60.0}


def test_arms_differ_in_the_shift_alone():
    shifted, plain = (standin_recipe(STUDY.arms[name].cfg) for name in MAP)
    assert shifted.is_shift and not plain.is_shift
    differing = {k for k in vars(shifted) if getattr(shifted, k) != getattr(plain, k)}
    assert differing == {"is_shift", "explicit"}
    shuffled = "one-way, tested on shuffled frames"
    protocols = [identify_run(STUDY, STUDY.arms[a], 10).protocol for a in (*MAP, shuffled)]
    assert protocols == [IN_ORDER, IN_ORDER, SHUFFLED]


@pytest.fixture
def calls(tmp_path, monkeypatch):
    """Record what is trained and tested, in no time."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    made = []

    def write(cfg, seed, protocol, folder):
        made.append((cfg.is_shift, seed, protocol))
        value = MAP["one-way" if cfg.is_shift and protocol == IN_ORDER else "2-D"] + seed / 10
        parts = {f"map_{part}": value for part in ("degraded", "slow", "medium", "fast")}
        record = {"cfg": cfg.name, "data": "standin", "seed": seed, "protocol": protocol,
                  "config_hash": standin_recipe(cfg).hash, "num_videos": 2, "map50": value,
                  "map_clean": 90.0 + seed % 2, **parts}  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "metrics.json").write_text(json.dumps(record))
        (folder / "config.json").write_text("{}")
        (folder / "detections.csv.gz").write_bytes(b"")
        return record | {"run_dir": str(folder)}

    def train(cfg, options):
        name = f"{standin_recipe(cfg).hash}-{options.seed}"
        return write(
            cfg, options.seed, IN_ORDER, tmp_path / "local" / "detection" / cfg.name / name
        )

    def evaluate(weights, options, protocol):
        seed = int(Path(weights).parent.name.rpartition("-")[2])
        return write(STUDY.arms["one-way"].cfg, seed, protocol, Path(options.work_dir))

    monkeypatch.setattr(training, "train_detector", train)
    monkeypatch.setattr(evaluation, "evaluate_detector", evaluate)
    monkeypatch.setattr("tsmlib.study.run_study.run_waves", run_here)
    return made


def run_here(table, waves, processes, show, describe, title, executor):
    """Run the jobs of a pass in this process."""
    for key, (work, arguments) in (item for wave in waves for item in wave.items()):
        line = work(*arguments)
        table.loc[key, ["state", "top1", "run_dir"]] = [
            line["state"],
            line["top1"],
            line["run_dir"],
        ]


def test_runs_are_recorded_and_answer_the_questions(calls):
    table = run_study(STUDY, [10, 11, 12], 1)
    assert set(table["state"]) == {"done"} and calls.count((True, 10, SHUFFLED)) == 1
    assert summarise_progress(table).loc["2-D", "mean top1"] == pytest.approx(61.1)
    again = run_study(STUDY, [10, 11, 12], 1)
    assert set(again["state"]) == {"recorded"} and again.loc[("2-D", 10), "top1"] == 61.0
    assert tabulate_accuracies(STUDY, "map_degraded")["one-way"].loc[11] == pytest.approx(81.1)
    answers = findings(STUDY).set_index("question")
    gained = answers.loc["degraded frames, one-way over 2-D"]
    assert gained["difference"] == pytest.approx(20) and gained["verdict"] == "by construction"
    assert answers.loc["clean frames, one-way over 2-D", "difference"] == 0
    shuffled = answers.loc["degraded frames, tested on shuffled frames, one-way over 2-D"]
    assert shuffled["difference"] == pytest.approx(0)


def test_a_run_is_published_with_its_detections(calls, tmp_path):
    folder = run_study(STUDY, [10], 1, arms=["2-D"])["run_dir"].iloc[0]
    copy = publish(folder)
    assert copy.relative_to(tmp_path).parts[:3] == ("runs", "detection", "vid_r101")
    names = {"metrics.json", "config.json", "detections.csv.gz", "SHA256SUMS"}
    assert {file.name for file in copy.iterdir()} == names
    assert len(find_recorded_runs("runs")) == 1
