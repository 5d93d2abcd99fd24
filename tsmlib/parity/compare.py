"""The same function as the published code, and what each known mistake would cost."""

import dataclasses
import gzip
import importlib.util
import json
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from tqdm import tqdm

from ..configs import Config, ConfigError, class_names, get_config, names_in_order, views
from ..data.annotations import DataError, VideoList
from ..data.loader import ClipDataset, make_loader
from ..engine.devices import make_fabric
from ..engine.predict import find_videos
from ..engine.setup import Setup
from ..engine.test_loop import view_logits
from ..models.recognizer import build_model
from ..models.state_dict_layouts import from_layout, layout_of
from ..online.streams import OnlineTSM
from ..paths import HOME
from .pitfalls import NONE, Trap, traps

log = logging.getLogger(__name__)

GOLDEN = HOME / "tests" / "golden"
# recorded outputs of a published implementation, and the row that is the same model
PEERS = {
    "mma_r50_8f_k400": "k400",
    "mma_mnv2_8f_k400": "k400_mobilenetv2_dense",
    "mma_nl_embedded_gaussian_8f_k400": "k400_nl_embedded_gaussian",
    "mit_r50_8f_k400": "k400",
}
STREAM = "mit_online_mnv2_stream"


def compare_with_peers() -> pd.DataFrame:
    """Our logits against recorded ones of the published implementations, on the same weights.

    Returns:
        A line a model: `model`, `peer`, `difference` (largest, in units of the logits' standard
        deviation, of clips, of single frames and of a reversed clip), and one column for each
        recorded mistake with what it would have changed, in the same unit.
    """
    facts = json.loads((GOLDEN / "models" / "index.json").read_text())
    lines = []
    for name, row in tqdm(PEERS.items(), desc="models", mininterval=1):
        lines.append({"model": name, **_line(facts[name], _difference(name, row, facts[name]))})
    stream = json.loads((GOLDEN / "models" / f"{STREAM}.json").read_text())
    lines.append({"model": STREAM, **_line(stream, _stream_difference(stream))})
    return pd.DataFrame(lines)


def _line(facts: dict[str, Any], difference: float) -> dict[str, Any]:
    std = facts["logits_std"]
    costs = {name: value / std for name, value in facts["mistakes_max_abs"].items()}
    return {"peer": facts["peer"], "difference": difference / std, **costs}


@torch.inference_mode()
def _difference(name: str, row: str, facts: dict[str, Any]) -> float:
    model = _filled(build_model(get_config(row, pretrain="none")), name, facts["factors"])
    expected = np.load(GOLDEN / "models" / f"{name}.npz")
    found = {}
    for key in ("a", "b"):
        clip = _fill().make_clip(facts[f"clip_{key}"]["name"], *_shape(facts[f"clip_{key}"]))
        clip = torch.as_tensor(clip)
        found[f"frame_logits_{key}"] = model.frame_logits(clip).flatten(0, 1)
        found[f"logits_{key}"] = model(clip)
        if key == "a":
            found["logits_a_reversed"] = model(clip.flip(1))
    return max(_largest(found[k], expected[k]) for k in found if k in expected)


@torch.inference_mode()
def _stream_difference(facts: dict[str, Any]) -> float:
    fields = {"backbone": "mobilenetv2", "shift_direction": "unidirectional", "pretrain": "none"}
    cfg = get_config("jester", num_segments=facts["frames"], **fields)
    stream = OnlineTSM(_filled(build_model(cfg), STREAM, facts["factors"]))
    clip = torch.as_tensor(_fill().make_clip(facts["clip"]["name"], *_shape(facts["clip"])))
    logits = torch.cat([stream.step(frame[None]) for frame in clip[0]])
    return _largest(logits, np.load(GOLDEN / "models" / f"{STREAM}.npz")["frame_logits"])


def _largest(found: Tensor, expected: np.ndarray) -> float:
    return float((found - torch.as_tensor(expected).view_as(found)).abs().max())


def _shape(clip: dict[str, Any]) -> tuple[int, int, int]:
    n, t, _, size, _ = clip["shape"]
    return n, t, size


