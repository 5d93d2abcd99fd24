"""Classify videos: files, folders of them at any depth, and folders of numbered JPEG frames.

Weights of ours:   python -m tsmlib predict clip.mp4 --weights last.pth
Any others:        python -m tsmlib predict videos --weights FILE --cfg k400 --out k400.csv
"""

import logging
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor
from tqdm import tqdm

from .. import metrics
from ..configs import (
    Config,
    ConfigError,
    class_names,
    from_dict,
    get_config,
    replace,
    standin_config,
    views,
)
from ..data.annotations import VIDEO_SUFFIXES, DataError, VideoEntry, VideoList
from ..data.loader import ClipDataset, make_loader
from ..data.prepare.write_lists import count_frames
from ..models.checkpoints import load_content, local_file, read_checkpoint
from ..models.recognizer import build_model, channels_last
from .devices import default_workers, make_fabric
from .evaluate import class_permutation
from .options import check_choice
from .setup import Setup
from .test_loop import view_logits
from .trained_weights import adapt_to_checkpoint

log = logging.getLogger(__name__)

COLUMNS = ("path", "rank", "label", "name", "probability")
DEVICES = ("auto", "cpu", "cuda", "mps")


def predict(
    paths: str | Path | Sequence[str | Path],
    weights: str | Path,
    cfg: Config | str | None = None,
    protocol: str = "published",
    *,
    top: int = 5,
    names: str | Path | Sequence[str] | None = None,
    device: str = "auto",
    workers: int | None = None,
) -> pd.DataFrame:
    """Find the most probable classes of videos; one that cannot be read is logged and left out.

    Args:
        paths: video files, folders that hold some at any depth, and folders of JPEG frames, which
            are numbered as the configuration says (`filename_tmpl`, `start_index`).
        weights: a file of ours, or in any of the layouts that `load_checkpoint` knows.
        cfg: a configuration or its name. Weights of ours bring their own, and take from a given
            one only fields that the user set and those of the data.
        protocol: of the views, as for `evaluate`.
        top: number of classes for each video.
        names: class names in the order of the outputs: a list, or a file with one name per line;
            None: as the configuration says, and outputs in another order are read by class name.
        device: `auto`, `cpu`, `cuda` or `mps`.
        workers: loader processes; None: the cores but one.

    Returns:
        One row per video and rank: `path`, `rank` (from 1), `label`, `name`, `probability`.

    Raises:
        ConfigError, CheckpointError: an impossible choice, or weights that cannot be used.
        DataError: no video could be classified.
    """
    check_choice("device", device, DEVICES)
    if top < 1:
        raise ConfigError(f"top={top} must be at least 1")
    content = read_checkpoint(file := local_file(weights))
    cfg = choose_config(content, file, None if cfg is None else get_config(cfg))
    views(cfg, protocol)  # an impossible protocol fails before any work
    if names is not None:
        names = replace(cfg, class_names=_read_names(names)).class_names  # as many as classes
    entries, bad = scan_paths([paths] if isinstance(paths, str | Path) else paths, cfg)
    for reason in bad:
        log.warning("not read: %s", reason)
    probabilities: dict[str, Tensor] = {}
    columns = None
    if entries:
        fabric = _fabric(device)
        model = channels_last(build_model(cfg))
        report = load_content(model, content, file)
        columns = None if names else class_permutation(cfg, report, content)
        model = fabric.setup_module(model)
        for dataset in _datasets(entries, cfg, protocol):
            probabilities |= _classify(fabric, model, dataset, workers, bad)
    if not probabilities:
        bad.append("no path is given")
        raise DataError(f"nothing could be classified; the first reason: {bad[0]}")
    order = slice(None) if columns is None else columns
    in_order = {e.path: probabilities[e.path][order] for e in entries if e.path in probabilities}
    return _make_table(in_order, names or class_names(cfg), top)


def choose_config(content: dict, file: str | Path, cfg: Config | None) -> Config:
    """Return the configuration that weights are used with: their own, or the given one.

    Args:
        content: of the file of weights.
        file: its name, for messages.
        cfg: the user's configuration, if there is one.

    Raises:
        ConfigError: neither is there.
        CheckpointError: they contradict each other, see `adapt_to_checkpoint`.
    """
    if not (isinstance(content.get("model"), dict) and "config" in content):
        if cfg is None:
            raise ConfigError(f"{file} does not say which row it is of: name it (--cfg ROW)")
        return cfg
    trained = from_dict(content["config"])
    if cfg is None:
        return trained
    if content.get("data") == "standin" and cfg.dataset == trained.dataset:
        cfg = standin_config(cfg)  # a stand-in has a part of the classes
    setup = Setup(cfg, content.get("data", ""), content.get("scale", ""), Path(), "as trained")
    return adapt_to_checkpoint(setup, cfg, content, Path(file)).cfg


# --- videos ---------------------------------------------------------------------------------------


