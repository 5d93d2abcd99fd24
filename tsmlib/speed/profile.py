"""What a row costs: counted here, measured by speed/; TSN beside TSM.

A row's profile:   python -m tsmlib.speed.profile sthv1 [--scale full] [--device cuda]
"""

import argparse
import json
import logging
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from filelock import FileLock
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from torchvision.models import MobileNetV2

from ..configs import Config, ConfigError, get_config, to_dict
from ..data.annotations import DataError
from ..data.video import VideoError
from ..engine.setup import Setup, prepare, resolve
from ..engine.trained_weights import MODEL_FIELDS
from ..models.recognizer import build_model
from ..paths import display_path
from ..results import ResultsError, read_reference, write_atomic
from . import inference, training
from .memory import training_memory
from .timing import about, device_label, on_device, record_file

PUBLISHED_DEVICE = "one GPU that the page does not name (MMAction2's benchmark page: Tesla V100)"
DEFINITIONS = {
    "inference_time": "videos/s: one view of one video at a time, 5 skipped, up to the 200th, the "
    "model's time alone, the device waited for (note 2 of the page)",
    "gpu_mem": "most MiB allocated at one time while training on the row's videos per device",
}


# --- counting -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """Cost of one clip through a model."""

    parameters: int
    macs: int  # multiply-adds of convolutions, linear layers and attention products
    flops_published: int  # what the published tables call FLOPs, see `flops_published`
    size: int  # of the input, in pixels


def cost(cfg: Config, size: int | None = None) -> Cost:
    """Parameters and operations of a configuration, counted without computing anything.

    Args:
        cfg: the configuration.
        size: of the square input; None: what the published figure of such a model is for, 256
            for MobileNetV2 and Jester, else 224.
    """
    size = size or (256 if cfg.backbone == "mobilenetv2" or cfg.dataset == "jester" else 224)
    with torch.device("meta"):  # shapes alone
        model = build_model(cfg).eval()
        clip = torch.empty(1, cfg.num_segments, 3, size, size)
    parameters = sum(p.numel() for p in model.parameters())
    return Cost(parameters, macs(model, clip), flops_published(model, clip), size)


@torch.no_grad()
def macs(model: nn.Module, clips: Tensor) -> int:
    """Multiply-adds of a forward pass, as they are computed here; the shift has none."""
    with FlopCounterMode(display=False) as counter:
        model(clips)
    return counter.get_total_flops() // 2


@torch.no_grad()
def flops_published(model: nn.Module, clips: Tensor) -> int:
    """Operations of a forward pass as mmcv's `get_model_complexity_info` adds them up.

    Multiply-adds of convolutions (and one for a bias) and of linear layers (without it), two
    operations for each value in a batch norm, one in a ReLU or into a pooling layer; no attention
    products. The published "FLOPs" are these, to the digit.
    """
    # MobileNetV2's average pool is no layer of its own in torchvision
    total, last = 0, model.features[-1] if isinstance(model, MobileNetV2) else None

    def count(layer: nn.Module, inputs: tuple[Tensor], output: Tensor) -> None:
        nonlocal total
        if isinstance(layer, nn.Conv2d | nn.Conv3d):
            kernel = layer.weight[0].numel() + (layer.bias is not None)
            total += output.numel() * kernel
        elif isinstance(layer, nn.Linear):
            total += output.numel() * layer.in_features
        elif isinstance(layer, nn.BatchNorm2d | nn.BatchNorm3d):
            total += 2 * output.numel()
        elif isinstance(layer, nn.ReLU | nn.ReLU6):
            total += output.numel()
        elif isinstance(layer, nn.MaxPool2d | nn.AdaptiveAvgPool2d | nn.AdaptiveAvgPool3d):
            total += inputs[0].numel()
        elif layer is last:
            total += output.numel()

    handles = [layer.register_forward_hook(count) for layer in model.modules()]
    try:
        model(clips)
    finally:
        for handle in handles:
            handle.remove()
    return total


def counts(cfg: Config, size: int | None = None) -> pd.DataFrame:
    """Parameters, both counts of operations (see `cost`) and training memory, by network."""
    lines = []
    for name, one in inference.networks(cfg).items():
        found = cost(one, size or cfg.val_crop_size)
        lines.append({"network": name, **found.__dict__, "training_mib": training_memory(one)})
    return pd.DataFrame(lines).set_index("network")


# --- the published columns ------------------------------------------------------------------------


