"""Make the numbers of a notebook smaller: IPython runs this as a kernel of `make test` starts."""

from IPython import get_ipython

from tsmlib.configs import scaling

# parameters that say how much is done, of all notebooks that declare them as numbers
AT_MOST = {"videos": 25, "streams": 2, "steps": 1000, "seconds": 0.5, "replicates": 20, "video": 2}


def shrink(_) -> None:
    """Lower what the first cell has declared, before any cell uses it."""
    shell = get_ipython()
    if declared := shell.user_ns.get("__annotations__"):
        for name in AT_MOST.keys() & declared.keys():
            value = shell.user_ns[name]
            if isinstance(value, int | float):
                shell.user_ns[name] = min(value, AT_MOST[name])
        if "study" not in declared:  # a study is read from its records, which have the true number
            scaling.MINI_EPOCHS = 1
        shell.events.unregister("post_run_cell", shrink)


get_ipython().events.register("post_run_cell", shrink)
