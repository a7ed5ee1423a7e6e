"""What the run under the cursor is doing, in words, and what can be done about it."""

from __future__ import annotations

import textwrap

from textual.strip import Strip

from engine.run.listing import RunSummary
from sdtrain_tui.widgets.cells import clean, row
from sdtrain_tui.widgets.diff_lines import DiffedLines

NEXT_STEP = {
    "queued": "It has not started. r starts it.",
    "preparing": "It loads the model and encodes the pictures; steps follow.",
    "running": "It trains. Enter watches it.",
    "paused": "It holds its place in memory. p goes on.",
    "stalled": "It is alive but says nothing. Enter shows its log; s stops it.",
    "stopped": "It was stopped and saved. r goes on from its last checkpoint.",
    "crashed": "The engine is gone. r resumes from the last checkpoint; nothing before it is lost.",
    "out-of-memory": "The memory did not suffice. Enter shows what to change; r tries again.",
    "disk-full": "The disk is full. Make room, then r goes on from the last checkpoint.",
    "failed": "It ended with an error. Enter shows what, why and what to do.",
    "finished": "It is done. Enter shows pictures, loss and the exported files.",
}


class RunDetail(DiffedLines):
    """Two or three lines under the list."""

    DEFAULT_CSS = "RunDetail { height: 3; width: 1fr; padding: 0 2; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._run: RunSummary | None = None

    def show(self, run: RunSummary | None) -> None:
        """Another run, or the same one further on."""
        self._run = run
        self.redraw()

    def lines(self, width: int, height: int) -> list[Strip]:
        run, palette = self._run, self.palette
        if run is None:
            return []
        rows = [row([(clean(str(run.path)), palette.quiet)], width, palette.text)]
        for line in textwrap.wrap(NEXT_STEP.get(run.state, ""), width):
            rows.append(row([(line, palette.text)], width, palette.text))
        return rows
