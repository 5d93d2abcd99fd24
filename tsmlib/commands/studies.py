"""Commands for studies, for all rows, and for published weights and records."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from ..configs import get_config
from ..paths import display_path
from .rows import parse_changes

Processes = Annotated[
    int | None,
    Parameter(help="runs at the same time (default: one a GPU, else one a core; 64 on Slurm)."),
]


@dataclass(frozen=True)
class SharingOptions:
    """The options of `tsmlib.study.sharing.Sharing` on the command line.

    Args:
        shard: I/N: one of N parts, from 0/N on (default: all runs).
        executor: local, processes here; or slurm, jobs through submitit.
        slurm: parameters of a job, as submitit names them: slurm_partition=gpu timeout_min=600 ...
    """

    shard: str | None = None
    executor: Literal["local", "slurm"] = "local"
    slurm: list[str] | None = None

    def resolve(self):
        """Return the `Sharing`."""
        from ..study.sharing import Sharing

        return Sharing(self.shard, self.executor, parse_changes(self.slurm, "--slurm"))


SharingArgument = Annotated[SharingOptions | None, Parameter(name="*")]


def run(
    name: str,
    /,
    *,
    only: list[str] | None = None,
    seeds: list[int] | None = None,
    processes: Processes = None,
    data_root: str | None = None,
    publish: bool = False,
    sharing: SharingArgument = None,
) -> int:
    """Run a study of results/plan.yaml; runs that are recorded already are only read.

    Args:
        name: of the study.
        only: some of its arms.
        seeds: some of its seeds.
        data_root: folder of real videos, for a study of them.
        publish: copy the new records to results/runs.
    """
    from ..study.plan import get_study

    get_study(name)  # an unknown one is said before torch is loaded
    from ..study.publish import publish_all
    from ..study.run_study import run_study, summarise_progress

    shared = (sharing or SharingOptions()).resolve()
    table = run_study(name, seeds, processes, arms=only, data_root=data_root, sharing=shared)
    print(summarise_progress(table).to_string())
    if publish:
        from .records import summary

        publish_all(table.loc[table["state"] == "done", "run_dir"])
        summary()
    return _print_count(table, "runs")


def rows(
    *,
    only: list[str] | None = None,
    seed: int = 0,
    processes: Processes = None,
    data: str = "auto",
    scale: str = "auto",
    sharing: SharingArgument = None,
) -> int:
    """Train and test the published rows; finished rows are only read.

    Args:
        only: some of the rows.
        seed: of the trainings.
        data: real, standin or auto.
        scale: full, mini or auto.
    """
    names = [get_config(name).name for name in only] if only else None
    from ..study.run_rows import run_rows
    from ..study.run_study import summarise_progress

    shared = (sharing or SharingOptions()).resolve()
    table = run_rows(names, processes, seed=seed, data=data, scale=scale, sharing=shared)
    print(summarise_progress(table).to_string())
    return _print_count(table, "rows")


def reproduce(row: str, /, *, checkpoint: str = "published", data_root: str | None = None) -> None:
    """Evaluate published weights and compare them with the published tables.

    Args:
        row: name of a row, or a YAML file.
        checkpoint: published, or a file of weights.
        data_root: folder of the data sets (default: TSM_DATA).
    """
    cfg = get_config(row)
    from ..study.reproduce import reproduce as reproduce_row

    for record in reproduce_row(cfg, checkpoint, data_root):
        accuracy = f"{record['top1']:.2f} % of {record['num_videos']} videos"
        print(f"{record['cfg']}, {record['protocol']}: {accuracy}; {record['verdict']}")
        print(f"  record {display_path(record['run_dir'])}")


def verify(folders: list[Path] | None = None, /) -> int:
    """Recompute the accuracies of records from their scores, and the claims from the records.

    Args:
        folders: of runs (default: all of recognition, published and local, and claims.csv).
    """
    from ..report.verification import verify_claims
    from ..study.reproduce import verify_all

    lines, wrong = verify_all(folders)
    if not folders:
        differing = verify_claims()
        lines += [*differing, f"gates, intervals and verdicts recomputed, {len(differing)} differ"]
        wrong += len(differing)
    print("\n".join(lines))
    return 1 if wrong else 0


def _print_count(table, kind: str) -> int:
    """Print how many runs are done; the status is 1 where some are not."""
    done = table["state"].isin(["done", "recorded"])
    print(f"{done.sum()} of {len(table)} {kind} done")
    return 0 if done.all() else 1
