"""Prepare a row's data: write its lists, extract raw frames, check everything.

The official annotations belong into `<data root>/<data set>/annotations`, media beside them (see
tsmlib/data/prepare/official_annotations.py and the folders of tsmlib/configs/rows.py).
"""

import argparse
import logging
import sys
from pathlib import Path

from ...configs import ConfigError, get_config
from ...paths import data_folder, display_path
from ..annotations import DataError
from .check import CheckReport, check_data
from .extraction import ExtractionReport, extract_frames
from .official_annotations import SPLITS
from .write_lists import Report, write_lists

SHOWN = 5  # examples of each kind


def describe_lists(report: Report) -> list[str]:
    """Lines that say what was written."""
    lines = []
    for split in report.splits:
        lines.append(f"{split.split}: {split.found} of {split.annotated} annotated videos")
        if split.missing:
            count = split.annotated - split.found
            lines.append(f"  missing  {count}: {_examples(split.missing, count)}")
        if split.frames:
            fewest, middle, most = split.frames
            lines.append(f"  frames   {fewest} to {most}, median {middle:g}")
        lines.append(f"  list     {display_path(split.file)}")
    return lines


def describe_extraction(report: ExtractionReport) -> list[str]:
    """Lines that say what was extracted."""
    counts = f"{report.done} videos extracted, {report.skipped} were there"
    lines = [f"{counts}, {len(report.failed)} damaged, {report.missing} not on disk"]
    lines += [f"  {display_path(path)}: {reason}" for path, reason in report.failed[:SHOWN]]
    return lines + ["  ..."] * (len(report.failed) > SHOWN)


def describe_check(report: CheckReport) -> list[str]:
    """Lines with the summary, and each kind of problem with examples."""
    lines = report.summary.to_string(index=False, na_rep="-").splitlines()
    kinds = report.problems["problem"].map(lambda problem: problem.partition(": ")[0])
    for (split, kind), group in report.problems.groupby(["split", kinds], sort=False):
        lines.append(f"{split}: {len(group)} x {kind}")
        for path, problem in group[["path", "problem"]].head(SHOWN).itertuples(index=False):
            detail = problem.partition(": ")[2]
            lines.append("  " + ": ".join(text for text in (path, detail) if text))
    ready = "ready: all listed videos can be read"
    return [*lines, ready if report.ready else "not ready: see above"]


def _examples(names: tuple[str, ...], count: int) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if count > len(names[:SHOWN]) else "")


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tsmlib.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    for name, meaning in (
        ("lists", "write the row's list files from the official annotations"),
        ("extract", "extract raw frames from the video files"),
        ("check", "say what is there, missing or damaged"),
    ):
        command = commands.add_parser(name, help=meaning, description=meaning)
        command.add_argument("row", help="row, published name or YAML file")
        command.add_argument("--data-root", help="folder of the data sets (default: TSM_DATA)")
        if name != "check":
            command.add_argument("--split", choices=SPLITS, help="one split only")
        if name != "lists":
            command.add_argument(
                "--workers", type=int, help="processes (default: as many as cores)"
            )
        if name == "check":
            command.add_argument("--full", action="store_true", help="decode every frame")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        cfg = get_config(options.row)
        root = Path(options.data_root or cfg.data_root or data_folder()).expanduser().resolve()
        if options.command == "lists":
            splits = (options.split,) if options.split else SPLITS
            lines = describe_lists(write_lists(cfg, root, splits))
        elif options.command == "extract":
            report = extract_frames(cfg, root, options.split, options.workers)
            lines = describe_extraction(report)
        else:
            checked = check_data(cfg, root, options.full, options.workers)
            lines = describe_check(checked)
    except (ConfigError, DataError) as error:
        print(error, file=sys.stderr)
        return 1
    print("\n".join(lines))
    return 0 if options.command != "check" or checked.ready else 1


if __name__ == "__main__":
    sys.exit(main())
