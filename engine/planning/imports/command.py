"""The line of a shell that starts a training script, taken apart as the shell does it; nothing is run."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import PurePath

_SET = re.compile(r"^\s*(?:export\s+|set\s+)?([A-Za-z_]\w*)=(.*)$")
_USED = re.compile(r"\$\{?([A-Za-z_]\w*)\}?|%([A-Za-z_]\w*)%")
_NUMBER = re.compile(r"-\.?\d")


@dataclass(frozen=True)
class Command:
    """`script` is the file's name without `.py`; `before` are the launcher's options, `options` the script's. An option
    without a value is true, one with several a list."""

    script: str
    before: dict[str, object]
    options: dict[str, object]


def parse_command(text: str) -> Command | None:
    """The first line that starts a `.py` script; none where there is no such line.

    Variables that the text itself sets are filled in; others stay as they are written.
    """
    joined = re.sub(r"[\\^`]\r?\n", " ", text)
    known: dict[str, str] = {}
    for line in joined.splitlines():
        if found := _SET.match(line):
            known[found[1]] = "".join(_words(found[2])[:1])
            continue
        words = _words(_filled(line, known))
        at = next((number for number, word in enumerate(words) if word.endswith(".py")), None)
        if at is not None:
            return Command(PurePath(words[at]).stem, _options(words[:at]), _options(words[at + 1 :]))
    return None


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text, comments=True)
    except ValueError:  # a quote that does not end
        return text.split()


def _filled(line: str, known: dict[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name = found[1] or found[2]
        return known.get(name, found[0])

    return _USED.sub(value, line)


def _options(words: list[str]) -> dict[str, object]:
    found: dict[str, object] = {}
    name = ""
    for word in words:
        if word.startswith("-") and not _NUMBER.match(word):
            name, mark, value = word.lstrip("-").partition("=")
            found[name] = value if mark else True
        elif name:
            held = found[name]
            found[name] = word if held is True else [*(held if isinstance(held, list) else [held]), word]
    return found
