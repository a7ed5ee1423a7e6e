"""One picture that shows what a run taught: the first previews above the last ones, under their conditions."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from engine.errors import UserError
from engine.files import write_atomic
from engine.run.events import EventReader
from engine.run.paths import RunDir, condition_name

GAP = 6
SIDE = 128
Previews = dict[int, Path]
"""Picture files by the number of their prompt."""


def before_after(run: RunDir) -> Path:
    """Write RUN_DIR/samples/before-after.png and return its path: a column a prompt, before training above after
    it; over both the condition picture, where the method has one. UserError without previews from two steps."""
    steps = _previews(run)
    if len(steps) < 2:
        raise UserError(
            f"{run.name} has no previews from two steps to compare",
            fix="set samples.every and samples.at_start",
        )
    first, last = steps[min(steps)], steps[max(steps)]
    shown = sorted(first.keys() & last.keys())
    conditions = {index: run.path / condition_name(index) for index in shown}
    rows = [first, last]
    if all(path.is_file() for path in conditions.values()):
        rows.insert(0, conditions)
    target = run.previews / "before-after.png"
    buffer = BytesIO()
    _sheet([[row[index] for index in shown] for row in rows]).save(buffer, "PNG")
    write_atomic(target, buffer.getvalue())
    return target


def _previews(run: RunDir) -> dict[int, Previews]:
    """What was drawn at each step."""
    steps: dict[int, Previews] = {}
    reader = EventReader(run.events_file)
    while events := reader.poll():
        for event in events:
            if event["kind"] == "sample" and "path" in event:
                steps.setdefault(int(event["step"]), {})[int(event["index"])] = run.path / str(event["path"])
    return steps


def _sheet(rows: list[list[Path]]) -> Image.Image:
    cell = SIDE + GAP
    sheet = Image.new("RGB", (GAP + cell * len(rows[0]), GAP + cell * len(rows)), (32, 32, 36))
    for down, row in enumerate(rows):
        for along, source in enumerate(row):
            with Image.open(source) as picture:
                tile = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(tile, (GAP + along * cell, GAP + down * cell))
    return sheet
