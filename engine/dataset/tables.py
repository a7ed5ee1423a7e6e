"""Reads the rows of caption tables: metadata.jsonl, .csv, .tsv or .json, and kohya's meta_*.json."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from engine.dataset.encodings import is_text, is_western, wide_encoding
from engine.dataset.names import has_picture_suffix

METADATA_FILES = (
    "metadata.jsonl",
    "metadata.csv",
    "metadata.tsv",
    "metadata.json",
    "meta_lat.json",
    "meta_clean.json",
    "meta_cap_dd.json",
    "meta_cap.json",
)
"""The names of tables, the first of a folder's that has a caption counts; kohya's later stages come first."""
FILE_COLUMNS = (
    "file_name",
    "filename",
    "file",
    "image_path",
    "image",
    "path",
    "file_path",
    "image_file_name",
    "img",
)
TEXT_COLUMNS = ("text", "caption", "prompt")
CONDITION_COLUMN = "conditioning_image"
"""The column of diffusers' ControlNet examples; its paths are relative to the table."""
MAX_LINE = 1 << 20
MAX_JSON = 256 << 20
_HEAD = 4096
_DELIMITERS = (",", ";", "\t", "|")

Row = Mapping[str, object]
Guessed = Callable[[str], None]


class TableError(Exception):
    """What is wrong with a table as a whole, why, and what to do."""

    def __init__(self, what: str, why: str, fix: str) -> None:
        super().__init__(what)
        self.what, self.why, self.fix = what, why, fix


def is_table(name: str) -> bool:
    """Whether a file of that relative name is a caption table."""
    return name.rpartition("/")[2].lower() in METADATA_FILES


def rows(path: Path, guessed: Guessed = lambda _: None) -> Iterator[tuple[int, Row | None]]:
    """Line (of a .json: entry) number and row, none where it is not well formed; its keys are in lower case.

    UTF-8, UTF-16 and UTF-32 are read, and lines in Windows-1252 between them; a CSV's columns may be divided by
    commas, semicolons, tabs or bars. `guessed` is told of an encoding that no mark named. Raises OSError,
    UnicodeError, csv.Error, and TableError for a table that has no rows to speak of.
    """
    with path.open("rb") as raw:
        head = raw.read(_HEAD)
    codec = _codec(head, guessed)
    found: Iterator[tuple[int, object]]
    # Lines that are no UTF-8 keep their bytes, so that each can be looked at by itself.
    with path.open(
        encoding=codec, errors="surrogateescape" if "utf-8" in codec else "strict", newline=""
    ) as file:
        if path.suffix.lower() == ".json":
            found = _of_json(file.read(MAX_JSON + 1), guessed)
        elif path.suffix.lower() == ".jsonl":
            found = _of_lines(iter(lambda: file.readline(MAX_LINE), ""), guessed)
        else:
            found = _of_csv(file, guessed)
        for number, row in found:
            yield number, _lower(row) if isinstance(row, dict) else None


def file_of(row: Row) -> str | None:
    """The picture that a row is about, with "/" between folders."""
    for column in FILE_COLUMNS:
        value = row.get(column)
        if isinstance(value, dict):  # the Hugging Face form of a picture
            value = value.get("path")
        if isinstance(value, str) and value.strip():
            return value.replace("\\", "/")
    return None


def text_of(row: Row) -> str | None:
    """A row's caption: the first text column; tags where there is none."""
    tags = row.get("tags")
    if isinstance(tags, list):
        tags = ", ".join(tag for tag in tags if isinstance(tag, str))
    texts = [*(row.get(column) for column in TEXT_COLUMNS), tags]
    return next((text for text in texts if isinstance(text, str)), None)


