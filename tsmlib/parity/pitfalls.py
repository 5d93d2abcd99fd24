"""Known differences between implementations of TSM, each a toggle of one evaluation.

All were met in other implementations, or in this one while it was written. A toggle exchanges one
function of the evaluation, in this process and for a while.
"""

import io
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from ..configs import Config, class_names
from ..data import augmentation, loader, video
from ..data.sampling import DENSE_WINDOW
from ..engine import test_loop as scoring
from ..models import shift
from ..models.recognizer import ClipMixin
from .reference_decoders import PyAVFile, opencv_resize

Toggle = Callable[[nn.Module], AbstractContextManager]


def nothing(model: nn.Module) -> AbstractContextManager:
    """The toggle that changes nothing."""
    return nullcontext()


class Trap(NamedTuple):
    """A known difference between implementations."""

    kind: str  # decoder, pixels, frames, network, classes or views
    name: str
    explained: str
    toggle: Toggle = nothing
    precision: str = "32-true"
    group: int | None = None  # videos that go through the network at once; None: what fits
    average: str | None = None  # of the views: `prob` or `score`; None: as the row says
    reads: list[int] | None = None  # the label that each output is taken for; None: its own
    many_views: bool = False  # needs a protocol of several views


NONE = Trap("", "none", "the published pipeline")


def exchange(owner: Any, name: str, function: Callable) -> Toggle:
    """A toggle: `owner.name` is `function`, which gets the original as its first argument."""

    @contextmanager
    def toggle(model: nn.Module) -> Iterator[None]:
        original = getattr(owner, name)

        def exchanged(*args, **options):  # a function, as a method has to be one
            return function(original, *args, **options)

        setattr(owner, name, exchanged)
        try:
            yield
        finally:
            setattr(owner, name, original)

    return toggle


def traps(cfg: Config, layouts: set[str], many_views: bool = True) -> list[Trap]:
    """The traps that an evaluation can fall into.

    Args:
        cfg: the row.
        layouts: how the videos are stored: `rawframes`, `video` or both.
        many_views: a protocol with several views is at hand.
    """
    sampled = FRAMES if cfg.eval_sampling == "uniform" else [t for t in FRAMES if t != STARTS]
    return [
        *(trap for layout in sorted(layouts) for trap in DECODERS[layout]),
        *PIXELS,
        *sampled,
        *(SHIFTS if cfg.is_shift else ()),
        *NETWORK,
        *(_batch_norms_of(n) for n in dict.fromkeys((cfg.videos_per_device, 1))),
        _other_labels(cfg),
        *((_other_average(cfg), INTERLEAVED) if many_views else ()),
    ]


# --- decoders -------------------------------------------------------------------------------------


def _fast_jpeg(original: Callable, data: bytes, colorspace: str) -> np.ndarray:
    return original(data, colorspace, fastdct=True, fastupsample=True)


def _pil_jpeg(_, data: bytes, colorspace: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(data)).convert(colorspace))


def _opened(instead: Callable[[video.VideoFile], Any]) -> Toggle:
    def opened(original: Callable, dataset: loader.ClipDataset, entry):
        file = original(dataset, entry)
        return instead(file) if isinstance(file, video.VideoFile) else file

    return exchange(loader.ClipDataset, "open", opened)


def _pyav(**options) -> Toggle:
    return _opened(lambda file: PyAVFile(file.path, file.num_frames, **options))


_decode_jpeg = partial(exchange, video.simplejpeg, "decode_jpeg")
DECODERS = {
    "rawframes": [
        Trap("decoder", "JPEG by PIL", "as in MIT's code, another build of libjpeg",
             _decode_jpeg(_pil_jpeg)),
        Trap("decoder", "fast JPEG", "libjpeg's fast transform and colour upsampling",
             _decode_jpeg(_fast_jpeg)),
    ],
    "video": [
        Trap("decoder", "video by decord", "as published; it seeks by itself",
             _opened(lambda file: video.VideoFile(file.path, decoder="decord"))),
        Trap("decoder", "key frames", "a seek that stops at the key frame before",
             _pyav(key_frames=True)),
        Trap("decoder", "colours of BT.709", "HD's matrix where the file does not say one",
             _pyav(src_colorspace="ITU709")),
        Trap("decoder", "full range", "luma of 16 to 235 taken for 0 to 255",
             _pyav(src_color_range="JPEG")),
    ],
}  # fmt: skip


