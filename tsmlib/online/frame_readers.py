"""Hand the frames of a source to a network: every one of them, or always the newest."""

import threading
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from ..data.video import VideoError

PATIENCE = 1.0  # seconds that a thread gets to close its source


class EveryFrame:
    """Gives all frames of a source in order; an iterator, and a context manager that closes it."""

    dropped = 0  # frames that nobody took, as there was a newer one

    def __init__(self, frames: Iterator):
        self._frames, self._closed = frames, False

    def __iter__(self) -> Iterator:
        with closing(self._frames) as frames:
            for frame in frames:
                if self._closed:
                    return
                yield frame

    def __enter__(self) -> "EveryFrame":
        return self

    def __exit__(self, *_: Any) -> None:
        self.close()

    def close(self) -> None:
        """End the iteration after the present frame; a handler of Ctrl-C may call this."""
        self._closed = True


class NewestFrame(EveryFrame):
    """Gives the newest frame of a source that does not wait, and counts those that it drops.

    A thread reads the source and holds one frame, so that a slow network never falls behind.

    Args:
        frames: of the source; errors that it raises are raised here.
        name: of the source, for messages.
        timeout: seconds without a frame after which the source has stalled.
    """

    def __init__(self, frames: Iterator, name: str, timeout: float):
        super().__init__(frames)
        self.name, self.timeout, self.dropped = name, timeout, 0
        self._changed = threading.Condition()  # re-entrant: a signal's handler may close the source
        self._newest, self._ended = None, False
        self._error: Exception | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)

    def __iter__(self) -> Iterator:
        self._reader.start()
        while (frame := self._take()) is not None:
            yield frame

    def __exit__(self, *_: Any) -> None:
        self.close()
        if self._reader.is_alive():
            self._reader.join(PATIENCE)  # a camera can be opened again only when it is closed

    def close(self) -> None:
        """End the iteration at once, also while it waits for a frame."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _take(self) -> Any:
        """Wait for a frame that was not given yet; None: the source has ended, or is closed."""
        with self._changed:
            self._changed.wait_for(
                lambda: self._newest is not None or self._ended or self._closed, self.timeout
            )
            frame, self._newest = self._newest, None
            if self._closed:
                return None
            if frame is None and self._error is not None:
                raise self._error
            if frame is None and not self._ended:
                raise VideoError(
                    f"{self.name} has stalled: no frame for {self.timeout:g} seconds; see whether "
                    "it still sends, or wait longer (timeout)"
                )
            return frame

    def _read(self) -> None:
        try:
            with closing(self._frames) as frames:
                for frame in frames:
                    with self._changed:
                        if self._closed:
                            return
                        self.dropped += self._newest is not None
                        self._newest = frame
                        self._changed.notify_all()
        except Exception as error:  # raised where the frames are taken
            self._error = error
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
