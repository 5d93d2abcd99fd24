"""Damage videos and frames at random, and hold what is read of them against a full decode.

Each is read in a process of its own kind, which may crash or hang. Three frames are asked for at
random, and all in a row. Either there is a `VideoError`, or they are those of a decoder that reads
the file once from its beginning: PyAV, of single frames Pillow.
"""

import io
import multiprocessing
import random
import resource
from collections import Counter
from collections.abc import Callable, Iterable
from itertools import chain, pairwise
from multiprocessing.connection import Connection
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
import torch
from av.video.reformatter import VideoReformatter
from PIL import Image

from tsmlib import VideoError
from tsmlib.data.video import FrameFolder, VideoFile, encode_frames
from tsmlib.data.video_readers import to_rgb

COUNT, HEIGHT, WIDTH = 24, 48, 64  # frames of a video, and their size
HANGS = 20  # seconds
FORMS = {
    "h264.mp4": ("libx264", {"g": "8", "bf": "2"}),
    "mpeg4.mp4": ("mpeg4", {"g": "8"}),
    "mjpeg.mov": ("mjpeg", {}),
    "h264.avi": ("libx264", {"g": "8", "bf": "0"}),
    "mpeg4.avi": ("mpeg4", {"g": "8"}),
    "mjpeg.avi": ("mjpeg", {}),
    "h264.mkv": ("libx264", {"g": "8", "bf": "2"}),
    "vp8.webm": ("libvpx", {"g": "8", "cpu-used": "8"}),
    "vp9.webm": ("libvpx-vp9", {"g": "8", "cpu-used": "8"}),
    "h264.ts": ("libx264", {"g": "8", "bf": "0"}),
    "mpeg2.mpg": ("mpeg2video", {"g": "8"}),
    "flv1.flv": ("flv1", {"g": "8"}),
    "frame.jpg": ("", {}),
}


class Case(NamedTuple):
    """A damaged file, and what was done to it."""

    file: Path
    story: str


def pictures(count: int = COUNT) -> np.ndarray:
    """Draw uint8 `[T, H, W, 3]`: a bright bar moves over still noise, a number of its own each."""
    drawn = np.random.default_rng(0).integers(0, 120, (1, HEIGHT, WIDTH, 3), np.uint8)
    drawn = drawn.repeat(count, 0)
    for t in range(count):
        drawn[t, :, 2 * t : 2 * t + 8] = 240
    return drawn


def write_whole_files(folder: Path) -> dict[str, bytes]:
    """Encode a video of each form, and a frame; return their contents by name."""
    for name, (codec, options) in FORMS.items():
        if not codec:
            continue
        with av.open(str(folder / name), "w") as container:
            stream = container.add_stream(codec, rate=25, options=options)
            stream.width, stream.height = WIDTH, HEIGHT
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            stream.thread_count = 1
            for picture in pictures():
                frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
                container.mux(stream.encode(frame))
            container.mux(stream.encode())
    (folder / "frame.jpg").write_bytes(encode_frames(torch.from_numpy(pictures(1)))[0])
    return {name: (folder / name).read_bytes() for name in FORMS}


# --- damage ---------------------------------------------------------------------------------------


def damage(content: bytes, draw: random.Random) -> tuple[bytes, str]:
    """Damage the bytes of a file in one of seven ways; return them, and what was done."""
    data, size = bytearray(content), len(content)
    kind = draw.choice(("bit", "bits", "end", "cut", "zeros", "noise", "gap"))
    start = draw.randrange(size)
    length = min(draw.choice((1, 4, 16, 64, 256, 1024)), size - start)
    if kind in ("bit", "bits", "end"):
        edge = min(size, 400)
        for _ in range({"bit": 1, "bits": 20, "end": 2}[kind]):
            place = draw.randrange(size)
            if kind == "end":  # headers and tables are there
                place = draw.choice((draw.randrange(edge), size - 1 - draw.randrange(edge)))
            data[place] ^= 1 << draw.randrange(8)
    elif kind == "cut":
        del data[start:]
    elif kind == "gap":
        del data[start : start + length]
    else:
        noise = bytes(length) if kind == "zeros" else draw.randbytes(length)
        data[start : start + length] = noise
    return bytes(data), f"{kind}, {length} bytes from {start}"


def damaged_files(count: int, seed: int, folder: Path) -> Iterable[Case]:
    """Write damaged files one after the other."""
    whole, draw = write_whole_files(folder), random.Random(seed)
    for number in range(count):
        name = list(FORMS)[number % len(FORMS)]
        content, story = damage(whole[name], draw)
        file = folder / f"{number:05}-{name}"
        file.write_bytes(content)
        yield Case(file, f"case {number}, {name}: {story}")


# --- reading --------------------------------------------------------------------------------------


