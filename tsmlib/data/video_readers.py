"""Readers of video files: PyAV, with seeking where the packets allow it, or decord."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..configs import ConfigError
from .frame_seeking import SeekingDecoder
from .sequential_decoding import SequentialDecoder, all_frames
from .upright import is_mirrored, turn_upright
from .video_limits import Source, url_of
from .video_packets import PacketDecoder, UnexpectedPackets, open_video

USE_PYAV = "read it with PyAV, TSM_DECODER=pyav"
NARROW = 192  # pixels; rows of wider frames have no room for a fourth channel


def choose_reader(decoder: str | None) -> type:
    """Return the reader class of a decoder; None: of TSM_DECODER, else PyAV's."""
    readers = {"pyav": PyAVReader, "decord": DecordReader}
    name = decoder or os.environ.get("TSM_DECODER") or "pyav"
    if name not in readers:
        raise ConfigError(f"decoder={name!r} (TSM_DECODER) is none of {', '.join(readers)}")
    return readers[name]


class DecordReader:
    """Reads with decord, which repeats frames where packets give none."""

    method = "decord"

    def __init__(self, path: Source, max_kept: int):
        import decord  # here, so that raw frames do not need it

        with open_video(path):  # which opens nothing but videos
            name = str(path) if isinstance(path, Path) else url_of(path)
            self._reader = decord.VideoReader(name, num_threads=1)
        packets = PacketDecoder(path, max_kept)
        self._is_narrow = packets.size[0] < NARROW
        self.num_frames, self.announced = len(self._reader), packets.announced
        self.present = len(packets.packets)
        visible = sum(not packet.hidden for packet in packets.packets)
        if visible < self.present and visible != self.num_frames:
            raise ValueError(f"decord reads frames that the file hides (edit list); {USE_PYAV}")
        first = next(all_frames(packets), None)
        if first is not None and is_mirrored(first):
            raise ValueError(f"decord turns mirrored pictures instead; {USE_PYAV}")

    def frames(self, indices: list[int]) -> np.ndarray:
        if not self._is_narrow:
            return self._reader.get_batch(indices).asnumpy()
        return np.stack([_without_padding(self._reader[i].asnumpy()) for i in indices])


def _without_padding(frame: np.ndarray) -> np.ndarray:
    """Return `[H, W, 3]` of a frame of decord.

    FFmpeg's `av_frame_get_buffer` pads rows for the registers of the processor, with AVX-512 by up
    to 63 pixels. Where a row has room for further channels then, decord takes it for such.
    """
    height, width = frame.shape[:2]
    return frame.reshape(height, -1)[:, : 3 * width].reshape(height, width, 3)


class PyAVReader:
    """Reads with PyAV, and decodes only from the key frames that the requested frames need.

    The packets are listed once, without decoding. If their times do not give the order of the
    frames, or if other frames are decoded than they announce, everything is decoded in order.
    Either way the frames are those of a full decode, including damage that FFmpeg notices. Frames
    far apart are decoded by several threads.
    """

    def __init__(self, path: Source, max_kept: int):
        packets = PacketDecoder(path, max_kept)
        self._path, self._max_kept = path, max_kept
        self.present, self.announced = len(packets.packets), packets.announced
        try:
            self._decoders: dict[int, Any] = {0: SeekingDecoder(packets)}
        except UnexpectedPackets:
            self._decoders = {0: SequentialDecoder(packets)}
        self.num_frames = self._decoders[0].num_frames

    @property
    def method(self) -> str:
        return "seeking" if isinstance(self._decoders[0], SeekingDecoder) else "sequential"

    def frames(self, indices: list[int]) -> np.ndarray:
        numbers = sorted(set(indices))
        try:
            pictures = self._pictures(numbers)
        except UnexpectedPackets:
            packets, before = PacketDecoder(self._path, self._max_kept), self._decoders[0]
            self._decoders = {0: SequentialDecoder(packets, before.numbers)}  # decode anew
            pictures = self._pictures(numbers)
        return pictures if indices == numbers else pictures[np.searchsorted(numbers, indices)]

    def _pictures(self, numbers: list[int]) -> np.ndarray:
        """Decode uint8 `[T, H, W, 3]` of ascending frame numbers."""
        if numbers[0] < 0 or numbers[-1] >= self._decoders[0].num_frames:
            raise IndexError(f"there are {self._decoders[0].num_frames} frames")
        parts = self._decoders[0].partition(numbers, torch.get_num_threads())
        pictures = [*chain(*map_threads(self._decode_part, list(enumerate(parts))))]
        if len(sizes := {picture.shape[1::-1] for picture in pictures}) > 1:
            raise ValueError(f"pictures are turned within the file: {sorted(sizes)}")
        return np.stack(pictures)

    def _decode_part(self, part: tuple[int, list[int]]) -> list[np.ndarray]:
        """Decode uint8 `[H, W, 3]` of ascending frame numbers by the part's own decoder."""
        from av.video.reformatter import VideoReformatter

        index, numbers = part
        if index not in self._decoders:
            self._decoders[index] = self._decoders[0].clone()
        scaler, decoder = VideoReformatter(), self._decoders[index]  # one per thread
        return [to_rgb(frame, scaler, decoder.size) for frame in decoder.decode(numbers)]


def to_rgb(frame, scaler, size: tuple[int, int] | None = None) -> np.ndarray:
    """Convert a frame of PyAV to uint8 `[H, W, 3]`, turned and mirrored as ffmpeg does.

    Args:
        frame: the frame.
        scaler: a `VideoReformatter`.
        size: width and height to scale to before it is turned; None: as it is.
    """
    options = {"format": "rgb24", "threads": 1}
    if size and size != (frame.width, frame.height):  # by ffmpeg's own method
        options |= {"width": size[0], "height": size[1], "interpolation": "BICUBIC"}
    picture = scaler.reformat(frame, **options).to_ndarray()
    return turn_upright(picture, frame)


def map_threads(work: Callable[[Any], Any], items: Sequence) -> list:
    """Map a function that releases the GIL over items; the results are in order.

    Uses torch.get_num_threads() threads (a loader worker has only itself). The first error in that
    order is raised; later items may have been worked on by then.
    """
    threads = min(torch.get_num_threads(), len(items))
    if threads < 2:
        return [work(item) for item in items]
    with ThreadPoolExecutor(threads) as pool:
        return list(pool.map(work, items))
