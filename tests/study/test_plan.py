"""The plan of the study, and the runs that it asks for."""

import dataclasses
import json
import os
import re
from functools import partial

import numpy as np
import pandas as pd
import pytest
import yaml
from helpers import die_once
from torch import get_num_threads

from tsmlib import ConfigError, DataError, get_config
from tsmlib.__main__ import main
from tsmlib.configs import replace
from tsmlib.engine.options import RunOptions
from tsmlib.paths import HOME
from tsmlib.results import write_record, write_scores
from tsmlib.study import run_study as module
from tsmlib.study.plan import Arm, Study, get_study, read_plan
from tsmlib.study.process_pool import jobs_at_once, run_jobs, workers_per_job
from tsmlib.study.records import (
    find_recorded_runs,
    identify_run,
    read_arm_hits,
    resolved_config,
    tabulate_accuracies,
)
from tsmlib.study.run_rows import Engine
from tsmlib.study.run_study import run, run_study

PLAN = yaml.safe_load((HOME / "results" / "plan.yaml").read_text())
CONFIRMATORY = ("temporality", "shift", "blending", "frames", "pushups", "streams", "detection",
                "digits")  # fmt: skip


def test_the_plan_can_be_read_and_every_run_is_one_of_its_own():
    plan = read_plan()
    for name, planned in plan.items():
        runs = [identify_run(planned, arm, 10) for arm in planned.arms.values()]
        assert len(set(runs)) == len(runs), name
        assert all(asked.expected in ("more", "less", "same") for asked in planned.questions)


def test_seeds_are_those_of_the_plan():
    for name, planned in read_plan().items():
        if name in CONFIRMATORY:
            assert planned.seeds == tuple(range(10, 20)) and not planned.exploratory
        elif name.endswith("_tuning"):
            assert planned.seeds == (100, 101) and planned.exploratory and not planned.questions
        elif name not in ("tuning", "quick"):
            assert planned.seeds == tuple(range(10, 15)) and planned.exploratory
    tuning = read_plan()["tuning"]
    assert tuning.seeds == (100, 101, 102)
    assert all(arm.cfg.standin_seed == 1 for arm in tuning.arms.values())


def test_reported_studies_test_many_clips_that_tuning_never_saw():
    for name, planned in read_plan().items():
        if name not in ("tuning", "quick", "detection") and not planned.videos:
            for arm in planned.arms.values():
                if not arm.digits:  # each run of which has clips of its own
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
    """Give a study of three arms, a way to run it that only writes records, and its calls."""
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

    def train(cfg, options):
        cfg, seed = resolved_config(cfg), options.seed
        return write(cfg, tmp_path / "local" / cfg.name / f"{cfg.hash}-{seed}", seed)

    def evaluate(cfg, checkpoint, protocol, options):
        seed = int(checkpoint.parent.name[-1])
        return write(resolved_config(cfg), options.work_dir, seed, protocol)

    engine = Engine(train, evaluate, lambda cfg, options: None)
    return planned, partial(run_study, processes=1, engine=engine), calls


def test_a_study_runs_every_arm_with_every_seed_and_only_once(small):
    planned, run_all, calls = small
    table = run_all(planned)
    assert list(table.index) == [(a, s) for a in ("with", "without", "shuffled") for s in (3, 4)]
    assert set(table["state"]) == {"done"} and table.loc[("with", 4), "top1"] == 40.0
    calls.clear()
    table = run_all(planned)
    assert not calls and set(table["state"]) == {"recorded"}
    assert table.loc[("shuffled", 3), "num_videos"] == 2
    values = tabulate_accuracies(planned)
    assert values.loc[4].tolist() == [40.0] * 3
    assert (
        read_arm_hits(planned, "shuffled", [3, 4], find_recorded_runs()).tolist()
        == [[True, True]] * 2
    )


