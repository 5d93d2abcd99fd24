"""Make the numbers of a notebook smaller: IPython runs this as a kernel of `make test` starts."""

import dataclasses
import functools

from IPython import get_ipython

from tsmlib.configs import replace, scaling

# parameters that say how much is done, of all notebooks that declare them as numbers
AT_MOST = {"videos": 25, "streams": 2, "steps": 1000, "seconds": 0.5, "replicates": 20, "video": 2}
QUICK = {"standin_clips": (160, 80), "epochs": 1}


def shrink(_) -> None:
    """Lower what the first cell has declared, before any cell uses it."""
    shell = get_ipython()
    if declared := shell.user_ns.get("__annotations__"):
        for name in AT_MOST.keys() & declared.keys():
            value = shell.user_ns[name]
            if isinstance(value, int | float):
                shell.user_ns[name] = min(value, AT_MOST[name])
        if "replicates" in declared:
            shrink_detection_standin()
        if "study" in declared:
            shell.user_ns["processes"] = 1  # others would import torch first
        shell.events.unregister("post_run_cell", shrink)


def shrink_quick_study() -> None:
    """Train its arms on fewer clips; they still differ in the shift alone."""
    from tsmlib.study.plan import read_plan

    arms = read_plan()["quick"].arms
    for name, arm in arms.items():
        arms[name] = dataclasses.replace(arm, cfg=replace(arm.cfg, **QUICK))


def shrink_detection_standin() -> None:
    """Draw fewer videos for detectors."""
    from tsmlib.detection import data, evaluate_detector, standin, train_detector  # noqa: F401

    data.DetectionStandin = standin.DetectionStandin = functools.partial(
        standin.DetectionStandin, renderings=(8, 4)
    )


scaling.MINI_EPOCHS = 2
get_ipython().events.register("post_run_cell", shrink)
