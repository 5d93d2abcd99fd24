"""Render the published code path plainly, for benchmarks alone: nothing is trained with it.

This is what MMAction2 0.x does (40cb52e5: models/backbones/resnet_tsm.py, models/heads/tsm_head.py,
datasets/pipelines), written anew and plainly: NCHW, fp32, eager; a shift of split, zeros and cat;
frames that decord decodes go one by one through OpenCV's resize and a normalisation in float.
OpenCV is used where it is installed. Elsewhere torch resizes frame by frame, with the same kernel
(no antialiasing) and as fast, and PIL decodes JPEG.

This file imports a decoder, and an encoder for the inputs of the benchmarks: beside
parity/reference_decoders.py the stated exception from the rule that only readers of videos do.
"""

import math
from collections.abc import Callable
from fractions import Fraction
from functools import lru_cache
from pathlib import Path

import numpy as np
import PIL
import torch
import torch.nn.functional as F
import torchvision
from PIL import Image
from torch import Tensor, nn

try:
    import cv2
except ImportError:
    cv2 = None

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
LIBRARIES = {
    "video": "decord, 1 thread",
    "resize": f"OpenCV {cv2.__version__}" if cv2 else "torch, frame by frame, no antialiasing",
    "jpeg": f"OpenCV {cv2.__version__}" if cv2 else f"PIL {PIL.__version__}",
    "normalisation": "numpy, float32, frame by frame and in place",
}


# --- the network ----------------------------------------------------------------------------------


def shift(x: Tensor, num_segments: int, shift_div: int = 8) -> Tensor:
    """Shift `[N*T, C, H, W]`: split the channels, pad two parts with zeros, and join all again."""
    n, c, h, w = x.shape
    x = x.view(-1, num_segments, c, h * w)  # [N, T, C, H*W]
    fold = c // shift_div
    left, mid, right = x[:, :, :fold], x[:, :, fold : 2 * fold], x[:, :, 2 * fold :]
    left = torch.cat((left[:, 1:], torch.zeros_like(left[:, :1])), 1)
    mid = torch.cat((torch.zeros_like(mid[:, :1]), mid[:, :-1]), 1)
    return torch.cat((left, mid, right), 2).view(n, c, h, w)


class ShiftBeforeConv(nn.Module):
    """A convolution behind a shift."""

    def __init__(self, net: nn.Module, num_segments: int, shift_div: int):
        super().__init__()
        self.net, self.options = net, (num_segments, shift_div)

    def forward(self, x: Tensor) -> Tensor:
        return self.net(shift(x, *self.options))


class PublishedTSM(nn.Module):
    """torchvision's ResNet with wrapped convolutions; averages the logits of the frames.

    Args:
        backbone: `resnet18` or `resnet50`.
        weights: state_dict with torchvision's names, which our models share.
        num_segments: T.
        shift_div: 1/shift_div of the channels move each way; 0: the 2-D network.
    """

    def __init__(
        self, backbone: str, weights: dict[str, Tensor], num_segments: int, shift_div: int = 8
    ):
        super().__init__()
        self.num_segments = num_segments
        self.net = getattr(torchvision.models, backbone)(num_classes=len(weights["fc.bias"]))
        self.net.load_state_dict(weights)
        stages = (self.net.layer1, self.net.layer2, self.net.layer3, self.net.layer4)
        for block in (block for stage in stages for block in stage if shift_div):
            block.conv1 = ShiftBeforeConv(block.conv1, num_segments, shift_div)

    def forward(self, clips: Tensor) -> Tensor:
        """Compute logits `[N, K]` of clips `[N, T, 3, H, W]`."""
        frames = clips.reshape(-1, *clips.shape[2:])  # [N*T, 3, H, W]
        return self.net(frames).view(-1, self.num_segments, self.net.fc.out_features).mean(1)


def train_step(
    model: nn.Module, optimizer, clips: Tensor, labels: Tensor, max_norm: float
) -> Tensor:
    """Take one step of mmcv's runner and its optimizer hook; return the loss."""
    loss = F.cross_entropy(model(clips), labels)
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), max_norm)
    optimizer.step()
    return loss.detach()


# --- from files to tensors ------------------------------------------------------------------------


def video_clip(path: Path, num_segments: int, short_side: int, size: int) -> Tensor:
    """Load a video file as normalised centre crops, float `[T, 3, size, size]`."""
    frames = decode_video(path, lambda n: segment_middles(n, num_segments))
    return make_batch([centre_crop(resize(f, short_side), size) for f in frames])


def jpeg_clip(
    folder: Path, num_frames: int, num_segments: int, short_side: int, size: int
) -> Tensor:
    """Load a folder of numbered JPEG files, as `video_clip` loads a video."""
    files = [folder / f"img_{i + 1:05}.jpg" for i in segment_middles(num_frames, num_segments)]
    return make_batch([centre_crop(resize(decode_jpeg(f), short_side), size) for f in files])


def accurate_views(path: Path, num_segments: int, size: int) -> Tensor:
    """Load three crops of two clips of a video, float `[6*T, 3, size, size]`, crops slowest."""
    frames = decode_video(
        path, lambda n: segment_middles(n, num_segments) + segment_starts(n, num_segments)
    )
    frames = [resize(f, size) for f in frames]
    height, width = frames[0].shape[:2]
    dx, dy = (width - size) // 2, (height - size) // 2
    corners = [(0, 0), (2 * dx, 2 * dy), (dx, dy)]
    return make_batch([f[y : y + size, x : x + size] for x, y in corners for f in frames])


