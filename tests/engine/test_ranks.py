"""Tasks of srun are ranks: their variables are translated into those of torchrun."""

import socket

import pytest

from tsmlib.configs import ConfigError
from tsmlib.engine import ranks
from tsmlib.engine.devices import make_fabric

TASK = {  # the sixth of eight tasks on two machines
    "SLURM_STEP_NUM_TASKS": "8", "SLURM_STEP_TASKS_PER_NODE": "4(x2)", "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1", "SLURM_NODEID": "1", "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_JOB_ID": "1234567",
}  # fmt: skip


def test_a_task_of_srun_is_a_rank(monkeypatch):
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    assert (ranks.world_size(), ranks.local_size(), ranks.global_rank()) == (8, 4, 5)
    found = ranks.variables_of_srun(TASK)
    assert (found["LOCAL_RANK"], found["GROUP_RANK"]) == ("1", "1")
    assert (found["MASTER_ADDR"], found["MASTER_PORT"]) == ("gpu07", "19567")
    given = ranks.variables_of_srun(TASK | {"MASTER_PORT": "29500"})
    assert given["MASTER_PORT"] == "29500"
    monkeypatch.setenv("WORLD_SIZE", "2")  # of torchrun, which srun started
    assert ranks.world_size() == 2


@pytest.mark.parametrize(
    ("nodes", "first"),
    [("gpu3", "gpu3"), ("gpu3,gpu5", "gpu3"), ("gpu[3,5-7],cpu1", "gpu3"), ("a-[01-02]", "a-01")],
)
def test_processes_meet_at_the_first_machine(nodes, first):
    assert ranks.variables_of_srun(TASK | {"SLURM_STEP_NODELIST": nodes})["MASTER_ADDR"] == first


def test_a_batch_script_and_a_single_task_are_alone(monkeypatch):
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("SLURM_PROCID", "0")
    assert (ranks.world_size(), ranks.global_rank()) == (1, 0)
    monkeypatch.setenv("SLURM_STEP_NUM_TASKS", "1")
    assert ranks.world_size() == 1


def test_uneven_tasks_are_refused():
    with pytest.raises(ConfigError, match=r"srun started 2,1 tasks .*--ntasks-per-node"):
        ranks.variables_of_srun(TASK | {"SLURM_STEP_TASKS_PER_NODE": "2,1"})


def test_a_study_is_no_run_of_several_processes(monkeypatch):
    for name, value in TASK.items():
        monkeypatch.setenv(name, value)
    ranks.work_alone()
    assert ranks.world_size() == 1
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="torchrun's processes share one run.*shard=I/N"):
        ranks.work_alone()


def test_a_port_in_use_is_named(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        task = {"WORLD_SIZE": "2", "RANK": "0", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2",
                "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}  # fmt: skip
        for name, value in task.items():
            monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match=f"cannot meet at 127.0.0.1:{port}; set MASTER_PORT"):
            make_fabric("cpu")


@pytest.mark.parametrize("device", ["foo", "", "tpu"])
def test_a_device_that_is_not_there(device):
    with pytest.raises(ConfigError, match=f"device={device!r} is not there; choose device=auto"):
        make_fabric(device)
