"""Text, CSV and JSON files of annotations, with an error that names file, line and value.

Windows line ends, a byte-order mark, and blanks around fields are taken as they come.
"""

import csv
import difflib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..annotations import DataError


def read_text(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 text; save it as UTF-8") from None
    if not text.strip():
        raise DataError(f"{file} is empty; download it again")
    return text


def numbered_lines(file: Path) -> list[tuple[str, str]]:
    """(where, line) of a text file, without empty lines and blanks around."""
    lines = enumerate(read_text(file).splitlines(), 1)
    return [(f"{file}, line {i}", line.strip()) for i, line in lines if line.strip()]


def read_csv(file: Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """(where, fields) of a table with a header; columns that are not asked for may be absent."""
    reader = csv.reader(read_text(file).splitlines(), skipinitialspace=True, strict=True)
    header: list[str] = []
    try:
        for row in reader:
            where, fields = f"{file}, line {reader.line_num}", [field.strip() for field in row]
            missing = [column for column in columns if column not in (header or fields)]
            if not any(fields):
                continue
            if missing:
                raise bad_line(
                    where, f"there is no column {', '.join(missing)} in", ",".join(fields)
                )
            if header and len(fields) < len(header):
                raise bad_line(where, f"{len(fields)} of {len(header)} fields", ",".join(fields))
            if header:
                yield where, dict(zip(header, fields, strict=False))
            header = header or fields
    except csv.Error as error:
        raise bad_line(f"{file}, line {reader.line_num}", "a broken line", error) from None


def read_json(file: Path, kind: type, wanted: str) -> Any:
    try:
        content = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise bad_line(f"{file}, line {error.lineno}", "broken JSON", error.msg) from None
    if not isinstance(content, kind) or not content:
        raise DataError(f"{file} does not hold {wanted}; download it again")
    return content


def read_entries(file: Path, *keys: str) -> Iterator[tuple[str, dict]]:
    """(where, entry) of a JSON list of objects."""
    for i, entry in enumerate(read_json(file, list, "a list of videos"), 1):
        for key in keys:
            if not isinstance(entry, dict) or key not in entry:
                raise bad_line(f"{file}, entry {i}", f"there is no key {key!r} in", entry)
        yield f"{file}, entry {i}", entry


# --- fields ---------------------------------------------------------------------------------------


def bad_line(where: str | Path, why: str, value: Any) -> DataError:
    value = str(value)[:120]
    return DataError(f"{where}: {why}: {value!r}; correct it, or download the file again")


def clean_name(name: str) -> str:
    """A class name without quotes, and with single blanks inside."""
    return " ".join(name.replace('"', "").split())


def plain_name(name: str) -> str:
    return clean_name(name.replace("_", " ")).lower()


def in_order(numbered: list[tuple[str, str, Any]], first: int = 0) -> list[str]:
    """Names in the order of their numbers, from (where, name, number)."""
    names = [""] * len(numbered)
    for where, name, number in numbered:
        label = number_of(number, len(names), where, first)
        if names[label]:
            raise bad_line(where, f"its number is that of {names[label]!r} too", number)
        names[label] = clean_name(name)
    return names


def labels_of(names: list[str], file: Path) -> dict[str, int]:
    """Class name to label; every class once."""
    labels: dict[str, int] = {}
    for label, name in enumerate(names):
        if not name or labels.setdefault(name, label) != label:
            raise bad_line(file, "a class is listed twice or has no name", name)
    return labels


def label_of(name: str, labels: dict[str, int], where: str) -> int:
    name = clean_name(name)
    if name not in labels:
        near = difflib.get_close_matches(name, labels, n=1, cutoff=0)
        raise bad_line(where, f"an unknown class (closest: {near[0]!r})", name)
    return labels[name]


def number_of(value: Any, count: int, where: str, first: int = 0) -> int:
    """A label from 0 of a number that starts at `first`."""
    text, last = str(value).strip(), first + count - 1
    if not text.isdecimal() or not first <= int(text) <= last:
        raise bad_line(where, f"the label is not a number from {first} to {last}", value)
    return int(text) - first