def scan_paths(paths: Sequence[str | Path], cfg: Config) -> tuple[list[VideoEntry], list[str]]:
    """List the videos at and below paths, each once, and a sentence for each path without any.

    Frame folders have a number of frames, video files have none; labels are 0.
    """
    entries: dict[str, VideoEntry] = {}
    bad: list[str] = []
    for path in (Path(path).expanduser() for path in paths):
        if path.is_dir():
            inside, problems = _in_folder(path, cfg)
        elif path.exists():
            inside, problems = [VideoEntry(str(path), None, 0)], []
        else:
            inside, problems = [], [f"{path}: there is no such file or folder"]
        entries |= {entry.path: entry for entry in inside}
        bad += problems
    for name in [p for p in entries if p.encode(errors="ignore").decode() != p]:
        bad.append(f"{ascii(name)}: the name is not UTF-8")  # no decoder takes it
        del entries[name]
    return list(entries.values()), bad


def _in_folder(top: Path, cfg: Config) -> tuple[list[VideoEntry], list[str]]:
    """List the videos and frame folders in a folder and below, and what is wrong with some."""
    entries: list[VideoEntry] = []
    errors: list[OSError] = []
    bad: list[str] = []
    seen: set[str] = set()
    first = cfg.filename_tmpl.format(cfg.start_index)
    for folder, subfolders, files in os.walk(top, onerror=errors.append, followlinks=True):
        real = os.path.realpath(folder)
        if real in seen:  # a link back up
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()
        videos = sorted(name for name in files if name.lower().endswith(VIDEO_SUFFIXES))
        entries += [VideoEntry(str(Path(folder, name)), None, 0) for name in videos]
        frames, numbered = count_frames(Path(folder), cfg.filename_tmpl, cfg.start_index)
        if frames:
            entries.append(VideoEntry(folder, frames, 0))
        elif numbered:
            bad.append(f"{folder}: the first of its frames, {first}, is missing")
        if 0 < frames < numbered:
            log.warning("%s: only the %d frames before a gap are used", folder, frames)
    bad += [f"{error.filename}: {error.strerror}" for error in errors]
    if not entries and not bad:
        bad = [f"{top}: it holds no video, and no frame {first}"]
    return entries, bad


def _read_names(names: str | Path | Sequence[str]) -> list[str]:
    """Read the class names of a file, one per line, or return a list as it is."""
    if not isinstance(names, str | Path):
        return list(names)
    try:
        lines = Path(names).expanduser().read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"the class names in {names} cannot be read: {reason}") from None
    return [line.strip() for line in lines if line.strip()]


# --- scores ---------------------------------------------------------------------------------------


def _fabric(device: str) -> Fabric:
    try:
        return make_fabric(device)
    except RuntimeError:
        raise ConfigError(f"device={device} is not there; choose device=auto") from None


def _datasets(entries: list[VideoEntry], cfg: Config, protocol: str) -> Iterator[ClipDataset]:
    """Yield the video files and the frame folders apart, as a list has one layout."""
    for layout in ("video", "rawframes"):
        chosen = tuple(e for e in entries if (e.num_frames is None) == (layout == "video"))
        if chosen:
            yield ClipDataset(VideoList(Path(), "", layout, Path(), chosen), cfg, protocol)


@torch.inference_mode()
def _classify(
    fabric: Fabric, model, dataset: ClipDataset, workers: int | None, bad: list[str]
) -> dict[str, Tensor]:
    """Return the probabilities `[K]` of each video by its path; unreadable ones go to `bad`."""
    cfg, num_views = dataset.cfg, views(dataset.cfg, dataset.protocol)
    batch = max(1, cfg.videos_per_device // (num_views["clips"] * num_views["crops"]))
    workers = default_workers() if workers is None else workers
    loader = make_loader(dataset, batch, workers if len(dataset) > batch else 0)
    model.eval()
    probabilities: dict[str, Tensor] = {}
    for item in tqdm(loader, desc="classifying", mininterval=1, disable=None, leave=False):
        for _, reason in item.bad:
            log.warning("not read: %s", reason)
            bad.append(reason)
        if len(item.index):
            logits = view_logits(fabric, model, item.clips).cpu()
            scores = metrics.average_views(logits, cfg.average_clips)
            scores = scores if cfg.average_clips == "prob" else scores.softmax(-1)
            paths = (dataset.videos.entries[i].path for i in item.index.tolist())
            probabilities |= dict(zip(paths, scores, strict=True))
    return probabilities


def _make_table(probabilities: dict[str, Tensor], names: Sequence[str], top: int) -> pd.DataFrame:
    """Make one row per video and rank."""
    rows = []
    for path, values in probabilities.items():
        best = values.topk(min(top, len(values)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        rows += [(path, i, k, names[k], value) for i, (k, value) in enumerate(pairs, 1)]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def describe(table: pd.DataFrame) -> list[str]:
    """Summarise a table of predictions in lines: each video, and its classes."""
    lines = []
    for path, group in table.groupby("path", sort=False):
        lines.append(str(path))
        for rank, name, value in group[["rank", "name", "probability"]].itertuples(index=False):
            lines.append(f"{rank:4} {100 * value:6.2f} %  {name}")
    return lines
