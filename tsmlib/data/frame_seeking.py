"""Which packets of a video must be decoded for some of its frames, and which of them come out.

Works on packets that `tsmlib.data.video` has listed, and knows no decoder.
"""

import copy
from bisect import bisect_right
from collections.abc import Iterator
from itertools import groupby, islice
from typing import Any, NamedTuple, Protocol

MISSING_FRAMES = 0.05  # share of the promised frames that may be absent; decoders differ by a few
APART = 16  # packets a decoder gets at least: as much work as opening the file once more
KEPT = 2**26  # bytes of packets, and of pictures decoded in order, that a reader keeps

# Containers that say when each frame is shown. AVI does not: its guess holds where no frame is
# reordered. In streams (MPEG-TS, MPEG-PS) a packet may be half a frame.
TIMED = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv")
# Codecs of which every packet gives one frame (in VP8, say, some show nothing)
ONE_EACH = ("h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg", "vp9", "libdav1d")
# Codecs whose unreferenced frames can be left out (in HEVC, those of other layers may need them)
SKIPPING = ("h264", "mpeg4", "mpeg1video", "mpeg2video")
NO_PICTURE = 19  # bytes: an MPEG-4 packet as small may hold no picture (FFmpeg's MAX_NVOP_SIZE)


class Unexpected(Exception):
    """Packets do not tell what will be decoded, or the decoder gives something else."""


class Packet(NamedTuple):
    """What is known of a packet without decoding it."""

    pts: int | None  # when its frame is shown, in units of the stream
    dts: int | None  # when it is decoded
    size: int  # bytes
    key: bool
    hidden: bool  # decoded, but cut off by a note in the header of an edited file


class Packets(Protocol):
    """The packets of a video in decoding order, and their decoder."""

    listed: list[Packet]
    position: int  # of the packet that is decoded next
    promised: int  # frames, by the file's header
    format: str  # FFmpeg's name of the container
    codec: str  # and of the decoder
    changing: bool  # whether parameters of the decoder change on the way

    def another(self) -> "Packets":
        """The same packets, with a decoder of their own."""

    def go_to(self, position: int) -> None:
        """Let the decoder forget everything, and continue with this packet."""

    def decode_next(self, skip: bool = False) -> list[Any]:
        """Frames that the next packet brings out; `skip`: not its own, if no other needs it.

        Raises:
            Unexpected: it cannot be decoded.
        """

    def drain(self) -> list[Any]:
        """Frames that the decoder still holds back, to show them in order."""


