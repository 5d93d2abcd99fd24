"""How far a shift moves the features of a network that was trained on images, before any training.

The paper (section 3.2) prefers the residual shift because a shift in place takes channels from
the features of a frame. Here shifts are put into an ImageNet network, which sees push-ups with its
weights as they are. A training has to make up for what changes; whether it can is not shown.

python -c "from tsmlib.study.frozen_features import *; write_changes('pushup_phases', 'w.pth')"
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pandas as pd
import torch
from torch import Tensor

from ..configs import Config, replace
from ..data.annotations import read_list
from ..models.recognizer import build_model
from ..own_videos.class_activation import last_feature_maps, pool_features
from ..own_videos.clips import load_clip
from ..paths import results_folder, write_whole
from ..progress import track
from .plan import get_study
from .stored_frames import recording_of

PLACES = {"residual": "blockres", "in place": "block"}
SHARES = (16, 8, 4, 2)  # shift_div: 1/16 ... 1/2 of the channels each way


def relative_change(features: Tensor, plain: Tensor) -> Tensor:
    """Return how far features `[N, C]` are from those without shift, in lengths of these, `[N]`."""
    return (features - plain).norm(dim=1) / plain.norm(dim=1)


def measure_changes(
    root: str | Path, weights: str | Path, limit: int | None = None
) -> pd.DataFrame:
    """Measure by how much each shift changes the pooled features of the tested clips of `pushups2`.

    Args:
        root: folder of the videos and lists.
        weights: of MobileNetV2 on ImageNet, in torchvision's layout.
        limit: number of clips; None: all.

    Returns:
        One row a clip: `path`, `group`, and for each shift, such as `residual 1/8`, the change in
        lengths of the features without shift.
    """
    arm = get_study("pushups").arms["none"]
    cfg, folds = replace(arm.cfg, pretrain=str(Path(weights).resolve())), arm.folds
    networks = {name: build_model(c, pretrained=True).eval() for name, c in _configs(cfg)}
    rows = []
    entries = read_list(Path(root) / "val_order2.txt", "video", 2)[1]
    for entry in track([*islice(entries, limit)], "frozen features", "clips"):
        clip = load_clip(Path(root) / "videos" / entry.path, cfg)
        features = {name: pool_features(last_feature_maps(network, clip))
                    for name, network in networks.items()}  # fmt: skip
        plain = features.pop("none")
        changes = {
            k: round(float(relative_change(v, plain).mean()), 4) for k, v in features.items()
        }
        group = folds.group_of(recording_of(entry.path))
        rows.append({"path": entry.path, "group": group} | changes)
    return pd.DataFrame(rows)


def _configs(cfg: Config) -> Iterator[tuple[str, Config]]:
    """Yield the network without shift, and with a shift of each place and share."""
    yield "none", replace(cfg, is_shift=False)
    for name, place in PLACES.items():
        for div in SHARES:
            yield f"{name} 1/{div}", replace(cfg, is_shift=True, shift_place=place, shift_div=div)


def write_changes(root: str | Path, weights: str | Path) -> None:
    """Write results/pushups/frozen_features.csv from a folder of the videos."""
    torch.manual_seed(0)  # the classifier, which features do not pass
    text = measure_changes(root, weights).to_csv(index=False)
    write_whole(results_folder() / "pushups" / "frozen_features.csv", text)
