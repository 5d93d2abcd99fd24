"""Run a study of results/plan.yaml: a grid of arms and seeds in one resumable pass.

Each run is written as it ends; a study that was interrupted continues where it stopped.
"""

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from ..configs import ConfigError, validation_protocol
from ..engine.options import RunOptions, make_options
from ..engine.ranks import work_alone
from ..paths import file_name
from ..text import name_closest
from .cross_validation import cross_validate, train_on_digits
from .plan import Arm, Study, Videos, get_study, read_plan
from .process_pool import fill_row, run_waves
from .records import find_recorded_runs, identify_run
from .run_rows import ENGINE, RUN_ERRORS, Engine, run_rows
from .sharing import Sharing
from .stored_frames import videos_id

STUDIES = ("rows", *read_plan())
COLUMNS = ("state", "top1", "within_pair", "num_videos", "seconds", "run_dir")


def run(
    study: str,
    only: str = "all",
    seeds: str = "all",
    processes: int | None = None,
    show: Callable[[pd.DataFrame], None] = lambda table: None,
    options: RunOptions | None = None,
    sharing: Sharing | None = None,
) -> pd.DataFrame:
    """Call `run_study`, or `run_rows` for `rows`, with names and seeds as a notebook has them.

    Args:
        study: its name in the plan, or `rows`.
        only: some of its arms, with ";" between them, or some rows, with blanks.
        seeds: whole numbers with blanks between; of rows the first one counts.
        processes, show, options, sharing: see there.

    Raises:
        ConfigError: an unknown study, arm or row, or seeds that are no numbers.
    """
    options = options or RunOptions()
    try:
        numbers = None if seeds == "all" else [int(seed) for seed in seeds.split()]
    except ValueError:
        raise ConfigError(f"seeds={seeds!r} must be whole numbers with blanks between") from None
    if study == "rows":
        names = None if only == "all" else only.split()
        options = options.with_changes(seed=(numbers or [0])[0])
        return run_rows(names, processes, show, options, sharing=sharing)
    arms = None if only == "all" else [arm.strip() for arm in only.split(";")]
    return run_study(study, numbers, processes, show, arms, options, sharing=sharing)


def run_study(
    study: str | Study,
    seeds: list[int] | None = None,
    processes: int | None = None,
    show: Callable[[pd.DataFrame], None] = lambda table: None,
    arms: list[str] | None = None,
    options: RunOptions | None = None,
    engine: Engine | None = None,
    sharing: Sharing | None = None,
    **keywords,
) -> pd.DataFrame:
    """Train and test all arms of a study with all seeds.

    A run that has a record, local or published, with the same configuration is only read. A run
    that fails is noted, and the other runs go on.

    Args:
        study: its name in the plan, or a study.
        seeds: some of its seeds; None: all.
        processes: runs at the same time, on equal shares of the cores and the GPUs; None: one per
            GPU, or one per core.
        show: called with the table of progress whenever a run begins or ends.
        arms: some of its arms; None: all.
        options: of the runs; keywords change them. The study says data, scale and seed. For a study
            of real videos `data_root` is their folder; runs that are recorded need none.
        engine: trains and evaluates; None: `ENGINE`.
        sharing: which of the runs, and where; None: all, here.

    Returns:
        One line per run, by `arm` and `seed`: `state`, `top1` (%; of detectors the mAP at IoU 0.5),
        `within_pair` (%), `num_videos`, `seconds`, `run_dir`.

    Raises:
        ConfigError: an unknown study or arm, or torchrun around it.
        DataError: a folder without videos.
    """
    work_alone()
    sharing = sharing or Sharing()
    options, engine = make_options(options, keywords), engine or ENGINE
    study = get_study(study) if isinstance(study, str) else study
    study = use_videos(study, options.data_root)
    chosen = _choose_arms(study, arms)
    processes, options, executor = sharing.start(processes, options)
    table = _start_table(study, _share(study, chosen, seeds, sharing))
    show(table)

    waves = [  # weights come before their further tests
        {
            key: (run_arm, (study, *key, options, engine))
            for key in table.index
            if table.loc[key, "state"] == "waiting" and bool(study.arms[key[0]].test_of) == later
        }
        for later in (False, True)
    ]
    run_waves(table, waves, processes, show, describe_arm, f"study {study.name}", executor)
    return table


