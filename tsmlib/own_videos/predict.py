"""Classify videos: files, folders of them at any depth, folders of JPEG frames, lists, addresses.

Recordings much longer than the clips of the training are cut into windows, see windows.py.

The newest run:    python -m tsmlib predict clip.mp4
Weights of ours:   python -m tsmlib predict clip.mp4 --weights last.pth
Any others:        python -m tsmlib predict videos --weights FILE --cfg k400 --out k400.csv
"""

import dataclasses
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import Tensor

from .. import metrics
from ..configs import Config, ConfigError, class_names, from_dict, replace, views
from ..data.annotations import DataError, VideoEntry
from ..data.prepare.find_videos import scan_paths
from ..engine.devices import threads_for
from ..engine.evaluate import class_permutation
from ..engine.find_model import find_model, load_on_device
from ..engine.test_loop import view_logits
from ..models.checkpoints import is_of_run
from ..models.inference_runtime import optimize_for_inference
from .inputs import expand_inputs
from .prediction_options import PredictionOptions
from .prediction_tables import COLUMNS, sort_by_video
from .windows import Span, read_clips

log = logging.getLogger(__name__)

Classifier = Callable[[list[VideoEntry], list[str]], Iterable[tuple[Span, Tensor]]]


def predict(
    paths: str | Path | Sequence[str | Path],
    weights: str | Path | None = None,
    cfg: Config | str | None = None,
    protocol: str = "published",
    *,
    top: int = 5,
    names: str | Path | Sequence[str] | None = None,
    options: PredictionOptions | None = None,
    **keywords: Any,
) -> pd.DataFrame:
    """Find the most probable classes of videos, of long recordings those of each window.

    A video that cannot be read is logged and left out.

    Args:
        paths: video files; folders that hold some at any depth; folders of JPEG frames, which are
            numbered as the configuration says (`filename_tmpl`, `start_index`); lists and http
            addresses, see `expand_inputs`.
        weights: a file that `load_checkpoint` knows; None: the newest run's (`newest_weights`).
        cfg: a configuration or its name. Weights of ours bring their own, and take from a given
            one only fields that the user set and those of the data.
        protocol: of the views, as for `evaluate`; a window has one.
        top: number of classes for each video or window.
        names: class names in the order of the outputs, or a file with one per line; None: as the
            configuration says, and outputs in another order are read by class name.
        options: how videos are read; keywords change them: `window=10.0, device="cpu"`.

    Returns:
        One row per video or window, and rank: `path`, `start` and `end` in seconds, `rank` (from
        1), `label`, `name`, `probability`.

    Raises:
        ConfigError, CheckpointError: an impossible choice, or weights that cannot be used.
        DataError: no video could be classified.
    """
    options = dataclasses.replace(options or PredictionOptions(), **keywords)
    check_top(top)
    cfg, content, file = find_model(weights, cfg)
    views(cfg, protocol)  # an impossible protocol fails before any work
    if names is not None:
        names = _rename_classes(cfg, names, content)

    @torch.inference_mode()
    def classify(entries: list[VideoEntry], bad: list[str]) -> Iterator[tuple[Span, Tensor]]:
        fabric, model, report = load_on_device(cfg, content, file, options.device)
        columns = None if names else class_permutation(cfg, report, content)
        runtime = "auto" if fabric.device.type == "cpu" else "folded"
        model = optimize_for_inference(model, runtime=runtime)
        with threads_for(cfg.val_crop_size):
            for spans, clips in read_clips(entries, cfg, protocol, options, bad):
                logits = view_logits(fabric, model, clips).cpu()
                logits = logits if columns is None else logits[..., columns]
                yield from zip(spans, to_probabilities(logits, cfg), strict=True)

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
        classify: from videos to the probabilities `[K]` of each, or of each of its windows; the
            reasons why some were not read are logged, and appended to its second argument.
        names: of the K classes.
    """
    check_top(top)
    entries, addresses, bad = find_videos(paths, cfg)
    rows = []
    for span, values in classify(entries, bad) if entries else ():
        best = values.topk(min(top, len(values)))
        pairs = zip(best.indices.tolist(), best.values.tolist(), strict=True)
        rows += [(*span, rank, k, names[k], value) for rank, (k, value) in enumerate(pairs, 1)]
    if not rows:
        raise nothing_read(bad)
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    return sort_by_video(table, entries, addresses)


def find_videos(
    paths: str | Path | Sequence[str | Path], cfg: Config
) -> tuple[list[VideoEntry], dict[str, str], list[str]]:
    """Find the videos that a user names, and log why some are left out.

    Returns:
        The videos, the addresses of those that were fetched by their paths, and the reasons.
    """
    local, addresses, bad = expand_inputs(paths)
    entries, problems = scan_paths(local, cfg)
    bad += problems
    for reason in bad:
        log.warning("not read: %s", reason)
    return entries, addresses, bad


def nothing_read(bad: Sequence[str]) -> DataError:
    """Make the error of a prediction that has no video, with the first of the reasons."""
    return DataError(f"no video could be read; the first reason: {[*bad, 'no path is given'][0]}")


def to_probabilities(logits: Tensor, cfg: Config) -> Tensor:
    """Average logits `[N, views, K]` over views, as the configuration says, to probabilities."""
    scores = metrics.average_views(logits, cfg.average_clips)
    return scores if cfg.average_clips == "prob" else scores.softmax(-1)


def check_top(top: int) -> None:
    """Raise `ConfigError` unless at least one class is asked for."""
    if top < 1:
        raise ConfigError(f"top={top} must be at least 1")


def _rename_classes(
    cfg: Config, names: str | Path | Sequence[str], content: dict
) -> tuple[str, ...]:
    """Read other names of the classes, as many as there are.

    Raises:
        ConfigError: another number, or a name of the weights' own classes at another place.
    """
    renamed = replace(cfg, class_names=_read_names(names)).class_names
    own = class_names(from_dict(content["config"])) if is_of_run(content) else ()
    for i, name in enumerate(renamed):
        if name in own and own[i] != name:
            raise ConfigError(
                f"names has {name!r} at place {i + 1}, which is class {own.index(name) + 1} of the "
                f"weights; their classes begin with {', '.join(own[:3])}: leave names out, or name "
                "them in that order"
            )
    return renamed


def _read_names(names: str | Path | Sequence[str]) -> list[str]:
    """Read the class names of a file, one per line, or return a list as it is."""
    if not isinstance(names, str | Path):
        return list(names)
    try:
        lines = Path(names).expanduser().read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise ConfigError(f"the class names in {names} cannot be read: {reason}") from None
    return [line.strip() for line in lines if line.strip()]
