"""Run a grid of twelve tiny trainings, or a shard of it: grid.py [I/N]."""

import sys

from tsmlib.configs import get_config
from tsmlib.engine.options import RunOptions
from tsmlib.study.plan import Arm, Study
from tsmlib.study.run_study import run_study
from tsmlib.study.sharing import Sharing

TINY = {"standin_clips": [20, 10], "epochs": 1, "crop_size": 32}
ARMS = {
    name: Arm(name, get_config("sthv1", is_shift=shift, **TINY))
    for name, shift in (("shift", True), ("no shift", False))
}
GRID = Study("grid", "", ARMS, (), seeds=tuple(range(6)), exploratory=True, margin=1.0)

if __name__ == "__main__":
    sharing = Sharing(shard=sys.argv[1] if len(sys.argv) > 1 else None)
    options = RunOptions(device="cpu", workers=0)
    table = run_study(GRID, processes=1, options=options, sharing=sharing)
    print(table[["state", "top1"]].to_string())
    sys.exit(0 if table["state"].isin(["done", "recorded"]).all() else 1)
