"""Run the benchmarks: ours, a rendering of the published code and the 2-D network, in turn.

Everything:   python -m tsmlib bench   (minutes; into results/benchmarks/DEVICE.json)
Some ratios:  python -m tsmlib bench --only inference_fp32 video_gop12 --out FILE
A trial run:  python -m tsmlib bench --quick --out FILE

Each round measures neighbours one right after the other, in alternating order, on the same inputs
and with the same threads; a ratio is taken within a round, then its median and quartiles over the
rounds. benchmark_paths.py prepares the paths, workbench.py their inputs and networks, and
published_style.py renders the published code.
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ..configs import Config, ConfigError
from ..paths import results_folder
from ..progress import Progress, track
from ..results import ResultsError
from ..text import name_closest
from . import benchmark_paths as paths
from . import online_paths as online
from .benchmark_paths import Paths
from .detectors import PLAIN, SHIFTED
from .hardware import fabric_on, provenance
from .inference import growth_table
from .published_style import LIBRARIES
from .timing import WARM_CALLS, interleave, ratios, synchronizer
from .workbench import FULL, Sizes, Workbench


class Ratio(NamedTuple):
    """The time of one path of a benchmark over that of another."""

    benchmark: str
    of: str
    over: str
    target: float | None = None  # at most, median on 2 CPU cores


RATIOS = {
    "shift_eager": Ratio("shift", "TSM", "2-D", 1.05),
    "shift_full_inplace_eager": Ratio("shift", "all channels in place", "2-D"),
    "published_shift_eager": Ratio("shift", "published TSM", "published 2-D"),
    "shift_optimized": Ratio("inference", "ours", "2-D", 1.06),
    "inference_fp32": Ratio("inference", "ours", "published", 0.60),
    "inference_bf16": Ratio("inference", "ours, bf16", "published", 0.32),
    "shift_train": Ratio("training", "ours", "2-D", 1.05),
    "train_step": Ratio("training", "ours", "published", 0.85),
    "video_gop12": Ratio("video_gop12", "ours", "published", 0.55),
    "video_gop250": Ratio("video_gop250", "ours", "published", 0.70),
    "jpeg_folder": Ratio("jpeg_folder", "ours", "published", 0.60),
    "evaluate": Ratio("evaluate", "ours", "published", 0.62),
    "evaluate_bf16": Ratio("evaluate", "ours, bf16", "published", 0.45),
    **{
        f"{of}_{k}x": Ratio("growth", f"{of} {k}x", f"{of} 1x")  # linear: k
        for of in ("clips", "views", "segments") for k in (2, 4)
    },
    "frames_16_over_8": Ratio("rows", "resnet50, 16 frames", "resnet50, 8 frames"),
    **{
        f"online_{name}_{backbone}": Ratio(f"{benchmark}_{backbone}", of, over, target)
        for backbone, of_eager in (("mobilenetv2", 0.40), ("resnet50", None))
        for name, benchmark, of, over, target in (
            ("over_2d", "online", "stream", "2-D", 1.05),
            ("over_eager", "online", "stream", "eager stream", None),
            ("onnx_over_eager", "online", "stream, ONNX", "eager stream", of_eager),
            ("onnx_over_2d", "online", "stream, ONNX", "2-D, ONNX", None),
            ("over_window", "window", "stream", "sliding window", 0.166),  # 6 times as fast
            ("over_pixels", "window", "stream", "stream, from pixels", None),
        )
    },
    "detector_over_2d": Ratio("detector", SHIFTED, PLAIN, 1.05),
    "3d_over_shift": Ratio("arms", "R3D-18 x 1/2, 3-D", "ResNet-18 x 1/2, shift"),
}  # fmt: skip


class Benchmark(NamedTuple):
    """How paths are prepared, and how often and how long (seconds) they take turns."""

    prepare: Callable[[Workbench], Paths]
    rounds: int
    seconds: float
    warm: int = WARM_CALLS


BENCHMARKS = {
    "shift": Benchmark(paths.shift, 50, 90),
    "inference": Benchmark(paths.inference, 60, 80),
    "training": Benchmark(paths.training, 18, 130),
    "video_gop12": Benchmark(partial(paths.video, gop=12), 80, 15),
    "video_gop250": Benchmark(partial(paths.video, gop=250), 80, 15),
    "jpeg_folder": Benchmark(paths.jpeg_folder, 200, 10),
    "evaluate": Benchmark(paths.evaluate, 6, 110, warm=1),
    "growth": Benchmark(paths.growth, 8, 45),
    "rows": Benchmark(paths.rows, 8, 20),
    "arms": Benchmark(paths.arms, 40, 15),
    "online_mobilenetv2": Benchmark(partial(online.steps, backbone="mobilenetv2"), 400, 40),
    "window_mobilenetv2": Benchmark(partial(online.windows, backbone="mobilenetv2"), 200, 40),
    "online_resnet50": Benchmark(partial(online.steps, backbone="resnet50"), 200, 60),
    "window_resnet50": Benchmark(partial(online.windows, backbone="resnet50"), 100, 60),
    "detector": Benchmark(online.detectors, 100, 60),
}


def run(
    sizes: Sizes = FULL,
    only: Sequence[str] | None = None,
    device: str = "auto",
    arms: dict[str, Config] | None = None,
) -> dict[str, Any]:
    """Run benchmarks and return their record: `ratios`, and all that they were computed from.

    Args:
        sizes: FULL or QUICK.
        only: names in `RATIOS`; None: all.
        device: `auto`, `cpu`, `cuda` ...
        arms: networks of the study `backbone` by name; None: the ratio of them is left out.

    Raises:
        ConfigError: no such ratio.
        BenchmarkError: ours and the published rendering do not compute the same.
    """
    only = tuple(RATIOS) if only is None else only
    if unknown := [name for name in only if name not in RATIOS]:
        near = name_closest(unknown[0], RATIOS)
        raise ConfigError(f"there is no ratio {unknown[0]!r}; {near}")
    wanted = {RATIOS[name].benchmark for name in only}
    fabric, tables = fabric_on(device), {}
    with tempfile.TemporaryDirectory() as folder:
        bench = Workbench(sizes, fabric, Path(folder), arms)
        wanted -= set() if arms else {"arms"}
        names = [name for name in BENCHMARKS if name in wanted]
        for name in track(names, "make bench", "benchmarks"):
            tables[name] = _measure(name, bench)
    return _record(bench, only, tables)


def _measure(name: str, bench: Workbench) -> pd.DataFrame:
    prepare, rounds, seconds, warm = BENCHMARKS[name]
    pace, turns = bench.sizes.pace, prepare(bench)
    rounds, warm = max(2, round(pace * rounds)), max(1, round(pace * warm))
    with Progress(name, rounds, "rounds") as progress:
        wait = synchronizer(bench.fabric.device)
        return interleave(turns, rounds, pace * seconds, warm=warm, wait=wait, progress=progress)


def _record(
    bench: Workbench, only: Sequence[str], tables: dict[str, pd.DataFrame]
) -> dict[str, Any]:
    measured, left_out = {}, {}
    for name in only:
        benchmark, of, over, _ = RATIOS[name]
        if benchmark not in tables:
            left_out[name] = "the networks of the study were not given"
        elif of in tables[benchmark]:
            measured[name] = ratios(tables[benchmark], of, over)
        else:
            left_out[name] = bench.no_bf16
    return {
        **provenance(bench.fabric),
        "plan": asdict(bench.sizes),
        "ratios": measured,
        "left_out": left_out,
        "runtimes": bench.runtimes,
        "runtimes_tried": bench.tried,
        "published_style": LIBRARIES,
        "loader_processes": 0,
        "differences": bench.differences,
        "seconds_to_optimize": bench.optimizing,
        "seconds_of_first_calls": {name: t.attrs["first"] for name, t in tables.items()},
        "milliseconds": {name: t.round(3).to_dict("list") for name, t in tables.items()},
    }


def read_record(file: Path) -> dict[str, Any] | None:
    """Read a record; None: there is none yet.

    Raises:
        ResultsError: it is damaged.
    """
    try:
        return json.loads(file.read_text()) if file.is_file() else None
    except ValueError as error:
        raise ResultsError(f"{file} is damaged: {error}; remove it") from None


def newest_record(ratio: str = "inference_fp32") -> dict[str, Any] | None:
    """Read the newest record of any device that holds a ratio; None: there is none yet."""
    files = (results_folder() / "benchmarks").glob("*.json")  # of profiles and options too
    records = [record for record in map(read_record, files) if ratio in record.get("ratios", ())]
    return max(records, key=lambda record: record["date"], default=None)


def describe_record(record: dict[str, Any]) -> str:
    """Describe a record: `resnet50, 8 frames of 224 pixels; AMD EPYC, 2 cores, commit 0123...`."""
    plan, device = record["plan"], record["device"]
    model = f"{plan['backbone']}, {plan['segments']} frames of {plan['size']} pixels"
    return f"{model}; {device}, commit {record['commit']}"


def ratio_table(record: dict[str, Any]) -> pd.DataFrame:
    """Tabulate the ratios of a record beside their limits (on 2 CPU cores)."""
    columns = ["median", "q25", "q75", "rounds"]
    table = pd.DataFrame(record["ratios"], index=columns).T.astype({"rounds": int})
    table.insert(0, "of / over", [f"{RATIOS[n].of} / {RATIOS[n].over}" for n in table.index])
    table["at most"] = [RATIOS[name].target for name in table.index]
    met = (table["median"] <= table["at most"]).map({True: "yes", False: "no"})
    table["met"] = met.where(table["at most"].notna(), "")
    return table


def step_latencies(record: dict[str, Any]) -> pd.DataFrame:
    """Tabulate the milliseconds of a frame in the benchmarks of streams.

    Other networks ran between the steps, so that caches of the processor were cold.

    Returns:
        One row per benchmark and path: percentiles `p50`, `p95`, `p99`, and the number of `frames`.
    """
    rows = {}
    for benchmark, table in record["milliseconds"].items():
        if benchmark.startswith(("online_", "window_")):
            for path, values in table.items():
                percentiles = np.percentile(values, (50, 95, 99))
                rows[f"{benchmark}: {path}"] = [*percentiles, len(values)]
    columns = ["p50", "p95", "p99", "frames"]
    return pd.DataFrame.from_dict(rows, orient="index", columns=columns)


def recorded_growth(record: dict[str, Any]) -> pd.DataFrame:
    """Tabulate the cost of 1, 2 and 4 times the clips, views and segments; see `growth_table`."""
    return growth_table(pd.DataFrame(record["milliseconds"]["growth"]))
