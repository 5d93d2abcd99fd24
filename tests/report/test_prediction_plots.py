"""The chart of predictions: a strip and bars for each video, and nothing cut."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsmlib.own_videos.prediction_tables import COLUMNS
from tsmlib.report.prediction_plots import answers, overlay, timeline


def test_each_video_has_a_strip_and_its_classes():
    names = ["a class with a very long name that would not fit into any chart at all", "b", "c"]
    ranked = list(enumerate(zip(names, (0.9, 0.07, 0.03), strict=True), 1))
    rows = [
        (f"folder/{v}.mp4", start, end, i, i, n, p)
        for v, start, end in (("x", 0.0, float("nan")), ("y's", 1.5, 3.5))
        for i, (n, p) in ranked
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    figure = answers(np.zeros((2, 4, 16, 24, 3), np.uint8), table)
    figure.draw_without_rendering()
    strips, bars = figure.axes[::2], figure.axes[1::2]
    assert [ax.get_title(loc="left") for ax in strips] == ["x.mp4", "y's.mp4, 1.5 to 3.5 s"]
    for ax in bars:
        texts = [text.get_text().strip() for text in ax.texts]
        assert texts[0].startswith("90 %  a class with a very") and texts[1:] == [
            "7 %  b",
            "3 %  c",
        ]
        ends = [text.get_window_extent().x1 for text in ax.texts]
        assert max(ends) <= figure.bbox.x1 and min(t.get_fontsize() for t in ax.texts) >= 9
    plt.close(figure)


def test_maps_lie_over_their_frames():
    """What speaks for the class is coloured, what speaks against it is grey."""
    clip = np.full((4, 16, 24, 3), 100, np.uint8)
    maps = np.zeros((2, 2, 3), np.float32)
    maps[0, 0, 0], maps[1] = 5, -5
    drawn = overlay(clip, maps)
    assert drawn.shape == clip.shape and (drawn[2:] == 100).all()
    assert (drawn[:2, 0, 0] != 100).any() and (drawn[:2, -1, -1] == 100).all()
    table = pd.DataFrame([("x.mp4", 0.0, 2.0, 1, 0, "a", 0.9)], columns=COLUMNS)
    figure = answers(clip[None], table, [maps])
    texts = [text.get_text() for text in figure.axes[0].texts]
    assert texts == ["+0.8", "-5.0"]
    plt.close(figure)


def test_segments_on_a_timeline():
    names = [f"class {i}" for i in range(12)]
    rows = [("x.mp4", float(i), i + 1.0, i, name, 0.5, 2) for i, name in enumerate(names)]
    rows[0] = ("x.mp4", -3.0, 1.0, 0, "class 0", 0.5, 2)
    columns = ["path", "start", "end", "label", "name", "probability", "windows"]
    ax = timeline(pd.DataFrame(rows, columns=columns))
    ax.figure.draw_without_rendering()
    assert len(ax.patches) == 12 and ax.get_xlim() == (-3, 12)
    assert "12 segments of 24 windows; 27 % of the time 'class 0'" in ax.figure.get_suptitle()
    (legend,) = ax.figure.legends
    labels = [text.get_text() for text in legend.get_texts()]
    assert len(labels) == 10 and labels[-1] == "3 other classes"
    label = ax.xaxis.label.get_window_extent()
    assert legend.get_window_extent().y1 <= label.y0  # nothing covers the axis
    plt.close(ax.figure)
