"""What a hostile case is: something bad in a box of folders, the command that meets it, and how that must end."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from pathlib import Path

from PIL import Image

from engine.models.bases import builtin_models

PLAN = 'name = "x"\n[base]\nmodel = "builtin:tiny"\n[data]\npath = "pictures"\nresolution = 64\n'
ESCAPE = "\x1b]0;owned\x07\x1b[2J\x1b[31m\x9b31m\r\b\u202e"
"""Sets a terminal's title, clears it, turns it red in both forms, and writes over what stands there."""


@cache
def png(side: int = 64, colour: int = 0) -> bytes:
    """A sound picture."""
    out = BytesIO()
    Image.new("RGB", (side, side), (colour % 256, colour // 256 % 256, 90)).save(out, "PNG")
    return out.getvalue()


@dataclass(frozen=True)
class Box:
    """The folders of one case; nothing but `home`, `here` and `tmp` may change."""

    root: Path

    @property
    def here(self) -> Path:
        """The working folder of the command; what it is told to write goes here."""
        return self.root / "here"

    @property
    def home(self) -> Path:
        """SDTRAIN_HOME."""
        return self.root / "home"

    @property
    def input(self) -> Path:
        """What somebody has sent the user."""
        return self.root / "input"

    @property
    def outside(self) -> Path:
        """What belongs to nobody's run."""
        return self.root / "outside"

    def put(self, name: str, content: bytes | str) -> Path:
        """A file of the input."""
        path = self.input / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return path

    def pictures(self, count: int = 2, below: str = "pictures") -> Path:
        """p0.png, p1.png ..., each with a caption."""
        for number in range(count):
            self.put(f"{below}/p{number}.png", png(colour=number * 40))
            self.put(f"{below}/p{number}.txt", f"a square, number {number}")
        return self.input / below

    def plan(self, text: str = PLAN, **values: str) -> str:
        """A plan file beside two pictures; `values` stand in the place of its values."""
        self.pictures()
        for name, value in values.items():
            before = next(line for line in text.splitlines() if line.startswith(f"{name} = "))
            text = text.replace(before, f"{name} = {value}")
        return str(self.put("plan.toml", text))

    def model(self, **changed: bytes | str | None) -> Path:
        """The built-in model as links, but for the files `part__name` that are changed (None: are missing)."""
        folder = self.input / "model"
        given = {name.replace("__", "/"): content for name, content in changed.items()}
        for file in builtin_models()["tiny"].rglob("*"):
            name = str(file.relative_to(builtin_models()["tiny"]))
            if file.is_file() and name not in given:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                os.link(file, folder / name) if _one_disk(file, folder) else (folder / name).symlink_to(file)
        for name, content in given.items():
            if content is not None:
                self.put(f"model/{name}", content)
        return folder

    def base(self, path: Path) -> list[str]:
        """`check` of a plan with that base."""
        return ["check", self.plan(model=f"'{path}'")]


def _one_disk(file: Path, folder: Path) -> bool:
    return file.stat().st_dev == folder.stat().st_dev


def safetensors(header: bytes, data: bytes = b"", length: int | None = None) -> bytes:
    """A file of that format with any header."""
    return struct.pack("<Q", len(header) if length is None else length) + header + data


Make = Callable[[Box], Sequence[str]]


@dataclass(frozen=True)
class Hostile:
    """One case. `make` puts the input into the box and returns the command's words.

    `codes` are the exit codes that fit, `says` a pattern of what the user must read. Where it fails, a way out is told.
    """

    name: str
    make: Make
    codes: frozenset[int] = frozenset({2})
    says: str = ""
    program: str = "sdtrain"
    env: dict[str, str] = field(default_factory=dict)


def always(*words: str) -> Make:
    """A command that needs no input."""
    return lambda box: words


FINE = frozenset({0})
REFUSED = frozenset({2})
EITHER = frozenset({0, 2})
"""Where a warning is as right as a refusal."""