def _filled(model: nn.Module, name: str, factors) -> nn.Module:
    """The model with the weights of a record, which follow from their names."""
    keys = json.loads(gzip.decompress((GOLDEN / "models" / f"{name}.keys.json.gz").read_bytes()))
    state = {k: torch.as_tensor(v) for k, v in _fill().fill_state_dict(keys, factors).items()}
    state = from_layout(state, layout_of(state), model)
    own = model.state_dict()
    model.load_state_dict({k: v.reshape(own[k].shape) for k, v in state.items()})
    return model.eval()


def _fill():
    """tests/golden/fill.py, which makes weights and clips from names."""
    spec = importlib.util.spec_from_file_location("golden_fill", GOLDEN / "fill.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


# --- what each trap costs -------------------------------------------------------------------------


def sensitivity(
    setup: Setup,
    model: nn.Module,
    protocol: str = "validation",
    *,
    clips: str | Path | None = None,
    videos: int | None = None,
    label_order: str | None = None,
) -> pd.DataFrame:
    """What each trap does to the logits, predictions and accuracy of a trained model.

    A line is compared with the line `none` of its protocol. Traps of the views need several: where
    `protocol` has one view they are tried under the row's `published` one, if that has more.

    Args:
        setup, model: a trained model and the data that it is tested on.
        protocol: of the evaluations.
        clips: a folder of videos, instead of the validation list. They have no labels.
        videos: at most as many (of each kind, files and folders), drawn; None: all.
        label_order: of the weights (`load_checkpoint`).

    Returns:
        A line a trap: `kind`, `trap`, `explained`, `protocol`, `videos`; `moved`, the mean absolute
        change of a logit in units of the logits' standard deviation (each video's logits less
        their mean, which softmax does not see; of several views the logarithm of the mean
        probability); `flipped`, predictions that change (%); `top1`; its `difference` in points,
        and `low` and `high`, the 95 % interval of this paired difference. The accuracies are NaN
        without labels.

    Raises:
        DataError: no videos, or none that can be read.
        ConfigError: the row has no such protocol, or `videos` below 1.
    """
    if videos is not None and videos < 1:
        raise ConfigError(f"videos={videos} must be at least 1")
    lists = _video_lists(setup, clips, videos)
    labels = None if clips else np.array([e.label for v in lists for e in v.entries])
    several = _several_views(setup.cfg, protocol)
    todo = traps(setup.cfg, {v.layout for v in lists}, several is not None)
    base: dict[str, Tensor] = {}
    lines = []
    for trap in tqdm([NONE, *todo], desc="traps", mininterval=1):
        used = several if trap.many_views else protocol
        if used not in base:
            base[used] = _logits(setup.cfg, model, lists, used, NONE, label_order)
            if trap is not NONE:
                lines.append(_line_of(setup.cfg, NONE, used, base[used], base[used], labels))
        found = base[used]
        if trap is not NONE and not (trap.reads or trap.average):  # those change no logit
            found = _logits(setup.cfg, model, lists, used, trap, label_order)
        lines.append(_line_of(setup.cfg, trap, used, base[used], found, labels))
    return pd.DataFrame(lines)


def paired_interval(lost: int, gained: int, videos: int, z: float = 1.96) -> tuple[float, float]:
    """95 % interval of the difference of two accuracies on the same videos, in percentage points.

    Wald's, with one video added to those that are lost and one to those that are gained (Bonett and
    Price, Journal of Educational and Behavioral Statistics 37, 2012): without them, videos of which
    none changes would give an interval of no width.

    Args:
        lost, gained: videos that only the first, and that only the second one gets right.
        videos: all of them.
    """
    n = videos + 2
    first, second = (lost + 1) / n, (gained + 1) / n
    half = z * math.sqrt((first + second - (second - first) ** 2) / n)
    return 100 * max(-1.0, second - first - half), 100 * min(1.0, second - first + half)


def _video_lists(setup: Setup, clips: str | Path | None, most: int | None) -> list[VideoList]:
    """The validation list, or the videos and frame folders below a folder; `most` of each."""
    if clips is None:
        lists = [setup.val_list]
    else:
        entries, bad = find_videos([clips], setup.cfg)
        for reason in bad:
            log.warning("not read: %s", reason)
        if not entries:
            raise DataError(bad[0])
        kinds: dict[str, list] = {}
        for entry in entries:  # a video file has no listed number of frames
            kinds.setdefault("rawframes" if entry.num_frames else "video", []).append(entry)
        lists = [VideoList(Path(), "", kind, Path(), tuple(e)) for kind, e in kinds.items()]
    return [dataclasses.replace(v, entries=_some(v.entries, most)) for v in lists]


def _some(entries: tuple, most: int | None) -> tuple:
    """A part in the same order, always the same; drawn, as lists may alternate between classes."""
    if most is None or most >= len(entries):
        return entries
    chosen = np.random.default_rng(0).permutation(len(entries))[:most]
    return tuple(entries[i] for i in sorted(chosen))


def _several_views(cfg: Config, protocol: str) -> str | None:
    """The protocol for traps of the views: the asked one, or the published one, or none."""
    for name in (protocol, "published"):
        wanted = views(cfg, name)
        if wanted["clips"] * wanted["crops"] > 1:
            return name
    return None


@torch.inference_mode()
def _logits(
    cfg: Config, model: nn.Module, lists: list[VideoList], protocol: str, trap: Trap,
    label_order: str | None,
) -> Tensor:  # fmt: skip
    """Logits `[videos, views, K]` with a trap toggled, NaN for a video that cannot be read."""
    fabric = make_fabric("auto", trap.precision)
    wrapped = fabric.setup_module(model).eval()
    wanted, theirs = views(cfg, protocol), names_in_order(cfg, label_order)
    per_video = wanted["clips"] * wanted["crops"]
    columns = [theirs.index(name) for name in class_names(cfg)]
    parts = []
    with trap.toggle(model):  # in this process, hence no loader processes
        for videos in lists:
            dataset = ClipDataset(videos, cfg, protocol)
            part = torch.full((len(dataset), per_video, cfg.num_classes), torch.nan)
            batch = trap.group or max(1, cfg.videos_per_device // per_video)
            for item in make_loader(dataset, batch, 0):
                for _, reason in item.bad if trap is NONE else ():
                    log.warning("not read: %s", reason)
                if len(item.index):
                    logits = view_logits(fabric, wrapped, item.clips)
                    part[item.index] = logits.cpu()[..., columns]
            parts.append(part)
    return torch.cat(parts)


def _line_of(
    cfg: Config, trap: Trap, protocol: str, base: Tensor, found: Tensor, labels: np.ndarray | None
) -> dict[str, Any]:
    """A line of the ledger, from logits `[videos, views, K]` without and with the trap."""
    read = ~(base.isnan() | found.isnan()).flatten(1).any(1)
    if not read.any():
        raise DataError(f"{trap.name}: none of {len(base)} videos can be read")
    was = _averaged(base[read], cfg.average_clips)
    now = _averaged(found[read], trap.average or cfg.average_clips)
    before, after = was.argmax(1), now.argmax(1)
    after = torch.tensor(trap.reads)[after] if trap.reads else after
    truth = None if labels is None else torch.as_tensor(labels)[read]
    return {
        "kind": trap.kind, "trap": trap.name, "explained": trap.explained, "protocol": protocol,
        "videos": int(read.sum()),
        "moved": float((now - was).abs().mean() / was.std()),
        "flipped": 100 * float((after != before).float().mean()),
        **_accuracies(before, after, truth),
    }  # fmt: skip


def _averaged(logits: Tensor, average: str) -> Tensor:
    """Logits `[N, views, K]` to those `[N, K]` of the averaged views, less each video's mean."""
    mean = logits.mean(1) if average == "score" else logits.log_softmax(-1).logsumexp(1)
    return mean - mean.mean(1, keepdim=True)


def _accuracies(before: Tensor, after: Tensor, labels: Tensor | None) -> dict[str, float]:
    if labels is None:
        return dict.fromkeys(("top1", "difference", "low", "high"), math.nan)
    was, now = before == labels, after == labels
    lost, gained = int((was & ~now).sum()), int((now & ~was).sum())
    low, high = paired_interval(lost, gained, len(labels))
    top1, difference = now.float().mean(), (gained - lost) / len(labels)
    return {"top1": 100 * float(top1), "difference": 100 * difference, "low": low, "high": high}
