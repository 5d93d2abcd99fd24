"""Frames from disk: video files through decord, and folders of numbered JPEG files.

The only module that knows a decoder or an encoder of video.
"""

from fractions import Fraction
from pathlib import Path

import simplejpeg
import torch
from torch import Tensor


class VideoError(RuntimeError):
    """A video that cannot be read; the message names the file and the reason."""


MISSING_FRAMES = 0.05  # share of the promised frames that may be absent; decoders differ by a few


class VideoFile:
    """A video file, opened for reading single frames.

    Args:
        path: the file.
        listed: frames that the list promises, if it says.

    Raises:
        VideoError: empty, not a video, or shorter than its header or the list promises.
    """

    def __init__(self, path: Path, listed: int | None = None):
        import decord  # here, so that raw frames do not need it

        self.path = path
        try:
            empty = path.stat().st_size == 0
            self._reader = None if empty else decord.VideoReader(str(path), num_threads=1)
            found = 0 if empty else len(self._reader)
        except OSError as error:
            raise VideoError(f"{path}: {error.strerror or _sentence(error)}") from None
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise VideoError(f"{path}: {_sentence(error)}") from None
        if empty:
            raise VideoError(f"{path}: the file is empty")
        promised = listed or _frames_in_header(path)
        if found < max(1, (1 - MISSING_FRAMES) * promised):  # decord shortens them silently
            raise VideoError(f"{path}: truncated: {found} of {promised} frames can be decoded")
        self.num_frames = found

    def frames(self, indices: list[int]) -> Tensor:
        """uint8 `[T, H, W, 3]` RGB of 0-based frame numbers."""
        import decord

        try:
            return torch.from_numpy(self._reader.get_batch(indices).asnumpy())
        except (decord.DECORDError, RuntimeError, IndexError) as error:
            raise VideoError(f"{self.path}: frames {indices}: {_sentence(error)}") from None


class FrameFolder:
    """A folder of numbered JPEG files."""

    def __init__(self, path: Path, num_frames: int, template: str, start_index: int):
        self.path, self.num_frames = path, num_frames
        self._template, self._start = template, start_index

    def frames(self, indices: list[int]) -> Tensor:
        """uint8 `[T, H, W, 3]` RGB of 0-based frame numbers."""
        unique = sorted(set(indices))
        decoded = {i: self._frame(i) for i in unique}
        sizes = {tuple(f.shape) for f in decoded.values()}
        if len(sizes) > 1:
            raise VideoError(f"{self.path}: frames differ in size: {sorted(sizes)}")
        return torch.stack([decoded[i] for i in indices])

    def _frame(self, index: int) -> Tensor:
        file = self.path / self._template.format(self._start + index)
        try:
            return torch.from_numpy(simplejpeg.decode_jpeg(file.read_bytes(), "RGB"))
        except FileNotFoundError:
            listed = f"the list promises {self.num_frames} frames"
            raise VideoError(f"{file}: the frame is missing ({listed})") from None
        except (OSError, RuntimeError, ValueError) as error:
            raise VideoError(f"{file}: {_sentence(error)}") from None


def encode_frames(frames: Tensor, quality: int = 90) -> list[bytes]:
    """uint8 `[T, H, W, 3]` as JPEG files."""
    return [simplejpeg.encode_jpeg(frame, quality, "RGB", "420") for frame in frames.numpy()]


def write_frames(folder: Path, jpegs: list[bytes], template: str, start_index: int) -> None:
    """Number encoded frames into an existing folder."""
    for i, jpeg in enumerate(jpegs):
        (folder / template.format(start_index + i)).write_bytes(jpeg)


def write_video(path: Path, frames: Tensor, fps: int = 12, gop: int = 1, qp: int = 22) -> None:
    """Write uint8 `[T, H, W, 3]` (even H and W) as H.264.

    With `gop=1` every frame is coded alone at a fixed quantiser, so that a clip and its reversal
    hold the same pictures: the first picture of a longer group is sharper and would tell direction.
    """
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=Fraction(fps))
        stream.height, stream.width, stream.pix_fmt = frames.shape[1], frames.shape[2], "yuv420p"
        stream.thread_count = 1
        stream.options = {"qp": str(qp), "g": str(gop), "bf": "0", "preset": "ultrafast"}
        for frame in frames.numpy():
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def _frames_in_header(path: Path) -> int:
    """Frames that the container's header promises, 0 if it does not say."""
    import av

    with av.open(str(path), metadata_errors="replace") as container:
        return container.streams.video[0].frames if container.streams.video else 0


def _sentence(error: Exception) -> str:
    """The first line of a decoder's message, without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = next((line for line in lines if "Stack trace" not in line), type(error).__name__)
    return text[text.rfind("] ") + 2 if "] " in text else 0 :][:160]
