"""The plan of the study, and the runs that it asks for."""

import dataclasses
import json
import os
import queue

import numpy as np
import pandas as pd
import pytest
import yaml

from tsmlib import ConfigError, DataError, get_config
from tsmlib.__main__ import main
from tsmlib.configs import replace
from tsmlib.paths import HOME
from tsmlib.results import write_record, write_scores
from tsmlib.study import process_pool as jobs
from tsmlib.study import records
from tsmlib.study import run_study as study
from tsmlib.study.plan import Arm, Study, get_study, read_plan
from tsmlib.study.records import accuracies, hits, recorded, run_of
from tsmlib.study.run_study import run_study

PLAN = yaml.safe_load((HOME / "results" / "plan.yaml").read_text())
CONFIRMATORY = ("temporality", "shift", "blending", "frames")


def test_the_plan_can_be_read_and_every_run_is_one_of_its_own():
    plan = read_plan()
    for name, planned in plan.items():
        runs = [run_of(planned, arm, 10) for arm in planned.arms.values()]
        assert len(set(runs)) == len(runs), name
        assert all(asked.expected in ("more", "less", "same") for asked in planned.questions)


def test_seeds_are_those_of_the_plan():
    for name, planned in read_plan().items():
        if name in CONFIRMATORY:
            assert planned.seeds == tuple(range(10, 20)) and not planned.exploratory
        elif name == "arrow_lips":  # more than are asked for
            assert planned.seeds == tuple(range(10, 20))
        elif name not in ("tuning", "quick"):
            assert planned.seeds == tuple(range(10, 15)) and planned.exploratory
    tuning = read_plan()["tuning"]
    assert tuning.seeds == (100, 101, 102)
    assert all(arm.cfg.standin_seed == 1 for arm in tuning.arms.values())


def test_reported_studies_test_many_clips_that_tuning_never_saw():
    for name, planned in read_plan().items():
        if name not in ("tuning", "quick") and not planned.videos:
            for arm in planned.arms.values():
                assert arm.cfg.standin_clips[1] == 4096 and arm.cfg.standin_seed == 0


def test_families_get_the_same_grid_and_budget():
    arms = read_plan()["tuning"].arms
    rates = {family: [] for family in ("2-D", "shift", "3-D")}
    for name, arm in arms.items():
        family, _, rate = name.partition(", ")
        if rate.startswith("0."):
            rates[family].append((arm.cfg.lr, arm.cfg.epochs))
            assert float(rate) == arm.cfg.lr
    assert rates["2-D"] == rates["shift"] == rates["3-D"] and len(rates["2-D"]) == 3


def test_arms_of_the_main_studies_keep_the_width_that_the_plan_asks_for():
    for name in ("shift", "temporality"):
        for arm in read_plan()[name].arms.values():
            assert round(64 * arm.cfg.width) >= 32 and arm.cfg.backbone == "resnet18"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"arms": {"a": {"shift_dif": 2}}}, "no configuration field 'shift_dif'"),
        ({"questions": [{"name": "q", "of": "a", "over": "b", "expected": "more"}]}, "no arm 'b'"),
        ({"sedes": [1]}, "study small: sedes is unknown"),
    ],
)
def test_a_slip_in_the_plan_is_named(tmp_path, change, message):
    small = {"asks": "?", "arms": {"a": {}}, **change}
    file = tmp_path / "plan.yaml"
    file.write_text(yaml.safe_dump({**PLAN, "studies": {"small": small}}))
    with pytest.raises(ConfigError, match=message):
        read_plan(file)


def test_an_unknown_study_lists_all():
    with pytest.raises(ConfigError, match="no study 'shifts'; choose one of tuning, .*shift"):
        get_study("shifts")


# --- runs, with trainings that take no time -------------------------------------------------------

BASE = {"standin_clips": (10, 10), "pretrain": "none"}


