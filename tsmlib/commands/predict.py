"""Commands that put videos through a trained network: its answers, and its features.

Packages are imported inside the functions: help and misspelt options need no torch.
"""

import logging
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from ..configs import ConfigError, get_config
from ..own_videos.prediction_options import PredictionOptions
from ..paths import display_path
from ..text import to_terminal

Options = Annotated[PredictionOptions | None, Parameter(name="*")]


def predict(
    paths: list[str],
    /,
    *,
    weights: str | None = None,
    cfg: str | None = None,
    protocol: str = "published",
    top: int = 5,
    names: str | None = None,
    out: Path | None = None,
    options: Options = None,
) -> None:
    """Classify videos; recordings much longer than the training's clips window by window.

    Args:
        paths: video files, folders of them, folders of numbered JPEG frames, lists (.txt with a
            path on each line, .csv with a column path), http addresses; an exported ONNX file may
            precede them.
        weights: file of weights, or exported ONNX file (default: weights of the newest run, on real
            data if there is one).
        cfg: row or YAML file, if the file does not say which row it belongs to.
        protocol: published, efficient, accurate or validation.
        top: number of classes for each video or window.
        names: file with one class name per line.
        out: csv or .json file to write (default: a new csv in results/local/predictions). Windows
            with the same answer are joined in a second file, OUT-segments.
    """
    if out and (out.is_dir() or out.suffix.lower() not in (".csv", ".json")):
        raise ConfigError(f"predictions are written to a .csv or .json file, not to {out}")
    if weights is None and paths[0].lower().endswith(".onnx"):
        weights, *paths = paths
    _check_there(paths)
    exported = weights is not None and weights.lower().endswith(".onnx")
    device = options.device if options else "auto"
    if exported and (cfg or names or protocol != "published" or device not in ("auto", "cpu")):
        raise ConfigError(
            f"{weights} says itself how it is used, and runs on the CPU: leave out --cfg, "
            "--protocol, --names and --device"
        )
    config = get_config(cfg) if cfg else None
    from ..own_videos.onnx_predict import predict_exported
    from ..own_videos.predict import predict as predict_videos
    from ..own_videos.prediction_tables import describe, is_cut, merge_windows
    from ..results import write_predictions, write_segments

    logging.getLogger("tsmlib").setLevel(logging.INFO)
    if exported:
        table = predict_exported(paths, weights, top, options)
    else:
        table = predict_videos(
            paths, weights, config, protocol, top=top, names=names, options=options
        )
    print(to_terminal("\n".join(describe(table))))
    out = write_predictions(table, paths[0], out)
    count = table["path"].nunique()
    videos = "1 video" if count == 1 else f"{count} videos"
    print(f"{videos} classified, written to {display_path(out)}")
    if is_cut(table).any():
        segments = write_segments(merge_windows(table), out)
        print(f"windows with the same answer are joined in {display_path(segments)}")


def _check_there(paths: list[str]) -> None:
    """Raise `ConfigError` if none of the videos is there, before weights are sought."""
    if not any("://" in path or Path(path).expanduser().exists() for path in paths):
        raise ConfigError(f"there is no video {paths[0]}" if paths else "name a video to classify")


def features(
    paths: list[str],
    /,
    *,
    out: Path,
    weights: str | None = None,
    cfg: str | None = None,
    protocol: str = "published",
    options: Options = None,
) -> None:
    """Write feature vectors of videos, as the classifier gets them: one for each clip or window.

    Args:
        paths: as for predict.
        out: .npz file with path, start, end, features, and the classifier: weight, bias, classes;
            or .parquet file of path, start, end and features.
        weights: file of weights (default: weights of the newest run, on real data if there is one).
        cfg: row or YAML file, if the file does not say which row it belongs to.
        protocol: published, efficient, accurate or validation; features are the mean over views.
    """
    config = get_config(cfg) if cfg else None
    from ..own_videos.features import check_form, extract_features

    check_form(out)
    logging.getLogger("tsmlib").setLevel(logging.INFO)
    found = extract_features(paths, weights, config, protocol, options=options)
    found.write(out)
    count, width = found.features.shape
    print(f"{count} clips of {width} features, written to {display_path(out)}")
