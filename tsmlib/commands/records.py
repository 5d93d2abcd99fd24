"""Commands for records of runs: the newest one, publishing, and what follows from them."""

from pathlib import Path

from ..paths import display_path
from ..text import to_terminal


def last() -> None:
    """Print what the newest run on this machine gave.

    Its accuracy with an interval, the published accuracy if there is one to compare it with, and
    the folder of its record.
    """
    from ..results import newest_run
    from ..study.publish import describe_run

    print(to_terminal("\n".join(describe_run(newest_run()))))


def publish(folder: Path, /) -> None:
    """Copy a record to results/runs, and renew what follows from the records.

    Args:
        folder: of the run, in results/local.
    """
    from ..study.publish import publish as publish_run

    print(f"published {display_path(publish_run(folder))}")
    summary()


def summary() -> None:
    """Write what follows from the published records: summary, claims, figures, README.

    Run it after records in results/runs have changed; `publish` does it by itself.
    """
    from ..report.readme import write_report

    for file in write_report():
        print(f"wrote {display_path(file)}")
