"""Named studies: a grid of arms and seeds in one resumable pass (results/plan.yaml says which).

`python -m tsmlib study run shift` runs a study, `... study rows` every published row. Each run
is written as it ends; a study that was interrupted continues where it stopped.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ..configs import ConfigError, validation_protocol
from ..engine.evaluate import evaluate
from ..engine.options import RunOptions
from ..engine.parents import train_parent
from ..engine.train import train
from .cross_validation import cross_validate
from .frame_windows import videos_id
from .plan import Arm, Study, Videos, get_study, read_plan
from .process_pool import as_many_as_fit, complete, enter, share
from .records import recorded, run_of
from .run_rows import EXPECTED, run_rows

STANDIN = {"data": "standin", "scale": "mini"}  # what the studies of generated clips are on
STUDIES = ("rows", *read_plan())
COLUMNS = ("state", "top1", "within_pair", "num_videos", "seconds", "run_dir")


def run(
    study: str,
    only: str = "all",
    seeds: str = "all",
    processes: int | None = None,
    show: Callable[[pd.DataFrame], None] = lambda table: None,
    options: RunOptions | None = None,
) -> pd.DataFrame:
    """`run_study`, or `run_rows` for `rows`, with names and seeds as a notebook has them.

    Raises:
        ConfigError: an unknown study, arm or row, or seeds that are no numbers.
    """
    run_options = options or RunOptions()
    options = {"device": run_options.device}
    if run_options.workers is not None:
        options["workers"] = run_options.workers
    try:
        numbers = None if seeds == "all" else [int(seed) for seed in seeds.split()]
    except ValueError:
        raise ConfigError(f"seeds={seeds!r} must be whole numbers with blanks between") from None
    if study == "rows":
        names = None if only == "all" else only.split()
        options |= {k: getattr(run_options, k) for k in ("data", "scale", "data_root")}
        return run_rows(names, (numbers or [0])[0], processes, show, **options)
    arms = None if only == "all" else [arm.strip() for arm in only.split(";")]
    return run_study(study, numbers, processes, show, arms, run_options.data_root, **options)


def run_study(
    study: str | Study,
    seeds: list[int] | None = None,
    processes: int | None = None,
    show: Callable[[pd.DataFrame], None] = lambda table: None,
    arms: list[str] | None = None,
    data_root: str | None = None,
    **options,
) -> pd.DataFrame:
    """Train and test all arms of a study with all seeds.

    A run that has a record, local or published, with the same configuration is only read; one that
    fails is noted, and the others go on.

    Args:
        study: its name in the plan, or a study.
        seeds: some of its seeds; None: all.
        processes: runs at the same time, on equal shares of the cores, and of the GPUs; None: one
            a GPU, or one a core.
        show: called with the table of progress whenever a run begins or ends.
        arms: some of its arms; None: all.
        data_root: folder of real videos, for a study of them; runs that are recorded need none.
        options: of `train` and `evaluate` (cache, workers, device, precision).

    Returns:
        A line a run, by `arm` and `seed`: `state`, `top1` (%), `within_pair` (%), `num_videos`,
        `seconds`, `run_dir`.

    Raises:
        ConfigError: an unknown study or arm.
        DataError: a folder without videos.
    """
    study = on_videos(get_study(study) if isinstance(study, str) else study, data_root)
    chosen, processes = _chosen(study, arms), as_many_as_fit(processes)
    options = {**share(processes), **options}
    if study.videos:
        options["data_root"] = data_root
    index = pd.MultiIndex.from_product([chosen, seeds or study.seeds], names=["arm", "seed"])
    table = pd.DataFrame("", index=index, columns=list(COLUMNS), dtype=object)
    table["state"] = "waiting"
    known = recorded()
    for key in index:
        run = run_of(study, study.arms[key[0]], key[1])
        if run in known:
            enter(table, key, {"state": "recorded", **known[run]})
    show(table)

    waves = (  # weights come before their further tests
        {
            key: (run_arm, (study, *key, options))
            for key in index
            if table.loc[key, "state"] == "waiting" and bool(study.arms[key[0]].test_of) == later
        }
        for later in (False, True)
    )
    complete(table, list(waves), processes, show, study.name, "run")
    return table


def on_videos(study: Study, data_root: str | None) -> Study:
    """A study of real videos on those in a folder, which may be others than the plan's.

    Raises:
        DataError: a folder without videos.
    """
    if not (study.videos and data_root):
        return study
    videos = Videos(Path(data_root).resolve().name, videos_id(data_root), "the user's")
    return study if videos.id == study.videos.id else dataclasses.replace(study, videos=videos)


def run_arm(study: Study, arm: str, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """One line of the table: an arm trained, or tested, with one seed."""
    started, chosen = time.perf_counter(), study.arms[arm]
    try:
        if chosen.folds:
            record = cross_validate(chosen.cfg, chosen.folds, seed=seed, **options)
        elif chosen.test_of:
            record = _tested(chosen, study.arms[chosen.test_of], seed, STANDIN | options)
        else:
            train_parent(chosen.cfg, **STANDIN | options)
            record = train(chosen.cfg, seed=seed, **STANDIN | options)
    except EXPECTED as error:
        return {"state": f"failed: {error}"}
    return {"state": "done", **record, "seconds": round(time.perf_counter() - started)}


def _tested(arm: Arm, parent: Arm, seed: int, options: dict[str, Any]) -> dict[str, Any]:
    """The record of another arm's weights under this arm's conditions."""
    train_parent(parent.cfg, **options)
    trained = train(parent.cfg, seed=seed, **options)
    folder = Path(trained["run_dir"])
    protocol = arm.protocol or validation_protocol(arm.cfg)
    target = folder.with_name(f"{folder.name}-{protocol}-{arm.cfg.hash}")
    return evaluate(arm.cfg, folder / "last.pth", protocol, work_dir=target, **options)


def _chosen(study: Study, arms: list[str] | None) -> list[str]:
    for arm in arms or ():
        if arm not in study.arms:
            known = ", ".join(study.arms)
            raise ConfigError(f"study {study.name} has no arm {arm!r}; choose among {known}")
    return list(arms or study.arms)


def progress_of(table: pd.DataFrame) -> pd.DataFrame:
    """Where a pass stands, for people: a line a row, or the runs of an arm together."""
    if "arm" not in table.index.names:
        return table.drop(columns="run_dir")
    done = table["state"].isin(["done", "recorded"])
    lines = {}
    for arm, runs in table.groupby(level="arm", sort=False):
        top1 = pd.to_numeric(runs.loc[done[runs.index], "top1"])
        failed = [s for s in runs["state"] if s.startswith("failed")]
        lines[arm] = {
            "done": f"{len(top1)} of {len(runs)}", "mean top1": round(top1.mean(), 1),
            "lowest": top1.min(), "highest": top1.max(), "failed": "; ".join(sorted(set(failed))),
        }  # fmt: skip
    return pd.DataFrame(lines).T.rename_axis("arm").fillna("")
