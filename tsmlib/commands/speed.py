"""Commands that measure: the benchmarks, the cost of a row, and the accuracy of fast options."""

import json
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..configs import get_config
from ..configs.fields import RUNTIMES
from ..engine.options import check_choice
from ..paths import display_path

Device = Annotated[str, Parameter(help="auto, cpu, cuda ...")]


def bench(
    *,
    quick: bool = False,
    only: list[str] | None = None,
    device: Device = "auto",
    out: Path | None = None,
) -> None:
    """Time this code beside the published algorithms, written anew, and beside the 2-D network.

    Args:
        quick: small sizes and few rounds.
        only: ratios to measure (default: all).
        out: JSON file (default: in results/benchmarks; with --quick or --only none is written).
    """
    from ..results import write_atomic
    from ..speed import benchmarks
    from ..speed.hardware import fabric_on, record_file
    from ..speed.workbench import FULL, QUICK
    from ..study.plan import backbone_arms

    record = benchmarks.run(QUICK if quick else FULL, only, device, backbone_arms())
    print(f"{benchmarks.describe_record(record)}, {record['threads']} threads")
    print(benchmarks.ratio_table(record).round(3).to_string(na_rep=""))
    if len(latencies := benchmarks.step_latencies(record)):
        print(f"\nmilliseconds of a frame\n{latencies.round(2).to_string()}")
    for name, reason in record["left_out"].items():
        print(f"{name} is left out: {reason}")
    if out is None and not quick and only is None:
        out = record_file(fabric_on(device))
    if out is None:
        print("not written: no --out")
        return
    write_atomic(out, json.dumps(record, indent=1) + "\n")
    print(f"written to {display_path(out)}")


def profile(
    row: str,
    /,
    *,
    data: str = "auto",
    scale: str = "auto",
    device: Device = "auto",
    runtimes: list[str] | None = None,
    seconds: float = 20.0,
    out: Path | None = None,
) -> None:
    """Measure what a row costs on this machine: operations, memory, time.

    Args:
        row: name of a row, or a YAML file.
        data: real, standin or auto.
        scale: full, mini or auto.
        runtimes: forms of the model (default: all that work here).
        seconds: for each measurement.
        out: record to write (default: results/benchmarks/DEVICE-rows.json).
    """
    cfg = get_config(row)
    for name in runtimes or ():
        check_choice("runtimes", name, RUNTIMES)
    from ..engine.setup import prepare, resolve
    from ..speed import profile as profiling
    from ..speed.hardware import device_label, fabric_on

    fabric = fabric_on(device)
    setup = prepare(resolve(cfg, data=data, scale=scale))
    print(f"{setup.cfg.name}: {setup.decision}; on {device_label(fabric)}")
    tables = profiling.profile(setup, fabric, runtimes, seconds)
    file = profiling.save_profile(setup, fabric, tables, out)
    for name, table in tables.items():
        print(f"\n{name.replace('_', ' ')}\n{table.round(3).to_string(na_rep='')}")
    print(f"\nwritten to {display_path(file)}")


def sizing(
    row: str,
    /,
    *,
    videos: int | None = None,
    data_root: str | None = None,
    rate: float | None = None,
) -> None:
    """Estimate the hours, decoding cores and disk space of a row from what was measured.

    Args:
        row: name of a row, or a YAML file.
        videos: number of training videos (default: those of the row's list, where it is there).
        data_root: folder of the data sets (default: TSM_DATA).
        rate: training videos per second of one device (default: as profiled at full scale).
    """
    cfg = get_config(row)
    from ..data.annotations import DataError, find_list
    from ..paths import data_folder, results_folder
    from ..speed import sizing as estimates

    folder, listed = results_folder() / "benchmarks", None
    root = Path(data_root or cfg.data_root or data_folder()).expanduser().resolve()
    try:
        listed = find_list(cfg, "train", root)
    except DataError as error:
        if videos is None:
            raise DataError(f"{error}; or give the number of training videos, --videos") from None
    videos = videos or len(listed.entries)
    hours = estimates.estimate_hours(cfg, videos, folder)
    print(f"ESTIMATES for {cfg.name}: {cfg.epochs} epochs of {videos} videos")
    if hours.empty:
        print(f"hours: not measured; tsm profile {row} --scale full, on the device")
    else:
        print(f"\nhours, at least\n{hours.round(2).to_string(index=False)}")
    rates = [rate] if rate else hours["videos_per_second"].unique()
    for one in rates:
        cores = estimates.estimate_cores(one, folder)
        title = f"cores for each device that trains {one:.3g} videos per second, at most"
        print(f"\n{title}\n{cores.round(2).to_string(index=False)}")
    if listed is not None:
        print(f"\ndisk  {estimates.estimate_gigabytes(listed):.1f} GB for the training list")


def options(
    row: str = "sthv1",
    /,
    *,
    seeds: list[int] | None = None,
    only: list[str] | None = None,
    device: Device = "auto",
    out: Path | None = None,
) -> None:
    """Measure what each option for speed does to the accuracy of a row, with the same seeds.

    Args:
        row: name of a row, or a YAML file.
        seeds: of the runs (default: 0 1 2 3 4).
        only: some of the options.
        out: JSON file (default: results/benchmarks/DEVICE-options.json).
    """
    get_config(row)
    from ..speed import options as speed_options
    from ..speed.hardware import fabric_on, why_no_bf16

    fabric = fabric_on(device)
    if reason := why_no_bf16(fabric.device):
        print(f"bf16 is left out: {reason}", file=sys.stderr)
    table, file = speed_options.measure_and_write(row, seeds or range(5), fabric, device, only, out)
    print(table.round(2).to_string(index=False, na_rep=""))
    print(f"written to {display_path(file)}")
