"""Read a recording in order, each frame once, in memory that does not grow with its length.

`VideoFile` lists the packets of a file to find single frames of it. Here none is kept.
"""

import logging
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import Tensor, from_numpy

from ..data.video import FrameFolder, VideoError, explain_error
from ..data.video_packets import MISSING_FRAMES, open_video
from ..data.video_readers import to_rgb

log = logging.getLogger(__name__)

USUAL_FPS = 30.0  # where a file tells no frame rate


class Timing(NamedTuple):
    """How long a recording lasts, and how many frames it has a second."""

    seconds: float
    fps: float


class TimedFrame(NamedTuple):
    """A frame of a recording: its time in seconds from the first one, and how it is read."""

    time: float
    read: Callable[[], Tensor]  # uint8 [H, W, 3], RGB


def video_timing(path: Path) -> Timing | None:
    """Read the timing of a video from its header, else from its packets.

    None: it has none, or cannot be read.
    """
    import av

    try:
        with open_video(path) as (container, stream):
            fps = float(stream.average_rate or stream.guessed_rate or USUAL_FPS)
            if stream.duration:
                return Timing(float(stream.duration * stream.time_base), fps)
            if container.duration:
                return Timing(container.duration / av.time_base, fps)
            times = [packet.pts for packet in container.demux(stream) if packet.pts is not None]
            span = float((max(times) - min(times)) * stream.time_base) if times else 0.0
            return Timing(span + 1 / fps, fps) if times else None
    except (OSError, ValueError, av.FFmpegError):
        return None


def stream_video(path: Path) -> Iterator[TimedFrame]:
    """Yield all frames of a video file in the order of display.

    Damaged packets are skipped, and that is logged. A frame without a time, or with one that is not
    later than that of the frame before, comes one period after it.

    Raises:
        VideoError: the file cannot be opened or has no frame. While reading: it breaks off, or it
            ends before its header says.
    """
    import av
    from av.video.reformatter import VideoReformatter

    scaler, timing, time, first = VideoReformatter(), video_timing(path), -1.0, 0.0
    try:
        with open_video(path) as (container, stream):
            stream.thread_type = "AUTO"
            for frame in _decode_packets(container, stream, path):
                stamp = frame.time
                if time < 0:
                    time, first = 0.0, stamp or 0.0
                elif stamp is not None and stamp - first > time:
                    time = stamp - first
                else:
                    time += 1 / timing.fps if timing else 1 / USUAL_FPS
                yield TimedFrame(time, partial(_to_tensor, frame, scaler))
    except (OSError, ValueError, av.FFmpegError) as error:
        where = f"it breaks off after {time:.1f} s: " if time > 0 else ""
        raise VideoError(f"{path}: {where}{explain_error(error)}") from None
    if time < 0:
        raise VideoError(f"{path}: there is no frame that can be decoded")
    if timing and time + 1 / timing.fps < (1 - MISSING_FRAMES) * timing.seconds:
        lasts = f"its frames end after {time:.1f} of {timing.seconds:.1f} s"
        raise VideoError(f"{path}: truncated: {lasts}")


def stream_folder(folder: FrameFolder, fps: float) -> Iterator[TimedFrame]:
    """Yield the frames of a folder; only those that are needed are read."""
    for number in range(folder.num_frames):
        yield TimedFrame(number / fps, partial(_read_one, folder, number))


def _read_one(folder: FrameFolder, number: int) -> Tensor:
    return folder.frames([number])[0]


def _to_tensor(frame, scaler) -> Tensor:
    return from_numpy(np.ascontiguousarray(to_rgb(frame, scaler)))


def _decode_packets(container, stream, path: Path) -> Iterator:
    """Decode the packets of a stream; the first damaged one is logged."""
    import av

    damaged = False
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:
            if not damaged:
                log.warning("%s: damaged packets are skipped", path)
            damaged = True
