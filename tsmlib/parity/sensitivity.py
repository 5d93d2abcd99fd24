"""What each pitfall does to a trained model: its logits, its predictions and its accuracy."""

import dataclasses
import logging
import math
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from ..configs import Config, ConfigError, class_names, output_names, views
from ..data.annotations import DataError, VideoList
from ..data.loader import ClipDataset, make_loader
from ..data.prepare.find_videos import scan_paths
from ..engine.devices import make_fabric
from ..engine.setup import Setup
from ..engine.test_loop import view_logits
from ..progress import track
from .pitfalls import list_pitfalls
from .toggles import BASELINE, Pitfall

log = logging.getLogger(__name__)

KEPT_BYTES = 2**30  # of decoded clips


def sensitivity_table(
    setup: Setup,
    model: nn.Module,
    protocol: str = "validation",
    *,
    clips: str | Path | None = None,
    videos: int | None = None,
    label_order: str | None = None,
) -> pd.DataFrame:
    """Measure what each pitfall does to the logits, predictions and accuracy of a trained model.

    A pitfall is compared with the row `none` of its protocol. Pitfalls of the views need several:
    where `protocol` has one view they are tried under the row's `published` one, if that has more.

    Args:
        setup, model: a trained model and the data that it is tested on.
        protocol: of the evaluations.
        clips: a folder of videos, instead of the validation list. They have no labels.
        videos: at most as many (of each kind, files and folders), drawn; None: all.
        label_order: of the weights (`load_checkpoint`).

    Returns:
        One row per pitfall: `kind`, `pitfall`, `explanation`, `protocol`, `videos`; `moved`, the
        mean absolute change of a logit in units of the logits' standard deviation (see
        `combine_views`); `flipped`, predictions that change (%); `top1`; its `difference` in
        points, and `low` and `high`, the 95 % interval of this paired difference. The accuracies
        are NaN without labels.

    Raises:
        DataError: no videos, or none that can be read.
        ConfigError: the row has no such protocol, or `videos` below 1.
    """
    if videos is not None and videos < 1:
        raise ConfigError(f"videos={videos} must be at least 1")
    lists = find_video_lists(setup, clips, videos)
    labels = None if clips else np.array([e.label for v in lists for e in v.entries])
    many_views = _find_many_views(setup.cfg, protocol)
    evaluator = Evaluator(setup.cfg, model, lists, label_order)
    pitfalls = list_pitfalls(setup.cfg, {v.layout for v in lists}, many_views is not None)
    base: dict[str, Tensor] = {}  # logits without a pitfall, by protocol
    table = []
    for pitfall in track([BASELINE, *pitfalls], "sensitivity", "pitfalls"):
        used = many_views if pitfall.many_views else protocol
        if used not in base:
            base[used] = evaluator.predict(used)
            table.append(compare_logits(setup.cfg, BASELINE, used, base[used], base[used], labels))
        if pitfall is not BASELINE:
            changed = evaluator.predict(used, pitfall) if pitfall.changes_logits else base[used]
            table.append(compare_logits(setup.cfg, pitfall, used, base[used], changed, labels))
    return pd.DataFrame(table)


# --- the videos -----------------------------------------------------------------------------------


def find_video_lists(
    setup: Setup, clips: str | Path | None = None, most: int | None = None
) -> list[VideoList]:
    """Find the validation list, or the videos and frame folders in a folder; `most` of each."""
    if clips is None:
        lists = [setup.val_list]
    else:
        entries, bad = scan_paths([clips], setup.cfg)
        for reason in bad:
            log.warning("not read: %s", reason)
        if not entries:
            raise DataError(bad[0])
        layouts: dict[str, list] = {}
        for entry in entries:  # a video file has no listed number of frames
            layouts.setdefault("rawframes" if entry.num_frames else "video", []).append(entry)
        lists = [VideoList(Path(), "", name, Path(), tuple(e)) for name, e in layouts.items()]
    return [dataclasses.replace(v, entries=draw_entries(v.entries, most)) for v in lists]


def draw_entries(entries: tuple, most: int | None) -> tuple:
    """Draw at most `most` entries, always the same and in their order.

    The first ones would not do: a list may be sorted by class, or alternate between classes.
    """
    if most is None or most >= len(entries):
        return entries
    chosen = np.random.default_rng(0).permutation(len(entries))[:most]
    return tuple(entries[i] for i in sorted(chosen))


def _find_many_views(cfg: Config, protocol: str) -> str | None:
    """Return the first of `protocol` and `published` that has several views, else None."""
    for name in (protocol, "published"):
        wanted = views(cfg, name)
        if wanted["clips"] * wanted["crops"] > 1:
            return name
    return None


# --- the logits -----------------------------------------------------------------------------------


