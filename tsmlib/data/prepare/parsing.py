"""Parsing of text, CSV and JSON annotations; errors name the file, the line and the value.

Windows line ends, a byte-order mark and blanks around fields are accepted.
"""

import csv
import difflib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ...text import parse_number
from ..annotations import DataError
from ..list_lines import VIDEO_SUFFIXES


def read_text(file: Path) -> str:
    """Read a UTF-8 file that must not be empty."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8 text; save it as UTF-8") from None
    if not text.strip():
        raise DataError(f"{file} is empty; download it again")
    return text


def numbered_lines(file: Path) -> list[tuple[str, str]]:
    """List (where, line) of a text file, without empty lines and surrounding blanks."""
    lines = enumerate(read_text(file).split("\n"), 1)
    return [(f"{file}, line {i}", line.strip()) for i, line in lines if line.strip()]


def read_csv(file: Path, *columns: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (where, fields) of a table with a header, which must have these columns."""
    text = io.StringIO(read_text(file), newline="")
    reader = csv.reader(text, skipinitialspace=True, strict=True)
    header: list[str] = []
    try:
        for row in reader:
            where, fields = f"{file}, line {reader.line_num}", [field.strip() for field in row]
            missing = [column for column in columns if column not in (header or fields)]
            if not any(fields):
                continue
            if missing:
                raise bad_line(
                    where,
                    f"there is no column {', '.join(missing)} in the header, which names the "
                    "columns in lower case with commas between",
                    ",".join(fields),
                )
            if header and len(fields) < len(header):
                raise bad_line(where, f"{len(fields)} of {len(header)} fields", ",".join(fields))
            if header:
                yield where, dict(zip(header, fields, strict=False))
            header = header or fields
    except csv.Error as error:
        raise bad_line(f"{file}, line {reader.line_num}", "a broken line", error) from None


def read_json(file: Path, kind: type, description: str) -> Any:
    """Read a JSON file that must hold a non-empty `kind`; `description` says so in the error."""
    try:
        content = json.loads(read_text(file))
    except json.JSONDecodeError as error:
        raise bad_line(f"{file}, line {error.lineno}", "broken JSON", error.msg) from None
    except (RecursionError, ValueError) as error:  # nested too deep, a number of too many digits
        raise bad_line(file, "JSON that cannot be read", error) from None
    if not isinstance(content, kind) or not content:
        raise DataError(f"{file} does not hold {description}; download it again")
    return content


def read_entries(file: Path, *keys: str) -> Iterator[tuple[str, dict]]:
    """Yield (where, entry) of a JSON list of objects, which must have these keys."""
    for i, entry in enumerate(read_json(file, list, "a list of videos"), 1):
        for key in keys:
            if not isinstance(entry, dict) or key not in entry:
                raise bad_line(f"{file}, entry {i}", f"there is no key {key!r} in", entry)
        yield f"{file}, entry {i}", entry


# --- fields ---------------------------------------------------------------------------------------


def bad_line(where: str | Path, why: str, value: Any) -> DataError:
    """Compose the error of a line: where it is, why it is wrong, and its value."""
    value = str(value)[:120]
    return DataError(f"{where}: {why}: {value!r}; correct it, or download the file again")


def clean_name(name: str) -> str:
    """Remove quotes and repeated blanks from a class name."""
    return " ".join(name.replace('"', "").split())


def normalise_name(name: str) -> str:
    """Make class names comparable: lower case, blanks for underscores."""
    return clean_name(name.replace("_", " ")).lower()


def sort_names(numbered: list[tuple[str, str, Any]], first: int = 0) -> list[str]:
    """Sort names by their numbers, given as (where, name, number)."""
    names = [""] * len(numbered)
    for where, name, number in numbered:
        label = parse_label(number, len(names), where, first)
        if names[label]:
            raise bad_line(where, f"its number is that of {names[label]!r} too", number)
        names[label] = clean_name(name)
    return names


def number_labels(names: list[str], file: Path) -> dict[str, int]:
    """Map each class name to its label, which is its position; every class must be named once."""
    labels: dict[str, int] = {}
    for label, name in enumerate(names):
        if not name or labels.setdefault(name, label) != label:
            raise bad_line(file, "a class is listed twice or has no name", name)
    return labels


def find_label(name: str, labels: dict[str, int], where: str) -> int:
    """Look up the label of a class name; the error names the closest class."""
    name = clean_name(name)
    if name not in labels:
        near = difflib.get_close_matches(name, labels, n=1, cutoff=0)
        raise bad_line(where, f"an unknown class (closest: {near[0]!r})", name)
    return labels[name]


def parse_label(value: Any, count: int, where: str, first: int = 0) -> int:
    """Parse a number from `first` on into a label from 0 on, one of `count`."""
    number, last = parse_number(str(value).strip()), first + count - 1
    if number is None or not first <= number <= last:
        raise bad_line(where, f"the label is not a number from {first} to {last}", value)
    return number - first


def stem(path: str) -> str:
    """Remove the suffix of a video file from a path; other dots stay."""
    return path[: path.rfind(".")] if path.lower().endswith(VIDEO_SUFFIXES) else path


def class_folder(name: str) -> str:
    """Name the folder of a Kinetics class."""
    return name.replace(" ", "_")