def _share(
    study: Study, arms: list[str], seeds: list[int] | None, sharing: Sharing
) -> list[tuple[str, int]]:
    """List the arms and seeds of a shard: tests of weights are where these are trained."""
    keys = [
        (arm, seed)
        for arm in arms
        for seed in seeds or study.seeds
        if seed in study.seeds_of(arm) or seed not in study.seeds  # longer trainings have few seeds
    ]
    groups = [(study.arms[arm].test_of or arm, seed) for arm, seed in keys]
    chosen = sharing.choose(groups)
    return [key for key, group in zip(keys, groups, strict=True) if group in chosen]


def _start_table(study: Study, keys: list[tuple[str, int]]) -> pd.DataFrame:
    """Make the table of a pass, with the runs that are recorded already."""
    index = pd.MultiIndex.from_tuples(keys, names=["arm", "seed"])
    table = pd.DataFrame("", index=index, columns=list(COLUMNS), dtype=object)
    table["state"] = "waiting"
    known = find_recorded_runs()
    for key in index:
        run = identify_run(study, study.arms[key[0]], key[1])
        if run in known:
            record = {"top1": known[run].get("map50"), **known[run]}
            fill_row(table, key, {"state": "recorded", **record})
    return table


def use_videos(study: Study, data_root: str | Path | None) -> Study:
    """Return a study of real videos on those of a folder, if these are not the plan's.

    Raises:
        DataError: a folder without videos.
    """
    if not (study.videos and data_root):
        return study
    videos = Videos(Path(data_root).resolve().name, videos_id(data_root), "the user's")
    return study if videos.id == study.videos.id else dataclasses.replace(study, videos=videos)


def run_arm(
    study: Study, arm: str, seed: int, options: RunOptions, engine: Engine | None = None
) -> dict[str, Any]:
    """Train or test an arm with one seed; returns its line of the table."""
    started, chosen, engine = time.perf_counter(), study.arms[arm], engine or ENGINE
    options = options.with_changes(seed=seed)
    standin = options.with_changes(data="standin", scale="mini", data_root=None)
    try:
        if chosen.folds:
            record = cross_validate(chosen.cfg, chosen.folds, options, engine.train)
        elif chosen.digits:
            record = train_on_digits(chosen.cfg, chosen.digits, options, engine.train)
        elif chosen.detects:
            record = _detect(chosen, options)
        elif chosen.test_of:
            record = _test_parent(chosen, study.arms[chosen.test_of], standin, engine)
        else:
            record = _train(chosen, standin, engine)
    except RUN_ERRORS as error:
        return {"state": f"failed: {error}"}
    return {"state": "done", **record, "seconds": round(time.perf_counter() - started)}


def _train(arm: Arm, options: RunOptions, engine: Engine) -> dict[str, Any]:
    engine.train_parent(arm.cfg, options)
    return engine.train(arm.cfg, options)


def _detect(arm: Arm, options: RunOptions) -> dict[str, Any]:
    """Train a detector on the stand-in, and test its weights otherwise where the arm says so."""
    from ..detection.evaluate_detector import evaluate_detector
    from ..detection.recipes import OPTIONS_OF_TESTS
    from ..detection.train_detector import train_detector

    options = options.with_changes(data="standin", scale="mini")
    record = train_detector(arm.cfg, options)
    if arm.protocol:
        folder = Path(record["run_dir"])
        target = folder.with_name(f"{folder.name}-{file_name(arm.protocol)}")
        used = {name: getattr(options, name) for name in OPTIONS_OF_TESTS} | {"work_dir": target}
        record = evaluate_detector(folder / "last.pth", RunOptions(**used), protocol=arm.protocol)
        record["run_dir"] = str(target)
    return {**record, "top1": record["map50"]}


def _test_parent(arm: Arm, parent: Arm, options: RunOptions, engine: Engine) -> dict[str, Any]:
    """Test another arm's weights under this arm's conditions."""
    folder = Path(_train(parent, options, engine)["run_dir"])
    protocol = arm.protocol or validation_protocol(arm.cfg)
    target = folder.with_name(f"{folder.name}-{protocol}-{arm.cfg.hash}")
    options = options.with_changes(seed=None, work_dir=target)
    return engine.evaluate(arm.cfg, folder / "last.pth", protocol, options)


def _choose_arms(study: Study, arms: list[str] | None) -> list[str]:
    for arm in arms or ():
        if arm not in study.arms:
            near = name_closest(arm, study.arms)
            raise ConfigError(f"study {study.name} has no arm {arm!r}; {near}")
    return list(arms or study.arms)


def summarise_progress(table: pd.DataFrame) -> pd.DataFrame:
    """Show where a pass stands: one line per row, or per arm with all its runs."""
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


def describe_arm(line: pd.Series) -> str:
    """Say what a run of a study gave, from its line of the table."""
    return f"{line['top1']:6.2f} % of {line['num_videos']} videos"
