"""Summaries of the data preparation as lines of text: lists, extracted frames, a check."""

from ...paths import display_path
from .check import CheckReport
from .extraction import ExtractionReport
from .make_shards import ShardReport
from .pushups import CutReport
from .write_lists import ListsReport

EXAMPLES = 5  # examples of each kind


def summarise_lists(report: ListsReport) -> list[str]:
    """Summarise the lists that were written, as lines of text."""
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


def summarise_extraction(report: ExtractionReport) -> list[str]:
    """Summarise an extraction, as lines of text."""
    counts = f"{report.done} videos extracted, {report.skipped} were there"
    lines = [f"{counts}, {len(report.failed)} damaged, {report.missing} not on disk"]
    lines += [f"  {display_path(path)}: {reason}" for path, reason in report.failed[:EXAMPLES]]
    return lines + ["  ..."] * (len(report.failed) > EXAMPLES)


def summarise_shards(reports: dict[str, ShardReport]) -> list[str]:
    """Summarise the shards that were written, as lines of text."""
    lines = []
    for split, report in reports.items():
        size = f"{report.bytes / 1e9:.2f} GB"
        counts = f"{report.samples} videos in {report.shards} shards, {size}"
        lines.append(f"{split}: {counts}, in {display_path(report.folder)}")
        lines += [f"  left out: {reason}" for reason in report.missing]
    return lines


def summarise_cut(report: CutReport) -> list[str]:
    """Summarise the cutting of clips, as lines of text."""
    counts = f"{report.done} clips cut, {report.skipped} were there"
    lines = [f"{counts}, {len(report.failed)} source videos missing or damaged"]
    lines += [f"  {reason}" for _, reason in report.failed[:EXAMPLES]]
    return lines + ["  ..."] * (len(report.failed) > EXAMPLES)


def summarise_check(report: CheckReport) -> list[str]:
    """Summarise a check: its table, and each kind of problem with examples."""
    lines = report.summary.to_string(index=False, na_rep="-").splitlines()
    kinds = report.problems["problem"].map(lambda problem: problem.partition(": ")[0])
    for (split, kind), group in report.problems.groupby(["split", kinds], sort=False):
        lines.append(f"{split}: {len(group)} x {kind}")
        for path, problem in group[["path", "problem"]].head(EXAMPLES).itertuples(index=False):
            detail = problem.partition(": ")[2]
            lines.append("  " + ": ".join(text for text in (path, detail) if text))
    ready = "ready: all listed videos can be read"
    return [*lines, ready if report.ready else "not ready: see above"]


def _examples(names: tuple[str, ...], count: int) -> str:
    return ", ".join(names[:EXAMPLES]) + (", ..." if count > len(names[:EXAMPLES]) else "")
