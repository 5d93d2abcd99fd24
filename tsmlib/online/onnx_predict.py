"""Classify videos by an exported ONNX file alone, which says how frames are prepared.

python -m tsmlib predict model.onnx clip.mp4
"""

import logging
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from .. import metrics
from ..configs import Config
from ..data.annotations import VideoEntry
from ..data.augmentation import fixed_crops
from ..data.loader import ClipDataset
from ..data.video import FrameFolder, VideoError, VideoFile
from ..engine.clips import dataset_of
from ..engine.predict import classify_videos
from ..progress import track
from .exported_metadata import config_of, normalize_as_stated, warn_of_generated_clips
from .onnx_runner import OnnxClip, OnnxStream, open_runner

log = logging.getLogger(__name__)

CHUNK = 32  # frames of a stream that are read at once


def predict_exported(
    paths: str | Path | Sequence[str | Path], file: str | Path, top: int = 5
) -> pd.DataFrame:
    """Find the most probable classes of videos as `engine.predict` does, by an ONNX file.

    A clip file answers with the views of its metadata. A stream sees the whole video, every
    `frame_interval`-th frame, and answers with the mean over its logits.

    Args:
        paths, top: as for `engine.predict`.
        file: of `export_model`.

    Raises:
        ExportError: the file cannot be used.
        DataError: no video could be classified.
    """
    model = open_runner(file)
    metadata = model.metadata
    warn_of_generated_clips(metadata, file)
    cfg = config_of(metadata)

    def classify(entries: list[VideoEntry], bad: list[str]) -> dict[str, Tensor]:
        dataset, probabilities = dataset_of(entries, cfg, "validation"), {}
        for i, entry in enumerate(track(entries, "classifying", "videos")):
            try:
                logits = _find_logits(model, dataset, i)  # [views, K]
            except VideoError as error:
                log.warning("not read: %s", error)
                bad.append(str(error))
                continue
            scores = metrics.average_views(logits[None], cfg.average_clips)[0]
            probabilities[entry.path] = scores if cfg.average_clips == "prob" else scores.softmax(0)
        return probabilities

    return classify_videos(paths, cfg, classify, metadata["classes"], top)


def _find_logits(model: OnnxClip | OnnxStream, dataset: ClipDataset, position: int) -> Tensor:
    """Compute logits `[views, K]` of a video; a stream has one view."""
    if isinstance(model, OnnxStream):
        video = dataset.open(dataset.videos.entries[position])
        return _stream_logits(model, video, dataset.cfg).mean(0, keepdim=True)
    _, _, clips, reason = dataset[0, position]
    if clips is None:
        raise VideoError(reason)
    return model(normalize_as_stated(clips.movedim(-1, -3), model.metadata))


def _stream_logits(stream: OnnxStream, video: VideoFile | FrameFolder, cfg: Config) -> Tensor:
    """Run a stream over a video from its beginning: logits `[frames, K]`."""
    stream.reset()
    logits = []
    numbers = range(0, video.num_frames, stream.metadata["sampling"]["frame_interval"])
    for start in range(0, len(numbers), CHUNK):
        frames = video.frames([*numbers[start : start + CHUNK]])
        crops = fixed_crops(frames, cfg, 1, cfg.val_crop_size)[0]  # [T, 3, h, w]
        logits += map(stream.step, normalize_as_stated(crops, stream.metadata).split(1))
    return torch.cat(logits)