def test_a_record_of_another_configuration_or_seed_does_not_count(small):
    planned, run_all, calls = small
    run_all(planned, seeds=[3], arms=["with"])
    calls.clear()
    other = dataclasses.replace(planned.arms["with"].cfg, lr=0.5)
    changed = dataclasses.replace(planned, arms={"with": Arm("with", other)})
    assert find_recorded_runs() and run_all(changed, seeds=[3])["state"].tolist() == ["done"]
    assert run_all(planned, seeds=[4], arms=["with"])["state"].tolist() == ["done"]
    assert len(calls) == 2
    assert (
        tabulate_accuracies(planned)["without"].isna().all()
        and read_arm_hits(planned, "without", [3], find_recorded_runs()) is None
    )


def test_a_published_record_counts(small, tmp_path):
    planned, run_all, calls = small
    run_all(planned)
    calls.clear()
    assert find_recorded_runs() and not find_recorded_runs("runs")
    (tmp_path / "local").rename(tmp_path / "runs")
    assert set(run_all(planned)["state"]) == {"recorded"} and not calls
    assert len(find_recorded_runs("runs")) == 6 and not find_recorded_runs("local")


def test_a_run_that_fails_does_not_stop_the_others(small):
    planned, run_all, _ = small
    table = run_all(planned, seeds=[99, 5], arms=["without"])
    assert table["state"].tolist() == ["failed: no clips", "done"]


def test_command_line(small, monkeypatch, capsys, tmp_path):
    planned, run_all, _ = small
    monkeypatch.setattr(module, "get_study", lambda name: planned)
    monkeypatch.setattr(module, "ENGINE", run_all.keywords["engine"])
    command = ["study", "run", "shift", "--processes", "1"]
    assert main([*command, "--seeds", "3", "--publish"]) == 0
    printed = capsys.readouterr()
    assert "without, seed 3" in printed.err and "30.00 % of 2 videos" in printed.err
    assert re.search(r"^without +1 of 1 +30.0 ", printed.out, re.M)
    assert printed.out.splitlines()[-1] == "3 of 3 runs done"
    assert len(pd.read_csv(tmp_path / "summary.csv")) == 3
    assert main([*command, "--only", "nobody"]) == 1
    assert "study small has no arm 'nobody'" in capsys.readouterr().err
    published = [json.loads(f.read_text()) for f in (tmp_path / "runs").rglob("metrics.json")]
    assert {record["seed"] for record in published} == {3}


def test_names_and_seeds_of_a_notebook():
    with pytest.raises(ConfigError, match="seeds='1 x' must be whole numbers"):
        run("quick", seeds="1 x")
    with pytest.raises(ConfigError, match="study quick has no arm 'nobody'"):
        run("quick", only="nobody")
    with pytest.raises(ConfigError, match="no configuration 'sthv9'"):
        run("rows", only="sthv1 sthv9", options=RunOptions(data="standin"))


# --- several jobs at once -------------------------------------------------------------------------


def test_jobs_share_the_machine(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert jobs_at_once(None) == 8 and jobs_at_once(3) == 3
    default, chosen = RunOptions(), RunOptions(workers=5)
    assert workers_per_job(8, default).workers == 0 and workers_per_job(2, default).workers == 3
    assert workers_per_job(1, default) == default  # as a run by itself has it
    assert workers_per_job(8, chosen) == chosen
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,2")
    assert jobs_at_once(None) == 2
    with pytest.raises(ConfigError, match="processes=0 must be at least 1"):
        jobs_at_once(0)


def test_processes_take_their_share_and_a_crash_stops_no_other(monkeypatch, tmp_path):
    monkeypatch.setattr(os, "cpu_count", lambda: 6)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    gpu, threads = (os.getenv, ("CUDA_VISIBLE_DEVICES",)), (get_num_threads, ())
    again = (die_once, (tmp_path / "died",))
    jobs = {"crash": (os._exit, (1,)), "gpu": gpu, "threads": threads, "again": again}
    results = dict(run_jobs(jobs, processes=2))
    assert results.keys() == jobs.keys() and results["again"] == "alive"
    assert results["crash"] == {
        "state": "failed: its process was killed, perhaps because memory ran out"
    }
    assert results["gpu"] in ("4", "6") and results["threads"] == 3
