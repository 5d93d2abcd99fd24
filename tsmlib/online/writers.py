"""Where the answers of a stream go: a table, an annotated video, a window."""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..configs import ConfigError
from ..text import csv_cell
from .drawing import annotate
from .play import Answer

COLUMNS = ("time", "class", "probability", "latency_ms", "dropped", "stream")
TICKS = 1000  # a second, in which an annotated video counts time
NOMINAL_RATE = 30  # frames a second for which the encoder plans; each frame has its own time
ADVICE = "name a file.mp4"


@contextmanager
def writing(path: Path, advice: str = "name another file") -> Iterator[None]:
    """Turn what goes wrong inside it into a sentence about the file.

    Raises:
        ConfigError: the file cannot be written.
    """
    import av

    try:
        yield
    except (OSError, ValueError, av.FFmpegError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{path} cannot be written: {reason}; {advice}") from None


def check_writable(path: Path) -> None:
    """Check that a file can be written, and leave everything as it is.

    Raises:
        OSError: it cannot.
    """
    there = path.exists()
    if there and not path.is_file() and not path.is_dir():
        return  # a pipe would wait for its reader
    path.open("ab").close()
    if not there:
        path.resolve().unlink()  # what a link leads to, not the link


class RowWriter:
    """Writes rows into a table; what is written survives whatever ends the process.

    The first rows begin the file. Until then, what was there before stays.

    Raises:
        ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, columns: Sequence[str]):
        self._path, self._columns, self._file = path, columns, None
        with writing(path):
            check_writable(path)

    def add_rows(self, rows: Iterable[Sequence]) -> None:
        """Add rows; without any, there is the table's head at least."""
        with writing(self._path):
            if self._file is None:  # written line by line
                self._file = self._path.open("w", newline="", encoding="utf-8", buffering=1)
                self._table = csv.writer(self._file, lineterminator="\n")
                self._table.writerow(self._columns)
            self._table.writerows(rows)

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


class CsvWriter(RowWriter):
    """Writes one row per answer."""

    def __init__(self, path: Path):
        super().__init__(path, COLUMNS)

    def write(self, answer: Answer) -> None:
        """Add an answer."""
        numbers = f"{answer.probability:.4f}", f"{answer.latency:.2f}"
        name = csv_cell(answer.name)
        self.add_rows([(f"{answer.time:.3f}", name, *numbers, answer.dropped, answer.stream)])


def draw_answer(picture: np.ndarray, answer: Answer) -> np.ndarray:
    """Write the class of an answer and its probability into a picture."""
    return annotate(picture, answer.name, answer.probability)


class VideoWriter:
    """Encodes the answered frames, with the answers drawn into them, at the times of the source.

    The first frame begins the file: until then, what was there before stays. The size is that of
    this frame; others are fitted into it.

    Args:
        path: its suffix chooses the container (.mp4, .mkv ...); the codec is H.264.
        draw: returns a picture, uint8 `[H, W, 3]` with even sides, with an answer drawn into it.

    Raises:
        ConfigError: the file cannot be written, or its suffix is of no container.
    """

    def __init__(self, path: Path, draw: Callable[[np.ndarray, Any], np.ndarray] = draw_answer):
        import av

        self._path, self._draw, self._stream, self._last = path, draw, None, -1
        with writing(path, ADVICE):
            self._container = av.open(str(path), "w")  # opens the file at the first frame only
            check_writable(path)

    def write(self, answer: Any) -> None:
        """Add the frame of an answer, which has a `picture` and a `time`."""
        import av

        picture = self._draw(answer.picture, answer)
        if self._stream is None:
            self._stream = self._begin(*picture.shape[:2])
        if picture.shape[:2] != (self._stream.height, self._stream.width):
            picture = fit(picture, self._stream.height, self._stream.width)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        self._last = max(self._last + 1, round(TICKS * answer.time))  # times must increase
        frame.pts, frame.time_base = self._last, Fraction(1, TICKS)
        with writing(self._path, ADVICE):
            self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Finish the file, if a frame began it."""
        with writing(self._path, ADVICE), closing(self._container):
            if self._stream is not None:
                self._container.mux(self._stream.encode())

    def _begin(self, height: int, width: int) -> Any:
        stream = self._container.add_stream("libx264", rate=NOMINAL_RATE)
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.time_base = Fraction(1, TICKS)
        stream.options = {"preset": "veryfast", "tune": "zerolatency"}
        return stream


def fit(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize uint8 `[H, W, 3]` into the middle of a black frame, with the same proportions."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    h, w = (max(1, int(scale * side)) for side in picture.shape[:2])
    top, left = (height - h) // 2, (width - w) // 2
    out = np.zeros((height, width, 3), np.uint8)
    out[top : top + h, left : left + w] = Image.fromarray(picture).resize((w, h))
    return out
