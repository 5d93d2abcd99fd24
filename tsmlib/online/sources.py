"""Frames of a source, one after the other: a file, a camera, an address, a pipe, or arrays.

Files and arrays are read completely, frame by frame; `paced`, they play at their own frame rate.
Cameras, addresses and pipes do not wait for the network: only the newest frame counts
(frame_readers.py).
"""

import logging
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..configs import ConfigError
from ..data.video import VideoError
from ..data.video_readers import to_rgb
from ..paths import expand_home
from .frame_readers import EveryFrame, NewestFrame

log = logging.getLogger(__name__)

TIMEOUT = 10.0  # seconds without a frame after which a source counts as stalled
KINDS = "a file, the number of a camera, an address (rtsp:, http:), a named pipe, or - for stdin"


class Frame(NamedTuple):
    """A frame of a source."""

    picture: np.ndarray  # uint8 [H, W, 3], RGB
    time: float  # seconds from the first frame of the source
    arrived: float  # when it was there to be used, in seconds of the clock


class Input(NamedTuple):
    """What FFmpeg opens for a source."""

    file: str
    name: str  # for messages
    advice: str  # to those for whom it cannot be opened
    live: bool = True  # it does not wait for its reader
    format: str | None = None
    options: dict[str, str] = {}


def open_source(
    source: str | Path | int | Iterable,
    *,
    paced: bool = False,
    frame_step: int = 1,
    fps: float = 30.0,
    timeout: float = TIMEOUT,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> EveryFrame:
    """Open a source of frames; iterate over what is returned, inside a `with`.

    Args:
        source: a file; the number of a camera; an address; a named pipe, or `-` for stdin, with an
            encoded video; or an iterable of uint8 `[H, W, 3]` RGB (or of `Frame`).
        paced: a file, a pipe with a recording, or an iterable gives each frame when its time has
            come, and frames are dropped where nobody takes them.
        frame_step: every so many frames one enters; the others are not counted as dropped.
        fps: frames a second of an iterable of arrays.
        timeout: seconds without a frame after which a source that is not waited for has stalled.
        clock, sleep: of the machine, or of a test.

    Raises:
        ConfigError: `frame_step`, `fps` or `timeout` is not positive.
        VideoError: there is no such source. While reading: it cannot be opened, has no frame,
            stalls or breaks off.
    """
    for name, value in (("frame_step", frame_step), ("fps", fps), ("timeout", timeout)):
        if not value > 0:
            raise ConfigError(f"{name}={value} must be larger than 0")
    if isinstance(source, str | Path | int):
        found = find_input(source)
        name, live = found.name, found.live
        frames = _decode(found, timeout, clock)
    else:
        name, live = "the source", False
        frames = _from_arrays(source, fps, clock)
    if frame_step > 1:
        frames = _every(frames, frame_step)
    if paced:
        frames = pace(frames, clock, sleep)
    return NewestFrame(frames, name, timeout) if live or paced else EveryFrame(frames)


def find_input(source: str | Path | int) -> Input:
    """Tell what a source is by its name.

    Raises:
        VideoError: there is nothing that could be opened.
    """
    text = str(source).removeprefix("file://")
    path = expand_home(text)
    if not text.strip():
        raise VideoError(f"the name of the source is empty; a source is {KINDS}")
    if text == "-":
        if os.isatty(0):
            raise VideoError("the source - reads a video from stdin, but nothing is piped into it")
        advice = "pipe an encoded video into it (ffmpeg -i ... -f matroska - | tsm ...)"
        return Input("pipe:0", "stdin", advice)
    if camera := re.fullmatch(r"(?:/dev/video)?(\d+)", text):
        return _camera(int(camera[1]))
    if "://" in text:
        public = re.sub(r"//[^/@]*@", "//", text)  # without user and password
        options = {"rtsp_transport": "tcp"} if text.startswith("rtsp") else {}
        return Input(text, public, "check the address and its server", options=options)
    if not path.exists():
        raise VideoError(f"there is no {text}; a source is {KINDS}")
    if path.is_dir():
        raise VideoError(f"{text} is a folder; a source is {KINDS}")
    if path.is_fifo():
        return Input(str(path), text, "write an encoded video into it")
    if path.stat().st_size == 0:
        raise VideoError(f"{text} is an empty file; name another one")
    return Input(str(path), text, "name a video file", live=False)


def pace(
    frames: Iterator[Frame], clock: Callable[[], float], sleep: Callable[[float], None]
) -> Iterator[Frame]:
    """Give each frame when its time has come, as a camera would; the first one at once."""
    start = None
    for frame in frames:
        start = clock() - frame.time if start is None else start
        early = start + frame.time - clock()
        if early > 0:
            sleep(early)
        yield frame._replace(arrived=clock())


def _camera(number: int) -> Input:
    """Name a camera as the system's own driver does."""
    advice = f"connect and allow one, or name another source: {KINDS}"
    name, options = f"camera {number}", {}
    if sys.platform == "darwin":  # without sound; FFmpeg's own rate, 29.97, is refused by most
        file, form, options = f"{number}:none", "avfoundation", {"framerate": "30"}
    elif sys.platform == "win32":
        file, form = _find_windows_camera(number, advice), "dshow"
    else:
        file, form = f"/dev/video{number}", "v4l2"
        name = f"{name} ({file})"
    return Input(file, name, advice, format=form, options=options)


def _find_windows_camera(number: int, advice: str) -> str:
    """Name a camera for DirectShow, which does not number them."""
    import av

    if not hasattr(av, "enumerate_input_devices"):
        raise VideoError("cameras on Windows need a newer PyAV: pip install -U av")
    devices = [d for d in av.enumerate_input_devices("dshow") if "video" in d.media_types]
    if number >= len(devices):
        raise VideoError(f"there is no camera {number} among {len(devices)}; {advice}")
    return f"video={devices[number].name}"


def _decode(source: Input, timeout: float, clock: Callable[[], float]) -> Iterator[Frame]:
    """Open a source and yield its frames, with times that begin at 0 and never jump back."""
    import av
    from av.video.reformatter import VideoReformatter

    scaler, count = VideoReformatter(), 0
    try:
        container = av.open(
            source.file, format=source.format, options=source.options, timeout=timeout,
            metadata_errors="replace",
        )  # fmt: skip
    except (OSError, ValueError, av.FFmpegError) as error:
        reason = f"cannot be opened: {_reason(error)}"
        raise VideoError(f"{source.name} {reason}; {source.advice}") from None
    with container:
        stream = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise VideoError(f"{source.name} holds no video that can be decoded; {source.advice}")
        timeline = _Timeline(1 / float(stream.guessed_rate or stream.average_rate or 30))
        try:
            for frame in _decode_packets(container, stream, source.name):
                count += 1
                picture = np.ascontiguousarray(to_rgb(frame, scaler))
                yield Frame(picture, timeline.add(frame.time), clock())
        except av.FFmpegError as error:
            reason = f"broke off after {count} frames: {_reason(error)}"
            raise VideoError(f"{source.name} {reason}; {source.advice}") from None
    if not count:
        raise VideoError(f"{source.name} has no frame that can be decoded; {source.advice}")


def _decode_packets(container: Any, stream: Any, name: str) -> Iterator:
    """Yield the frames of a stream of PyAV; damaged packets are skipped."""
    import av

    damaged = False
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except av.InvalidDataError:  # a lossy network, or the first packet of a camera
            if not damaged:
                log.warning("%s: damaged packets are skipped", name)
            damaged = True


class _Timeline:
    """Seconds from the first frame, where time stamps are missing or begin anew as well."""

    def __init__(self, period: float):
        self.period, self.now = period, -period
        self.offset: float | None = None

    def add(self, stamp: float | None) -> float:
        """Return the time of the next frame; it is one period later if its stamp tells none."""
        if stamp is None or self.offset is None or stamp + self.offset <= self.now:
            self.now += self.period
            self.offset = None if stamp is None else self.now - stamp
        else:
            self.now = stamp + self.offset
        return self.now


def _reason(error: Exception) -> str:
    """Cut an error of FFmpeg to its reason."""
    if type(error).__name__ == "ExitError":
        return "no answer within the timeout"
    return getattr(error, "strerror", None) or str(error)


def _from_arrays(frames: Iterable, fps: float, clock: Callable[[], float]) -> Iterator[Frame]:
    number = -1
    for number, frame in enumerate(frames):
        if isinstance(frame, Frame):
            yield frame
            continue
        picture = np.ascontiguousarray(frame)  # BGR turned to RGB by [..., ::-1] is not
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[-1] != 3:
            shape = f"{picture.dtype} {list(picture.shape)}"
            raise VideoError(f"frame {number} is {shape}; frames are uint8 [H, W, 3], RGB")
        yield Frame(picture, number / fps, clock())
    if number < 0:
        raise VideoError("the source has no frame")


def _every(frames: Iterator[Frame], step: int) -> Iterator[Frame]:
    return (frame for number, frame in enumerate(frames) if number % step == 0)
