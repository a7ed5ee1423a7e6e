"""Reads the caption tables metadata.jsonl and metadata.csv (the Hugging Face "imagefolder" layout)."""

import csv
import json
import posixpath
from collections.abc import Iterator
from pathlib import Path

from engine.dataset.findings import Finding, printable

METADATA_FILES = ("metadata.jsonl", "metadata.csv")
MAX_LINE = 1 << 20
MAX_ROW_FINDINGS = 100
TEXT_COLUMNS = ("text", "caption", "prompt")

_SPACE = dict.fromkeys((*range(32), *range(127, 160)), " ")


def clean(text: str) -> str:
    """One line without control characters; an own line break or a tab counts as a space."""
    return " ".join(text.translate(_SPACE).split())


def read_metadata(folder: Path, name: str, known: set[str], problems: list[Finding]) -> dict[str, str]:
    """Captions by picture, relative to `folder`, of the table `name`; what is wrong goes to `problems`.

    A row needs `file_name` and one of `text`, `caption`, `prompt`. Only pictures in `known` are returned; of
    two rows for one picture the first counts. At most MAX_ROW_FINDINGS findings are made for one table.
    """
    captions: dict[str, str] = {}
    table = _Table(printable(name), problems)
    base = posixpath.dirname(name)
    try:
        for number, row in rows(folder / name):
            file_name = row.get("file_name") if isinstance(row, dict) else None
            if not isinstance(row, dict) or not isinstance(file_name, str) or not file_name:
                table.say(
                    "bad-row",
                    f"line {number} is not a row with a file_name",
                    "it is left out",
                    'write {"file_name": ..., "text": ...}',
                )
                continue
            picture = posixpath.normpath(posixpath.join(base, file_name.replace("\\", "/")))
            text = next((row[column] for column in TEXT_COLUMNS if isinstance(row.get(column), str)), None)
            if picture.startswith(("/", "../")):
                table.say(
                    "row-outside",
                    f"line {number} names a file outside the folder: {printable(file_name)}",
                    "it is not read",
                    "copy the picture into the folder",
                )
            elif picture not in known:
                table.say(
                    "row-without-file",
                    f"line {number} names {printable(file_name)}, which is not among the pictures",
                    "the row is not used",
                    "correct the name, or take the row out",
                )
            elif text is None:
                table.say(
                    "bad-row",
                    f"line {number} has no {' or '.join(TEXT_COLUMNS)}",
                    "the picture has no caption from it",
                    "add the text",
                )
            elif picture in captions:
                table.say(
                    "bad-row",
                    f"line {number} is a second row for {printable(file_name)}",
                    "the first one is used",
                    "take one out",
                )
            else:
                captions[picture] = clean(text)
    except (OSError, UnicodeError, csv.Error) as error:
        table.say(
            "metadata-unreadable", "the table cannot be read to its end", str(error), "save it as UTF-8 text"
        )
    table.finish()
    return captions


class _Table:
    """Collects one table's findings, so many and no more."""

    def __init__(self, name: str, problems: list[Finding]) -> None:
        self.name = name
        self.problems = problems
        self.count = 0

    def say(self, code: str, what: str, why: str, fix: str) -> None:
        self.count += 1
        if self.count <= MAX_ROW_FINDINGS:
            self.problems.append(Finding(code, self.name, what, why, fix, "warning"))

    def finish(self) -> None:
        if self.count > MAX_ROW_FINDINGS:
            more = self.count - MAX_ROW_FINDINGS
            self.problems.append(
                Finding(
                    "more-rows",
                    self.name,
                    f"{more} more rows like these",
                    "",
                    "mend the first ones and look again",
                    "warning",
                )
            )


def rows(path: Path) -> Iterator[tuple[int, object]]:
    """Line number and row, a dict where the line is well formed and None where it is not."""
    if path.suffix == ".csv":
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                yield reader.line_num, row
        return
    with path.open(encoding="utf-8-sig") as file:
        number = 0
        while line := file.readline(MAX_LINE):
            number += 1
            if not line.strip():
                continue
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None