def published_costs(rows: dict[str, Any]) -> pd.DataFrame:
    """The published cost columns, row by row, beside ours; see `DEFINITIONS`.

    Args:
        rows: profiles by row and scale, as `kept` returns them; those of unchanged rows at full
            scale are taken.

    Returns:
        Columns `cfg`, `frames`, `videos`, then of `inference_time` what is published and ours
        measured, and of `gpu_mem` what is published, counted and measured. NaN: there is none.
    """
    lines, known = [], {}
    for row in read_reference().itertuples():
        cfg, ours = get_config(row.cfg), rows.get(row.cfg, {}).get("full", {})
        ours = {} if ours.get("changes") else ours
        model = tuple(getattr(cfg, name) for name in (*MODEL_FIELDS, "videos_per_device"))
        if model not in known:
            known[model] = training_memory(cfg)
        trained = next((t for t in ours.get("training", []) if t["network"] == "TSM"), {})
        lines.append({
            "cfg": row.cfg, "frames": cfg.num_segments, "videos": cfg.videos_per_device,
            "inference_time published": row.inference_videos_per_s,
            "inference_time ours": ours.get("published_speed", {}).get("TSM"),
            "gpu_mem published": row.gpu_mem_mb,
            "gpu_mem counted": known[model],
            "gpu_mem ours": trained.get("allocated"),
        })  # fmt: skip
    return pd.DataFrame(lines).astype(dict.fromkeys(list(lines[0])[3:], float))


# --- the profile of a row -------------------------------------------------------------------------


def profile(
    setup: Setup, fabric: Fabric, runtimes: list[str] | None = None, seconds: float = 20.0
) -> dict[str, Any]:
    """Everything that a row costs here, as tables by name; see the functions for their columns.

    Args:
        setup: the row and its data.
        runtimes: see `inference.forward`.
        seconds: for each thing that is measured, about.
    """
    cfg, batch = setup.cfg, growth_batch(setup)
    return {
        "counts": counts(cfg),
        "inference": inference.forward(
            cfg, fabric, runtimes, clips=(1, cfg.videos_per_device), seconds=seconds
        ),
        "growth": inference.growth(cfg, fabric, batch, seconds=seconds),
        "training": training.step(cfg, fabric, seconds=seconds),
        "loading": training.loading(setup),
        "epoch": training.epoch(setup, fabric, seconds=3 * seconds),
        "published_speed": inference.published_speed(cfg, fabric),
    }


def growth_batch(setup: Setup) -> int:
    """Clips at 1x in `inference.growth`: one is enough work at full scale, not at mini."""
    return 1 if setup.scale == "full" else setup.cfg.videos_per_device


def keep(setup: Setup, fabric: Fabric, tables: dict[str, Any], file: Path | None = None) -> Path:
    """Enter a row's profile into the record of this device, in place of an older one.

    Args:
        tables: of `profile`, or some of them.
        file: of the record; None: results/benchmarks/DEVICE-rows.json.

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
    entry = {"data": setup.data, "changes": changes, **about(fabric), **values}
    with FileLock(Path(tempfile.gettempdir()) / f"{file.name}.lock"):  # others may add theirs
        rows = kept(file)
        rows.setdefault(setup.cfg.name, {})[setup.scale] = entry
        content = {"device": device_label(fabric), "rows": rows}
        write_atomic(file, json.dumps(content, indent=1) + "\n")
    return file


def kept(file: Path) -> dict[str, Any]:
    """Profiles in a record, by row and scale; none where there is no record.

    Raises:
        ResultsError: it is damaged.
    """
    try:
        return json.loads(file.read_text())["rows"] if file.is_file() else {}
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise ResultsError(f"{file} is no record of profiles: {error}; remove it") from None


# --- command line ---------------------------------------------------------------------------------


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m tsmlib.speed.profile",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.error = lambda message: parser.exit(1, f"{message}; see --help\n")
    parser.add_argument("cfg", help="row, published name or YAML file")
    parser.add_argument("--data", default="auto", help="real, standin")
    parser.add_argument("--scale", default="auto", help="mini, full")
    parser.add_argument("--device", default="auto", help="cpu, cuda ...")
    parser.add_argument("--runtimes", nargs="+", help="of tsmlib.models.inference_runtime")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each thing measured")
    parser.add_argument("--out", type=Path, help="record; default: of the device")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        fabric = on_device(options.device)
        setup = prepare(resolve(options.cfg, data=options.data, scale=options.scale))
        print(f"{setup.cfg.name}: {setup.reason}; on {device_label(fabric)}")
        tables = profile(setup, fabric, options.runtimes, options.seconds)
        file = keep(setup, fabric, tables, options.out)
    except (ConfigError, DataError, VideoError, ResultsError) as error:
        print(error, file=sys.stderr)
        return 1
    for name, table in tables.items():
        print(f"\n{name.replace('_', ' ')}\n{table.round(3).to_string(na_rep='')}")
    print(f"\nwritten to {display_path(file)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
