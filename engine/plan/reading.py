"""A plan's file as text, and the text as tables; whatever is wrong with it is said in one line."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.files import read_plain

LARGEST = 1_000_000
"""Bytes of the largest file that is taken for a plan."""
DEEPEST = 32
"""Parts of the longest dotted key that is read; tomllib's work and memory grow with the square of it."""

_MARKS = (
    (b"\xff\xfe\0\0", "UTF-32"),
    (b"\0\0\xfe\xff", "UTF-32"),
    (b"\xff\xfe", "UTF-16"),
    (b"\xfe\xff", "UTF-16"),
)
_PART = r"""(?:[A-Za-z0-9_-]++|"[^"\n]*+"|'[^'\n]*+')"""
_DOTTED = re.compile(rf"{_PART}(?:[ \t]*+\.[ \t]*+{_PART})*+")
_AFTER_KEY = re.compile(r"[ \t]*+[=\]]")
_PLACE = re.compile(r"at line (\d+), column (\d+)")
_LONG_NUMBER = re.compile(r"\d{1000,}")
# What word processors, chats and web pages put in the place of plain marks and blanks.
_TYPOGRAPHY = {
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u2018\u2019\u201a\u201b\u00ab\u00bb", "a curly quote"),
    **dict.fromkeys("\u00a0\u2007\u202f\u2003\u2002\u3000", "a no-break space"),
    **dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "an invisible character"),
    **dict.fromkeys("\u2013\u2014\u2212", "a long dash"),
}
_TYPE_AGAIN = {
    "a curly quote": 'type plain quotes: "text"',
    "a no-break space": "type a plain space in its place",
    "an invisible character": "delete the line and type it anew",
    "a long dash": "type a plain hyphen: -",
}


def read_text(path: Path) -> str:
    """A plan file's text; UserError for a file that is missing, unreadable, no plain file, too large or no text.

    Reads LARGEST bytes at most. A byte order mark of UTF-8 is left out.
    """
    try:
        data = read_plain(path, LARGEST + 1)
    except FileNotFoundError:
        raise UserError(f"there is no plan at {path}", fix="make one: sdtrain new -o plan.toml") from None
    except (OSError, ValueError) as error:
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise UserError(f"cannot read the plan {path}", why, "check the path and its rights") from None
    if len(data) > LARGEST:
        why = f"a plan has {LARGEST:,} bytes at most"
        raise UserError(f"{path} is too large for a plan", why, "give a plan file in TOML")
    return decoded(data, str(path))


def decoded(data: bytes, where: str) -> str:
    """The text of a plan's bytes; UserError that names the encoding where it is not UTF-8."""
    what = f"{where} is not a text file in UTF-8"
    if found := _wide(data):
        raise UserError(
            what, f"it is {found}", "save it as UTF-8 in your editor, or give a plan, not a model"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        why = f"line {line} has the byte 0x{data[error.start]:02x}, as Latin-1 or Windows-1252 text may have"
        fix = "save it as UTF-8 in your editor, or give a plan, not a model"
        raise UserError(what, why, fix) from None


def _wide(data: bytes) -> str:
    """UTF-16, UTF-32, or binary, by a mark or by the zero bytes that TOML never has; empty for other text."""
    marked = next((name for mark, name in _MARKS if data.startswith(mark)), "")
    if marked or b"\0" not in data:
        return marked
    zeros = data.count(b"\0") / len(data)
    return "UTF-32" if 0.7 < zeros < 0.8 else "UTF-16" if 0.4 < zeros < 0.6 else "binary: it has zero bytes"


def line_of_long_key(text: str) -> int:
    """The first line with a key of more than DEEPEST parts; 0 where there is none."""
    for found in _DOTTED.finditer(text):
        parts = found.group().count(".") >= DEEPEST and len(re.findall(_PART, found.group()))
        # In a text so many may stand; where it is a key, = or ] follows.
        if parts > DEEPEST and _AFTER_KEY.match(text, found.end()):
            return text.count("\n", 0, found.start()) + 1
    return 0


def parse(text: str, where: str = "the plan") -> dict[str, Any]:
    """TOML text to tables; UserError that names the line, what is wrong with it and how to write it."""
    if line := line_of_long_key(text):
        why = f"line {line} has a key of more than {DEEPEST} parts"
        raise UserError(f"{where} is no plan", why, "plan keys have two parts: TABLE.KEY")
    try:
        return tomllib.loads(text)
    except RecursionError:
        why, fix = "it nests lists or tables too deeply", "a plan has tables one level deep"
    except ValueError as error:
        why, fix = _reason(text, error)
    raise UserError(f"{where} is not valid TOML", why, fix)


def _reason(text: str, error: ValueError) -> tuple[str, str]:
    """Why tomllib refused the text, with what stands at that line, and how to write it."""
    fix = "correct the line, or make a new plan: sdtrain new"
    place = _PLACE.search(str(error))
    if place is None:
        if found := _LONG_NUMBER.search(text):
            number = text.count("\n", 0, found.start()) + 1
            return f"line {number} has a number of {len(found.group()):,} digits", "write a number that fits"
        return str(error), fix
    number, column = int(place[1]), int(place[2])
    lines = text.split("\n")
    line = lines[number - 1] if number <= len(lines) else ""
    if "\\" in line:
        why = f"line {number} has a single backslash: {error}"
        return why, r"write paths with / or in single quotes: 'C:\pictures\cats'"
    odd = next((mark for mark in line[column - 1 :] + line if mark in _TYPOGRAPHY), "")
    if odd:
        kind = _TYPOGRAPHY[odd]
        return f"line {number} has {kind} (U+{ord(odd):04X}): {error}", _TYPE_AGAIN[kind]
    return str(error), fix