# --- pixels ---------------------------------------------------------------------------------------


def _opencv(_, x: Tensor, height: int, width: int) -> Tensor:
    return opencv_resize(x, height, width)


def _antialiased(_, x: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(x, size=(height, width), mode="bilinear", antialias=True)


def _pil(_, x: Tensor, height: int, width: int) -> Tensor:
    frames = [Image.fromarray(frame) for frame in x.permute(0, 2, 3, 1).contiguous().numpy()]
    resized = [np.array(f.resize((width, height), Image.Resampling.BILINEAR)) for f in frames]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2)


def _truncated(_, x: Tensor, size: int) -> Tensor:
    height, width = x.shape[-2:]
    short = min(height, width)  # divided last, which keeps the short side exact
    return augmentation.resize(x, height * size // short, width * size // short)


def _squeezed(_, x: Tensor, size: int) -> Tensor:
    return augmentation.resize(x, size, size)


def _mirrored(original: Callable, frames) -> Tensor:
    return original(frames).flip(-1)


def _bgr(original: Callable, frames) -> Tensor:
    return original(frames).flip(1)


def _mit_normalize(_, clips: Tensor) -> Tensor:
    mean, std = (torch.tensor(v, device=clips.device).view(3, 1, 1)
                 for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))  # fmt: skip
    return (clips.float() / 255 - mean) / std


def _unscaled(original: Callable, clips: Tensor) -> Tensor:
    return original(clips.float() / 255)


_resize = partial(exchange, augmentation, "resize")
_short_side = partial(exchange, augmentation, "resize_short_side")
_read = partial(exchange, augmentation, "_to_tchw")
_normalize = partial(exchange, scoring, "normalize")
PIXELS = [
    Trap("pixels", "OpenCV's resize", "MMAction2's, in integers of 11 bits", _resize(_opencv)),
    Trap("pixels", "PIL's resize", "MIT's, which always antialiases", _resize(_pil)),
    Trap("pixels", "antialiased resize", "torchvision's default", _resize(_antialiased)),
    Trap("pixels", "sizes truncated", "int(x * scale) without + 0.5", _short_side(_truncated)),
    Trap("pixels", "squeezed", "to a square instead of cut out of the middle",
         _short_side(_squeezed)),
    Trap("pixels", "mirrored", "left and right exchanged, labels not", _read(_mirrored)),
    Trap("pixels", "BGR", "blue, green, red: OpenCV's order", _read(_bgr)),
    Trap("pixels", "MIT's normalisation", "of pixels of 0 to 1: the same up to rounding",
         _normalize(_mit_normalize)),
    Trap("pixels", "pixels of 0 to 1", "with the mean and deviation of 0 to 255",
         _normalize(_unscaled)),
]  # fmt: skip


# --- frames ---------------------------------------------------------------------------------------


def _early(original: Callable, *args, **options) -> Tensor:
    return (original(*args, **options) - 1).clamp(min=0)


def _without_tail(original, n: int, t: int, strategy: str = "uniform", **options) -> Tensor:
    """Segments of n // t frames; of dense clips the last start, which training leaves out."""
    if strategy == "dense":
        return original(n - (n > DENSE_WINDOW), t, strategy, **options)
    return original(n - n % t if n > t else n, t, strategy, **options)