class DecodedOnce(ClipDataset):
    """A data set that keeps decoded clips in memory, as far as `KEPT_BYTES` go."""

    def __init__(self, videos: VideoList, cfg: Config, protocol: str):
        super().__init__(videos, cfg, protocol)
        self._items: dict[tuple[int, int], tuple] = {}
        self._bytes = 0

    def __getitem__(self, key: tuple[int, int]) -> tuple[int, int, Tensor | None, str]:
        if key in self._items:
            return self._items[key]
        item = super().__getitem__(key)
        self._bytes += 0 if item[2] is None else item[2].nbytes
        if self._bytes <= KEPT_BYTES:
            self._items[key] = item
        return item


class Evaluator:
    """Evaluates a model on the same videos again and again, each time with another pitfall.

    Args:
        cfg: the row.
        model: a trained model.
        lists: of the videos.
        label_order: of the model's weights (`load_checkpoint`).
    """

    def __init__(
        self, cfg: Config, model: nn.Module, lists: list[VideoList], label_order: str | None = None
    ):
        self.cfg, self.model, self.lists = cfg, model, lists
        order = output_names(cfg, label_order)
        self._columns = [order.index(name) for name in class_names(cfg)]
        self._decoded: dict[str, list[ClipDataset]] = {}  # by protocol

    @torch.inference_mode()
    def predict(self, protocol: str, pitfall: Pitfall = BASELINE) -> Tensor:
        """Compute logits `[videos, views, K]`, NaN for a video that cannot be read."""
        fabric = make_fabric("auto", pitfall.precision)
        wrapped = fabric.setup_module(self.model).eval()
        wanted = views(self.cfg, protocol)
        per_video = wanted["clips"] * wanted["crops"]
        batch = pitfall.batch_size or max(1, self.cfg.videos_per_device // per_video)
        parts = []
        with pitfall.toggle(self.model):  # in this process, hence no loader processes
            for dataset in self._datasets(protocol, pitfall):
                part = torch.full((len(dataset), per_video, self.cfg.num_classes), torch.nan)
                for item in make_loader(dataset, batch, 0):
                    for _, reason in item.bad if pitfall is BASELINE else ():
                        log.warning("not read: %s", reason)
                    if len(item.index):
                        logits = view_logits(fabric, wrapped, item.clips)
                        part[item.index] = logits.cpu()[..., self._columns]
                parts.append(part)
        return torch.cat(parts)

    def _datasets(self, protocol: str, pitfall: Pitfall) -> list[ClipDataset]:
        if pitfall.changes_clips:
            return [ClipDataset(videos, self.cfg, protocol) for videos in self.lists]
        if protocol not in self._decoded:
            self._decoded[protocol] = [DecodedOnce(v, self.cfg, protocol) for v in self.lists]
        return self._decoded[protocol]


# --- the comparison -------------------------------------------------------------------------------


def compare_logits(
    cfg: Config,
    pitfall: Pitfall,
    protocol: str,
    base: Tensor,
    changed: Tensor,
    labels: np.ndarray | None,
) -> dict[str, Any]:
    """Make a row of the table from logits `[videos, views, K]` without and with the pitfall."""
    read = ~(base.isnan() | changed.isnan()).flatten(1).any(1)
    if not read.any():
        raise DataError(f"{pitfall.name}: none of {len(base)} videos can be read")
    was = combine_views(base[read], cfg.average_clips)
    now = combine_views(changed[read], pitfall.average or cfg.average_clips)
    before, after = was.argmax(1), now.argmax(1)
    if pitfall.label_permutation:
        after = torch.tensor(pitfall.label_permutation)[after]
    return {
        "kind": pitfall.kind,
        "pitfall": pitfall.name,
        "explanation": pitfall.explanation,
        "protocol": protocol,
        "videos": int(read.sum()),
        "moved": float((now - was).abs().mean() / was.std()),
        "flipped": 100 * float((after != before).float().mean()),
        **_compare_accuracies(before, after, None if labels is None else labels[read.numpy()]),
    }


def combine_views(logits: Tensor, average: str) -> Tensor:
    """Average the views of logits `[N, views, K]`, less each video's mean, to `[N, K]`.

    By `prob` this is the logarithm of the mean probability. Softmax does not see the mean of a
    video's logits, so a change of it is no change.
    """
    mean = logits.mean(1) if average == "score" else logits.log_softmax(-1).logsumexp(1)
    return mean - mean.mean(1, keepdim=True)


def _compare_accuracies(
    before: Tensor, after: Tensor, labels: np.ndarray | None
) -> dict[str, float]:
    if labels is None:
        return dict.fromkeys(("top1", "difference", "low", "high"), math.nan)
    truth = torch.as_tensor(labels)
    was, now = before == truth, after == truth
    lost, gained = int((was & ~now).sum()), int((now & ~was).sum())
    low, high = paired_interval(lost, gained, len(truth))
    top1, difference = now.float().mean(), (gained - lost) / len(truth)
    return {"top1": 100 * float(top1), "difference": 100 * difference, "low": low, "high": high}


def paired_interval(lost: int, gained: int, videos: int, z: float = 1.96) -> tuple[float, float]:
    """Compute the 95 % interval of the difference of two accuracies on the same videos, in points.

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
