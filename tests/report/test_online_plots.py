"""Charts of recognised streams: their titles and panels, for good, late and silent recognizers."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tsmlib.online.scoring import decide, measure_delays, score_early, score_thresholds
from tsmlib.online.truth import NO_CLASS, Action, StreamTruth
from tsmlib.report import online_plots

NAMES = tuple(f"moving something along the {i}th axis" for i in range(12))
TRUTHS = [
    StreamTruth((Action(5 + i, 25, 3), Action(40, 60, 11), Action(70, 80, 0)), 96, NAMES, 12)
    for i in range(6)
]
CAPTION = "sthv1, stand-in data, mini scale"


def certain(truth: StreamTruth, late: int = 0) -> np.ndarray:
    """Probabilities of the truth, a few frames late: 0.89 for its class, all alike in pauses."""
    p = np.full((truth.num_frames, len(NAMES)), 1 / len(NAMES))
    for t, label in enumerate(np.roll(truth.labels, late)):
        if label != NO_CLASS:
            p[t], p[t, label] = 0.01, 0.89
    return p


RECOGNIZERS = {
    "one-way, online": [certain(t, 3) for t in TRUTHS],
    "two-way, sliding window": [certain(t, 9) for t in TRUTHS],
    "silent": [np.full((t.num_frames, len(NAMES)), 1 / len(NAMES)) for t in TRUTHS],
}


@pytest.fixture(autouse=True)
def closed():
    yield
    plt.close("all")


def drawn(ax) -> tuple[str, str]:
    """Draw a figure, check that its words are on the page and large enough; return title, note."""
    figure = ax.figure
    figure.draw_without_rendering()
    for text in figure.findobj(plt.Text):
        if text.get_text() and text.get_visible():
            assert text.get_fontsize() >= 9
    box = figure._supxlabel.get_window_extent()
    legends = [a.get_legend() for a in figure.axes if a.get_legend()]
    assert not any(legend.get_window_extent().overlaps(box) for legend in legends)
    return figure._suptitle.get_text().replace("\n", " "), figure._supxlabel.get_text()


def test_a_timeline_has_a_panel_for_each_recognizer():
    p = {name: streams[0] for name, streams in RECOGNIZERS.items()}
    axes = online_plots.timelines(p, TRUTHS[0], 0.5, CAPTION)
    title, note = drawn(axes[0])
    assert title == "one-way, online: 3 of 3 actions are recognised while they last"
    assert note == f"{CAPTION}; announced from a probability of 0.5 on"
    panels = [ax.get_title(loc="left") for ax in axes]
    assert panels[0] == "one-way, online: 3 of 3 recognised, 3 false alarms"  # 3 frames late
    assert panels[2] == "silent: 0 of 3 recognised, 0 false alarms"
    assert [text.get_text() for text in axes[0].texts] == ["3", "11", "0"]
    assert len(axes[-1].get_legend().texts) == 3  # of twelve classes three occur


def test_early_recognition_says_what_is_known_at_half_and_at_the_end():
    curves = {
        name: score_early([decide(p, 0.5) for p in streams], TRUTHS)
        for name, streams in RECOGNIZERS.items()
    }
    ax = online_plots.early_recognition(curves, CAPTION)
    half, end = curves["one-way, online"]["accuracy"].iloc[[4, 9]]
    assert drawn(ax)[0] == (
        f"one-way, online: {half:.0f} % are recognised after 50 % of the action, "
        f"{end:.0f} % at its end"
    )
    assert [line.get_label() for line in ax.lines] == list(RECOGNIZERS)


def test_delays_rise_to_the_share_that_is_recognised():
    waited = {
        name: np.concatenate([
            measure_delays(decide(p, 0.5), truth) for p, truth in zip(streams, TRUTHS, strict=True)
        ])
        for name, streams in RECOGNIZERS.items()
    }  # fmt: skip
    ax = online_plots.delays(waited, 12, CAPTION)
    assert drawn(ax)[0] == (
        "Half of the actions are recognised within 0.2 s (one-way, online), 0.8 s (two-way, "
        "sliding window), never (silent)"
    )
    for line, share, label in zip(ax.lines, (100, 100, 0), ("0", "0", "100"), strict=True):
        assert line.get_ydata()[-1] == share and line.get_label().endswith(f"never: {label} %)")


def test_operating_points_compare_at_equal_false_alarms():
    tables = {
        name: score_thresholds(streams, TRUTHS, [0, 0.2, 0.5, 0.95], grace=9)
        for name, streams in RECOGNIZERS.items()
    }
    ax = online_plots.operating_points(tables, CAPTION)
    assert drawn(ax)[0] == (
        "Recognised with at most 1 false alarm a minute: 100 % (one-way, online), 100 % (two-way, "
        "sliding window), 0 % (silent)"
    )
