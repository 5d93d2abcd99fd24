"""Frames from disk: video files through PyAV or decord, and folders of numbered JPEG files.

The only module that knows a decoder or an encoder of video.
"""

import copy
import os
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch import Tensor

from ..configs import ConfigError
from . import frame_seeking as seeking
from .frame_seeking import MISSING_FRAMES, InOrder, Packet, Seeking, Unexpected
from .threads import map_threads

JPEG_START = b"\xff\xd8"  # of every JPEG file


class VideoError(RuntimeError):
    """A video that cannot be read; the message names the file and the reason."""


class VideoFile:
    """A video file, opened for reading single frames.

    Frames are numbered as they are shown, and turned upright where the file says how it was held.

    Args:
        path: the file.
        listed: frames that the list promises, if it says.
        decoder: `pyav` or `decord`; None: the environment variable TSM_DECODER, else `pyav`.

    Raises:
        VideoError: empty, not a video, damaged, or shorter than its header or the list promises.
        ConfigError: another decoder.
    """

    def __init__(self, path: Path, listed: int | None = None, decoder: str | None = None):
        self.path, reader = path, _reader(decoder)
        with _reasons(f"{path}"):
            if path.stat().st_size == 0:
                raise ValueError("the file is empty")
            self._reader = reader(path)
        found, promised = self._reader.found, listed or self._reader.promised
        if found < max(1, (1 - MISSING_FRAMES) * promised):  # decoders shorten them silently
            raise VideoError(f"{path}: truncated: {found} of {promised} frames can be decoded")
        self.num_frames = self._reader.num_frames

    def frames(self, indices: list[int]) -> Tensor:
        """uint8 `[T, H, W, 3]` RGB of 0-based frame numbers.

        Raises:
            VideoError: there is no such frame, or what it is decoded from is damaged.
        """
        with _reasons(f"{self.path}: frames {indices}"):
            return torch.from_numpy(self._reader.frames(indices))


class FrameFolder:
    """A folder of numbered JPEG files."""

    def __init__(self, path: Path, num_frames: int, template: str, start_index: int):
        self.path, self.num_frames = path, num_frames
        self._template, self._start = template, start_index

    def frames(self, indices: list[int]) -> Tensor:
        """uint8 `[T, H, W, 3]` RGB of 0-based frame numbers."""
        unique = sorted(set(indices))
        decoded = dict(zip(unique, map_threads(self._frame, unique), strict=True))
        sizes = {f.shape for f in decoded.values()}
        if len(sizes) > 1:
            raise VideoError(f"{self.path}: frames differ in size: {sorted(sizes)}")
        return torch.from_numpy(np.stack([decoded[i] for i in indices]))

    def _frame(self, index: int) -> np.ndarray:
        file = self.path / self._template.format(self._start + index)
        try:
            return simplejpeg.decode_jpeg(file.read_bytes(), "RGB")
        except FileNotFoundError:
            listed = f"the list promises {self.num_frames} frames"
            raise VideoError(f"{file}: the frame is missing ({listed})") from None
        except (OSError, RuntimeError, ValueError) as error:
            reason = _sentence(error)
            if file.is_file() and not file.read_bytes().startswith(JPEG_START):
                reason = "not a JPEG file, and frames must be JPEG"
            raise VideoError(f"{file}: {reason}") from None


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


# --- decoders -------------------------------------------------------------------------------------


class _DecordReader:
    """decord; where packets give no frame, it repeats others to have one for each."""

    def __init__(self, path: Path):
        import decord  # here, so that raw frames do not need it

        self._reader = decord.VideoReader(str(path), num_threads=1)
        self.found = self.num_frames = len(self._reader)
        with _video(path) as (_, stream):
            self.promised = stream.frames

    def frames(self, indices: list[int]) -> np.ndarray:
        return self._reader.get_batch(indices).asnumpy()


class _PyAVReader:
    """PyAV, decoding only from the key frames that the wanted frames need.

    The packets are listed once, without decoding. Where their times do not give the order of the
    frames, or what is decoded is not what they promise, everything is decoded in order instead.
    Either way the frames are those of a full decode, damage that FFmpeg notices included. Frames
    far apart are decoded by several threads.
    """

    def __init__(self, path: Path):
        packets = _Packets(path)
        self._path, self.found, self.promised = path, len(packets.listed), packets.promised
        try:
            self._decoders = {0: Seeking(packets)}
        except Unexpected:
            self._decoders = {0: InOrder(packets)}
        self.num_frames = self._decoders[0].num_frames

    def frames(self, indices: list[int]) -> np.ndarray:
        wanted = sorted(set(indices))
        try:
            pictures = self._pictures(wanted)
        except Unexpected:
            self._decoders = {0: InOrder(_Packets(self._path))}  # and forget what was decoded
            pictures = self._pictures(wanted)
        return pictures if indices == wanted else pictures[np.searchsorted(wanted, indices)]

    def _pictures(self, wanted: list[int]) -> np.ndarray:
        """uint8 `[T, H, W, 3]` of ascending frame numbers."""
        if wanted[0] < 0 or wanted[-1] >= self._decoders[0].num_frames:
            raise IndexError(f"there are {self._decoders[0].num_frames} frames")
        shares = self._decoders[0].shares(wanted, torch.get_num_threads())
        return np.stack([*chain(*map_threads(self._share, list(enumerate(shares))))])

    def _share(self, share: tuple[int, list[int]]) -> list[np.ndarray]:
        """uint8 `[H, W, 3]` of ascending frame numbers, by the decoder of a number."""
        from av.video.reformatter import VideoReformatter

        place, wanted = share
        if place not in self._decoders:
            self._decoders[place] = self._decoders[0].another()
        scaler = VideoReformatter()  # not for several threads
        return [_upright(frame, scaler) for frame in self._decoders[place].decode(wanted)]