@pytest.fixture
def small(tmp_path, monkeypatch):
    """A study of three arms whose trainings only write a record."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    base = get_config("jester", **BASE)
    arms = {
        "with": Arm("with", base),
        "without": Arm("without", replace(base, is_shift=False)),
        "shuffled": Arm("shuffled", replace(base, shuffle_frames="test"), test_of="with"),
    }
    planned = Study("small", "?", arms, (), (3, 4), False, 2.0)
    calls = []

    def write(cfg, folder, seed, protocol="efficient"):
        calls.append((cfg.is_shift, cfg.shuffle_frames, seed))
        if seed == 99:
            raise DataError("no clips")
        outcome = {"paths": ["a", "b"], "labels": np.array([0, 1]), "scores": np.eye(2)}
        record = {
            "cfg": cfg.name, "data": "standin", "scale": "mini", "seed": seed, "top1": 10.0 * seed,
            "protocol": protocol, "num_videos": 2, "config_hash": cfg.hash, "within_pair": 50.0,
            "kind": "training", "top1_se": 1.0, "top5": 100.0, "mean_class_accuracy": 50.0,
            "device": "cpu", "commit": "unknown",
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        write_scores(folder / "scores.json", outcome)
        write_record(folder, cfg, record, [])
        return {**record, "run_dir": str(folder)}

    def train(cfg, seed, **options):
        cfg = records._final(cfg)
        return write(cfg, tmp_path / "local" / cfg.name / f"{cfg.hash}-{seed}", seed)

    def evaluate(cfg, checkpoint, protocol, work_dir, **options):
        return write(records._final(cfg), work_dir, int(checkpoint.parent.name[-1]), protocol)

    monkeypatch.setattr(jobs.os, "cpu_count", lambda: 1)  # so that all runs in this process
    monkeypatch.setattr(study, "train", train)
    monkeypatch.setattr(study, "evaluate", evaluate)
    return planned, calls


def test_a_study_runs_every_arm_with_every_seed_and_only_once(small):
    planned, calls = small
    table = run_study(planned)
    assert list(table.index) == [(a, s) for a in ("with", "without", "shuffled") for s in (3, 4)]
    assert set(table["state"]) == {"done"} and table.loc[("with", 4), "top1"] == 40.0
    calls.clear()
    table = run_study(planned)
    assert not calls and set(table["state"]) == {"recorded"}
    assert table.loc[("shuffled", 3), "num_videos"] == 2
    values = accuracies(planned)
    assert values.loc[4].tolist() == [40.0] * 3
    assert hits(planned, "shuffled", [3, 4], recorded()).tolist() == [[True, True]] * 2


def test_a_record_of_another_configuration_or_seed_does_not_count(small):
    planned, calls = small
    run_study(planned, seeds=[3], arms=["with"])
    calls.clear()
    other = dataclasses.replace(planned.arms["with"].cfg, lr=0.5)
    changed = dataclasses.replace(planned, arms={"with": Arm("with", other)})
    assert recorded() and run_study(changed, seeds=[3])["state"].tolist() == ["done"]
    assert run_study(planned, seeds=[4], arms=["with"])["state"].tolist() == ["done"]
    assert len(calls) == 2
    assert (
        accuracies(planned)["without"].isna().all()
        and hits(planned, "without", [3], recorded()) is None
    )


def test_a_published_record_counts(small, tmp_path):
    planned, calls = small
    run_study(planned)
    calls.clear()
    assert recorded() and not recorded("runs")
    (tmp_path / "local").rename(tmp_path / "runs")
    assert set(run_study(planned)["state"]) == {"recorded"} and not calls
    assert len(recorded("runs")) == 6 and not recorded("local")


def test_a_run_that_fails_does_not_stop_the_others(small):
    planned, _ = small
    table = run_study(planned, seeds=[99, 5], arms=["without"])
    assert table["state"].tolist() == ["failed: no clips", "done"]


def test_command_line(small, monkeypatch, capsys, tmp_path):
    planned, _ = small
    monkeypatch.setattr(study, "get_study", lambda name: planned)
    assert main(["study", "run", "shift", "--seeds", "3", "--publish"]) == 0
    printed = capsys.readouterr().out
    assert "without, seed 3" in printed and "30.00 % of 2 videos" in printed
    assert printed.splitlines()[-1] == "3 of 3 runs done"
    assert len(pd.read_csv(tmp_path / "summary.csv")) == 3
    assert main(["study", "run", "shift", "--only", "nobody"]) == 1
    assert "study small has no arm 'nobody'" in capsys.readouterr().err
    records = [json.loads(f.read_text()) for f in (tmp_path / "runs").rglob("metrics.json")]
    assert {record["seed"] for record in records} == {3}


def test_jobs_share_the_machine(monkeypatch):
    monkeypatch.setattr(jobs.os, "cpu_count", lambda: 8)
    monkeypatch.setattr(jobs, "_gpus", lambda: [])
    assert jobs.as_many_as_fit(None) == 8 and jobs.as_many_as_fit(3) == 3
    assert jobs.share(8) == {"workers": 0} and jobs.share(2) == {"workers": 3}
    assert jobs.share(1) == {}  # as a run by itself has it
    monkeypatch.setattr(jobs, "_gpus", lambda: ["0", "2"])
    assert jobs.as_many_as_fit(None) == 2
    with pytest.raises(ConfigError, match="processes=0 must be at least 1"):
        jobs.as_many_as_fit(0)


def test_processes_take_the_gpus_in_turn(monkeypatch):
    places = queue.Queue()
    for place in range(3):
        places.put(place)
    monkeypatch.setattr(jobs.torch, "set_num_threads", lambda threads: None)
    seen = []
    for _ in range(3):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
        jobs._settle(places, 1, ["4", "6"])
        seen.append(os.environ["CUDA_VISIBLE_DEVICES"])
    assert seen == ["4", "6", "4"]
