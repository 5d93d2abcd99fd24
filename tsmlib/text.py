"""Text that comes from outside: numbers, and names that are shown.

Names of classes and files may hold anything. Where they are shown, they are text and nothing else:
`to_terminal`, `to_html`, `to_markdown` and `csv_cell`; charts read no formulas (plots.py).
"""

import difflib
import re
from collections.abc import Collection
from html import escape

DIGITS = 18  # of the longest number that is read as it is


def parse_number(text: str) -> int | None:
    """Parse a whole number from 0 on, of the digits 0 to 9; None: it is no such number.

    A longer one than any count is some number above all counts.
    """
    if not (text.isascii() and text.isdigit()):  # "²".isdigit() is true as well
        return None
    plain = text if len(text) <= DIGITS else text.lstrip("0") or "0"
    return int(plain) if len(plain) <= DIGITS else 10**DIGITS


# --- to show ------------------------------------------------------------------------------------

# control characters but tab and line feed, other line separators, changes of direction, surrogates
CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
MATH = {"$": "<span>&#36;</span>", "\\": "<span>&#92;</span>"}  # no delimiter beside other text
MARKUP = {character: f"&#{ord(character)};" for character in "*_`[]~"}


def name_closest(name: str, known: Collection[str], otherwise: str = "") -> str:
    """Say which known names a misspelt one is like: `closest: a, b`.

    Args:
        name: the misspelt one.
        known: all names there are.
        otherwise: said where none is like it; empty: all are listed.
    """
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.4)
    if near or not otherwise:
        return f"{'closest' if near else 'choose one of'}: {join_names(near or known)}"
    return otherwise


def join_names(names: Collection[str]) -> str:
    """Join names by commas, each in quotation marks where one of them holds a comma."""
    return ", ".join(map(repr, names) if any("," in name for name in names) else names)


def to_terminal(text: str) -> str:
    """Make characters visible that a terminal would obey: `\\x1b` for the escape character."""
    return CONTROL.sub(lambda match: match[0].encode("unicode_escape").decode(), text)


def to_html(text: str) -> str:
    """Turn text into HTML on one line that shows it as it is; MathJax finds no formula in it."""
    plain = escape(to_terminal(" ".join(re.split(r"[\r\n]+", text))))
    return plain.translate(str.maketrans(MATH))


def to_markdown(text: str) -> str:
    """Turn text into Markdown on one line that shows it as it is."""
    return to_html(text).translate(str.maketrans(MARKUP))


def csv_cell(text: str) -> str:
    """Turn text into a cell that a spreadsheet takes for no formula: `=1` becomes `'=1`."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text
