"""The chart of predictions: a strip and bars for each video, and nothing cut."""

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

from tsmlib.report.prediction_plots import answers


def test_each_video_has_a_strip_and_its_classes():
    names = ["a class with a very long name that would not fit into any chart at all", "b", "c"]
    ranked = list(enumerate(zip(names, (0.9, 0.07, 0.03), strict=True), 1))
    rows = [(f"folder/{v}.mp4", i, i, n, p) for v in ("x", "y's") for i, (n, p) in ranked]
    table = pd.DataFrame(rows, columns=["path", "rank", "label", "name", "probability"])
    figure = answers(np.zeros((2, 4, 16, 24, 3), np.uint8), table)
    figure.draw_without_rendering()
    strips, bars = figure.axes[::2], figure.axes[1::2]
    assert [ax.get_title(loc="left") for ax in strips] == ["x.mp4", "y's.mp4"]
    for ax in bars:
        texts = [text.get_text().strip() for text in ax.texts]
        assert texts[0].startswith("90 %  a class with a very") and texts[1:] == [
            "7 %  b",
            "3 %  c",
        ]
        ends = [text.get_window_extent().x1 for text in ax.texts]
        assert max(ends) <= figure.bbox.x1 and min(t.get_fontsize() for t in ax.texts) >= 9
    plt.close(figure)
