"""Classify videos: files, folders of them at any depth, and folders of numbered JPEG frames.

The newest run:    python -m tsmlib predict clip.mp4
Weights of ours:   python -m tsmlib predict clip.mp4 --weights last.pth
Any others:        python -m tsmlib predict videos --weights FILE --cfg k400 --out k400.csv
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import torch
from lightning_fabric import Fabric
from torch import Tensor

from .. import metrics
from ..configs import (
    Config,
    ConfigError,
    class_names,
    get_config,
    replace,
    standin_config,
    views,
)
from ..data.annotations import DataError, VideoEntry
from ..data.loader import ClipDataset, make_loader
from ..data.prepare.find_videos import scan_paths
from ..models.checkpoints import load_content, local_file, read_checkpoint
from ..models.recognizer import build_model, channels_last
from ..paths import display_path
from ..progress import announce, track
from .clips import dataset_of
from .devices import default_workers, make_fabric
from .evaluate import class_permutation
from .options import check_choice
from .setup import Setup
from .test_loop import view_logits
from .trained_weights import adapt_to_checkpoint, newest_weights, stated_config

log = logging.getLogger(__name__)

COLUMNS = ("path", "rank", "label", "name", "probability")
DEVICES = ("auto", "cpu", "cuda", "mps")
Classifier = Callable[[list[VideoEntry], list[str]], dict[str, Tensor]]


def predict(
    paths: str | Path | Sequence[str | Path],
    weights: str | Path | None = None,
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
        weights: a file that `load_checkpoint` knows; None: the newest run's (`newest_weights`).
        cfg: a configuration or its name. Weights of ours bring their own, and take from a given
            one only fields that the user set and those of the data.
        protocol: of the views, as for `evaluate`.
        top: number of classes for each video.
        names: class names in the order of the outputs, or a file with one per line; None: as the
            configuration says, and outputs in another order are read by class name.
        device, workers: `auto`, `cpu`, `cuda` or `mps`; loader processes (None: the cores but one).

    Returns:
        One row per video and rank: `path`, `rank` (from 1), `label`, `name`, `probability`.

    Raises:
        ConfigError, CheckpointError: an impossible choice, or weights that cannot be used.
        DataError: no video could be classified.
    """
    check_choice("device", device, DEVICES)
    if top < 1:
        raise ConfigError(f"top={top} must be at least 1")
    cfg = None if cfg is None else get_config(cfg)
    file = find_weights(weights, cfg)
    content = read_checkpoint(file)
    cfg = choose_config(content, file, cfg)
    views(cfg, protocol)  # an impossible protocol fails before any work
    if names is not None:
        names = replace(cfg, class_names=_read_names(names)).class_names  # as many as classes

    def classify(entries: list[VideoEntry], bad: list[str]) -> dict[str, Tensor]:
        fabric = _fabric(device)
        model = channels_last(build_model(cfg))
        report = load_content(model, content, file)
        columns = None if names else class_permutation(cfg, report, content)
        model = fabric.setup_module(model)
        dataset = dataset_of(entries, cfg, protocol)
        probabilities = _classify(fabric, model, dataset, workers, bad)
        if columns is None:
            return probabilities
        return {path: values[columns] for path, values in probabilities.items()}

    return classify_videos(paths, cfg, classify, names or class_names(cfg), top)


def classify_videos(
    paths: str | Path | Sequence[str | Path],
    cfg: Config,
    classify: Classifier,
    names: Sequence[str],
    top: int = 5,
) -> pd.DataFrame:
    """Find the videos at and below paths, let `classify` give their probabilities, and rank them.

    Args:
        paths, top: as for `predict`, and so are the result and its errors.
        cfg: how folders of frames are numbered.
        classify: from videos to the probabilities `[K]` of each by its path; the reasons why some
            were not read are appended to its second argument, and logged.
        names: of the K classes.
    """
    if top < 1:
        raise ConfigError(f"top={top} must be at least 1")
    entries, bad = scan_paths([paths] if isinstance(paths, str | Path) else paths, cfg)
    for reason in bad:
        log.warning("not read: %s", reason)
    probabilities = classify(entries, bad) if entries else {}
    if not probabilities:
        bad.append("no path is given")
        raise DataError(f"nothing could be classified; the first reason: {bad[0]}")
    in_order = {e.path: probabilities[e.path] for e in entries if e.path in probabilities}
    return _make_table(in_order, names, top)


def find_weights(weights: str | Path | None = None, cfg: Config | None = None) -> Path:
    """Return the file of weights that is named, or that of the newest run; log which one it is.

    Raises:
        CheckpointError: there is none.
    """
    if weights is not None:
        return local_file(weights)
    file, record = newest_weights(cfg.name if cfg else None)
    run = f"{record['cfg']}, trained on {record['date']}"
    announce(log, f"weights of {run}: {display_path(file)}")
    if record["data"] == "standin":
        log.warning(
            "THESE WEIGHTS ARE OF GENERATED CLIPS (the stand-in of %s): their labels mean nothing "
            "for a real video. Train on your own with make train videos=FOLDER.", record["cfg"],
        )  # fmt: skip
    return file


def trained_config(weights: str | Path, cfg: Config | str | None = None) -> Config:
    """Return the configuration that a file of weights is used with; see `choose_config`."""
    file = local_file(weights)
    return choose_config(read_checkpoint(file), file, None if cfg is None else get_config(cfg))


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
            raise ConfigError(
                f"{file} does not say which row it is of: name it (cfg=ROW, or --cfg ROW)"
            )
        return cfg
    trained = stated_config(content, Path(file))
    if cfg is None:
        return trained
    if content.get("data") == "standin" and cfg.dataset == trained.dataset:
        cfg = standin_config(cfg)  # a stand-in has a part of the classes
    setup = Setup(cfg, content.get("data", ""), content.get("scale", ""), Path(), "as trained")
    return adapt_to_checkpoint(setup, cfg, content, Path(file)).cfg


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
    for item in track(loader, "classifying", "batches"):
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
