"""The names and shapes of a file of weights, of either kind, and the plain facts that a pickle holds beside them."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

from engine.errors import UserError
from engine.models.apart import look_apart
from engine.models.foreign import FOREIGN
from engine.tensorfiles.header import read_header, refuse_kind, sniff


@dataclass(frozen=True)
class FileTable:
    """Shapes by name, and numbers, texts and lists of them by the name that a pickle's dict gives them."""

    path: Path
    shapes: Mapping[str, tuple[int, ...]]
    facts: Mapping[str, Any]

    @property
    def kind(self) -> str:
        """What the file is by its names ("a LoRA", "a ControlNet", ...); empty where they say nothing."""
        for pattern, what, _ in FOREIGN:
            if any(re.search(pattern, name) for name in self.shapes):
                return what.partition(",")[0].partition(" (or")[0]
        return ""


def file_table(path: Path) -> FileTable:
    """Raises UserError for a file that is not there or that cannot be read. Nothing in a pickle is executed."""
    if not path.is_file():
        raise UserError(f"{path} is not there", "training would begin with it", "correct the path")
    state = path.stat()
    return _table(path, state.st_size, state.st_mtime_ns)


@lru_cache(maxsize=8)
def _table(path: Path, size: int, changed: int) -> FileTable:
    kind = sniff(path)
    if kind == "safetensors":
        found = read_header(path)
        return FileTable(path, {name: info.shape for name, info in found.tensors.items()}, {})
    if kind != "pickle":
        raise refuse_kind(path, kind)
    answer = look_apart("engine.models.file_table", path)
    shapes = {name: tuple(shape) for name, shape in answer["shapes"].items()}
    return FileTable(path, shapes, answer["facts"])


def _main(argument: str) -> None:
    """`python -P -m engine.models.file_table FILE`: what a pickle holds, as one line of JSON."""
    # By name: torch is loaded for a pickle only, and this module stays free of it.
    pickles: Any = import_module("engine.tensorfiles.pickles")
    try:
        content = pickles.load_whole(Path(argument))
        shapes = {name: list(value.shape) for name, value in pickles.tensors_of(content).items()}
        print(json.dumps({"shapes": shapes, "facts": pickles.facts_of(content)}))
    except UserError as error:
        print(json.dumps({"error": {"what": error.what, "why": error.why, "fix": error.fix}}))


if __name__ == "__main__":
    _main(sys.argv[1])
