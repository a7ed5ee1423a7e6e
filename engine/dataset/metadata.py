"""Holds the rows of caption tables (the Hugging Face "imagefolder" layout, and kohya's) against the pictures."""

import csv
import posixpath
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.dataset.findings import Finding, printable
from engine.dataset.names import PictureNames, is_absolute, nfc
from engine.dataset.tables import CONDITION_COLUMN, TEXT_COLUMNS, Row, TableError, file_of, rows, text_of

MAX_ROW_FINDINGS = 100

_SPACE = dict.fromkeys((*range(32), *range(127, 160)), " ")


def clean(text: str) -> str:
    """One line of composed Unicode without control characters; an own line break or a tab counts as a space."""
    return " ".join(nfc(text).translate(_SPACE).split())


def clean_lines(text: str) -> str:
    """The text in clean lines, without empty ones."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" not in text.strip("\n"):
        return clean(text)
    return "\n".join(line for line in map(clean, text.split("\n")) if line)


@dataclass(slots=True)
class Metadata:
    """What one table says: captions in lines, and condition pictures, by picture; all names are relative to the folder.

    `outside` has line and name of each condition that lies elsewhere.
    """

    captions: dict[str, str] = field(default_factory=dict)
    conditions: dict[str, str] = field(default_factory=dict)
    outside: list[tuple[int, str]] = field(default_factory=list)


def read_metadata(
    folder: Path, name: str, pictures: PictureNames, left_out: Collection[str], problems: list[Finding]
) -> Metadata:
    """The table `name` of `folder`; what is wrong goes to `problems`, at most MAX_ROW_FINDINGS for one table.

    A row needs a picture and a text. Names are relative to the table; absolute ones are looked for below the
    folder, and where a table has no others, it was written elsewhere and the ends of the names count. Of two rows
    for one picture the first counts. Nothing is said of pictures in `left_out`.
    """
    table = _Table(name, problems)
    reader = _Reader(folder, posixpath.dirname(name), pictures, left_out, table)
    try:
        for number, row in rows(folder / name, table.guessed):
            reader.take(number, row)
        reader.finish()
    except TableError as error:
        table.say("metadata-unreadable", error.what, error.why, error.fix)
    except (OSError, UnicodeError, csv.Error) as error:
        what, fix = "the table cannot be read to its end", "save it as UTF-8 text"
        table.say("metadata-unreadable", what, str(error), fix)
    table.finish(bool(reader.found.captions or reader.found.conditions))
    return reader.found


class _Reader:
    """One table while it is read."""

    def __init__(
        self, folder: Path, base: str, pictures: PictureNames, left_out: Collection[str], table: "_Table"
    ) -> None:
        self.found = Metadata()
        self.base = base
        self.pictures = pictures
        self.left_out = left_out
        self.table = table
        self.roots = [f"{root.as_posix()}/" for root in (folder.absolute(), folder.resolve())]
        self.foreign: list[tuple[int, str, Row]] = []
        self.has_relative = False

    def take(self, number: int, row: Row | None) -> None:
        """One row; one with another system's absolute name waits for the end of the table."""
        name = None if row is None else file_of(row)
        if row is None or name is None:
            self.table.no_row(number)
            return
        self.has_relative = self.has_relative or not is_absolute(name)
        below = _below(self.roots, self.base, name)
        if below is not None:
            if below not in self.left_out:
                self._add(number, name, self.pictures.find(below), row)
        elif is_absolute(name):
            self.foreign.append((number, name, row))
        else:
            self.table.outside(number, name)

    def finish(self) -> None:
        """The rows with names of another system."""
        for number, name, row in self.foreign:
            picture = None if self.has_relative else self.pictures.ending(name, self.base)
            if picture is None:
                self.table.outside(number, name)
            else:
                self._add(number, name, picture, row)

    def _add(self, number: int, name: str, picture: str | None, row: Row) -> None:
        if picture is None:
            self.table.no_picture(number, name)
            return
        condition, text = row.get(CONDITION_COLUMN), text_of(row)
        if isinstance(condition, str) and condition:
            below = _below(self.roots, self.base, condition.replace("\\", "/"))
            if below is None:
                self.found.outside.append((number, condition))
            else:
                self.found.conditions.setdefault(picture, below)
        if text is None:
            self.table.no_text(number)
        elif picture in self.found.captions:
            self.table.second(number, name)
        else:
            self.found.captions[picture] = clean_lines(text)


def _below(roots: Sequence[str], base: str, name: str) -> str | None:
    """A name in a table as one relative to the folder; none for one outside of it."""
    if is_absolute(name):
        name = posixpath.normpath(name)
        return next((nfc(name)[len(nfc(root)) :] for root in roots if nfc(name).startswith(nfc(root))), None)
    path = posixpath.normpath(posixpath.join(base, name))
    return None if path.startswith("../") or path == ".." else path


class _Table:
    """Collects one table's findings, so many and no more."""

    def __init__(self, name: str, problems: list[Finding]) -> None:
        self.name = printable(name)
        self.problems = problems
        self.found: list[Finding] = []
        self.count = 0
        self.optional = name.lower().endswith(".json")
        self.row = (
            "file_name,text" if name.lower().endswith((".csv", ".tsv")) else '{"file_name": ..., "text": ...}'
        )
        self.encoding = ""

    def say(self, code: str, what: str, why: str, fix: str) -> None:
        self.count += 1
        if self.count <= MAX_ROW_FINDINGS:
            self.found.append(Finding(code, self.name, what, why, fix, "warning"))

    def guessed(self, encoding: str) -> None:
        if not self.encoding:
            self.encoding = encoding
            what, why = (
                f"the table is not UTF-8; it was read as {encoding}",
                "some letters may come out wrong",
            )
            self.say("caption-encoding", what, why, "save it as UTF-8")

    def no_row(self, number: int) -> None:
        what = f"line {number} is not a row with a file_name"
        self.say("bad-row", what, "it is left out", f"write {self.row}")

    def outside(self, number: int, file_name: str) -> None:
        what = f"line {number} names a file outside the folder: {printable(file_name)}"
        fix = "copy the picture into the folder, and name it from the table's own folder"
        self.say("row-outside", what, "it is not read", fix)

    def no_picture(self, number: int, file_name: str) -> None:
        what = f"line {number} names {printable(file_name)}, which is not among the pictures"
        fix = "correct the name, or take the row out"
        self.say("row-without-file", what, "the row is not used", fix)

    def no_text(self, number: int) -> None:
        what = f"line {number} has no {' or '.join(TEXT_COLUMNS)}"
        self.say("bad-row", what, "the picture has no caption from it", "add the text")

    def second(self, number: int, file_name: str) -> None:
        what = f"line {number} is a second row for {printable(file_name)}"
        self.say("bad-row", what, "the first one is used", "take one out")

    def finish(self, used: bool) -> None:
        if self.optional and not used and self.count:
            what, why = "the table is about none of the pictures, and is not used", self.found[0].what
            fix = 'write [{"file_name": "a.png", "text": "..."}, ...], if captions are meant'
            self.problems.append(Finding("metadata-unused", self.name, what, why, fix, "info"))
            return
        self.problems += self.found
        if self.count > MAX_ROW_FINDINGS:
            more = self.count - MAX_ROW_FINDINGS
            fix = "mend the first ones and look again"
            self.problems.append(
                Finding("more-rows", self.name, f"{more} more rows like these", "", fix, "warning")
            )
