"""The loader's processes: signals of a scheduler do not end them, their owner's end does."""

import signal
import subprocess
import sys

import pytest

# the worker gets signals from another process; then the owner ends by a defect, its loader alive
SCRIPT = """
import multiprocessing, subprocess, sys
from tsmlib import get_config
from tsmlib.data.loader import ClipDataset, make_loader
from tsmlib.engine.setup import prepare, resolve

cfg = get_config("jester", standin_clips=(20, 10), num_segments=4)
setup = prepare(resolve(cfg, data="standin", scale="mini", cache=sys.argv[1]))
batches = iter(loader := make_loader(ClipDataset(setup.val_list, setup.cfg, "validation"), 2, 1))
next(batches)
(worker,) = multiprocessing.active_children()
for name in ("INT", "TERM", "USR1", "USR2"):
    subprocess.run(["kill", f"-{name}", str(worker.pid)], check=True)
assert len(list(batches)) == 4 and worker.is_alive()
print(worker.pid)
raise RuntimeError("a defect")
"""


@pytest.mark.skipif(not hasattr(signal, "sigwaitinfo"), reason="there a worker ends at once")
def test_workers_end_with_their_owner_and_not_before(tmp_path):
    command = [sys.executable, "-c", SCRIPT, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 1 and done.stderr.endswith("RuntimeError: a defect\n")
    assert done.stdout.strip().isdigit(), done.stderr
