"""The page says what the last runs of chaos, fuzz and soak found."""

import json

import pytest
from reliability import FILE, PAGE, fill_page, tabulate, write_part


def test_the_table_is_that_of_the_results():
    if not FILE.is_file():
        pytest.skip("no run has been recorded")
    page = PAGE.read_text()
    assert fill_page(page, json.loads(FILE.read_text())) == page


def test_parts_are_written_one_by_one(tmp_path):
    file = tmp_path / "reliability.json"
    write_part("chaos", {"seed": 0, "counts": {"processes killed": 1000, "studies": 2}}, file)
    write_part("soak", {"seed": 1, "counts": {"growth, %": 0.5}}, file)
    parts = json.loads(file.read_text())
    assert parts["chaos"].keys() == {"seed", "counts", "commit", "date", "device"}
    rows = tabulate(parts).splitlines()
    assert rows[2].startswith("| `make chaos`, seed 0") and rows[2].endswith("| 1,000 |")
    assert rows[3] == "|  | studies | 2 |" and rows[4].endswith("| growth, % | 0.5 |")
