"""Text that comes from outside: lines, numbers, and names that are shown or become files."""

import re

DIGITS = 18  # of the longest number that is read as it is
LONGEST_NAME = 160  # bytes; file systems take 255, and something may be added


def split_lines(text: str) -> list[str]:
    """Split text at line feeds and carriage returns alone.

    `str.splitlines` also splits at separators that a file's name may hold, such as U+2028.
    """
    return re.split(r"\r\n|\r|\n", text)


def parse_number(text: str) -> int | None:
    """Parse a whole number from 0 on, of the digits 0 to 9; None: it is no such number.

    A longer one than any count is some number above all counts.
    """
    if not (text.isascii() and text.isdigit()):  # "²".isdigit() is true as well
        return None
    plain = text.lstrip("0")
    return int(plain or "0") if len(plain) <= DIGITS else 10**DIGITS


def file_name(text: str) -> str:
    """Turn any text into the name of a file or folder, which leads into no other folder.

    What file systems or shells do not take becomes `_`.
    """
    plain = re.sub(r"[^\w.+=,-]+", "_", text).encode(errors="ignore")[:LONGEST_NAME]
    return plain.decode(errors="ignore").strip("_.") or "_"
