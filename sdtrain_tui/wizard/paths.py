"""Paths as they are typed: ~ replaced, and completed like a shell does it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote


def expanded(text: str) -> Path:
    """The path with ~ replaced; a user that does not exist stays as typed."""
    try:
        return Path(text).expanduser()
    except RuntimeError:
        return Path(text)


def is_there(text: str) -> bool:
    """Is there something under that path? What no path can be is not there."""
    return os.path.exists(expanded(text))  # noqa: PTH110  (Path's raises for names that are too long)


_ESCAPED = re.compile(r"""\\([ '"()&\[\]{}$;!*?<>|`#~\\])""")


def unquoted(text: str) -> str:
    """A path as it is meant that was pasted as a shell or a file manager writes it: in quotes, with escapes, as a URL.

    What is there under the name as typed stays as it is.
    """
    plain = text.strip()
    if not plain or is_there(plain):
        return plain
    if plain.startswith("file://"):
        return unquote(plain.removeprefix("file://"))
    if len(plain) > 1 and plain[0] == plain[-1] and plain[0] in "'\"":
        return plain[1:-1]
    return _ESCAPED.sub(r"\1", plain)


def complete(text: str, files: tuple[str, ...] = ()) -> tuple[str, list[str]]:
    """The text with what is certain added, and the names that it could become (hidden ones only on a dot)."""
    if not text:
        return text, []
    if text == "~":
        return "~/", []
    head, _, start = text.rpartition("/")
    folder = expanded(head + "/" if head or text.startswith("/") else ".")
    names: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(start) and (start.startswith(".") or not entry.name.startswith(".")):
                    if entry.is_dir():
                        names.append(entry.name + "/")
                    elif entry.name.lower().endswith(files or ("\0",)):
                        names.append(entry.name)
    except OSError:
        return text, []
    common = names[0] if names else ""
    while not all(name.startswith(common) for name in names):
        common = common[:-1]
    if len(common) > len(start):
        return (f"{head}/" if head or text.startswith("/") else "") + common, sorted(names)
    return text, sorted(names)