@torch.inference_mode()
def evaluate(
    model: nn.Module,
    videos: list[tuple[Path, int]],
    size: int,
    device: torch.device,
    load: Callable[[Path, int, int], Tensor] = accurate_views,
) -> tuple[float, np.ndarray]:
    """Evaluate videos `(path, label)` under the accurate protocol: top-1 (%), scores `[N, K]`."""
    scores = []
    for path, _ in videos:
        views = load(path, model.num_segments, size)  # [6*T, 3, size, size]
        logits = model(views[None].to(device))  # [6, K]
        scores.append(logits.softmax(1).mean(0).cpu().numpy())
    hits = [s.argmax() == label for s, (_, label) in zip(scores, videos, strict=True)]
    return 100 * sum(hits) / len(hits), np.stack(scores)


def segment_middles(num_frames: int, num_segments: int) -> list[int]:
    """Choose the middle frame of each segment."""
    step = num_frames / num_segments
    return [math.floor(k * step + step / 2) for k in range(num_segments)]


def segment_starts(num_frames: int, num_segments: int) -> list[int]:
    """Choose the first frame of each segment (`twice_sample`)."""
    return [math.floor(k * num_frames / num_segments) for k in range(num_segments)]


def decode_video(path: Path, choose: Callable[[int], list[int]]) -> list[np.ndarray]:
    """Decode frames, each uint8 `[H, W, 3]` RGB; `choose` numbers them, given their count."""
    import decord

    reader = decord.VideoReader(str(path), num_threads=1)
    return list(reader.get_batch(choose(len(reader))).asnumpy())


def decode_jpeg(file: Path) -> np.ndarray:
    """Decode a JPEG file to uint8 `[H, W, 3]` RGB."""
    if cv2:
        array = np.frombuffer(file.read_bytes(), np.uint8)
        return cv2.cvtColor(cv2.imdecode(array, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    with Image.open(file) as picture:
        return np.array(picture)


def resize(frame: np.ndarray, short_side: int) -> np.ndarray:
    """Resize `[H, W, 3]` bilinearly to a shorter side of `short_side` (mmcv's rescale_size)."""
    scale = short_side / min(frame.shape[:2])
    height, width = (int(side * scale + 0.5) for side in frame.shape[:2])
    if (height, width) == frame.shape[:2]:
        return frame
    if cv2:
        return cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR)
    x = torch.from_numpy(frame).permute(2, 0, 1)[None]
    x = F.interpolate(x, (height, width), mode="bilinear", antialias=False)
    return x[0].permute(1, 2, 0).numpy()


def centre_crop(frame: np.ndarray, size: int) -> np.ndarray:
    """Crop the middle of a frame, `[size, size, 3]`."""
    top, left = (frame.shape[0] - size) // 2, (frame.shape[1] - size) // 2
    return frame[top : top + size, left : left + size]


def make_batch(frames: list[np.ndarray]) -> Tensor:
    """Normalise crops `[h, w, 3]` to a float batch `[n, 3, h, w]` (Normalize, FormatShape)."""
    batch = np.empty((len(frames), *frames[0].shape), np.float32)
    for target, frame in zip(batch, frames, strict=True):
        target[:] = frame
    for target in batch:
        rows = target.reshape(len(target), -1)  # (h, w*3)
        mean, inverse = _constants(target.shape[1])
        rows -= mean
        rows *= inverse
    return torch.from_numpy(np.ascontiguousarray(batch.transpose(0, 3, 1, 2)))


@lru_cache
def _constants(width: int) -> tuple[np.ndarray, np.ndarray]:
    """Repeat mean and 1 / std for a row of pixels: over threes numpy takes six times as long."""
    return np.tile(np.float32(MEAN), width), np.tile(1 / np.float32(STD), width)


# --- inputs ---------------------------------------------------------------------------------------


def draw_scene(frames: int, height: int, width: int, seed: int = 0) -> np.ndarray:
    """Draw uint8 `[T, H, W, 3]`: a square over a moving textured ground, with camera noise."""
    random = np.random.default_rng(seed)
    coarse = torch.from_numpy(random.uniform(0, 255, (1, 3, 24, 32)).astype(np.float32))
    ground = F.interpolate(coarse, (2 * height, 2 * width), mode="bicubic")[0]
    ground, side = ground.permute(1, 2, 0).numpy(), min(height, width) // 4
    video = np.empty((frames, height, width, 3), np.uint8)
    for t, frame in enumerate(video):
        y, x = int(height / 2 * (1 + math.cos(t / 55))), int(width / 2 * (1 + math.sin(t / 40)))
        noise = random.normal(0, 6, (height, width, 1)).astype(np.float32)
        picture = ground[y : y + height, x : x + width] + noise
        y = int((height - side) * (0.5 + 0.5 * math.cos(t / 9 + seed)))
        x = int((width - side) * (0.5 + 0.5 * math.sin(t / 13 + seed)))
        picture[y : y + side, x : x + side] = picture[y : y + side, x : x + side] * 0.3 + 150
        frame[:] = picture.clip(0, 255)
    return video


def write_h264(path: Path, frames: np.ndarray, gop: int) -> None:
    """Encode uint8 `[T, H, W, 3]` as H.264 with libx264's defaults, B-frames included."""
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(25))
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.options = {"g": str(gop)}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
