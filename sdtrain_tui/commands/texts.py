"""How commands print: JSON, tables, times, and text from files that must not steer a terminal."""

from __future__ import annotations

import io
import math
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from typing import TYPE_CHECKING, TextIO

from engine.errors import UserError

# `sdtrain --help` prints through this module: what takes 20 ms to import is imported in the functions.
if TYPE_CHECKING:
    from pathlib import Path


def clean(text: str) -> str:
    """Text without control characters: what comes from a file may not steer the terminal."""
    return text if text.isprintable() else "".join(map(_plain_char, text))


def _plain_char(char: str) -> str:
    import unicodedata

    if char.isprintable() or unicodedata.category(char) == "Zs":
        return char
    return " " if char in "\t\n" else "\ufffd"


class Shown(io.TextIOBase):
    """A stream to a terminal on which nothing steers it, whoever prints: a command, argparse or a library."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        """Write all but the control characters, of which line ends stay."""
        self.stream.write("\n".join(map(clean, text.split("\n"))))
        return len(text)

    def flush(self) -> None:
        self.stream.flush()

    def isatty(self) -> bool:
        return self.stream.isatty()

    def fileno(self) -> int:
        return self.stream.fileno()

    def writable(self) -> bool:
        return True


@contextmanager
def unguarded() -> Iterator[None]:
    """While it holds, the streams are the terminal's own again: for the app, which draws."""
    out, err = (each.stream if isinstance(each, Shown) else each for each in (sys.stdout, sys.stderr))
    with redirect_stdout(out), redirect_stderr(err):
        yield


def escaped(text: str, long: str = "") -> str:
    """A JSON or TOML document in which characters that could steer a terminal stand escaped, so it means the same.

    `long` is TOML's form of a character behind U+FFFF; JSON's is a pair.
    """
    if text.isascii():  # both formats' writers escape what ASCII has of them
        return text
    return "".join(
        char if char == "\n" or _plain_char(char) == char else _escape(char, long) for char in text
    )


def _escape(char: str, long: str) -> str:
    import json

    return long.format(ord(char)) if long and ord(char) > 0xFFFF else json.dumps(char)[1:-1]


TOML_LONG = "\\U{:08x}"


LONGEST_LINE = 2000
"""Characters of a message's line that are shown: a path of 4,096 is told apart by fewer."""


def short(line: str) -> str:
    """A line of a message, cut where no screen would hold it."""
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}..."


def writable_name(flag: str, path: Path | None) -> None:
    """UserError for a name that plans, events and messages could not hold, before anything is written there."""
    from engine.files import text_obstacle

    if path is not None and (why := text_obstacle(str(path))):
        raise UserError(f"{flag} {path} cannot be used", why, "give another name")


def print_json(value: object) -> None:
    """One JSON document on stdout. Numbers that are not finite become the texts nan, inf and -inf."""
    import json

    print(escaped(json.dumps(plain(value), indent=2, ensure_ascii=False)))


def plain(value: object) -> object:
    """Dataclasses, paths and sequences as JSON has them."""
    from dataclasses import asdict, is_dataclass
    from pathlib import Path

    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, Path):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return plain(asdict(value))
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [plain(item) for item in value]
    return value


def table(rows: Sequence[Sequence[str]], right: frozenset[int] = frozenset()) -> list[str]:
    """Rows in columns as wide as their widest cell; the columns in `right` are flush right."""
    widths = [max((len(row[at]) for row in rows), default=0) for at in range(len(rows[0]) if rows else 0)]
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if at in right else cell.ljust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return lines


def number(value: float | None) -> str:
    """A figure of a step in a few characters; a dash where there is none."""
    return "-" if value is None else f"{value:.4g}"


def when(moment: float | None) -> str:
    """A unix time as local date and time; a dash where there is none."""
    return "-" if moment is None else clock(moment, "%Y-%m-%d %H:%M:%S")


def clock(moment: float, form: str = "%H:%M:%S") -> str:
    """A unix time as local time; a dash for a number that is no time of this world."""
    try:
        return time.strftime(form, time.localtime(moment))
    except (OverflowError, ValueError, OSError):
        return "-"


def ago(seconds: float) -> str:
    """How long ago, in the largest unit."""
    for size, unit in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit} ago"
    return "now" if seconds < 5 else f"{int(seconds)} s ago"
