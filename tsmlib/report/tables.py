"""Tables for people: claims, published rows, runs. Frames in, frames or text out."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd

from ..configs import is_row, list_configs
from ..engine.setup import Setup
from ..intervals import Clustered, mean_interval, wilson_interval
from ..metrics import confusion_matrix
from ..reference import comparable, published_accuracy, read_reference
from ..results import belong_to_studies
from ..study.convergence import check_gates
from ..study.findings import intervals
from ..study.plan import Study
from ..study.records import Records, find_recorded_runs, tabulate_accuracies
from .claims import read_definitions

# Titles with units of the columns that notebooks show, for `outputs.table`.
TIMES = {
    "network": "network", "median": "ms (median)", "q25": "quartile 1", "q75": "quartile 3",
    "rounds": "rounds", "per_second": "videos/s", "allocated": "GPU memory (MiB)",
    "over_tsn": "over TSN", "over_q25": "from", "over_q75": "to",
}  # fmt: skip
STEP = {"videos": "videos a step", **TIMES}
FORWARD = {"runtime": "form", "precision": "precision", "clips": "clips", **TIMES}
COUNTS = {
    "network": "network", "parameters": "parameters", "macs": "multiply-adds",
    "flops_published": "operations, as published", "size": "pixels",
    "training_mib": "memory in training (MiB)",
}  # fmt: skip
OPTIONS = {
    "option": "option", "top1": "top-1 (%)", "low": "from", "high": "to", "seeds": "seeds",
    "difference": "difference (points)", "flips": "flips (%)",
}  # fmt: skip
PUBLISHED_COSTS = {
    "cfg": "row", "frames": "frames", "videos": "videos a device",
    "inference_time published": "videos/s, published", "inference_time ours": "videos/s, ours",
    "gpu_mem published": "memory (MiB), published", "gpu_mem counted": "counted",
    "gpu_mem ours": "ours",
}  # fmt: skip
FINDINGS = {
    "question": "question", "difference": "difference (points)", "low_holm": "from",
    "high_holm": "to", "mde": "detectable", "published": "published (points)", "n_seeds": "seeds",
    "verdict": "verdict",
}  # fmt: skip
ROW_DIGITS = {
    "top1": 2, "accurate": 2, "reference": 2, "reference, accurate": 2, "ours": 2,
    "ours, accurate": 2, "GPU memory (MB)": 0,
}  # fmt: skip


# --- claims ---------------------------------------------------------------------------------------


def row_differences(claims: pd.DataFrame) -> pd.DataFrame:
    """Select the claims on pairs of published rows, for display."""
    chosen = to_display(claims[claims["claim"] == "delta"])
    return chosen[["compared", "published", "measured", "verdict"]].set_index("compared")


def to_display(claims: pd.DataFrame) -> pd.DataFrame:
    """Format rows of the claims for people; every number is one of `claims.csv`."""
    ends = (claims["published"], claims["published_low"], claims["published_high"])
    published = [_with_interval(*numbers) for numbers in zip(*ends, strict=True)]
    units = [unit * (text[-1:].isdigit() or text[-1:] == ")")
             for unit, text in zip(claims["unit"], published, strict=True)]  # fmt: skip
    sources = zip(claims["source"], claims["note"], strict=True)
    return pd.DataFrame({
        "claim": claims["claim"], "evidence": claims["evidence"], "compared": claims["part"],
        "published": [f"{p} {u}".strip() for p, u in zip(published, units, strict=True)],
        "measured": [_measured(row) for row in claims.itertuples()],
        "verdict": claims["verdict"],
        "source; note": ["; ".join(filter(None, pair)) for pair in sources],
    }).set_index("claim")  # fmt: skip


def _with_interval(value: str, low: str, high: str) -> str:
    """Format `47.1 (45.0 to 49.2)`; without an interval the value alone."""
    if not low:
        return str(value)
    return f"{float(value):.2f} ({float(low):.2f} to {float(high):.2f})"


def _measured(row) -> str:
    """Format `11.47 (6.59 to 16.35): 10 seeds, standin; detectable 6.81`.

    Parts without a value are omitted.
    """
    if not row.measured:
        return ""
    value = _with_interval(row.measured, row.low, row.high)
    seeds = f"{row.n_seeds} seeds" if row.n_seeds else ""
    detectable = f"; detectable {float(row.mde):.2f}" if row.mde else ""
    return f"{value}: {', '.join(filter(None, (seeds, row.data)))}{detectable}"


# --- studies with gates ---------------------------------------------------------------------------


MEASURES = {"top1": "top-1 (%)", "appearance": "digit (%)", "order": "direction (%)",
            "within_pair": "within pairs (%)",
            **{f"map_{part}": f"mAP, {part} (%)" for part in
               ("clean", "degraded", "slow", "medium", "fast")}}  # fmt: skip


def arms_and_gates(study: Study, known: Records | None = None) -> pd.DataFrame:
    """List the arms of a study: what they reach, and whether longer training adds to it.

    Intervals are over recordings of real videos or images of digits, else over seeds. Spread and
    gain are those of top-1; an arm has converged if it passes the gates in all measures that are
    asked. Arms without a run are left out.
    """
    known = find_recorded_runs() if known is None else known
    asked = sorted({q.measure for q in study.questions} - {"top1"})
    tables = {name: tabulate_accuracies(study, name, known) for name in ("top1", *asked)}
    tables = {name: table for name, table in tables.items() if table.notna().any(axis=None)}
    gates = {name: check_gates(study, table) for name, table in tables.items()}
    ends, rows = {name: intervals(study, known, name) for name in tables}, {}
    for arm, gate in next(iter(gates.values()), {}).items():
        if not gate.seeds:
            continue
        reached = {
            _title(m): _with_ends(ends[m][arm]) if arm in ends[m] else _mean_and_ends(table[arm])
            for m, table in tables.items()
        }
        longer = f"{gate.doubled_seeds} seed{'s' * (gate.doubled_seeds != 1)}"
        twice = f"{gate.change:+.2f} ({longer})" if gate.doubled_seeds else ""
        faults = [
            f"{_title(m)}: " * (m != "top1") + found[arm].reason
            for m, found in gates.items()
            if not found[arm].passed
        ]
        rows[arm] = {
            "seeds": gate.seeds,
            **reached,
            "deviation over seeds": f"{gate.deviation:.1f}" if gate.seeds > 1 else "",
            "by twice the training": twice,
            "gates": f"failed: {faults[0]}" if faults else "passed",
        }
    return pd.DataFrame(rows).T.rename_axis("network")


def _title(measure: str) -> str:
    """Name a measure of a record, with its unit."""
    return MEASURES.get(measure, f"{measure} (%)")


def _with_ends(found: Clustered) -> str:
    return f"{found.accuracy:.1f} ({found.low:.1f} to {found.high:.1f})"


def _mean_and_ends(values: pd.Series) -> str:
    """Format `81.2 (80.1 to 82.3)`, with the t interval over seeds; of one seed its value."""
    runs = values.dropna().to_numpy(dtype=float)
    if len(runs) < 2:
        return f"{runs.mean():.1f}" if len(runs) else ""
    return "{:.1f} ({:.1f} to {:.1f})".format(*mean_interval(runs))


# --- published rows and runs ----------------------------------------------------------------------


def published_rows(runs: pd.DataFrame) -> pd.DataFrame:
    """List the 36 published rows: accuracies, the reference, ours, costs, and notes.

    `reference` are re-trainings by MMAction2's authors with the code of MIT, not MIT's figures.
    """
    table, ours = read_reference().set_index("cfg"), beside_published(runs).set_index("cfg")
    names = {"resolution": "stored frames", "frames": "frames", "top1": "top1",
             "top1_accurate": "accurate", "ref_top1": "reference",
             "ref_top1_accurate": "reference, accurate"}  # fmt: skip
    rows = table[list(names)].rename(columns=names)
    rows["ours"], rows["ours, accurate"] = ours["ours_top1"], ours["ours_top1_accurate"]
    rows["videos/s"] = table["inference_videos_per_s"]
    rows["GPU memory (MB)"] = table["gpu_mem_mb"]
    rows["note"] = pd.Series(read_definitions()["row_notes"])
    return rows.rename_axis("row")


def beside_published(runs: pd.DataFrame) -> pd.DataFrame:
    """List the published rows with our accuracy where a comparable run exists, else nothing."""
    columns = ["cfg", "config", "resolution", "backbone", "frames", "top1", "top1_accurate"]
    table = read_reference()[columns].copy()
    for column in ("ours_top1", "ours_top1_accurate"):
        table[column] = np.nan
    for run in runs.to_dict("records"):
        if not comparable(run, json.loads(run["changes"])):
            continue  # first, as it reads no file
        if target := published_accuracy(run["cfg"], run["protocol"]):
            row = table.index[table["cfg"] == run["cfg"]][0]
            accurate = target["top1"] == table.loc[row, "top1_accurate"]
            table.loc[row, "ours_top1_accurate" if accurate else "ours_top1"] = run["top1"]
    return table


def accuracy_table(records: dict[str, dict[str, Any]], published: dict[str, float]) -> pd.DataFrame:
    """Tabulate the accuracies of records by name.

    Args:
        records: run records by the names to show.
        published: accuracies beside which the first record may stand; empty: none.
    """
    titles = {
        "top1": "top-1 (%)", "interval": "95 % interval", "top5": "top-5 (%)",
        "mean_class_accuracy": "mean of classes (%)", "within_pair": "within pairs (%)",
        "num_videos": "videos", "protocol": "protocol", "published": "published top-1 (%)",
    }  # fmt: skip
    table = pd.DataFrame(records).T.rename_axis("run")
    ends = [wilson_interval(r["top1"], r["num_videos"]) for r in records.values()]
    table["interval"] = [f"{low:.1f} to {high:.1f}" for low, high in ends]
    if any(is_row(record["cfg"]) for record in records.values()):  # else one's own data
        table["published"] = "not comparable"
    if published:
        table.loc[table.index[0], "published"] = published["top1"]
    return table[[name for name in titles if name in table]].rename(columns=titles)


def class_table(setup: Setup, scores: np.ndarray, labels: np.ndarray) -> pd.DataFrame:
    """Tabulate each class: its videos in training and test, and how many of these are recognised.

    Args:
        setup: prepared, with both lists.
        scores, labels: `[N, K]` and `[N]`, of the videos that were tested.
    """
    trained = Counter(entry.label for entry in setup.train_list.entries)
    counts = confusion_matrix(scores, labels)
    tested = counts.sum(axis=1)
    with np.errstate(invalid="ignore"):  # NaN where no video of a class was tested
        recognised = 100 * counts.diagonal() / tested
    return pd.DataFrame({
        "class": setup.class_names,
        "training": [trained[label] for label in range(len(tested))],
        "test": tested,
        "recognised (%)": recognised.round(1),
    }).set_index("class")  # fmt: skip


def standin_runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Select the stand-in runs of rows, without those of the studies.

    Returns:
        `runs` sorted by `label` and seed, with `label` and Wilson's interval `low`, `high`.
    """
    if runs.empty:
        return runs
    chosen = runs[(runs["data"] == "standin") & ~belong_to_studies(runs)].copy()
    chosen["label"] = [run_label(run) for run in chosen.to_dict("records")]
    ends = [wilson_interval(r.top1, r.num_videos) for r in chosen.itertuples()]
    chosen["low"], chosen["high"] = zip(*ends, strict=True) if ends else ((), ())
    return chosen.sort_values(["label", "seed"]).reset_index(drop=True)


