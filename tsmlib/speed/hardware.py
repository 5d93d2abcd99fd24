"""The machine of a measurement: its device, what it can do, and the name of its record."""

import re
from pathlib import Path
from typing import Any

import torch

from ..engine.devices import device_name, make_fabric, usable_cores
from ..engine.fabric import Fabric
from ..paths import results_folder
from ..results import environment

FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8")  # recorded
BF16_FLAGS = ("avx512_bf16", "amx_bf16")


def fabric_on(device: str) -> Fabric:
    """Make a Fabric on the device `auto`, `cpu`, `cuda` ...

    Raises:
        ConfigError: there is no such device here.
    """
    return make_fabric(device)


def device_label(fabric: Fabric) -> str:
    """Name the device of measurements: `AMD EPYC, 2 cores` or `NVIDIA H200`."""
    name = device_name(fabric)
    if fabric.device.type != "cpu":
        return name
    return f"{name.rpartition(',')[0]}, {usable_cores()} cores"


def slug(name: str) -> str:
    """Turn the name of a device into that of a file: `amd-epyc-2-cores`."""
    plain = re.sub(r"\((r|tm)\)", "", name.lower())
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")


def record_file(fabric: Fabric, kind: str = "") -> Path:
    """Return the file of this device's benchmark, or of its record of a `kind` (rows, options)."""
    name = "-".join(filter(None, (slug(device_label(fabric)), kind)))
    return results_folder() / "benchmarks" / f"{name}.json"


def cpu_flags(file: Path = Path("/proc/cpuinfo")) -> list[str]:
    """List the instruction sets in `FLAGS` that this CPU has; empty where no file lists them."""
    if not file.is_file():
        return []
    lines = (line for line in file.read_text().splitlines() if line.startswith("flags"))
    has = next(lines, "").split()
    return [flag for flag in FLAGS if flag in has]


def why_no_bf16(device: torch.device, flags: list[str] | None = None) -> str:
    """Explain why bf16 cannot be fast on this device; empty where it can."""
    if device.type == "cuda":
        return "" if torch.cuda.is_bf16_supported() else "this GPU has no bf16"
    flags = cpu_flags() if flags is None else flags
    has = device.type != "cpu" or any(flag in flags for flag in BF16_FLAGS)
    return "" if has else f"this CPU has no bf16 instructions ({' or '.join(BF16_FLAGS)})"


def provenance(fabric: Fabric) -> dict[str, Any]:
    """Describe for a record the machine and the code of a measurement."""
    return {
        "device": device_label(fabric),
        "cores": usable_cores(),
        "threads": torch.get_num_threads(),
        "cpu_flags": cpu_flags(),
        **environment(),
    }
