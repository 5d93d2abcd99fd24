"""Measure the forward pass of a row beside that of TSN, the same network without shifts."""

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from ..configs import Config, ConfigError, views
from ..engine.fabric import Fabric
from ..engine.test_loop import view_logits
from ..models.inference_runtime import RuntimeFailed, optimize_for_inference
from ..models.recognizer import build_model, channels_last
from ..progress import track
from .hardware import why_no_bf16
from .timing import Laps, interleave, quartiles, ratios, synchronizer

log = logging.getLogger(__name__)

FACTORS = (1, 2, 4)  # of clips, views and segments
SKIPPED, COUNTED = 5, 200  # videos (MMAction2 tools/analysis/benchmark.py)


def with_and_without_shift(cfg: Config) -> dict[str, Config]:
    """Return the configurations of both networks by name: TSN, without shifts, and TSM."""
    changed = {"TSN": False, "TSM": True}
    return {name: dataclasses.replace(cfg, is_shift=value) for name, value in changed.items()}


def network_name(cfg: Config) -> str:
    """Name all that the cost of a row's clip follows from: `resnet50, 16 frames, gaussian`."""
    parts = cfg.backbone, f"{cfg.num_segments} frames", cfg.non_local
    return ", ".join(part for part in parts if part)


def random_clips(cfg: Config, clips: int, size: int, fabric: Fabric) -> Tensor:
    """Draw float `[clips, T, 3, size, size]` on the device, as if normalised."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(clips, cfg.num_segments, 3, size, size, generator=random)
    return fabric.to_device(x)


# --- a forward pass -------------------------------------------------------------------------------


def measure_forward(
    cfg: Config,
    fabric: Fabric,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    clips: Sequence[int] = (1,),
    rounds: int = 20,
    seconds: float = 20.0,
) -> pd.DataFrame:
    """Measure a forward pass by runtime and precision, on inputs of the validation's size.

    Args:
        runtimes: of `models.inference_runtime`; None: those that need no compiler, on a GPU
            `compiled` too.
        precisions: None: fp32, and bf16 where the device has it.
        clips: numbers of clips at once: 1 for the latency, more for the throughput.
        rounds, seconds: see `interleave`.

    Returns:
        One row per form and network: `median`, `q25`, `q75` in ms, clips `per_second`, TSM
        `over_tsn` with its quartiles, seconds until it is `ready` (made, compiled, called once),
        and the `difference` of its logits from the plain model's, in their standard deviations.
    """
    gpu = fabric.device.type == "cuda"
    runtimes = runtimes or ("eager", "folded", "compiled" if gpu else "onednn")
    precisions = precisions or ("32-true", "bf16-mixed")[: 1 if why_no_bf16(fabric.device) else 2]
    rows, size = [], views(cfg, "validation")["size"]
    for precision, runtime in track(list(product(precisions, runtimes)), "inference", "forms"):
        try:
            models, seconds_made = _optimize_networks(cfg, fabric, precision, runtime)
        except (ConfigError, RuntimeFailed) as error:
            log.warning("%s in %s is left out: %s", runtime, precision, error)
            continue
        for count in clips:
            x = random_clips(cfg, count, size, fabric)
            paths = {name: partial(model, x) for name, model in models.items()}
            table = interleave(paths, rounds, seconds, wait=synchronizer(fabric.device))
            form = {"runtime": runtime, "precision": precision, "clips": count}
            for name, model in models.items():
                ready = seconds_made[name] + table.attrs["first"][name]
                row = timing_row(table, name, count) | {
                    "ready": ready,
                    "difference": model.difference,
                }
                rows.append(form | row)
    return pd.DataFrame(rows)


def _optimize_networks(
    cfg: Config, fabric: Fabric, precision: str, runtime: str
) -> tuple[dict, dict]:
    """Optimize both networks; returns the models and the seconds that each took."""
    models, laps = {}, Laps(synchronizer(fabric.device))
    for name, one in with_and_without_shift(cfg).items():
        plain = _build(one, fabric)
        laps("the plain model")
        models[name] = optimize_for_inference(plain, precision, runtime)
        laps(name)
    return models, laps.seconds


def _build(cfg: Config, fabric: Fabric):
    model = channels_last(build_model(cfg))
    return fabric.to_device(model).eval()


def timing_row(table: pd.DataFrame, name: str, clips: int) -> dict[str, Any]:
    """Make the row of a network: its time, clips `per_second`, and for TSM the ratio `over_tsn`."""
    time_ms = quartiles(table[name].to_numpy())
    row = {"network": name, **time_ms, "per_second": 1000 * clips / time_ms["median"]}
    if name != "TSM":
        return row
    over = ratios(table, "TSM", "TSN")
    return row | {"over_tsn": over["median"], "over_q25": over["q25"], "over_q75": over["q75"]}


@torch.inference_mode()
def measure_published_speed(
    cfg: Config, fabric: Fabric, runtime: str = "eager", videos: int = COUNTED
) -> pd.Series:
    """Measure videos per second as the published column `inference_time` defines it, in fp32.

    Note 2 of the page and MMAction2 tools/analysis/benchmark.py: the test's sampling, one video at
    a time on one GPU, the first 5 skipped, up to the 200th; the model's time alone (its input's way
    to the device and the softmax are in it), the device waited for before and after. One view, as
    the page's 74.0 (8 frames) and 47.0 (16 frames). Their script counts the last video's time
    twice, half a percent; this does not.
    """
    wait, speeds, skipped = synchronizer(fabric.device), {}, min(SKIPPED, videos - 1)
    clip = random_clips(cfg, 1, views(cfg, "validation")["size"], fabric).cpu()
    for name, one in with_and_without_shift(cfg).items():
        model, seconds = optimize_for_inference(_build(one, fabric), runtime=runtime), []
        for _ in range(videos):
            wait()
            started = time.perf_counter()
            model(fabric.to_device(clip)).softmax(1).cpu()
            wait()
            seconds.append(time.perf_counter() - started)
        speeds[name] = (videos - skipped) / sum(seconds[skipped:])
    return pd.Series(speeds, name="videos/s")


def growth_paths(cfg: Config, fabric: Fabric, batch: int = 1) -> dict[str, Callable]:
    """Prepare forward passes of 1, 2 and 4 times the clips, views and segments; optimized, fp32.

    `batch`: clips at 1x; with enough of them the fixed costs of a call do not show.
    """
    size, paths = views(cfg, "validation")["size"], {}
    model = optimize_for_inference(_build(cfg, fabric))
    for k in FACTORS:
        paths[f"clips {k}x"] = partial(model, random_clips(cfg, k * batch, size, fabric))
    for k in FACTORS:
        shape = (batch, k, cfg.num_segments, size, size, 3)  # of decoded videos
        frames = torch.zeros(shape, dtype=torch.uint8)
        paths[f"views {k}x"] = partial(view_logits, fabric, model, frames)
    for k in FACTORS:
        longer = dataclasses.replace(cfg, num_segments=k * cfg.num_segments)
        model = optimize_for_inference(_build(longer, fabric))
        paths[f"segments {k}x"] = partial(model, random_clips(longer, batch, size, fabric))
    return paths


def measure_growth(
    cfg: Config, fabric: Fabric, batch: int = 1, rounds: int = 10, seconds: float = 30.0
) -> pd.DataFrame:
    """Measure what `growth_paths` cost; see `growth_table`."""
    with torch.inference_mode():
        paths = growth_paths(cfg, fabric, batch)
        return growth_table(interleave(paths, rounds, seconds, wait=synchronizer(fabric.device)))


def growth_table(table: pd.DataFrame) -> pd.DataFrame:
    """Make one row of each of the columns `clips 1x`, `clips 2x` ... that `interleave` measured.

    Returns:
        Columns `of` (clips ...), `times` (1, 2, 4), `ms` (median), `rounds`, and median and
        quartiles of each round's time over its own 1x: `over`, `over_q25`, `over_q75`.
    """
    rows = []
    for name in table:
        of, times = name.removesuffix("x").split()
        over = ratios(table, name, f"{of} 1x")
        rows.append({
            "of": of, "times": int(times), "ms": table[name].median(), "over": over["median"],
            "over_q25": over["q25"], "over_q75": over["q75"], "rounds": over["rounds"],
        })  # fmt: skip
    return pd.DataFrame(rows)
