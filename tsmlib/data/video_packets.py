"""The packets of a video file, listed once without decoding, and their decoder (PyAV)."""

import copy
import operator
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, NamedTuple

import simplejpeg

from .video_limits import (
    MAX_PACKETS,
    MAX_PIXELS,
    VIDEO_FORMATS,
    Source,
    announced_frames,
    check_regular,
    check_size,
    size_of,
    url_of,
)

MISSING_FRAMES = 0.05  # share of the expected frames that may be absent; decoders differ by a few
MAX_KEPT_BYTES = 2**26  # of packets, and of frames decoded in order, that a reader keeps
JPEG_END = b"\xff\xd9"
SLICES = (1, 2, 3, 4, 5)  # H.264, table 7-1: NAL units of pictures
BESIDE = range(6, 13)  # and what may stand before them


class UnexpectedPackets(Exception):
    """The packets do not tell what will be decoded, or the decoder gives something else."""


class Packet(NamedTuple):
    """The facts about a packet that are known without decoding it."""

    pts: int | None  # when its frame is shown, in units of the stream
    dts: int | None  # when it is decoded
    size: int  # bytes
    key: bool
    hidden: bool  # decoded, but cut off by the edit list in the file's header


class PacketDecoder:
    """The packets of a video in decoding order, and their decoder.

    Attributes:
        size: width and height of the frames, as the header states them.
        announced: number of frames that the header promises, 0 if it does not say.
    """

    def __init__(self, source: Source, max_kept: int = MAX_KEPT_BYTES):
        self.packets: list[Packet] = []
        self._file, self.parameters_change, self.max_kept = source, False, max_kept
        with open_video(source) as (container, stream):
            self.format, self.decoder = container.format.name, _decoder(stream)
            self.size = self.decoder.width, self.decoder.height
            self._kept: list | None = [] if size_of(source) <= max_kept else None
            self.field_order, self.reorders = self.decoder.field_order, self.decoder.has_b_frames
            last: dict[int, int] = {}  # end of each stream, in its own unit
            for packet in container.demux():
                index = packet.stream_index
                if packet.pts is not None:
                    last[index] = max(last.get(index, 0), packet.pts + (packet.duration or 0))
                if index == stream.index and packet.size:
                    self._add(packet)
            units = (container.streams[index].time_base for index in last)
            ends = max(map(float, map(operator.mul, last.values(), units)), default=0.0)
            self.announced = announced_frames(source, container, stream, len(self.packets), ends)
        self._ahead, self.position = iter(()), len(self.packets)  # packets still to come
        self.codec = self.decoder.name

    def _add(self, packet) -> None:
        key, changed = packet.is_keyframe, packet.has_sidedata("new_extradata")
        facts = packet.pts, packet.dts, packet.size, key, packet.is_discard
        self.packets.append(Packet(*facts))
        self.parameters_change |= key and changed
        if self._kept is not None:
            self._kept.append(packet)
        if len(self.packets) > MAX_PACKETS:
            raise ValueError(f"it has more than {MAX_PACKETS} frames: cut it into parts")

    def clone(self) -> "PacketDecoder":
        """Return the same packets with another decoder."""
        twin = copy.copy(self)
        with open_video(self._file) as (_, stream):
            twin.decoder = _decoder(stream)
        twin._ahead, twin.position = iter(()), len(self.packets)
        return twin

    def seek(self, position: int) -> None:
        """Reset the decoder and continue with the packet at this position."""
        self.decoder.flush_buffers()
        if position < self.position:
            self._ahead = _reopened(self._file) if self._kept is None else iter(self._kept)
            self.position = 0
        gap, self.position = position - self.position, position
        next(islice(self._ahead, gap, gap), None)

    def decode_next(self, skip: bool = False) -> list:
        """Decode the next packet; `skip` lets the decoder drop it if no frame refers to it."""
        self.position += 1
        packet: Any = next(self._ahead)
        if skip and self.decoder.name == "h264":
            skip = _is_unreferenced(packet, self.decoder.extradata)
        self.decoder.skip_frame = "NONREF" if skip else "DEFAULT"
        if self.decoder.name == "mjpeg":
            _check_jpeg(packet)
        return self._decode(packet)

    def flush(self) -> list:
        """Return the frames that the decoder still holds back to reorder them."""
        return self._decode(None)

    def _decode(self, packet) -> list:
        import av

        try:
            return self.decoder.decode(packet)
        except av.FFmpegError as error:
            raise UnexpectedPackets(str(error)) from None


@contextmanager
def open_video(source: Source) -> Iterator[tuple[Any, Any]]:
    """Open a file of a video container, and give that and its main video stream.

    Raises:
        ValueError: no ordinary file, without video, or of a size that is not read.
    """
    import av

    check_regular(source)
    allowed = {"format_whitelist": ",".join(VIDEO_FORMATS), "protocol_whitelist": "file,subfile"}
    try:
        opened = av.open(url_of(source), metadata_errors="replace", options=allowed)
    except av.ArgumentError:
        raise ValueError(
            "it is no video: playlists and other texts that name files are not"
        ) from None
    with opened as container:
        stream: Any = container.streams.best("video")
        if stream is None or stream.codec_context is None:
            raise ValueError("there is no video that can be decoded")
        check_size(stream.width, stream.height)
        yield container, stream


def _decoder(stream):
    """Return the decoder of a stream; it outlives the container."""
    decoder = stream.codec_context
    decoder.thread_count = 1  # loaders have processes, and readers their own threads
    decoder.options = {"max_pixels": str(MAX_PIXELS)}  # frames may be larger than the header says
    if decoder.name == "mjpeg":  # else what is lost of a picture is what its memory held before
        decoder.options |= {"err_detect": "explode"}
    return decoder


def _is_unreferenced(packet, extradata: bytes | None) -> bool:
    """Tell whether a packet of H.264 begins a picture that no other one refers to.

    The decoder knows that, too, but where it may skip, it is silent about others that are damaged.
    Units with their lengths before them: ISO/IEC 14496-15, 5.3; their headers: H.264, 7.3.1.
    """
    if not extradata or extradata[0] != 1:
        return False
    data, length, start, header = memoryview(packet), (extradata[4] & 3) + 1, 0, BESIDE[0]
    while header & 31 in BESIDE and start + length < len(data):
        header = data[start + length]
        start += length + int.from_bytes(data[start : start + length])
    return header & 31 in SLICES and not header >> 5


def _check_jpeg(packet) -> None:
    """Raise `UnexpectedPackets` where libjpeg finds that a picture of MJPEG is not whole.

    FFmpeg does not notice everything. The end is added, as some encoders write none, or zeros.
    """
    data, reason = bytes(packet), ""
    for scan in (data, data.rstrip(b"\0")):
        try:
            simplejpeg.decode_jpeg(scan + JPEG_END, "GRAY", strict=True)
        except ValueError as error:
            reason = str(error)
        else:
            return
    raise UnexpectedPackets(reason)


def _read(container, stream) -> Iterator:
    """Yield the packets of a stream, without the empty one at the end."""
    return (packet for packet in container.demux(stream) if packet.size)


def _reopened(source: Source) -> Iterator:
    with open_video(source) as (container, stream):
        yield from _read(container, stream)
