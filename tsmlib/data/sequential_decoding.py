"""Decoding from the beginning, for videos whose packets do not tell which frame is where."""

from collections.abc import Iterator
from itertools import islice

from .video_packets import MISSING_FRAMES, PacketDecoder, UnexpectedPackets


class SequentialDecoder:
    """Decodes a video from its beginning, up to a packet that cannot be decoded.

    Args:
        packets: of the video.
        numbers: of its frames by their times, as seeking counts them, or None. Where packets give
            no frame, the others keep these numbers: a frame is the same one however it is read.

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
        if not times or packets.position < (1 - MISSING_FRAMES) * total:
            raise ValueError(f"damaged: the first {len(times)} of {total} frames are whole")
        self.num_frames = len(times)
        self._places: dict[int, int] = {i: i for i in range(len(times))}  # in order of display
        if numbers and len(times) < len(numbers) and numbers.keys() >= {*times}:
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
        if self._kept:
            yield from (self._kept[place] for place in places)
            return
        if places[0] < self._next:
            self._next, self._frames = 0, all_frames(self._source)
        for place in places:
            yield next(islice(self._frames, place - self._next, None))
            self._next = place + 1


def all_frames(packets: PacketDecoder) -> Iterator:
    """Yield all frames, up to the first packet that cannot be decoded."""
    packets.seek(0)
    started = False
    while packets.position < len(packets.packets):
        try:
            frames = packets.decode_next()
        except UnexpectedPackets:
            if started or packets.packets[packets.position - 1].key:
                break
            continue  # a recorded broadcast begins with packets that need earlier ones
        started = started or bool(frames)
        yield from frames
    yield from packets.flush()
