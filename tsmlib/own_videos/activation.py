"""Which frames of a video, and where in them, a network found its answer: class activation maps."""

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

from ..configs import Config, views
from ..engine.devices import threads_for
from ..engine.evaluate import class_permutation
from ..engine.find_model import find_model, load_on_device
from ..engine.test_loop import to_device
from ..models.recognizer import normalize
from .class_activation import class_activation_maps, last_feature_maps
from .predict import find_videos
from .prediction_options import PredictionOptions
from .windows import read_clips


class Activation(NamedTuple):
    """The frames of one clip of an answer, and the activation maps of its class."""

    frames: np.ndarray  # uint8 [T, h, w, 3], the centre crop
    maps: np.ndarray  # float [T', h', w']; their mean is the logit less the bias


def find_activations(
    answers: pd.DataFrame,
    weights: str | Path | None = None,
    cfg: Config | str | None = None,
    *,
    options: PredictionOptions | None = None,
    **keywords: Any,
) -> list[Activation | None]:
    """Compute the class activation maps of answers, which are read once more.

    Args:
        answers: rows of the table of `predict`, each with the class to look for; of a video and a
            window one row.
        weights, cfg, options: those of `predict`; keywords change the options.

    Returns:
        One per row; None for a video that can no longer be read.

    Raises:
        ConfigError, CheckpointError: as `predict`.
    """
    options = dataclasses.replace(options or PredictionOptions(), **keywords)
    cfg, content, file = find_model(weights, cfg)
    entries, addresses, bad = find_videos(list(answers["path"].unique()), cfg)
    fabric, model, report = load_on_device(cfg, content, file, options.device)
    columns = class_permutation(cfg, report, content)
    wanted = {
        (path, round(start, 3)): label
        for path, start, label in answers[["path", "start", "label"]].itertuples(index=False)
    }
    found: dict[tuple[str, float], Activation] = {}
    middle = views(cfg, "validation")["clips"] // 2
    with threads_for(cfg.val_crop_size), torch.inference_mode():
        for spans, clips in read_clips(entries, cfg, "validation", options, bad, quiet=True):
            for span, own in zip(spans, clips, strict=True):
                key = addresses.get(span.path, span.path), round(span.start, 3)
                if key not in wanted:
                    continue
                label = wanted[key] if columns is None else columns[wanted[key]]
                clip = own[min(middle, len(own) - 1)][None]
                maps = last_feature_maps(model, normalize(to_device(fabric, clip)))
                heat = class_activation_maps(model, maps, torch.tensor([label]))
                found[key] = Activation(clip[0].numpy(), heat[0].cpu().numpy())
            if len(found) == len(wanted):
                break
    return [found.get(key) for key in wanted]
