"""Profile a row: everything that it costs, counted and measured, TSN beside TSM.

python -m tsmlib profile sthv1 [--scale full] [--device cuda]
"""

import json
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock

from ..configs import Config, get_config, to_dict
from ..engine.fabric import Fabric
from ..engine.setup import Setup
from ..engine.trained_weights import MODEL_FIELDS
from ..reference import read_reference
from ..results import ResultsError, write_atomic
from . import inference, training
from .hardware import device_label, provenance, record_file
from .memory import training_memory
from .operations import count_cost

PUBLISHED_DEVICE = "one GPU that the page does not name (MMAction2's benchmark page: Tesla V100)"
DEFINITIONS = {
    "inference_time": "videos/s: one view of one video at a time, 5 skipped, up to the 200th, the "
    "model's time alone, the device waited for (note 2 of the page)",
    "gpu_mem": "most MiB allocated at one time while training on the row's videos per device",
}


def count_costs(cfg: Config, size: int | None = None) -> pd.DataFrame:
    """Count parameters, operations (in both ways, see `Cost`) and training memory, by network."""
    rows = []
    for name, one in inference.with_and_without_shift(cfg).items():
        cost = count_cost(one, size or cfg.val_crop_size)
        rows.append({"network": name, **asdict(cost), "training_mib": training_memory(one)})
    return pd.DataFrame(rows).set_index("network")


# --- counted and published ------------------------------------------------------------------------


def published_costs(
    profiles: dict[str, Any], count_memory: Callable[[Config], float] = training_memory
) -> pd.DataFrame:
    """Set the published cost columns of every row beside ours; see `DEFINITIONS`.

    Args:
        profiles: by row and scale, as `load_profiles` returns them; those of unchanged rows at full
            scale are used.
        count_memory: counts the MiB of a training step.

    Returns:
        Columns `cfg`, `frames`, `videos`; `inference_time`, published and ours; `gpu_mem`,
        published, counted and ours. NaN: there is no such number.
    """
    rows, counted = [], {}
    for row in read_reference().itertuples():
        cfg, ours = get_config(row.cfg), profiles.get(row.cfg, {}).get("full", {})
        ours = {} if ours.get("changes") else ours
        model = tuple(getattr(cfg, name) for name in (*MODEL_FIELDS, "videos_per_device"))
        if model not in counted:
            counted[model] = count_memory(cfg)
        trained = next((t for t in ours.get("training", []) if t["network"] == "TSM"), {})
        rows.append({
            "cfg": row.cfg, "frames": cfg.num_segments, "videos": cfg.videos_per_device,
            "inference_time published": row.inference_videos_per_s,
            "inference_time ours": ours.get("published_speed", {}).get("TSM"),
            "gpu_mem published": row.gpu_mem_mb,
            "gpu_mem counted": counted[model],
            "gpu_mem ours": trained.get("allocated"),
        })  # fmt: skip
    return pd.DataFrame(rows).astype(dict.fromkeys(list(rows[0])[3:], float))


# --- the profile of a row -------------------------------------------------------------------------


def profile(
    setup: Setup,
    fabric: Fabric,
    runtimes: list[str] | None = None,
    seconds: float = 20.0,
    videos: int = inference.COUNTED,
) -> dict[str, Any]:
    """Count and measure all that a row costs here; tables by name, columns as in each function.

    Args:
        setup: the row and its data.
        runtimes: see `inference.measure_forward`.
        seconds: about as many for each measurement.
        videos: see `inference.measure_published_speed`.
    """
    cfg, batch = setup.cfg, growth_batch_size(setup)
    return {
        "counts": count_costs(cfg),
        "inference": inference.measure_forward(
            cfg, fabric, runtimes, clips=(1, cfg.videos_per_device), seconds=seconds
        ),
        "growth": inference.measure_growth(cfg, fabric, batch, seconds=seconds),
        "training": training.measure_step(cfg, fabric, seconds=seconds),
        "loading": training.measure_loading(setup),
        "epoch": training.measure_epoch(setup, fabric, seconds=3 * seconds),
        "published_speed": inference.measure_published_speed(cfg, fabric, videos=videos),
    }


def growth_batch_size(setup: Setup) -> int:
    """Choose the clips at 1x of `measure_growth`: one is enough work at full scale, not at mini."""
    return 1 if setup.scale == "full" else setup.cfg.videos_per_device


def save_profile(
    setup: Setup, fabric: Fabric, tables: dict[str, Any], file: Path | None = None
) -> Path:
    """Save a row's profile in the record of this device, in place of an older one.

    Args:
        tables: all tables of `profile`, or some.
        file: the record; None: results/benchmarks/DEVICE-rows.json.

    Raises:
        ResultsError: the record cannot be read or written.
    """
    file = file or record_file(fabric, "rows")
    values = {
        name: table.to_dict() if isinstance(table, pd.Series)
        else json.loads(table.reset_index().to_json(orient="records"))  # null for NaN
        for name, table in tables.items()
    }  # fmt: skip
    changes = {name: to_dict(setup.cfg)[name] for name in setup.cfg.explicit}
    entry = {"data": setup.data, "changes": changes, **provenance(fabric), **values}
    with FileLock(
        Path(tempfile.gettempdir()) / f"{file.name}.lock"
    ):  # another process may add its profile
        rows = load_profiles(file)
        rows.setdefault(setup.cfg.name, {})[setup.scale] = entry
        content = {"device": device_label(fabric), "rows": rows}
        write_atomic(file, json.dumps(content, indent=1) + "\n")
    return file


def load_profiles(file: Path) -> dict[str, Any]:
    """Load the profiles of a record, by row and scale; empty where there is no record.

    Raises:
        ResultsError: it is damaged.
    """
    try:
        return json.loads(file.read_text())["rows"] if file.is_file() else {}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ResultsError(f"{file} is no record of profiles: {error}; remove it") from None
