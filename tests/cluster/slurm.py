"""Check training and grids on a real Slurm of one node, which this script starts and removes again.

    sudo .venv/bin/python tests/cluster/slurm.py

It needs root and Debian's or Ubuntu's apt, and is no part of `make test`. The job scripts are those
of docs/clusters.md, on one node, without GPUs, and for a tiny network.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import torch
import yaml

from tsmlib.configs import get_config, standin_config
from tsmlib.data.standin.generate import prepare_standin

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("slurm-wlm", "munge")
TIMES = ("date", "seconds", "training_seconds", "evaluation_seconds")
PATIENCE = 1800  # seconds
CONFIGURATION = """
ClusterName=tsm
SlurmctldHost={host}
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
MailProg=/bin/true
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
NodeName={host} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes={host} Default=YES MaxTime=INFINITE State=UP
"""


def main() -> None:
    """Run all checks; the first that fails ends the script."""
    with tempfile.TemporaryDirectory() as name, installed(), started(Path(name) / "slurm"):
        work = Path(name) / "work"
        write_lists(work)
        check_training(work)
        check_grid(work)
    print("Slurm, munge and their files are removed")


def check_training(work: Path) -> None:
    """Train with two ranks: here, as tasks of srun, and with a requeue in the middle."""
    run = ["train", "own.yaml", "--scale", "mini", "--device", "cpu"]
    run += ["--workers", "0", "--save-seconds", "0"]
    call([sys.executable, "-m", "tsmlib", *run, "--devices", "2", "--work-dir", "here"], work)
    for name in ("plain", "requeued"):
        options = {"nodes": "1", "ntasks-per-node": "2", "cpus-per-task": "1"}
        script = adapt(0, " ".join([*run, "--work-dir", name]), options)
        job = submit(script, work)
        if name == "requeued":
            wait(lambda: (work / "requeued" / "last.pth").is_file(), "the first checkpoint")
            call(["scancel", "--signal=USR1", job], work)
        wait(lambda: not queue(work), f"the end of {name}")
        log = (work / f"train-{job}.log").read_text()
        assert ("stopped by SIGUSR1" in log) == (name == "requeued"), log
        compare(work / name, work / "here")
        print(f"two ranks, {name}: record and weights of an undisturbed pass, bit by bit")
        print("\n".join(line for line in log.splitlines() if line.startswith("stopped by")))


def check_grid(work: Path) -> None:
    """Run twelve tiny runs in one process, and as a job array of which two jobs are killed."""
    grid = [sys.executable, str(ROOT / "tests" / "cluster" / "grid.py")]
    call(grid, work, TSM_RESULTS=str(work / "alone"))
    script = adapt(1, "", {"cpus-per-task": "1"})
    srun = f"srun {' '.join(grid)} $SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
    script = re.sub(r"srun .*?\\\n.*\n", f"{srun}\n", script)
    job, results = submit(script, work, TSM_RESULTS=str(work / "array")), work / "array" / "local"
    for index in (0, 7):
        wait(lambda index=index: f"{job}_{index} R" in queue(work), f"the start of shard {index}")
        call(["scontrol", "requeue", f"{job}_{index}"], work)
    wait(lambda: not queue(work), "the end of the array")
    found = {file.parent.name: file.parent for file in results.glob("sthv1/*/metrics.json")}
    expected = (work / "alone" / "local").glob("sthv1/*/metrics.json")
    expected = {file.parent.name: file.parent for file in expected}
    assert found.keys() == expected.keys() and len(found) == 12, (found, expected)
    for name, folder in found.items():
        compare(folder, expected[name])
    print(f"a job array of 12, two of them requeued: {len(found)} records, those of one process")


def compare(folder: Path, expected: Path) -> None:
    """Compare records, histories and weights of two runs; times and places may differ."""
    records = [json.loads((f / "metrics.json").read_text()) for f in (folder, expected)]
    first, second = ({k: v for k, v in r.items() if k not in TIMES} for r in records)
    assert first == second, (first, second)
    histories = [pd.read_csv(f / "history.csv").drop(columns="seconds") for f in (folder, expected)]
    pd.testing.assert_frame_equal(*histories)
    one, two = (torch.load(f / "last.pth", weights_only=True)["model"] for f in (folder, expected))
    assert all(torch.equal(one[name], two[name]) for name in two), folder


def write_lists(work: Path) -> None:
    """Write lists of a few generated clips, and the configuration of a short training."""
    work.mkdir()
    row = standin_config(get_config("sthv1"))
    root = prepare_standin(row)
    for split, count in (("train", 20), ("val", 7)):
        lines = (root / getattr(row, f"{split}_list")).read_text().splitlines()
        (work / f"{split}.txt").write_text("\n".join(lines[:count]) + "\n")
    fields = {
        "base": "sthv1", "data_root": str(root / "sthv1" / "rawframes"), "num_classes": 10,
        "train_list": str(work / "train.txt"), "val_list": str(work / "val.txt"), "epochs": 12,
        "batch_size": 8, "videos_per_device": 2, "eval_interval": 12,
    }  # fmt: skip
    (work / "own.yaml").write_text(yaml.safe_dump(fields))


def adapt(number: int, words: str, options: dict[str, str]) -> str:
    """Take a job script of docs/clusters.md: other words after `tsmlib`, no GPUs, our Python."""
    text = (ROOT / "docs" / "clusters.md").read_text()
    script = re.findall(r"```bash\n(#!/bin/bash\n.*?)```", text, re.S)[number]
    script = re.sub(r"#SBATCH --gpus.*\n", "", script).replace(".venv/bin/python", sys.executable)
    script = re.sub(r"(-m tsmlib) train .*", rf"\1 {words}", script)
    for name, value in options.items():
        script = re.sub(rf"(#SBATCH --{name})=.*", rf"\1={value}", script)
    return script


def submit(script: str, work: Path, **environment: str) -> str:
    """Submit a job script, and return the number of its job."""
    (work / "job.sbatch").write_text(script)
    return call(["sbatch", "--parsable", "job.sbatch"], work, **environment).strip()


def queue(work: Path) -> str:
    """List the jobs that run or wait, as `12_3 R`."""
    return call(["squeue", "--noheader", "--array", "--format=%i %t"], work)


def wait(condition: Callable[[], bool], what: str) -> None:
    """Wait until a condition holds."""
    end = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > end:
            sys.exit(f"waited for {what} in vain")
        time.sleep(0.2)


def call(command: list[str], folder: Path | None = None, **environment: str) -> str:
    """Run a command and return what it prints; if it fails, end with its last words."""
    own = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "DEBIAN_FRONTEND": "noninteractive"}
    done = subprocess.run(
        command, cwd=folder, env=os.environ | own | environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


@contextmanager
def installed() -> Iterator[None]:
    """Install the packages, and remove them again unless they were there."""
    if shutil.which("slurmctld") and shutil.which("munged"):
        yield
        return
    before = set(call(["dpkg-query", "-W", "-f", "${Package}\n"]).split())
    call(["apt-get", "update"])
    try:
        call(["apt-get", "install", "-y", "--no-install-recommends", *PACKAGES])
        yield
    finally:
        added = set(call(["dpkg-query", "-W", "-f", "${Package}\n"]).split()) - before
        call(["apt-get", "purge", "-y", *sorted(added)])


@contextmanager
def started(folder: Path) -> Iterator[None]:
    """Start munge and the two daemons of Slurm, all in a folder, and stop them again."""
    (folder / "state").mkdir(parents=True)
    host = socket.gethostname().partition(".")[0]
    file = folder / "slurm.conf"
    file.write_text(CONFIGURATION.format(host=host, folder=folder))
    os.environ["SLURM_CONF"] = str(file)
    key, munge = folder / "munge.key", folder / "munge.socket"
    key.write_bytes(os.urandom(1024))
    key.chmod(0o400)
    file.write_text(file.read_text() + f"AuthInfo=socket={munge},cred_expire=10\n")
    daemons = [
        ["munged", "--foreground", "--force", f"--socket={munge}", f"--key-file={key}",
         f"--pid-file={folder}/munged.pid", f"--log-file={folder}/munged.log",
         f"--seed-file={folder}/munged.seed"],
        ["slurmctld", "-D", "-f", str(file)],
        ["slurmd", "-D", "-f", str(file)],
    ]  # fmt: skip
    running = []
    try:
        for command in daemons:
            with (folder / f"{command[0]}.out").open("w") as out:
                running.append(subprocess.Popen(command, stdout=out, stderr=out))
            time.sleep(2)
        wait(lambda: "idle" in call(["sinfo", "--noheader", "--format=%T"]), "an idle node")
        version = call(["sinfo", "--version"]).strip()
        print(f"{version} runs on {host}")
        yield
    finally:
        subprocess.run(["scancel", "--user=root"], capture_output=True)
        time.sleep(1 if sys.exc_info()[0] is None else 40)  # for steps that have still to end
        for process in reversed(running):
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


if __name__ == "__main__":
    main()
