"""Frame-accurate seeking: decode only the packets that some frames of a video need."""

import copy
from bisect import bisect_right
from collections.abc import Iterator
from itertools import groupby

from .video_packets import PacketDecoder, UnexpectedPackets

MIN_PACKETS = 16  # per decoder: as much work as opening the file once more

# Containers that say when each frame is shown. AVI does not: its guess holds where no frame is
# reordered. In streams (MPEG-TS, MPEG-PS) a packet may be half a frame.
TIMED_CONTAINERS = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "flv")
# Codecs of which every packet gives one frame (in VP8, say, some show nothing)
ONE_FRAME_CODECS = ("h264", "hevc", "mpeg4", "mpeg1video", "mpeg2video", "mjpeg", "vp9", "libdav1d")
# Codecs whose unreferenced frames can be left out (in HEVC, those of other layers may need them)
SKIPPABLE_CODECS = ("h264", "mpeg4", "mpeg1video", "mpeg2video")
FIELD_CODECS = ("h264", "mpeg2video")  # codecs of which a packet may be half a frame, a field
UNKNOWN, PROGRESSIVE = 0, 1  # in FFmpeg's AVFieldOrder
MAX_EMPTY_BYTES = 19  # so small an MPEG-4 packet may hold no picture (FFmpeg's MAX_NVOP_SIZE)


class SeekingDecoder:
    """Decodes only the groups of pictures that hold the requested frames.

    `numbers` has the number of each frame by its time.

    Raises:
        UnexpectedPackets: the packets do not tell how many frames there are, or in which order.
    """

    def __init__(self, packets: PacketDecoder):
        listed, self._source, self.size = packets.packets, packets, packets.size
        if not _one_frame_each(packets):
            raise UnexpectedPackets
        self._skips = packets.codec in SKIPPABLE_CODECS and packets.format in TIMED_CONTAINERS
        visible = [position for position, packet in enumerate(listed) if not packet.hidden]
        self._positions = sorted(visible, key=lambda position: listed[position].pts)
        self.numbers = {listed[position].pts: n for n, position in enumerate(self._positions)}
        self.num_frames = self._last = len(visible)  # `_last`: number of the last decoded frame
        self._keys = [position for position, packet in enumerate(listed) if packet.key]
        self._key_numbers = [self.numbers.get(listed[key].pts, -1) for key in self._keys]
        ordered = self._key_numbers == sorted(self._key_numbers)
        if not ordered or self._keys[:1] != [0] or self._key_numbers[0] > 0:
            raise UnexpectedPackets

    def clone(self) -> "SeekingDecoder":
        """Return the same reader with another decoder."""
        twin = copy.copy(self)
        twin._source, twin._last = self._source.clone(), self.num_frames
        return twin

    def partition(self, numbers: list[int], count: int) -> list[list[int]]:
        """Split ascending frame numbers into at most `count` parts of about equal work."""
        groups = [list(group) for _, group in groupby(numbers, self._key)]
        work = [self._end(group) - self._keys[self._key(group[0])] for group in groups]
        count, before = min(count, sum(work) // MIN_PACKETS), 0
        parts: dict[int, list[int]] = {}
        if count < 2 or _in_a_row(numbers):
            return [numbers]
        for group, packets in zip(groups, work, strict=True):
            middle = before + packets / 2
            parts.setdefault(int(count * middle / sum(work)), []).extend(group)
            before += packets
        return list(parts.values())

    def decode(self, numbers: list[int]) -> Iterator:
        """Yield the frames of ascending numbers."""
        try:
            for key, group in groupby(numbers, self._key):
                yield from self._group(key, list(group), more=_in_a_row(numbers))
        except UnexpectedPackets:
            self._last = self.num_frames
            raise

    def _key(self, number: int) -> int:
        """Find the last key packet from which a frame can be decoded.

        A frame that is decoded after a key frame but shown before it (open GOP) needs the key
        frame before that.
        """
        decoded = bisect_right(self._keys, self._positions[number])
        return min(decoded, bisect_right(self._key_numbers, number)) - 1

    def _end(self, numbers: list[int]) -> int:
        """Return the position behind the last packet that the frames need."""
        return 1 + max(self._positions[number] for number in numbers)

    def _group(self, key: int, numbers: list[int], more: bool) -> Iterator:
        """Yield frames that need the same key frame; `more`: decode on for later frames."""
        packets, missing = self._source, set(numbers)
        if not (self._keys[key] <= packets.position and self._last < numbers[0]):
            packets.seek(self._keys[key])
            self._first = self._key_numbers[key]
            self._last = max(0, self._first) - 1
        end = len(packets.packets) if more else self._end(numbers)
        while missing:
            at_end = packets.position >= end
            frames = packets.flush() if at_end else packets.decode_next(self._may_skip(numbers))
            for frame in frames:
                number = self._number(frame)
                if number in missing:
                    missing.remove(number)
                    yield frame
            if at_end:
                self._last = self.num_frames
                if missing:
                    raise UnexpectedPackets

    def _may_skip(self, numbers: list[int]) -> bool:
        """Tell whether the next packet may be skipped: not requested, and not a key frame."""
        packet = self._source.packets[self._source.position]
        number = self.numbers.get(packet.pts, -1)
        return self._skips and not packet.key and number < numbers[-1] and number not in numbers

    def _number(self, frame) -> int:
        """Number a decoded frame; -1: it is shown before the key frame, and lacks references."""
        number, last = self.numbers.get(frame.pts), self._last
        if number is not None and number < self._first:
            return -1
        if number is None or number <= last or frame.is_corrupt:
            raise UnexpectedPackets
        if (frame.width, frame.height) != self.size:
            raise UnexpectedPackets  # the first frame decides, which may be another one
        if last < self._first and (number > self._first or not frame.key_frame):
            raise UnexpectedPackets  # a key packet that depends on earlier packets (intra refresh)
        lost = (self._positions[n] < self._source.position for n in range(last + 1, number))
        if not self._skips and any(lost):
            raise UnexpectedPackets
        self._last = number
        return number


def _one_frame_each(packets: PacketDecoder) -> bool:
    """Tell whether each packet gives one frame and says when it is shown."""
    codec, times = packets.codec, [packet.pts for packet in packets.packets]
    in_order = times == [packet.dts for packet in packets.packets]
    if in_order and None not in times and times != sorted(times):
        return False  # a damaged time
    # where the decoder reorders, times in the order of the packets are only guesses
    timed = not packets.reorders if in_order else packets.format in TIMED_CONTAINERS
    filled = codec != "mpeg4" or all(packet.size > MAX_EMPTY_BYTES for packet in packets.packets)
    distinct = None not in times and len(set(times)) == len(times)
    whole = packets.field_order == PROGRESSIVE or (
        packets.field_order == UNKNOWN and codec not in FIELD_CODECS
    )
    known = codec in ONE_FRAME_CODECS and not packets.parameters_change
    return known and timed and filled and distinct and whole


def _in_a_row(numbers: list[int]) -> bool:
    """Tell whether frame numbers are consecutive, so that more will probably follow."""
    return 1 < len(numbers) == numbers[-1] - numbers[0] + 1