class Seeking:
    """Decodes only groups of pictures that hold wanted frames.

    Raises:
        Unexpected: the packets do not tell how many frames there are, or in which order.
    """

    def __init__(self, packets: Packets):
        listed, self._packets = packets.listed, packets
        if not _one_frame_each(packets):
            raise Unexpected
        self._skips = packets.codec in SKIPPING and packets.format in TIMED
        shown = [position for position, packet in enumerate(listed) if not packet.hidden]
        self._positions = sorted(shown, key=lambda position: listed[position].pts)
        self._numbers = {listed[position].pts: n for n, position in enumerate(self._positions)}
        self.num_frames = self._last = len(shown)  # `_last`: that the decoder gave; no more follow
        self._keys = [position for position, packet in enumerate(listed) if packet.key]
        self._key_numbers = [self._numbers.get(listed[key].pts, -1) for key in self._keys]
        ordered = self._key_numbers == sorted(self._key_numbers)
        if not ordered or self._keys[:1] != [0] or self._key_numbers[0] > 0:
            raise Unexpected

    def another(self) -> "Seeking":
        """The same, with a decoder of its own."""
        twin = copy.copy(self)
        twin._packets, twin._last = self._packets.another(), self.num_frames
        return twin

    def shares(self, wanted: list[int], count: int) -> list[list[int]]:
        """Ascending frame numbers in at most `count` parts, about the same work for decoders."""
        groups = [list(group) for _, group in groupby(wanted, self._key)]
        work = [self._end(group) - self._keys[self._key(group[0])] for group in groups]
        count, before, found = min(count, sum(work) // APART), 0, {}
        if count < 2 or _in_a_row(wanted):
            return [wanted]
        for group, packets in zip(groups, work, strict=True):
            middle = before + packets / 2
            found.setdefault(int(count * middle / sum(work)), []).extend(group)
            before += packets
        return list(found.values())

    def decode(self, wanted: list[int]) -> Iterator:
        """Frames of ascending numbers."""
        try:
            for key, group in groupby(wanted, self._key):
                yield from self._group(key, list(group), more=_in_a_row(wanted))
        except Unexpected:
            self._last = self.num_frames
            raise

    def _key(self, number: int) -> int:
        """The last key packet from which on a frame can be decoded.

        A frame that is decoded after a key frame but shown before it (open GOP) needs the key
        frame before that.
        """
        decoded = bisect_right(self._keys, self._positions[number])
        return min(decoded, bisect_right(self._key_numbers, number)) - 1

    def _end(self, wanted: list[int]) -> int:
        """The position behind the last packet that frames need."""
        return 1 + max(self._positions[number] for number in wanted)

    def _group(self, key: int, wanted: list[int], more: bool) -> Iterator:
        """Frames that need the same key frame; `more`: go on so that others can follow."""
        packets, missing = self._packets, set(wanted)
        if not (self._keys[key] <= packets.position and self._last < wanted[0]):
            packets.go_to(self._keys[key])
            self._first = self._key_numbers[key]
            self._last = max(0, self._first) - 1
        end = len(packets.listed) if more else self._end(wanted)
        while missing:
            drained = packets.position >= end
            frames = packets.drain() if drained else packets.decode_next(self._needless(wanted))
            for frame in frames:
                number = self._number(frame)
                if number in missing:
                    missing.remove(number)
                    yield frame
            if drained:
                self._last = self.num_frames
                if missing:
                    raise Unexpected

    def _needless(self, wanted: list[int]) -> bool:
        """Whether the next packet's frame is not wanted itself, and others may not need it."""
        packet = self._packets.listed[self._packets.position]
        number = self._numbers.get(packet.pts, -1)
        return self._skips and not packet.key and number < wanted[-1] and number not in wanted

    def _number(self, frame) -> int:
        """Which frame the decoder gives; -1: shown before the key frame, and made without it."""
        number, last = self._numbers.get(frame.pts), self._last
        if number is not None and number < self._first:
            return -1
        if number is None or number <= last or frame.is_corrupt:
            raise Unexpected
        if last < self._first and (number > self._first or not frame.key_frame):
            raise Unexpected  # a key packet that others must have prepared (intra refresh)
        lost = (self._positions[n] < self._packets.position for n in range(last + 1, number))
        if not self._skips and any(lost):
            raise Unexpected
        self._last = number
        return number


def _one_frame_each(packets: Packets) -> bool:
    """Whether each packet gives one frame, and says when it is shown."""
    codec, times = packets.codec, [packet.pts for packet in packets.listed]
    timed = packets.format in TIMED or times == [packet.dts for packet in packets.listed]
    filled = codec != "mpeg4" or all(packet.size > NO_PICTURE for packet in packets.listed)
    distinct = None not in times and len(set(times)) == len(times)
    return codec in ONE_EACH and timed and filled and distinct and not packets.changing


def _in_a_row(wanted: list[int]) -> bool:
    """Whether these may be a part of all, and more will follow."""
    return 1 < len(wanted) == wanted[-1] - wanted[0] + 1


class InOrder:
    """Decodes everything, up to a packet that cannot be decoded.

    Raises:
        ValueError: too many frames are lost.
    """

    def __init__(self, packets: Packets):
        self._packets, self._kept, self.num_frames, size = packets, [], 0, 0
        for frame in _all_frames(packets):
            self.num_frames += 1
            size += sum(plane.buffer_size for plane in frame.planes)
            if size <= KEPT:
                self._kept.append(frame)
        if size > KEPT:
            self._kept.clear()
        self._next, self._frames = self.num_frames, iter(())
        total = len(packets.listed)
        if self.num_frames == 0 or packets.position < (1 - MISSING_FRAMES) * total:
            raise ValueError(f"damaged: the first {self.num_frames} of {total} frames are whole")

    def shares(self, wanted: list[int], count: int) -> list[list[int]]:
        """All of them for this one: others would decode everything again."""
        return [wanted]

    def decode(self, wanted: list[int]) -> Iterator:
        """Frames of ascending numbers."""
        if self._kept:
            yield from (self._kept[number] for number in wanted)
            return
        if wanted[0] < self._next:
            self._next, self._frames = 0, _all_frames(self._packets)
        for number in wanted:
            yield next(islice(self._frames, number - self._next, None))
            self._next = number + 1


def _all_frames(packets: Packets) -> Iterator:
    packets.go_to(0)
    begun = False
    while packets.position < len(packets.listed):
        try:
            frames = packets.decode_next()
        except Unexpected:
            if begun:
                break
            continue  # recordings of a broadcast begin with what needs earlier packets
        begun = begun or bool(frames)
        yield from frames
    yield from packets.drain()