def _codec(head: bytes, guessed: Guessed) -> str:
    codec, marked = wide_encoding(head[: len(head) // 4 * 4] if len(head) == _HEAD else head)
    if not codec:
        return "utf-8-sig"
    if not is_text(head.decode(codec, "ignore").rstrip("\x00")):
        raise UnicodeError("it is not text")
    if not marked:
        guessed(codec.upper())
    return codec


def _lower(row: Mapping[object, object]) -> Row:
    return {key.strip().lower(): value for key, value in row.items() if isinstance(key, str)}


def _repaired(text: str, guessed: Guessed) -> str:
    """A text whose bytes were kept because they are no UTF-8, read as Windows-1252. Raises UnicodeError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raw = text.encode("utf-8", "surrogateescape")
        if not is_western(raw):
            raise UnicodeError("it is neither UTF-8 nor Windows-1252") from None
        guessed("Windows-1252")
        return raw.decode("cp1252", "replace")
    return text


def _of_lines(lines: Iterable[str], guessed: Guessed) -> Iterator[tuple[int, object]]:
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, _loaded(_repaired(line, guessed))


def _loaded(line: str) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):  # no JSON, a number of thousands of digits, or nested without end
        return None


def _of_json(text: str, guessed: Guessed) -> Iterator[tuple[int, object]]:
    """Rows in a list, or by picture in an object: {"a.png": {"caption": ...}} as kohya writes, or {"a.png": "..."}."""
    if len(text) > MAX_JSON:
        why = "it would have to be read as a whole"
        raise TableError(
            f"is larger than {MAX_JSON >> 20} MB", why, "save it as metadata.jsonl, a row a line"
        )
    text = _repaired(text, guessed)
    try:
        data: Any = json.loads(text)
    except RecursionError:
        data = None
    except ValueError as error:
        lines = text.splitlines()
        if len(lines) > 1 and lines[0].strip().endswith("}"):
            yield from _of_lines(lines, guessed)
            return
        raise TableError("is not JSON", str(error), _JSON_FIX) from None
    if isinstance(data, dict):
        lists = [value for value in data.values() if isinstance(value, list) and value]
        if len(lists) == 1 and isinstance(lists[0][0], dict):
            data = lists[0]
        elif file_of(_lower(data)):
            data = [data]
        else:
            data = [_by_picture(key, value) for key, value in data.items() if isinstance(value, str | dict)]
    if not isinstance(data, list) or not data:
        raise TableError("holds no rows", "it is neither a list of rows nor an object by picture", _JSON_FIX)
    yield from enumerate(data, 1)


_JSON_FIX = 'write [{"file_name": "a.png", "text": "..."}, ...] or {"a.png": {"caption": "..."}, ...}'


def _by_picture(name: str, value: object) -> Row:
    """A row of kohya's tables, where tags come behind the caption."""
    row = dict(_lower(value)) if isinstance(value, dict) else {"text": value}
    caption, tags = row.get("caption"), row.get("tags")
    if isinstance(caption, str) and isinstance(tags, str) and tags.strip():
        row["caption"] = f"{caption}, {tags}"
    return {**row, "file_name": name}


def _of_csv(lines: Iterable[str], guessed: Guessed) -> Iterator[tuple[int, object]]:
    reading = iter(lines)
    first = next((line for line in reading if line.strip()), "")
    skipped = 0
    told = re.match(r'"?sep=(.)"?\s*$', first, re.IGNORECASE)  # how a spreadsheet is told of its delimiter
    if told:
        first, skipped = next(reading, ""), 1
    header, delimiter = _header(first, told[1] if told else "")
    if header:
        reader = csv.DictReader(reading, fieldnames=header, delimiter=delimiter)
        skipped += 1
    else:
        reader = csv.DictReader(
            chain([first], reading), fieldnames=["file_name", "text"], delimiter=delimiter
        )
    for row in reader:
        values = {
            key: _repaired(value, guessed) if isinstance(value, str) else value for key, value in row.items()
        }
        yield reader.line_num + skipped, values


def _header(line: str, told: str) -> tuple[list[str], str]:
    """The names of the columns and what divides them; none for a table that starts with its first picture."""
    for delimiter in (told,) if told else _DELIMITERS:
        cells = next(csv.reader([line], delimiter=delimiter), [])
        names = [cell.strip().lower() for cell in cells]
        if any(name in FILE_COLUMNS for name in names):
            return names, delimiter
        if len(cells) > 1 and has_picture_suffix(cells[0]):
            return [], delimiter
    why = f"its first line should name the columns, and is: {line.strip()[:60]}"
    raise TableError("has no column file_name", why, "start it with the line file_name,text")