def decode_all(file: Path) -> list[dict[int, np.ndarray]]:
    """Decode all frames from the beginning, and number them in two ways.

    Returns:
        Up to the first packet that cannot be decoded, as they come; and all of them by their times,
        where packets are counted that gave none. A frame that is lost may be found from its key
        frame on.
    """
    if file.suffix == ".jpg":
        return [{0: np.asarray(Image.open(io.BytesIO(file.read_bytes())).convert("RGB"))}]
    packets, frames, first = _decode(file)
    stopped = frames if first is None else _decode(file, stop=first)[1]
    size, scaler = frames and (frames[0].width, frames[0].height), VideoReformatter()
    by_order = {n: to_rgb(frame, scaler, size) for n, frame in enumerate(stopped)}
    times = sorted(packet.pts for packet in packets if packet.pts is not None)
    if len(set(times)) < len(packets):
        return [by_order]
    keys = [i for i, packet in enumerate(packets) if packet.is_keyframe]
    lost = len(frames) < len(packets)
    groups = [_decode(file, *ends)[1] for ends in pairwise([*keys, len(packets)]) if lost]
    by_time = {
        times.index(frame.pts): to_rgb(frame, scaler, size)
        for frame in chain(*groups, frames, stopped) if frame.pts in times
    }  # fmt: skip
    return [by_order, by_time]


def _decode(
    file: Path, start: int = 0, stop: int | None = None
) -> tuple[list[av.Packet], list[av.VideoFrame], int | None]:
    """Decode some packets; return them, their frames, and which one ended a row of frames."""
    frames, first = [], None
    with av.open(str(file), metadata_errors="replace") as container:
        stream = container.streams.best("video")
        stream.codec_context.thread_count = 1
        packets = [packet for packet in container.demux(stream) if packet.size][start:stop]
        for i, packet in enumerate([*packets, None]):
            try:
                frames += stream.codec_context.decode(packet)
            except av.FFmpegError:
                if frames and first is None:
                    first = i
    return packets, frames, first


def check(case: Case) -> str:
    """Read a file; return `refused`, `right`, or what is wrong.

    A file may be numbered in two ways, but not in both: a number is one picture, always.
    """
    if case.file.suffix == ".jpg":
        read, requests = FrameFolder(case.file.parent, 1, case.file.name, 0), [[0]]
    else:
        try:
            read = VideoFile(case.file, decoder="pyav")
        except VideoError as error:
            return _check_sentence(error)
        draw = random.Random(case.story)
        numbers = range(read.num_frames)
        requests = [[draw.choice(numbers) for _ in range(3)], list(numbers)[: 2 * COUNT]]
    numberings = None  # that agree with all that was read
    for request in requests:
        try:
            found = read.frames(request).numpy()
        except VideoError as error:
            if (sentence := _check_sentence(error)) != "refused":
                return sentence
            continue
        before = decode_all(case.file) if numberings is None else numberings
        numberings = [n for n in before if _agree(request, found, n)]
        if not numberings:
            return f"wrong: frames {request} of {[len(n) for n in before]}"
    return "right" if numberings else "refused"


def _agree(numbers: list[int], pictures: np.ndarray, known: dict[int, np.ndarray]) -> bool:
    return all(
        number in known and np.array_equal(picture, known[number])
        for number, picture in zip(numbers, pictures, strict=True)
    )


def _check_sentence(error: VideoError) -> str:
    return "refused" if len(str(error).splitlines()) == 1 else f"wrong: no sentence: {error}"


def _work(cases: list[Case], connection: Connection) -> None:
    """Read files, and tell of each when it is done."""
    for case in cases:
        try:
            connection.send((check(case), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss))
        except Exception as error:
            connection.send((f"wrong: {type(error).__name__}: {error}", 0))


def read_in_processes(
    cases: list[Case], wrong: list[str], say: Callable[[str], None], seconds: float = HANGS
) -> Counter:
    """Read files in processes; one that crashes or hangs ends with its file. Return the counts."""
    counts, position, fork = Counter(), 0, multiprocessing.get_context("fork")
    while position < len(cases):
        ours, theirs = fork.Pipe(duplex=False)
        process = fork.Process(target=_work, args=(cases[position:], theirs), daemon=True)
        process.start()
        theirs.close()
        while position < len(cases):
            try:
                outcome, memory = ours.recv() if ours.poll(seconds) else ("hangs", 0)
            except EOFError:
                outcome, memory = "crashes", 0
            counts[outcome.partition(":")[0]] += 1
            counts["memory"] = max(counts["memory"], memory)
            if outcome not in ("refused", "right"):
                wrong.append(f"{cases[position].story}: {outcome}")
                say(wrong[-1])
            position += 1
            if position % 100 == 0:
                say(f"{position} damaged files: {dict(counts)}")
            if outcome in ("hangs", "crashes"):
                break
        process.kill()
        process.join()
        ours.close()
    return counts
