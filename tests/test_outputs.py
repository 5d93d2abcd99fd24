"""Outputs of notebook cells: tables without gaps, small pictures, clips that play."""

import base64
import io
import re

import av
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from tsmlib import outputs


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""), (float("nan"), ""), (pd.NA, ""), ({}, ""), ([], ""), (True, "yes"),
        (1234567, "1,234,567"), (np.int64(3), "3"), (1.25, "1.2"), (-1234.56, "-1,234.6"),
        (3e-8, "3e-08"), (0.0, "0.0"), ((1, 2.5), "1, 2.5"), ("a & b", "a & b"),
    ],
)  # fmt: skip
def test_cells(value, text):
    assert outputs.format_cell(value) == text


def test_a_table_has_titles_and_digits_and_no_nan():
    frame = pd.DataFrame({"name": ["a<b", "c"], "top1": [1.234, np.nan], "none": [np.nan, None]})
    text = outputs.table(frame, {"name": "run", "top1": "top-1 (%)", "none": "ours"}, {"top1": 2})
    heads = re.findall("<th[^>]*>(.*?)</th>", text.data)
    cells = re.findall("<td[^>]*>(.*?)</td>", text.data)
    assert heads == ["run", "top-1 (%)"]  # a column without any value is left out
    assert cells == ["a&lt;b", "1.23", "c", ""]
    assert text.data.count("text-align:right") == 2


def test_a_table_with_headings_and_an_index():
    frame = pd.DataFrame({"n": [1, 2]}, index=pd.Index(["x", "y"], name="arm"))
    assert "<th>arm</th>" in outputs.table(frame).data
    folded = outputs.table(frame, headings={"x": "first"}, folded="More").data
    assert folded.startswith("<details><summary>More</summary>")
    assert '<th colspan="1">x. first</th>' in folded and "arm" not in folded


def test_an_empty_table_has_its_titles():
    assert "<th>a</th>" in outputs.table(pd.DataFrame({"a": []})).data


def test_an_answer_stands_out():
    assert outputs.answer("Yes.", "Here.").data == "> **Yes.** Here."


def test_pictures_keep_rare_colours_and_say_what_they_show():
    figure, ax = plt.subplots()
    ax.plot([0, 1], color="#d1495b")
    ax.imshow(np.linspace(0, 1, 64).reshape(8, 8), cmap="Greys", extent=(0, 0.1, 0, 0.1))
    with Image.open(io.BytesIO(outputs.to_small_png(figure, shows="this"))) as picture:
        assert picture.text["shows"] == "this" and picture.mode == "P"
        colours = np.array(picture.convert("RGB")).reshape(-1, 3)
    assert (np.abs(colours - (0xD1, 0x49, 0x5B)).sum(1) < 60).any()
    assert not plt.fignum_exists(figure.number)


def test_clips_play_in_the_page():
    clips = np.random.default_rng(0).integers(0, 255, (2, 8, 33, 30, 3), dtype=np.uint8)
    page = outputs.play(clips, ["right: a", "WRONG: <b>"]).data
    assert page.count("controls") == 2 and "WRONG: &lt;b&gt;" in page
    assert len(page) < 150_000
    data = re.search('src="data:video/mp4;base64,([^"]*)"', page)[1]
    with av.open(io.BytesIO(base64.b64decode(data))) as container:
        frames = list(container.decode(video=0))
    assert len(frames) == 8 and (frames[0].height, frames[0].width) == (32, 30)
