"""Compute what decides a claim without data: counts, and what a network's outputs depend on.

Each function returns the number that is measured; results/claims.yaml has the published one, and
tests/report/test_computed_claims.py the expected one. Nothing is trained: weights and clips are
random, in double precision, so that a difference of zero can be told from a small one.
"""

from functools import cache
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from ..configs import Config, get_config
from ..models.recognizer import build_model, moved_channels
from ..online.streams import OnlineTSM
from ..speed.operations import Cost, count_cost

ARCHITECTURES: dict[str, dict[str, Any]] = {  # every network of the 36 rows, and the study's
    "ResNet-18": {"backbone": "resnet18"},
    "ResNet-50": {},
    "ResNet-50, 16 frames": {"num_segments": 16},
    "ResNet-50, embedded gaussian": {"non_local": "embedded_gaussian"},
    "ResNet-50, gaussian": {"non_local": "gaussian"},
    "ResNet-50, dot product": {"non_local": "dot_product"},
    "ResNet-101": {"backbone": "resnet101"},
    "MobileNetV2": {"backbone": "mobilenetv2"},
}
TINY = {"backbone": "resnet18", "width": 0.125, "depth": [1, 1, 1, 1], "num_classes": 5}
STAGES = ("layer1", "layer2", "layer3", "layer4")  # each holds one shifted block in TINY
SAME = 1e-9  # standard deviations of the logits: what rounding in double precision stays below


# --- counts ---------------------------------------------------------------------------------------


@cache
def count_network(architecture: str, shift: bool = True, num_classes: int = 400) -> Cost:
    """Count parameters and multiply-adds of a network of `ARCHITECTURES`, for one clip."""
    fields = {**ARCHITECTURES[architecture], "is_shift": shift, "num_classes": num_classes}
    return count_cost(get_config("k400", **fields))


def added_by_the_shift(architecture: str) -> int:
    """Count the parameters and multiply-adds that the shift adds to a network, in one sum."""
    shifted, plain = count_network(architecture), count_network(architecture, shift=False)
    return abs(shifted.parameters - plain.parameters) + abs(shifted.macs - plain.macs)


def parameters(num_classes: int = 400, shift: bool = True) -> float:
    """Count the parameters of ResNet-50, in millions."""
    return count_network("ResNet-50", shift, num_classes).parameters / 1e6


def macs(frames: int = 8, shift: bool = True) -> float:
    """Count the multiply-adds of ResNet-50 at 224 pixels, in billions."""
    return count_network({8: "ResNet-50", 16: "ResNet-50, 16 frames"}[frames], shift).macs / 1e9


def times_fewer_macs(theirs: float, *frames: int) -> float:
    """Divide a published cost (G) by ours, as the paper must have: by figures in whole G.

    Args:
        theirs: multiply-adds of the other network.
        frames: of ours; several are an ensemble.
    """
    return theirs / sum(round(macs(f)) for f in frames)


def times_fewer_parameters(theirs: float, networks: int) -> float:
    """Divide published parameters (M) by ours, with one decimal as the paper prints them."""
    return theirs / (networks * round(parameters(), 1))


def shift_modules(architecture: str = "ResNet-50") -> int:
    """Count the shifts that are inserted into a network."""
    with torch.device("meta"):
        return len(moved_channels(build_model(get_config("k400", **ARCHITECTURES[architecture]))))


# --- the cache of the online network --------------------------------------------------------------


@cache
@torch.no_grad()
def cached_values(size: int = 224, architecture: str = "ResNet-50") -> int:
    """Count the values that the online network keeps between two frames of `size` pixels."""
    fields = {**ARCHITECTURES[architecture], "shift_direction": "unidirectional"}
    with torch.device("meta"):  # shapes alone
        online = OnlineTSM(build_model(get_config("k400", **fields)))
        online.step(torch.empty(1, 3, size, size))
    return sum(cache.numel() for cache in online.state)


def cache_megabytes(bytes_per_value: int, size: int = 224) -> float:
    """Return the size of the cache in MB, 10 ** 6 bytes (divide by 1.049 for MiB)."""
    return bytes_per_value * cached_values(size) / 1e6


