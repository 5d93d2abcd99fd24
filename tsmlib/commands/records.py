"""Commands for records of runs: the newest one, publishing, and what follows from them."""

from pathlib import Path

from ..paths import display_path


def last() -> None:
    """Print what the newest run gave."""
    from ..results import newest_run
    from ..study.publish import describe_run

    print("\n".join(describe_run(newest_run())))


def publish(folder: Path, /) -> None:
    """Copy a record to results/runs, and renew what follows from the records.

    Args:
        folder: of the run, in results/local.
    """
    from ..study.publish import publish as publish_run

    print(f"published {display_path(publish_run(folder))}")
    summary()


def summary() -> None:
    """Write what follows from the published records: summary, claims, figures, README."""
    from ..report.readme import write_report

    for file in write_report():
        print(f"wrote {display_path(file)}")
