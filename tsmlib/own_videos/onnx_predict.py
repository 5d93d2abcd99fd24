"""Classify videos by an exported ONNX file alone, which says how frames are prepared.

python -m tsmlib predict model.onnx clip.mp4
"""

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ..configs import Config
from ..data.annotations import VideoEntry
from ..data.augmentation import fixed_crops
from ..data.frame_cache import CachedVideo
from ..data.video import FrameFolder, VideoError, VideoFile
from ..online.exported_metadata import config_of, normalize_as_stated, warn_of_generated_clips
from ..online.onnx_runner import OnnxStream, open_runner
from ..progress import track
from .clips import dataset_of
from .predict import classify_videos, to_probabilities
from .prediction_options import PredictionOptions
from .windows import Span, read_clips

log = logging.getLogger(__name__)

CHUNK = 32  # frames of a stream that are read at once


def predict_exported(
    paths: str | Path | Sequence[str | Path],
    file: str | Path,
    top: int = 5,
    options: PredictionOptions | None = None,
) -> pd.DataFrame:
    """Find the most probable classes of videos as `own_videos.predict` does, by an ONNX file.

    A clip file answers with the views of its metadata, for long recordings window by window. A
    stream sees the whole video, every `frame_interval`-th frame, and answers with the mean over its
    logits, however long it is: `tsm online` gives its answers one by one.

    Args:
        paths, top, options: as for `own_videos.predict`.
        file: of `export_model`.

    Raises:
        ExportError: the file cannot be used.
        DataError: no video could be classified.
    """
    options = options or PredictionOptions()
    model = open_runner(file)
    metadata = model.metadata
    warn_of_generated_clips(metadata, file)
    cfg = config_of(metadata)

    def classify(entries: list[VideoEntry], bad: list[str]) -> Iterator[tuple[Span, Tensor]]:
        if isinstance(model, OnnxStream):
            yield from _answer_by_stream(model, entries, cfg, bad)
            return
        for spans, clips in read_clips(entries, cfg, "validation", options, bad):
            x = normalize_as_stated(clips.flatten(0, 1).movedim(-1, -3), metadata)
            logits = model(x).unflatten(0, clips.shape[:2])
            yield from zip(spans, to_probabilities(logits, cfg), strict=True)

    return classify_videos(paths, cfg, classify, metadata["classes"], top)


def _answer_by_stream(
    model: OnnxStream, entries: Sequence[VideoEntry], cfg: Config, bad: list[str]
) -> Iterator[tuple[Span, Tensor]]:
    """Yield one answer per video: the mean over the logits of its frames."""
    dataset = dataset_of(entries, cfg, "validation")
    for entry in track(entries, "classifying", "videos"):
        try:
            logits = _stream_logits(model, dataset.open(entry), cfg)
        except VideoError as error:
            log.warning("not read: %s", error)
            bad.append(str(error))
            continue
        span = Span(entry.path, 0.0, float("nan"))
        yield span, to_probabilities(logits.mean(0)[None, None], cfg)[0]


def _stream_logits(
    stream: OnnxStream, video: CachedVideo | VideoFile | FrameFolder, cfg: Config
) -> Tensor:
    """Run a stream over a video from its beginning: logits `[frames, K]`."""
    stream.reset()
    logits: list[Tensor] = []
    numbers = range(0, video.num_frames, stream.metadata["sampling"]["frame_interval"])
    for start in range(0, len(numbers), CHUNK):
        frames = video.frames([*numbers[start : start + CHUNK]])
        crops = fixed_crops(frames, cfg, 1, cfg.val_crop_size)[0]  # [T, 3, h, w]
        logits += map(stream.step, normalize_as_stated(crops, stream.metadata).split(1))
    return torch.cat(logits)
