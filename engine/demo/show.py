"""One picture that shows what a run taught: the first previews above the last ones."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from engine.errors import UserError
from engine.run.events import EventReader
from engine.run.files import write_atomic
from engine.run.paths import RunDir

GAP = 6
SIDE = 128


def before_after(run: RunDir) -> Path:
    """Write RUN_DIR/samples/before-after.png: a column a prompt, before training on top; returns its path."""
    pictures: dict[int, dict[int, Path]] = {}
    reader = EventReader(run.events_file)
    while events := reader.poll():
        for event in events:
            if event["kind"] == "sample" and "path" in event:
                pictures.setdefault(int(event["step"]), {})[int(event["index"])] = run.path / str(
                    event["path"]
                )
    if len(pictures) < 2:
        raise UserError(
            f"{run.name} has no previews from two steps to compare",
            fix="set samples.every and samples.at_start",
        )
    first, last = pictures[min(pictures)], pictures[max(pictures)]
    shown = sorted(first.keys() & last.keys())
    cell = SIDE + GAP
    sheet = Image.new("RGB", (GAP + cell * len(shown), GAP + 2 * cell), (32, 32, 36))
    for column, index in enumerate(shown):
        for row, source in enumerate((first[index], last[index])):
            with Image.open(source) as picture:
                shown_picture = picture.convert("RGB").resize((SIDE, SIDE), Image.Resampling.NEAREST)
            sheet.paste(shown_picture, (GAP + column * cell, GAP + row * cell))
    target = run.samples / "before-after.png"
    from io import BytesIO

    buffer = BytesIO()
    sheet.save(buffer, "PNG")
    write_atomic(target, buffer.getvalue())
    return target
