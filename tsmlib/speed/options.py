"""Measure what each option for speed does to the accuracy of a row, seed by seed.

    python -m tsmlib options [sthv1] [--seeds 0 1 2 3 4] [--only "bf16-mixed" compiled]

Options of training are trained and tested anew; runtimes are tested on the weights of the plain
run. The table goes into results/benchmarks/DEVICE-options.json.
"""

import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ..configs import ConfigError, get_config
from ..engine.evaluate import evaluate
from ..engine.fabric import Fabric
from ..engine.train import train
from ..intervals import mean_interval
from ..progress import track
from ..results import read_hits, write_atomic
from .benchmarks import read_record
from .hardware import fabric_on, provenance, record_file, slug, why_no_bf16

PLAIN = "fp32, eager"
TRAINED = {  # arguments of `train`
    "bf16-mixed": {"precision": "bf16-mixed"},
    "recompute": {"recompute": True},
    "compiled": {"compiled": True},
    "frames kept (TSM_FRAME_CACHE)": {},
}
TESTED = {  # arguments of `evaluate`, on the plain run's weights
    "tested: folded": {"runtime": "folded"},
    "tested: auto": {"runtime": "auto"},
    "tested: auto, bf16": {"runtime": "auto", "precision": "bf16-mixed"},
}


def measure_options(
    row: str, seeds: Sequence[int], device: str = "auto", only: Sequence[str] | None = None
) -> Iterator[pd.DataFrame]:
    """Measure the validation accuracy of a row with each option, on its stand-in at mini scale.

    Yields:
        After each seed one row per option, of the seeds so far: `top1` (mean, %) and its t interval
        `low`, `high`; the mean `difference` from the plain run of the same seed; `flips`, the
        share of predictions that became right or wrong (%).

    Raises:
        ConfigError: no such option.
    """
    chosen = [*TRAINED, *TESTED] if only is None else list(only)
    if unknown := [name for name in chosen if name not in {**TRAINED, **TESTED}]:
        options = ", ".join([*TRAINED, *TESTED])
        raise ConfigError(f"there is no option {', '.join(unknown)}; choose among {options}")
    if why_no_bf16(fabric_on(device).device):
        chosen = [name for name in chosen if "bf16" not in name]
    runs = {name: [] for name in (PLAIN, *chosen)}
    with tempfile.TemporaryDirectory() as folder:
        for seed in track(seeds, "options for speed", "seeds"):
            for name, run in _run_options(row, seed, device, Path(folder), chosen):
                runs[name].append((run["top1"], read_hits(run["run_dir"])))
            yield pd.DataFrame([_option_row(name, runs[name], runs[PLAIN]) for name in runs])


def _run_options(row: str, seed: int, device: str, folder: Path, chosen: list[str]):
    """Train and test with each option, first plainly; yields names and records."""
    cfg, where = get_config(row), {"data": "standin", "scale": "mini", "device": device}
    plain = train(cfg, seed=seed, work_dir=folder / f"{seed}", **where)
    first = evaluate(cfg, folder / f"{seed}" / "last.pth", "validation", runtime="eager",
                     work_dir=folder / f"{seed}-plain", **where)  # fmt: skip
    yield PLAIN, first
    for name in chosen:
        work = folder / f"{seed}-{slug(name)}"
        if name in TESTED:
            weights = Path(plain["run_dir"]) / "last.pth"
            yield name, evaluate(cfg, weights, "validation", work_dir=work, **where, **TESTED[name])
        else:
            variables = {"TSM_FRAME_CACHE": str(folder / "frames")} if "frames" in name else {}
            os.environ.update(variables)
            try:
                yield name, train(cfg, seed=seed, work_dir=work, **where, **TRAINED[name])
            finally:
                for variable in variables:
                    del os.environ[variable]


def _option_row(name: str, runs: list[tuple], plain: list[tuple]) -> dict[str, Any]:
    mean, low, high = mean_interval([top1 for top1, _ in runs])
    pairs = list(zip(runs, plain, strict=True))
    return {
        "option": name, "top1": mean, "low": low, "high": high, "seeds": len(runs),
        "difference": sum(a[0] - b[0] for a, b in pairs) / len(pairs),
        "flips": sum(100 * (a[1] != b[1]).mean() for a, b in pairs) / len(pairs),
    }  # fmt: skip


def read_options(fabric: Fabric) -> pd.DataFrame:
    """Read the table of this device; empty if there is none yet.

    Raises:
        ResultsError: it is damaged.
    """
    record = read_record(record_file(fabric, "options")) or {"options": []}
    return pd.DataFrame(record["options"])


def measure_and_write(
    row: str,
    seeds: Sequence[int],
    fabric: Fabric,
    device: str = "auto",
    only: Sequence[str] | None = None,
    file: Path | None = None,
) -> tuple[pd.DataFrame, Path]:
    """Measure the options of a row, and write the record anew after each seed.

    Args:
        row, seeds, device, only: see `measure_options`.
        fabric: of the device.
        file: of the record; None: results/benchmarks/DEVICE-options.json.
    """
    file, table = file or record_file(fabric, "options"), pd.DataFrame()
    for done, table in enumerate(measure_options(row, seeds, device, only), 1):
        rows = json.loads(table.to_json(orient="records"))
        record = {"cfg": row, "data": "standin", "scale": "mini", "all_seeds": list(seeds[:done]),
                  **provenance(fabric), "options": rows}  # fmt: skip
        write_atomic(file, json.dumps(record, indent=1) + "\n")
    return table, file
