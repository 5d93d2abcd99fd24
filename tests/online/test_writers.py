"""Answers in a table, in a video and in a window."""

from contextlib import closing

import av
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.backends import backend_registry

from tsmlib import ConfigError
from tsmlib.online.drawing import SMALLEST, annotate, fit_text
from tsmlib.online.play import Answer
from tsmlib.online.window import Window
from tsmlib.online.writers import CsvWriter, VideoWriter, fit


def answer(time: float, name: str = "up, slowly", size=(240, 320), grey: int = 120) -> Answer:
    picture = np.full((*size, 3), grey, np.uint8)
    return Answer(time, name, 0.75, 12.5, 3, 0, np.array([0.25, 0.75]), picture)


def read_video(path):
    """Times, and uint8 `[T, H, W, 3]`."""
    with av.open(str(path)) as container:
        frames = [(f.time, f.to_ndarray(format="rgb24")) for f in container.decode(video=0)]
    return [time for time, _ in frames], np.stack([picture for _, picture in frames])


def test_each_row_is_on_disk_at_once(tmp_path):
    writer = CsvWriter(tmp_path / "a.csv")
    for count in range(1, 4):
        writer.write(answer(count / 10))
        table = pd.read_csv(tmp_path / "a.csv")  # the writer is still open
        assert len(table) == count
    writer.close()
    expected = [0.3, "up, slowly", 0.75, 12.5, 3, 0]
    assert list(table.iloc[-1]) == expected
    assert list(table) == ["time", "class", "probability", "latency_ms", "dropped", "stream"]


def test_an_annotated_video_is_read_back(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4")
    moments = [0, 0.033, 0.067, 0.2, 0.233]  # two frames were dropped
    for moment in moments:
        writer.write(answer(moment))
    writer.close()
    times, pictures = read_video(tmp_path / "a.mp4")
    assert times == pytest.approx(moments, abs=1e-3) and pictures.shape == (5, 240, 320, 3)
    above, strip = pictures[:, :200], pictures[:, -26:]
    assert abs(above.astype(int) - 120).max() < 8  # as it was
    assert strip.max() > 200 and np.median(strip) < 60  # light letters on a dark strip


def test_a_frame_of_another_size_is_fitted_in(tmp_path):
    writer = VideoWriter(tmp_path / "a.mkv")
    writer.write(answer(0))
    writer.write(answer(0.1, size=(480, 320), grey=200))
    writer.close()
    _, pictures = read_video(tmp_path / "a.mkv")
    assert pictures.shape == (2, 240, 320, 3)
    assert pictures[1, :200, :70].max() < 20 and pictures[1, :200, 90:230].min() > 180


def test_fitting_keeps_proportions():
    out = fit(np.full((10, 20, 3), 9, np.uint8), 40, 40)
    assert out.shape == (40, 40, 3) and out[10:30].min() == 9 and out[:10].max() == 0


def test_times_in_a_video_increase(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4")
    for moment in (0, 0.0001, 0.0002):
        writer.write(answer(moment))
    writer.close()
    assert len(read_video(tmp_path / "a.mp4")[0]) == 3


def test_without_an_answer_no_file_is_begun(tmp_path):
    def close_at_once():
        VideoWriter(tmp_path / "a.mp4").close()
        CsvWriter(tmp_path / "a.csv").close()

    close_at_once()
    assert not list(tmp_path.iterdir())
    for name in ("a.mp4", "a.csv"):
        (tmp_path / name).write_text("of before")
    close_at_once()
    assert {file.read_text() for file in tmp_path.iterdir()} == {"of before"}


def test_a_picture_that_no_encoder_takes(tmp_path):
    writer = VideoWriter(tmp_path / "a.mp4", lambda picture, _: picture)
    with pytest.raises(ConfigError, match="a.mp4 cannot be written: "), closing(writer):
        writer.write(answer(0, size=(2, 40000)))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["nowhere/a.mp4", "a.nothing"])
def test_files_that_cannot_be_written(tmp_path, name):
    with pytest.raises(ConfigError, match=f"{name} cannot be written: .*; name a file.mp4"):
        VideoWriter(tmp_path / name)
    with pytest.raises(ConfigError, match="nowhere/a.csv cannot be written: No such file"):
        CsvWriter(tmp_path / "nowhere" / "a.csv")


@pytest.mark.parametrize("size", [(36, 48), (239, 321), (480, 640), (2160, 3840), (1280, 72)])
def test_text_is_readable_at_any_size(size):
    picture = np.full((*size, 3), 120, np.uint8)
    drawn = annotate(picture, "Pushing something from left to right" * 9, 0.5)
    assert (picture == 120).all()
    height, width, _ = drawn.shape
    assert min(height, width) >= SMALLEST and height % 2 == width % 2 == 0
    rows, columns = np.nonzero((drawn > 240).all(-1))  # of the letters
    assert rows.min() > 0.85 * height and np.ptp(rows) >= 9 and rows.max() < height - 1
    assert columns.min() > 2 and width / 2 < columns.max() < width - 2


def test_a_long_name_is_cut_and_its_probability_is_not():
    text, font = fit_text("Pushing something " * 9, "  50 %", 200, 20)
    assert text.endswith("…  50 %") and font.getlength(text) <= 200
    assert fit_text("up", "  50 %", 200, 20)[0] == "up  50 %"


# --- a window -------------------------------------------------------------------------------------


def test_without_a_display(monkeypatch):
    monkeypatch.setattr(plt, "get_backend", lambda: "agg")
    with pytest.raises(ConfigError, match="there is no display for a window .*--video FILE"):
        Window(lambda: None)


def test_a_window_shows_the_frames_and_closes(monkeypatch):
    monkeypatch.setattr(backend_registry, "list_builtin", lambda kind: [plt.get_backend().lower()])
    closed = []
    window = Window(lambda: closed.append(True))
    for size in ((240, 320), (240, 320), (480, 320)):
        window.write(answer(0, size=size))
    (image,) = plt.gcf().axes[0].images
    assert image.get_array().shape == (480, 320, 3)
    plt.gcf().canvas.callbacks.process("close_event", None)  # by the user
    assert closed
    window.close()
    assert not plt.get_fignums()
