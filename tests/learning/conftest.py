"""Leaves what the learning tests saw: figures, and with --learning DIR a contact sheet and a JSON file a test."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from engine.demo.score import contact_sheet
from engine.demo.world import Picture

COLUMNS = 12
Record = Callable[..., None]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Record:
    """Call it with a name, rows of pictures (the first twelve of each are shown), and figures."""
    folder: Path | None = request.config.getoption("--learning")

    def keep(name: str, rows: Sequence[Sequence[Picture]], **figures: float) -> None:
        rounded = {key: round(value, 3) for key, value in figures.items()}
        print(name, rounded)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{name}.json").write_text(json.dumps(rounded) + "\n")
            sheet = contact_sheet([tile for row in rows for tile in row[:COLUMNS]], COLUMNS, scale=1)
            sheet.quantize(128).save(folder / f"{name}.png", optimize=True)

    return keep
