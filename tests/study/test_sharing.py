"""Shards of a grid: every run once, whatever is killed."""

import dataclasses
import operator
import sys

import pytest

from tsmlib import ConfigError, get_config
from tsmlib.engine.options import RunOptions
from tsmlib.results import write_record
from tsmlib.study import run_study as module
from tsmlib.study.plan import Arm, Study
from tsmlib.study.process_pool import WorkerDied, run_jobs
from tsmlib.study.run_rows import Engine
from tsmlib.study.run_study import run_study
from tsmlib.study.sharing import Sharing
from tsmlib.study.slurm_jobs import SlurmJobs

ARMS = {
    "a": Arm("a", get_config("sthv1", shift_div=4)),
    "b": Arm("b", get_config("sthv1", shift_div=8)),
    "b, all views": Arm(
        "b, all views", get_config("sthv1", shift_div=8), test_of="b", protocol="published"
    ),
}
GRID = Study("grid", "", ARMS, (), tuple(range(4)), exploratory=True, margin=1.0)


@pytest.fixture
def grid(tmp_path, monkeypatch):
    """Runs a shard with trainings that only write a record; `.trained` lists them."""
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))

    def work(kind):
        def write(cfg, *rest):
            options = rest[-1]
            run.trained.append((kind, cfg.shift_div, options.seed))
            if len(run.trained) == run.dies_after:
                raise KeyboardInterrupt
            folder = tmp_path / "local" / "sthv1" / f"{cfg.shift_div}-{options.seed}"
            folder = options.work_dir or folder
            if kind == "train" and folder.exists():
                run.trained.pop()  # it is only read
            record = {"top1": 1.0, "num_videos": 1, "run_dir": str(folder)}
            write_record(folder, cfg, record, [])
            return record

        return write

    engine = Engine(work("train"), work("evaluate"), lambda *a: None, lambda *a: None)

    def run(shard, study=GRID, seeds=None):
        table = run_study(study, seeds, 1, engine=engine, sharing=Sharing(shard=shard))
        run.seen += list(table.index)
        return table

    run.trained, run.seen, run.dies_after = [], [], None
    monkeypatch.setattr(module, "find_recorded_runs", dict)
    return run


def test_arms_that_are_trained_twice_as_long_have_the_planned_seeds(grid):
    longer = Arm("a, longer", get_config("sthv1", shift_div=2), half="a")
    study = dataclasses.replace(GRID, arms={"a": ARMS["a"], "a, longer": longer}, doubled_seeds=2)
    grid(None, study, [1, 3, 100])  # a pilot may have any other one
    assert grid.seen == [("a", 1), ("a", 3), ("a", 100), ("a, longer", 1), ("a, longer", 100)]


def test_three_shards_of_which_one_is_killed_do_every_run_once(grid, tmp_path):
    grid("2/3")
    grid.dies_after = len(grid.trained) + 2
    with pytest.raises(KeyboardInterrupt):
        grid("0/3")
    grid.trained.pop()  # it was killed before its record
    grid.dies_after = None
    grid("1/3")
    grid("0/3")
    assert len(list(tmp_path.glob("local/*/*/metrics.json"))) == 12
    trained = [run for run in grid.trained if run[0] == "train"]
    assert len(set(trained)) == len(trained) == 8
    assert len(set(grid.seen)) == len(grid.seen) == 12


def test_runs_of_one_training_are_in_one_shard(grid):
    for index in range(5):
        runs = set(grid(f"{index}/5").index)
        assert {(a, s) for a, s in runs if a == "b"} == {
            ("b", s) for a, s in runs if a == "b, all views"
        }


def test_more_shards_than_runs(grid):
    assert grid("11/12").empty and not grid.trained


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"shard": "3/3"}, "shard=3/3 is out of range: 3 shards are 0 to 2"),
        ({"shard": "1/0"}, "shard='1/0' is not of the form I/N; 0/3 is the first of three"),
        ({"shard": "-1/3"}, "shard='-1/3' is not of the form"),
        ({"shard": "one"}, "shard='one' is not of the form"),
        ({"executor": "condor"}, "executor='condor' is not possible; choose one of local, slurm"),
        ({"slurm": {"gpus_per_node": 1}}, "slurm=... is for executor=slurm"),
    ],
)
def test_what_is_refused(fields, sentence):
    with pytest.raises(ConfigError) as error:
        Sharing(**fields)
    assert str(error.value).startswith(sentence)


def test_slurm_needs_submitit(monkeypatch):
    monkeypatch.setitem(sys.modules, "submitit", None)
    with pytest.raises(ConfigError, match=r"needs submitit: pip install 'tsmlib\[slurm\]'"):
        Sharing(executor="slurm").start(None, RunOptions())


def test_slurm_needs_a_cluster(monkeypatch, tmp_path):
    pytest.importorskip("submitit")
    monkeypatch.setenv("PATH", str(tmp_path))  # no srun
    with pytest.raises(ConfigError, match="^executor=slurm"):
        Sharing(executor="slurm").start(None, RunOptions())


def test_a_job_of_submitit(tmp_path, monkeypatch):
    """On its stand-in for a cluster; tests/cluster/slurm.py has a real one."""
    pytest.importorskip("submitit")
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path))
    executor = SlurmJobs({"timeout_min": 5}, cluster="local")
    assert dict(run_jobs({"sum": (operator.add, (1, 2))}, executor=executor)) == {"sum": 3}
    with pytest.raises(ConfigError, match="executor=slurm: .*gpus"):
        SlurmJobs({"gpus": 3}, cluster="local")


class Fragile:
    """An executor whose workers die: for good, or at the first try."""

    def __init__(self):
        self.tried, self.stopped = [], 0

    def run(self, work, arguments):
        self.tried.append(arguments)
        if arguments == ("always",) or self.tried.count(arguments) == 1:
            raise WorkerDied("its node is gone")
        return work(*arguments)

    def stop(self):
        self.stopped += 1


def test_a_worker_that_dies_fails_its_run_only():
    executor = Fragile()
    jobs = {name: (str.upper, (name,)) for name in ("once", "always", "too")}
    results = dict(run_jobs(jobs, 3, executor=executor))
    failed = {"state": "failed: its node is gone"}
    assert results == {"once": "ONCE", "always": failed, "too": "TOO"}
    assert len(executor.tried) == 6 and not executor.stopped


def test_a_pass_that_is_stopped_stops_its_workers():
    executor = Fragile()
    results = run_jobs({name: (str.upper, (name,)) for name in "abc"}, 1, executor=executor)
    next(results)
    with pytest.raises(KeyboardInterrupt):
        results.throw(KeyboardInterrupt)
    assert executor.stopped == 1