def _starts(original, n: int, t: int, *args, **options) -> Tensor:
    return (torch.arange(t) * n // t).expand_as(original(n, t, *args, **options))


def _reversed(original: Callable, *args, **options) -> Tensor:
    return original(*args, **options).flip(1)


_sample = partial(exchange, loader, "sample_indices")
STARTS = Trap("frames", "starts of segments", "first frames instead of middle ones",
              _sample(_starts))  # fmt: skip
FRAMES = [
    Trap("frames", "frames counted from 0", "every frame one too early", _sample(_early)),
    Trap("frames", "tail left out", "segments of num_frames // T, as in training",
         _sample(_without_tail)),
    STARTS,
    Trap("frames", "sequence reversed", "the last frame first", _sample(_reversed)),
]  # fmt: skip


# --- network --------------------------------------------------------------------------------------


def _mean_of_probabilities(_, model: ClipMixin, x: Tensor) -> Tensor:
    return model.frame_logits(x).log_softmax(-1).logsumexp(1)


@contextmanager
def batch_statistics(model: nn.Module) -> Iterator[None]:
    """Batch norms use the mean and variance of the batch, in one piece; nothing is updated."""
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    before = [(norm.running_mean, norm.running_var) for norm in norms]
    chunk, scoring.CHUNK_FRAMES = scoring.CHUNK_FRAMES, 2**40  # a part of a batch is another group
    try:
        for norm in norms:
            norm.running_mean = norm.running_var = None
        yield
    finally:
        scoring.CHUNK_FRAMES = chunk
        for norm, (mean, var) in zip(norms, before, strict=True):
            norm.running_mean, norm.running_var = mean, var


def _batch_norms_of(videos: int) -> Trap:
    group = f"{videos} video{'s' * (videos > 1)}"
    return Trap("network", f"batch norms of {group}", "statistics of a group, as in training",
                batch_statistics, group=videos)  # fmt: skip


def _moving(change: Callable) -> Toggle:
    return exchange(shift, "_moves", lambda original, *args: change(original(*args)))


NOTHING = slice(0, 0)
SHIFTS = [
    Trap("network", "shift the wrong way", "the two folds exchanged: as a reversed clip",
         _moving(lambda moves: moves._replace(ahead=moves.behind, behind=moves.ahead))),
    Trap("network", "shift wraps around", "the last frame beside the first one",
         _moving(lambda moves: moves._replace(padding="circular"))),
    Trap("network", "no shift", "the weights in a 2-D network",
         _moving(lambda moves: moves._replace(ahead=NOTHING, behind=NOTHING))),
]  # fmt: skip
NETWORK = [
    Trap("network", "softmax of frames", "mean over frames of probabilities, not logits",
         exchange(ClipMixin, "forward", _mean_of_probabilities)),
    Trap("network", "bf16", "mixed precision", precision="bf16-mixed"),
]  # fmt: skip


# --- classes and views ----------------------------------------------------------------------------


def _other_labels(cfg: Config) -> Trap:
    names = class_names(cfg)
    if list(names) == sorted(names) or names[0] == "class 0":
        reads = [*range(1, len(names)), 0]
        return Trap("classes", "labels counted from 1", "UCF101's classInd", reads=reads)
    reads = [names.index(name) for name in sorted(names)]
    return Trap("classes", "classes by name", "MIT's order of Something and Jester",
                reads=reads)  # fmt: skip


def _other_average(cfg: Config) -> Trap:
    if cfg.average_clips == "prob":
        name, why = "logits of views", "MIT's mean; MMAction2's is of probabilities"
    else:
        name, why = "probabilities of views", "MMAction2's mean; MIT's is of logits"
    other = "score" if cfg.average_clips == "prob" else "prob"
    return Trap("views", name, why, average=other, many_views=True)


def _interleaved(original: Callable, *args) -> Tensor:
    clips = original(*args)  # [views, T, 3, h, w]
    return clips.transpose(0, 1).reshape(clips.shape)


INTERLEAVED = Trap("views", "views interleaved", "frames ordered with the views fastest",
                   exchange(loader.ClipDataset, "_test_clips", _interleaved),
                   many_views=True)  # fmt: skip
