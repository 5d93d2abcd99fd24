"""Text from outside: lines, numbers, and what it becomes as a file name."""

import io
import logging
import re
from html import unescape

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from tsmlib import get_config, outputs, plots
from tsmlib.__main__ import main
from tsmlib.data.list_lines import is_below
from tsmlib.paths import file_name, runs_folder
from tsmlib.progress import LogHandler, Terminal, show_in
from tsmlib.report import prediction_plots
from tsmlib.results import write_predictions
from tsmlib.text import csv_cell, parse_number, to_html, to_terminal


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("0" * 5000 + "1", 1), ("9" * 5000, 10**18), (str(2**63), 10**18),
     *((other, None) for other in ("", "-1", "+1", "1.0", "²", "٣", "1_000", " 1", "①", "one"))],
)  # fmt: skip
def test_numbers_are_of_ten_digits(text, number):
    assert parse_number(text) == number


# --- shown ----------------------------------------------------------------------------------------

HOSTILE = ("$\\frac{$", "$x$ and $y$", "\\(x\\)", "<script>alert(1)</script>", "![a](http://b.c)",
           "**a** _b_ `c` ~~d~~", "a\x1b[2Jb", "=1+2", "a\n\nb", "\x9b31m", "a\u202eb",
           "a & b")  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_page_shows_a_name_as_it_is(name):
    frame = pd.DataFrame({"name": [name]})
    for text in (outputs.table(frame, headings={0: name}, folded=name).data, to_html(name)):
        assert not {"$", "\\", "\n", "\x1b", "\x9b", "\u202e"} & {*text} and "<script" not in text
        assert " ".join(to_terminal(name).split()) in unescape(re.sub("<[^>]*>", "", text))
    said = outputs.answer(name, name).data
    assert not {*"$\\[]`~_"} & {*said} and said.count("**") == 2 and "\n" not in said


def test_names_of_rows_and_classes_are_not_changed():
    for name in ("is_shift=False", "Pushing something from left to right", "día", "50 % (2)"):
        assert to_html(name) == to_terminal(name) == csv_cell(name) == name


@pytest.mark.parametrize("name", HOSTILE)
def test_charts_draw_a_name_as_it_is(name):
    record = {"cfg": name, "data": "real", "scale": "full", "seed": 0, "num_videos": 2}
    scores, labels = pd.DataFrame([[0.9, 0.1], [0.8, 0.2]]).to_numpy(), pd.Series([0, 1]).to_numpy()
    table = pd.DataFrame({"path": ["a"], "rank": [1], "name": [name], "probability": [0.5],
                          "start": [0.0], "end": [1.0]})  # fmt: skip
    clip = pd.Series([0] * 4 * 8 * 8 * 3).to_numpy("uint8").reshape(1, 4, 8, 8, 3)
    figures = [
        plots.confusion(scores, labels, [name, "b"], record).figure,
        plots.per_class(scores, labels, [name, "b"], record).figure,
        plots.strips(clip, [name], name),
        prediction_plots.answers(clip, table),
    ]
    for figure in figures:
        figure.canvas.draw()
        plt.close(figure)


def test_a_terminal_obeys_no_name(capsys):
    stream = io.StringIO()
    show_in(Terminal(stream, live=False))
    try:
        logger = logging.Logger("test")
        logger.addHandler(LogHandler())
        logger.warning("not read: %s", "a\x1b[2J\r\x07b.mp4")
    finally:
        show_in(None)
    assert stream.getvalue() == "not read: a\\x1b[2J\\r\\x07b.mp4\n"
    assert main(["train", "a\x1b]0;title\x07.yaml"]) == 1
    assert "a\\x1b]0;title\\x07.yaml" in capsys.readouterr().err


def test_cells_are_no_formulas(tmp_path):
    names = ["=1+2", "+1", "-1", "@a", "\tb", "a=b", "1"]
    table = pd.DataFrame({"path": names, "rank": 1, "label": -1, "name": names, "probability": 0.5})
    file = write_predictions(table, "videos", tmp_path / "out.csv")
    read = pd.read_csv(file, dtype={"path": str, "name": str})
    expected = ["'=1+2", "'+1", "'-1", "'@a", "'\tb", "a=b", "1"]
    assert list(read["path"]) == list(read["name"]) == expected
    assert list(read["label"]) == [-1] * len(names)


# --- file names -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "name"),
    [("sthv1", "sthv1"), ("../../../escaped", "escaped"), ("/etc/passwd", "etc_passwd"),
     ("my actions", "my_actions"), ("", "_"), ("..", "_"), (".hidden", "hidden"), ("a\nb\0", "a_b"),
     ("été", "été"), ("a\\b:c*?", "a_b_c"), ("\ud800x", "x")],
)  # fmt: skip
def test_names_become_file_names(text, name):
    assert file_name(text) == name


def test_long_names_fit_on_a_disk():
    assert len(file_name("ł" * 5000).encode()) <= 160


def test_runs_stay_in_the_results(tmp_path, monkeypatch):
    monkeypatch.setenv("TSM_RESULTS", str(tmp_path / "results"))
    (tmp_path / "mine.yaml").write_text("base: sthv1\nname: ../../../escaped\n")
    folder = runs_folder(get_config(tmp_path / "mine.yaml").name)
    assert folder == tmp_path / "results/local/escaped"


def test_what_lies_below_a_folder(tmp_path):
    (tmp_path / "ab").mkdir()
    (tmp_path / "link").symlink_to("/")
    assert is_below(tmp_path / "ab/x", tmp_path / "ab") and is_below(tmp_path, tmp_path)
    assert not is_below(tmp_path / "abc", tmp_path / "ab")
    assert not is_below(tmp_path / "link/etc", tmp_path) and is_below("/etc", "/")
