"""How fast a row's forward pass is; TSN, the same network without shifts, beside it everywhere."""

import dataclasses
import logging
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from typing import Any

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from ..configs import Config, ConfigError, views
from ..engine.test_loop import view_logits
from ..models.inference_runtime import RuntimeFailed, optimize_for_inference
from ..models.recognizer import build_model, channels_last
from .timing import Laps, interleave, no_bf16, ratios, spread, waiting

log = logging.getLogger(__name__)

FACTORS = (1, 2, 4)  # of clips, views and segments
SKIPPED, COUNTED = 5, 200  # videos (MMAction2 tools/analysis/benchmark.py)


def networks(cfg: Config) -> dict[str, Config]:
    """The row with shifts and without."""
    changed = {"TSN": False, "TSM": True}
    return {name: dataclasses.replace(cfg, is_shift=value) for name, value in changed.items()}


def network_name(cfg: Config) -> str:
    """`resnet50, 16 frames, gaussian`: what the cost of a row's clip follows from."""
    parts = cfg.backbone, f"{cfg.num_segments} frames", cfg.non_local
    return ", ".join(part for part in parts if part)


def random_clips(cfg: Config, clips: int, size: int, fabric: Fabric) -> Tensor:
    """Float `[clips, T, 3, size, size]` on the device, as if normalised."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(clips, cfg.num_segments, 3, size, size, generator=random)
    return fabric.to_device(x)


# --- inference ------------------------------------------------------------------------------------


def forward(
    cfg: Config,
    fabric: Fabric,
    runtimes: Sequence[str] | None = None,
    precisions: Sequence[str] | None = None,
    clips: Sequence[int] = (1,),
    rounds: int = 20,
    seconds: float = 20.0,
) -> pd.DataFrame:
    """Time of a forward pass by runtime and precision; `clips` at once, validation's crop.

    Args:
        runtimes: of `models.inference_runtime`; None: those that need no compiler, on a GPU
            `compiled` too.
        precisions: None: fp32, and bf16 where the device has it.
        clips: at once: 1 for the latency, more for the throughput.
        rounds, seconds: see `interleave`.

    Returns:
        A line a network: `median`, `q25`, `q75` in ms, clips `per_second`, TSM `over_tsn` with its
        quartiles, seconds until it is `ready` (made, compiled, called once), and the `difference`
        of its logits from the plain model's, in their standard deviations.
    """
    gpu = fabric.device.type == "cuda"
    runtimes = runtimes or ("eager", "folded", "compiled" if gpu else "onednn")
    precisions = precisions or ("32-true", "bf16-mixed")[: 1 if no_bf16(fabric.device) else 2]
    lines, size = [], views(cfg, "validation")["size"]
    for precision, runtime in tqdm(list(product(precisions, runtimes)), "inference", unit="form"):
        try:
            models, made = _forms(cfg, fabric, precision, runtime)
        except (ConfigError, RuntimeFailed) as error:
            log.warning("%s in %s is left out: %s", runtime, precision, error)
            continue
        for count in clips:
            x = random_clips(cfg, count, size, fabric)
            paths = {name: partial(model, x) for name, model in models.items()}
            table = interleave(paths, rounds, seconds, wait=waiting(fabric.device))
            form = {"runtime": runtime, "precision": precision, "clips": count}
            for name, model in models.items():
                ready = made[name] + table.attrs["first"][name]
                line = beside(table, name, count) | {"ready": ready, "difference": model.difference}
                lines.append(form | line)
    return pd.DataFrame(lines)


def _forms(cfg: Config, fabric: Fabric, precision: str, runtime: str) -> tuple[dict, dict]:
    """A form of both networks, and the seconds that each took to make."""
    models, laps = {}, Laps(waiting(fabric.device))
    for name, one in networks(cfg).items():
        plain = _built(one, fabric)
        laps("the plain model")
        models[name] = optimize_for_inference(plain, precision, runtime)
        laps(name)
    return models, laps.seconds


def _built(cfg: Config, fabric: Fabric):
    model = channels_last(build_model(cfg))
    return fabric.to_device(model).eval()


def beside(table: pd.DataFrame, name: str, clips: int) -> dict[str, Any]:
    """A network's line: its time, clips `per_second`, and for TSM the ratio `over_tsn`."""
    found = spread(table[name].to_numpy())
    line = {"network": name, **found, "per_second": 1000 * clips / found["median"]}
    if name != "TSM":
        return line
    over = ratios(table, "TSM", "TSN")
    return line | {"over_tsn": over["median"], "over_q25": over["q25"], "over_q75": over["q75"]}


