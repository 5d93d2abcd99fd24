"""Decoding from the beginning, for videos whose packets do not tell which frame is where."""

from collections.abc import Iterator
from itertools import islice

from .frame_seeking import MISSING_FRAMES, PacketDecoder, UnexpectedPackets


class SequentialDecoder:
    """Decodes a video from its beginning, up to a packet that cannot be decoded.

    Raises:
        ValueError: too many frames are lost.
    """

    def __init__(self, packets: PacketDecoder):
        self._source, self._kept, self.num_frames, size = packets, [], 0, 0
        self.size = packets.size
        for frame in all_frames(packets):
            if self.num_frames == 0:
                self.size = frame.width, frame.height
            self.num_frames += 1
            size += sum(plane.buffer_size for plane in frame.planes)
            if size <= packets.max_kept:
                self._kept.append(frame)
        if size > packets.max_kept:
            self._kept.clear()
        self._next, self._frames = self.num_frames, iter(())
        total = len(packets.packets)
        if self.num_frames == 0 or packets.position < (1 - MISSING_FRAMES) * total:
            raise ValueError(f"damaged: the first {self.num_frames} of {total} frames are whole")

    def partition(self, numbers: list[int], count: int) -> list[list[int]]:
        """Return one part: another decoder would decode everything again."""
        return [numbers]

    def decode(self, numbers: list[int]) -> Iterator:
        """Yield the frames of ascending numbers."""
        if self._kept:
            yield from (self._kept[number] for number in numbers)
            return
        if numbers[0] < self._next:
            self._next, self._frames = 0, all_frames(self._source)
        for number in numbers:
            yield next(islice(self._frames, number - self._next, None))
            self._next = number + 1


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
