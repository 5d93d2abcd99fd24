"""Decoding from the beginning, for videos whose packets do not tell which frame is where."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

from .video_packets import MISSING_FRAMES, PacketDecoder, UnexpectedPackets


class SequentialDecoder:
    """Decodes a video from its beginning, up to a packet that cannot be decoded.

    Args:
        packets: of the video.
        numbers: frame numbers by time, as `SeekingDecoder` counts them, so that a frame has the
            same number however it is read; None: the decoded frames are counted.

    Raises:
        ValueError: too many frames are lost.
    """

    def __init__(self, packets: PacketDecoder, numbers: dict[int, int] | None = None):
        self._source, self.numbers = packets, numbers
        self._kept, size = [], 0
        times: list[int] = []  # of the frames, in order
        self.size = packets.size
        for frame in all_frames(packets):
            if not times:
                self.size = frame.width, frame.height
            times.append(frame.pts)
            size += sum(plane.buffer_size for plane in frame.planes)
            if size <= packets.max_kept:
                self._kept.append(frame)
        if size > packets.max_kept:
            self._kept.clear()
        self._next, self._frames, total = len(times), iter(()), len(packets.packets)
        if not times or total - packets.position > max(1, MISSING_FRAMES * total):
            raise ValueError(f"damaged: the first {len(times)} of {total} frames are whole")
        self.num_frames = len(times)
        self._places: dict[int, int] = {i: i for i in range(len(times))}  # in order of display
        if numbers and numbers.keys() >= {*times}:
            self._places = {numbers[time]: place for place, time in enumerate(times)}
            self.num_frames = len(numbers)

    def partition(self, numbers: list[int], count: int) -> list[list[int]]:
        """Return one part: another decoder would decode everything again."""
        return [numbers]

    def decode(self, numbers: list[int]) -> Iterator:
        """Yield the frames of ascending numbers.

        Raises:
            ValueError: one is lost.
        """
        if lost := [number for number in numbers if number not in self._places]:
            raise ValueError(f"damaged: the packet of frame {lost[0]} gives no picture")
        places = [self._places[number] for number in numbers]
        decoded = self._kept or {place: self._decode_on(place) for place in sorted(places)}
        yield from (decoded[place] for place in places)

    def _decode_on(self, place: int):
        """Decode up to a frame, from the one before or from the beginning."""
        if place < self._next:
            self._next, self._frames = 0, all_frames(self._source)
        gap, self._next = place - self._next, place + 1
        return next(islice(self._frames, gap, None))


def all_frames(packets: PacketDecoder) -> Iterator:
    """Yield all frames, up to the first packet that cannot be decoded."""
    packets.seek(0)
    count, end = 0, len(packets.packets)
    while packets.position < end:
        try:
            frames = packets.decode_next()
        except UnexpectedPackets:
            if count or packets.packets[packets.position - 1].key:
                end = packets.position - 1
            continue  # a recorded broadcast begins with packets that need earlier ones
        count += len(frames)
        yield from frames
    if end < len(packets.packets):  # what the decoder holds back now is not whole
        yield from islice(_up_to(packets, end), count, None)
    else:
        yield from packets.flush()


def _up_to(packets: PacketDecoder, end: int) -> Iterator:
    """Yield the frames of the packets before a position."""
    packets.seek(0)
    while packets.position < end:
        with suppress(UnexpectedPackets):  # of the beginning of a broadcast
            yield from packets.decode_next()
    yield from packets.flush()
