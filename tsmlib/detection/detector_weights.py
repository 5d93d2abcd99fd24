"""Load weights of a detector: of a run, torchvision's, or those of an ImageNet backbone."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN_ResNet50_FPN_Weights

from ..models.checkpoint_files import CheckpointError, check_values, local_file, read_checkpoint
from ..models.checkpoints import imagenet_file
from ..models.downloads import DownloadError, download, hash_in_name
from ..paths import file_sha256
from .detector import VideoDetector, build_detector
from .recipes import DetectorConfig, config_from_dict

COCO = FasterRCNN_ResNet50_FPN_Weights.COCO_V1
PREDICTOR = "roi_heads.box_predictor."

State = dict[str, Tensor]


def load_detector(weights: str | Path) -> tuple[VideoDetector, DetectorConfig]:
    """Build the detector of a file of weights, in eval mode.

    Args:
        weights: a checkpoint of a run; or `coco`, torchvision's weights of its Faster R-CNN with
            ResNet-50 and FPN, or the file of them. That one has no shift: it was not trained so.

    Raises:
        CheckpointError: the file cannot be had or read, or does not say of what detector it is.
        ConfigError: it is of another model.
    """
    path = find_weights(weights)
    content = read_checkpoint(path)
    if isinstance(content.get("config"), dict):
        cfg = config_from_dict(content["config"], path)
    elif file_sha256(path).startswith(hash_in_name(COCO.url)):
        cfg = DetectorConfig(
            name="coco", pretrain="coco", is_shift=False, class_names=COCO.meta["categories"][1:]
        )
    else:
        raise CheckpointError(
            f"{path} does not say of what detector it is; name a checkpoint of `tsm "
            "train-detector`, or coco for torchvision's Faster R-CNN"
        )
    detector = build_detector(cfg)
    load_detector_weights(detector, content, path)
    return detector.eval(), cfg


def find_weights(weights: str | Path) -> Path:
    """Return the file that `load_detector` reads, downloaded if need be.

    Raises:
        CheckpointError: it cannot be downloaded.
    """
    return _coco_file() if str(weights) == "coco" else local_file(weights)


def load_detector_weights(
    detector: VideoDetector, content: dict[str, Any], path: Path, new_head: bool = False
) -> None:
    """Load the content of a file, of a run or of torchvision, into a detector.

    Args:
        detector: of `build_detector`.
        content: of `read_checkpoint`.
        path: the file, for messages.
        new_head: keep the detector's predictor of classes where the file has another one.

    Raises:
        CheckpointError: the weights are of another network or of other classes, or no numbers.
    """
    state, own = {**_state_of(content, path)}, detector.state_dict()
    scores = f"{PREDICTOR}cls_score.weight"
    if scores not in state:
        raise CheckpointError(f"{path} holds no weights of a detector: {scores} is not in it")
    there, here = (each[scores].shape[:1].numel() - 1 for each in (state, own))
    if new_head:
        state |= {name: value for name, value in own.items() if name.startswith(PREDICTOR)}
    elif there != here:
        raise CheckpointError(
            f"{path} is of a detector of {there} classes, this one has {here}; name weights of the "
            "same classes, or train from these with pretrain=FILE"
        )
    try:
        detector.load_state_dict(state)
    except (RuntimeError, AttributeError) as error:  # the latter for names that are no texts
        reason = " ".join(str(error).split()[:24])
        raise CheckpointError(f"{path} is of another detector: {reason} ...") from None


def load_pretrained_detector(detector: VideoDetector, cfg: DetectorConfig) -> str | None:
    """Load the weights that `cfg.pretrain` names; return their source, None for `none`.

    `imagenet` and files of ImageNet's networks give the backbone; `coco` and files of detectors
    give all but the predictor of classes.

    Raises:
        CheckpointError: weights that cannot be had, or do not fit.
    """
    if cfg.pretrain == "none":
        return None
    if cfg.pretrain == "imagenet":
        path, source = imagenet_file(cfg)
    elif cfg.pretrain == "coco":
        path, source = _coco_file(), f"torchvision {COCO}"
    else:
        path, source = local_file(cfg.pretrain), cfg.pretrain
    content = read_checkpoint(path)
    state = _state_of(content, path)
    if f"{PREDICTOR}cls_score.weight" in state:
        load_detector_weights(detector, content, path, new_head=True)
    else:
        _load_backbone(detector, state, path)
    return source


def _state_of(content: dict[str, Any], path: Path) -> State:
    """Return the weights in the content of a file, which are numbers and not NaN."""
    state = content.get("model", content)
    check_values(state, path)
    return state


def _load_backbone(detector: VideoDetector, state: State, path: Path) -> None:
    """Load an image network without its classifier, which a detector does not have."""
    body = detector.backbone.body
    wanted = {n for n in body.state_dict() if not n.endswith("num_batches_tracked")}
    if missing := wanted - state.keys():
        raise CheckpointError(
            f"{path} is of no such backbone: it lacks {min(missing)} and {len(missing) - 1} more"
        )
    try:
        body.load_state_dict({n: v for n, v in state.items() if n in body.state_dict()}, False)
    except RuntimeError as error:
        raise CheckpointError(
            f"{path} is of another backbone: {str(error).split(':')[-1]}"
        ) from None


def _coco_file() -> Path:
    """Find or download torchvision's weights of COCO."""
    path = Path(torch.hub.get_dir()) / "checkpoints" / Path(COCO.url).name
    if path.is_file() and file_sha256(path).startswith(hash_in_name(path.name)):
        return path
    try:
        return download(COCO.url)
    except DownloadError as error:
        raise CheckpointError(f"{COCO}: {error}") from None
