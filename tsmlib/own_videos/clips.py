"""The frames of a video as a network takes them: the one door for preprocessing."""

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from ..configs import Config, get_config, views
from ..data.annotations import DataError, VideoEntry, VideoList
from ..data.loader import ClipDataset
from ..data.prepare.find_videos import scan_paths
from ..data.video import VideoError
from ..models.recognizer import normalize
from .inputs import expand_inputs


def load_clip(path: str | Path, cfg: Config | str, protocol: str = "published") -> Tensor:
    """Load the clips of one video as `evaluate` does: sampled, resized, cropped, normalised.

        model = tsmlib.build_model(cfg)
        probabilities = model(tsmlib.load_clip("a.mp4", cfg)).softmax(-1).mean(0)

    Args:
        path: a video file, its http address, or a folder of JPEG frames that are numbered as the
            configuration says (`filename_tmpl`, `start_index`).
        cfg: a configuration or its name; that of a run is in its `config.json`.
        protocol: the views: `published`, `validation`, and for some data sets `efficient` and
            `accurate`.

    Returns:
        float32 `[views, T, 3, H, W]`, RGB with ImageNet's mean and deviation, about -2 to 3.
        Crops vary slowest, then clips. T is `num_segments`.

    Raises:
        ConfigError: an impossible protocol.
        DataError: no such video, or several in a folder.
        VideoError: the video cannot be read.
    """
    return normalize(load_frames(path, cfg, protocol).movedim(-1, -3))


def load_frames(path: str | Path, cfg: Config | str, protocol: str = "published") -> Tensor:
    """Load uint8 `[views, T, H, W, 3]` of one video, before normalisation; see `load_clip`."""
    cfg = get_config(cfg)
    views(cfg, protocol)
    local, _, unfetched = expand_inputs(path)
    entries, bad = scan_paths(local, cfg)
    bad = unfetched + bad
    if len(entries) != 1:
        raise DataError(bad[0] if bad else f"{path} holds {len(entries)} videos; name one of them")
    _, _, frames, reason = dataset_of(entries, cfg, protocol)[0, 0]
    if frames is None:
        raise VideoError(reason)
    return frames


def dataset_of(entries: Sequence[VideoEntry], cfg: Config, protocol: str) -> ClipDataset:
    """Make a data set of video files and frame folders by their paths."""
    return ClipDataset(VideoList(Path(), "", "video", Path(), entries), cfg, protocol)
