"""Text from outside: lines, numbers, and what it becomes as a file name."""

import pytest

from tsmlib import get_config
from tsmlib.paths import is_below, runs_folder
from tsmlib.text import file_name, parse_number, split_lines


def test_lines_end_where_files_end_them():
    assert split_lines("a\nb\r\nc\rd\u2028e\x85\x0b\x0cf\n") == [
        "a",
        "b",
        "c",
        "d\u2028e\x85\x0b\x0cf",
        "",
    ]


@pytest.mark.parametrize(
    ("text", "number"),
    [("0", 0), ("007", 7), ("0" * 5000 + "1", 1), ("9" * 5000, 10**18), (str(2**63), 10**18),
     *((other, None) for other in ("", "-1", "+1", "1.0", "²", "٣", "1_000", " 1", "①", "one"))],
)  # fmt: skip
def test_numbers_are_of_ten_digits(text, number):
    assert parse_number(text) == number


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