def shift_comparison(runs: pd.DataFrame) -> pd.DataFrame:
    """Tabulate the stand-in trainings of rows that were also trained without the shift."""
    lines = []
    if len(runs):
        without = runs["explicit"].map(lambda text: json.loads(text).get("is_shift") is False)
        chosen = standin_runs(runs[runs["cfg"].isin(runs[without]["cfg"])])
        for label, group in chosen[chosen["kind"] == "training"].groupby("label"):
            lines.append({
                "run": label,
                "seeds": ", ".join(f"{seed:d}" for seed in group["seed"]),
                "top-1 (%), each seed": ", ".join(f"{v:.1f}" for v in group["top1"]),
                "top-1 within pairs (%)": ", ".join(f"{v:.1f}" for v in group["within_pair"]),
                "videos": group["num_videos"].iloc[0], "device": group["device"].iloc[0],
            })  # fmt: skip
    columns = ["run", "seeds", "top-1 (%), each seed", "top-1 within pairs (%)", "videos", "device"]
    return pd.DataFrame(lines, columns=columns).set_index("run")


def run_label(run: dict[str, Any]) -> str:
    """Name what distinguishes a run besides its seed: `sthv1, is_shift=False, efficient`."""
    known = run["cfg"] in list_configs()
    changes = [f"{k}={v}" for k, v in json.loads(run["explicit"]).items()] if known else []
    scale = [f"{run['scale']} scale"] if run["scale"] != "mini" else []
    return ", ".join([run["cfg"], *changes, run["protocol"], *scale])


# --- as text --------------------------------------------------------------------------------------


def markdown_table(table: pd.DataFrame) -> str:
    """Render a table as Markdown, its index included."""
    table = table.reset_index()
    rows = [list(table), *table.to_numpy().tolist()]
    lines = ["| " + " | ".join(str(cell).replace("|", "/") for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "| --- " * table.shape[1] + "|", *lines[1:]])