@torch.inference_mode()
def published_speed(
    cfg: Config, fabric: Fabric, runtime: str = "eager", videos: int = COUNTED
) -> pd.Series:
    """Videos a second as the published column `inference_time` defines it, fp32.

    Note 2 of the page and MMAction2 tools/analysis/benchmark.py: the test's sampling, one video at
    a time on one GPU, the first 5 skipped, up to the 200th; the model's time alone (its input's way
    to the device and the softmax are in it), the device waited for before and after. One view, as
    the page's 74.0 (8 frames) and 47.0 (16 frames). Their script counts the last video's time
    twice, half a percent; this does not.
    """
    wait, found, skipped = waiting(fabric.device), {}, min(SKIPPED, videos - 1)
    clip = random_clips(cfg, 1, views(cfg, "validation")["size"], fabric).cpu()
    for name, one in networks(cfg).items():
        model, seconds = optimize_for_inference(_built(one, fabric), runtime=runtime), []
        for _ in range(videos):
            wait()
            started = time.perf_counter()
            model(fabric.to_device(clip)).softmax(1).cpu()
            wait()
            seconds.append(time.perf_counter() - started)
        found[name] = (videos - skipped) / sum(seconds[skipped:])
    return pd.Series(found, name="videos/s")


def growth_paths(cfg: Config, fabric: Fabric, batch: int = 1) -> dict[str, Callable]:
    """Forward passes of 1, 2 and 4 times the clips, views and segments, by name; optimized, fp32.

    `batch`: clips at 1x, so many that the fixed costs of a call do not show.
    """
    size, paths = views(cfg, "validation")["size"], {}
    model = optimize_for_inference(_built(cfg, fabric))
    for k in FACTORS:
        paths[f"clips {k}x"] = partial(model, random_clips(cfg, k * batch, size, fabric))
    for k in FACTORS:
        shape = (batch, k, cfg.num_segments, size, size, 3)  # of decoded videos
        frames = torch.zeros(shape, dtype=torch.uint8)
        paths[f"views {k}x"] = partial(view_logits, fabric, model, frames)
    for k in FACTORS:
        longer = dataclasses.replace(cfg, num_segments=k * cfg.num_segments)
        model = optimize_for_inference(_built(longer, fabric))
        paths[f"segments {k}x"] = partial(model, random_clips(longer, batch, size, fabric))
    return paths


def growth(
    cfg: Config, fabric: Fabric, batch: int = 1, rounds: int = 10, seconds: float = 30.0
) -> pd.DataFrame:
    """Cost of `growth_paths`; see `over_one`."""
    with torch.inference_mode():
        paths = growth_paths(cfg, fabric, batch)
        return over_one(interleave(paths, rounds, seconds, wait=waiting(fabric.device)))


def over_one(table: pd.DataFrame) -> pd.DataFrame:
    """A line for each of the columns `clips 1x`, `clips 2x` ... that `interleave` measured.

    Returns:
        Columns `of` (clips ...), `times` (1, 2, 4), `ms` (median), `rounds`, and median and
        quartiles of each round's time over its own 1x: `over`, `over_q25`, `over_q75`.
    """
    lines = []
    for name in table:
        of, times = name.removesuffix("x").split()
        over = ratios(table, name, f"{of} 1x")
        lines.append({
            "of": of, "times": int(times), "ms": table[name].median(), "over": over["median"],
            "over_q25": over["q25"], "over_q75": over["q75"], "rounds": over["rounds"],
        })  # fmt: skip
    return pd.DataFrame(lines)
