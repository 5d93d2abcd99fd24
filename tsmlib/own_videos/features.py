"""Pooled features of clips and windows, for those who train something else on top.

python -m tsmlib features my_videos --out features.npz
"""

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from ..configs import Config, ConfigError, class_names, views
from ..data.annotations import DataError
from ..engine.devices import threads_for
from ..engine.evaluate import class_permutation
from ..engine.find_model import find_model, load_on_device
from ..engine.test_loop import view_logits
from ..paths import write_whole
from .class_activation import last_feature_maps, pool_features
from .predict import find_videos, nothing_read
from .prediction_options import PredictionOptions
from .prediction_tables import sort_by_video
from .windows import Span, read_clips

FORMS = (".npz", ".parquet")


@dataclass(frozen=True, eq=False)
class Features:
    """Features of N clips or windows, and the classifier that turns them into logits.

    Attributes:
        spans: a row per clip: `path`, `start` and `end` in seconds.
        features: float32 `[N, C]`: `features @ weight.T + bias` are the logits.
        weight, bias: float32 `[K, C]` and `[K]`.
        classes: K names, in the order of the outputs.
    """

    spans: pd.DataFrame
    features: np.ndarray
    weight: np.ndarray
    bias: np.ndarray
    classes: tuple[str, ...]

    def write(self, file: str | Path) -> None:
        """Write everything as .npz, or the spans with a column `features` as .parquet.

        Raises:
            ConfigError: another suffix, or .parquet without pyarrow.
            DataError: the file cannot be written.
        """
        check_form(file)
        buffer = io.BytesIO()
        if Path(file).suffix.lower() == ".npz":
            np.savez_compressed(
                buffer,
                path=self.spans["path"].to_numpy(str),
                start=self.spans["start"].to_numpy(),
                end=self.spans["end"].to_numpy(),
                features=self.features,
                weight=self.weight,
                bias=self.bias,
                classes=np.array(self.classes),
            )
        else:
            self.spans.assign(features=list(self.features)).to_parquet(buffer, index=False)
        try:
            write_whole(Path(file), buffer.getvalue())
        except OSError as error:
            raise DataError(f"{file} cannot be written: {error.strerror}") from None


def extract_features(
    paths: str | Path | Sequence[str | Path],
    weights: str | Path | None = None,
    cfg: Config | str | None = None,
    protocol: str = "published",
    *,
    options: PredictionOptions | None = None,
    **keywords: Any,
) -> Features:
    """Compute what the classifier of a network sees of videos, of long recordings of each window.

    That is the last feature map, averaged over space and frames, and over the views of a video.

    Args:
        paths, weights, cfg, protocol, options: as for `predict`; keywords change the options.

    Raises:
        ConfigError, CheckpointError: an impossible choice, or weights that cannot be used.
        DataError: no video could be read.
    """
    options = dataclasses.replace(options or PredictionOptions(), **keywords)
    cfg, content, file = find_model(weights, cfg)
    views(cfg, protocol)  # an impossible protocol fails before any work
    entries, addresses, bad = find_videos(paths, cfg)
    fabric, model, report = load_on_device(cfg, content, file, options.device)
    columns = class_permutation(cfg, report, content)
    spans: list[Span] = []
    parts: list[Tensor] = []

    def extract(clips: Tensor) -> Tensor:
        return pool_features(last_feature_maps(model, clips))

    with threads_for(cfg.val_crop_size), torch.inference_mode():
        for batch, clips in read_clips(entries, cfg, protocol, options, bad):
            spans += batch
            parts.append(view_logits(fabric, extract, clips).mean(1).cpu())
    if not parts:
        raise nothing_read(bad)
    table = pd.DataFrame(spans).assign(number=range(len(spans)))
    table = sort_by_video(table, entries, addresses)
    head = {name: value.detach().cpu() for name, value in model.head.named_parameters()}
    if columns is not None:
        head = {name: value[columns] for name, value in head.items()}
    return Features(
        table.drop(columns="number"),
        torch.cat(parts)[table["number"].to_list()].numpy(),
        head["weight"].numpy(),
        head["bias"].numpy(),
        class_names(cfg),
    )


def check_form(file: str | Path) -> None:
    """Raise `ConfigError` for a file that features cannot be written to."""
    suffix = Path(file).suffix.lower()
    if suffix not in FORMS:
        raise ConfigError(f"features are written as {' or '.join(FORMS)}, not as {file}")
    if suffix == ".parquet" and find_spec("pyarrow") is None:
        raise ConfigError(f"{file} needs pyarrow (pip install pyarrow); or name a .npz file")
