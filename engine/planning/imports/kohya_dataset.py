"""kohya's dataset config, the TOML of `--dataset_config`: only what is trained on, which a plan reads as it stands."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.plan.layouts import read_layout
from engine.planning.imports.base import Line, Reading, Tool


def read(content: Any, path: Path, method: str) -> Reading | None:
    """The sets of such a file; all else of the plan has to be given."""
    if not isinstance(content, dict) or not isinstance(content.get("datasets"), list):
        return None
    layout = read_layout(path)
    if layout is None:
        return None
    made = Reading(TOOL.title, {}, method or "lora", path.parent)
    made.answers["data.path"] = str(path.resolve())
    told = f"{len(layout.sets)} sets"
    made.lines.append(Line("datasets", told, "renamed", "data.path", str(path), "read as it stands"))
    made.lines += [
        Line(name.strip(), value.strip(), "left", why="no set has it")
        for name, _, value in (each.partition("=") for each in layout.unread)
    ]
    return made


TOOL = Tool("kohya_dataset", "kohya's dataset config", read)
