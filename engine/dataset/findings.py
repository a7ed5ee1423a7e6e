"""What the dataset doctor says about one file, and how a file's name is shown without harm to a terminal."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["error", "warning", "info"]

LONGEST = 1000
"""Characters of a name that are shown; a table may name a picture by a book."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing found. `code` is a stable name to group by; `file` is relative to the folder, and printable.

    error: nothing can be trained; warning: a file is left out or teaches worse; info: good to know.
    """

    code: str
    file: str
    what: str
    why: str
    fix: str
    level: Level

    def to_json(self) -> dict[str, str]:
        """Plain data for `json.dumps`."""
        return {
            "code": self.code,
            "file": self.file,
            "what": self.what,
            "why": self.why,
            "fix": self.fix,
            "level": self.level,
        }


def printable(text: str) -> str:
    """`text` with control characters and undecodable bytes escaped, cut at LONGEST: no name may steer a terminal."""
    text = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode("ascii")
        for char in text
    )