def _upright(frame, scaler) -> np.ndarray:
    """uint8 `[H, W, 3]`, turned as ffmpeg and decord turn it."""
    picture = scaler.reformat(frame, format="rgb24", threads=1).to_ndarray()
    turns, rest = divmod(frame.rotation, 90)
    return np.rot90(picture, turns) if turns and not rest else picture


class _Packets:
    """The packets of a video in decoding order, and their decoder."""

    def __init__(self, path: Path):
        self._path, self.listed, self.changing = path, [], False
        self._kept = [] if path.stat().st_size <= seeking.KEPT else None
        with _video(path) as (container, stream):
            self.format, self.promised = container.format.name, stream.frames
            self.decoder = _decoder(stream)
            for packet in _read(container, stream):
                flags = packet.is_keyframe, packet.is_discard
                self.listed.append(Packet(packet.pts, packet.dts, packet.size, *flags))
                self.changing |= packet.is_keyframe and packet.has_sidedata("new_extradata")
                if self._kept is not None:
                    self._kept.append(packet)
        self._ahead, self.position = iter(()), len(self.listed)  # what comes next
        self.codec = self.decoder.name

    def another(self) -> "_Packets":
        """The same packets, with a decoder of their own."""
        twin = copy.copy(self)
        with _video(self._path) as (_, stream):
            twin.decoder = _decoder(stream)
        twin._ahead, twin.position = iter(()), len(self.listed)
        return twin

    def go_to(self, position: int) -> None:
        """Let the decoder forget everything, and continue with this packet."""
        self.decoder.flush_buffers()
        if position < self.position:
            self._ahead = _reopened(self._path) if self._kept is None else iter(self._kept)
            self.position = 0
        gap, self.position = position - self.position, position
        next(islice(self._ahead, gap, gap), None)

    def decode_next(self, skip: bool = False) -> list:
        """Frames that the next packet brings out; `skip`: not its own, if no other needs it."""
        self.position += 1
        self.decoder.skip_frame = "NONREF" if skip else "DEFAULT"
        return self._decode(next(self._ahead))

    def drain(self) -> list:
        """Frames that the decoder still holds back, to show them in order."""
        return self._decode(None)

    def _decode(self, packet) -> list:
        import av

        try:
            return self.decoder.decode(packet)
        except av.FFmpegError as error:
            raise Unexpected(str(error)) from None


@contextmanager
def _video(path: Path) -> Iterator[tuple]:
    """The open container and its main video stream."""
    import av

    with av.open(str(path), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise ValueError("there is no video that can be decoded")
        yield container, stream


def _decoder(stream):
    """The decoder of a stream; it outlives the container."""
    decoder = stream.codec_context
    decoder.thread_count = 1  # loaders have processes, and readers threads of their own
    return decoder


def _read(container, stream) -> Iterator:
    """Packets of a stream, without the empty one at the end."""
    return (packet for packet in container.demux(stream) if packet.size)


def _reopened(path: Path) -> Iterator:
    with _video(path) as (container, stream):
        yield from _read(container, stream)


def _reader(decoder: str | None) -> type:
    """The class that reads with a decoder, or with that of TSM_DECODER."""
    readers = {"pyav": _PyAVReader, "decord": _DecordReader}
    name = decoder or os.environ.get("TSM_DECODER") or "pyav"
    if name not in readers:
        raise ConfigError(f"decoder={name!r} (TSM_DECODER) is none of {', '.join(readers)}")
    return readers[name]


@contextmanager
def _reasons(where: str) -> Iterator[None]:
    """What a decoder says, as a `VideoError` of one sentence."""
    try:
        yield
    except Exception as error:  # each decoder has errors of its own
        reason = getattr(error, "strerror", None) or _sentence(error)
        raise VideoError(f"{where}: {reason}") from error


def _sentence(error: Exception) -> str:
    """The first line of a decoder's message, without its stack."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = next((line for line in lines if "Stack trace" not in line), type(error).__name__)
    return text[text.rfind("] ") + 2 if "] " in text else 0 :][:160]
