"""What chaos, fuzz and soak found: results/reliability.json, and its table in docs/reliability.md.

python tests/reliability/reliability.py    # writes the table anew
"""

import json
from pathlib import Path
from typing import Any

from tsmlib.engine.devices import make_fabric
from tsmlib.results import environment, write_atomic, write_json
from tsmlib.speed.hardware import device_label

HOME = Path(__file__).parents[2]
FILE = HOME / "results" / "reliability.json"
PAGE = HOME / "docs" / "reliability.md"
BEGIN = "<!-- results: written by `python tests/reliability/reliability.py` -->\n"
END = "<!-- end of results -->"


def write_part(name: str, found: dict[str, Any], file: Path = FILE) -> None:
    """Write what a run of `name` found, with the commit, the device and the date of it."""
    stamp = environment()
    facts = {"commit": stamp["commit"], "date": stamp["date"]}
    facts["device"] = device_label(make_fabric("cpu"))
    parts = json.loads(file.read_text()) if file.is_file() else {}
    write_json(file, {**parts, name: found | facts})
    if file == FILE:
        write_table()


def fill_page(page: str, parts: dict[str, Any]) -> str:
    """Return the text of the page with its table written anew."""
    before, rest = page.split(BEGIN)
    return before + BEGIN + tabulate(parts) + "\n" + END + rest.split(END)[1]


def tabulate(parts: dict[str, Any]) -> str:
    """Return the counts of all parts as a table in Markdown, each part with its seed and commit."""
    lines = ["| run | counted | number |", "| --- | --- | --- |"]
    for name, part in parts.items():
        title = f"`make {name}`, seed {part['seed']}, {part['commit']}, {part['device']}"
        for what, number in part["counts"].items():
            lines.append(f"| {title} | {what} | {number:,} |")
            title = ""
    return "\n".join(lines)


def write_table() -> None:
    """Write the table of the page anew."""
    write_atomic(PAGE, fill_page(PAGE.read_text(), json.loads(FILE.read_text())))


if __name__ == "__main__":
    write_table()