@torch.no_grad()
def cached_share() -> float:
    """Divide the cached values by all values that enter the shifted layers."""
    model = small(shift_direction="unidirectional")
    entering: list[int] = []
    shifted = [m for m in model.modules() if hasattr(m, "shift")]
    for module in shifted:
        module.register_forward_hook(lambda m, args, out: entering.append(args[0][0].numel()))
    online, frame = OnlineTSM(model), clip(1)[0]
    online.step(frame)
    model(clip())
    return sum(state.numel() for state in online.state) / sum(entering[-len(shifted) :])


# --- what an output depends on --------------------------------------------------------------------


def small(**changes) -> nn.Module:
    """Build a narrow ResNet-18, one block per stage, whose logits are not all near zero."""
    cfg: Config = get_config("k400", **{**TINY, **changes})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(cfg).double().eval()
        nn.init.normal_(model.head.weight)
    return model


def clip(frames: int = 8, size: int = 32) -> Tensor:
    """Draw `[1, T, 3, H, W]` of noise, the same at every call."""
    noise = torch.Generator().manual_seed(1)
    return torch.randn((1, frames, 3, size, size), generator=noise, dtype=torch.float64)


@torch.no_grad()
def receptive_field(modules: int, frames: int = 16) -> int:
    """Count the frames whose features change behind 0 to 4 shifted blocks with one frame."""
    model, features = small(num_segments=frames), []
    layer = model.maxpool if modules == 0 else getattr(model, STAGES[modules - 1])
    layer.register_forward_hook(lambda module, args, out: features.append(out))
    one, other = clip(frames), clip(frames)
    other[:, frames // 2] += 1.0
    model(one)
    model(other)
    return int((features[0] != features[1]).flatten(1).any(1).sum())


def growth_per_module(modules: int = 4) -> float:
    """Average the frames that each shifted block adds to the temporal receptive field."""
    return (receptive_field(modules) - receptive_field(0)) / modules


@torch.no_grad()
def reorderings_that_matter(shift: bool, frames: int = 4) -> int:
    """Count the orders of a clip's frames, other than its own, that change the logits."""
    model, one = small(is_shift=shift, num_segments=frames), clip(frames)
    orders = list(permutations(range(frames)))
    logits = torch.cat([model(one[:, list(order)]) for order in orders])
    moved = (logits - logits[0]).abs().amax(1) / logits[0].std()
    return int((moved > SAME).sum())


@torch.no_grad()
def frames_streamed_otherwise(frames: int = 8) -> int:
    """Count frames whose online logits differ from those of the unidirectional batch."""
    model, one = small(shift_direction="unidirectional", num_segments=frames), clip(frames)
    return count_different(stream(model, one), model.frame_logits(one)[0])


@torch.no_grad()
def frames_that_see_the_future(frames: int = 8) -> int:
    """Count frames whose online logits change when all later frames are replaced."""
    model, one = small(shift_direction="unidirectional", num_segments=frames), clip(frames)
    expected, count = stream(model, one), 0
    for t in range(frames - 1):
        other = one.clone()
        other[:, t + 1 :] += 1.0
        count += count_different(stream(model, other)[t : t + 1], expected[t : t + 1])
    return count


def stream(model: nn.Module, one: Tensor) -> Tensor:
    """Compute the logits `[T, K]` of a clip, frame by frame with a cache."""
    online = OnlineTSM(model)
    return torch.cat([online.step(frame) for frame in one.unbind(1)])


def count_different(logits: Tensor, expected: Tensor) -> int:
    """Count the frames whose logits `[T, K]` are not equal up to rounding."""
    return int(((logits - expected).abs().amax(1) > SAME * expected.std()).sum())


CHECKS = {
    check.__name__: check
    for check in (
        added_by_the_shift, parameters, macs, times_fewer_macs, times_fewer_parameters,
        shift_modules, cached_values, cache_megabytes, cached_share, receptive_field,
        growth_per_module, reorderings_that_matter, frames_streamed_otherwise,
        frames_that_see_the_future,
    )
}  # fmt: skip
