"""What became of a run, or what it waits for: what, why, and what to do next, in full."""

from __future__ import annotations

import textwrap

from textual.geometry import Size
from textual.strip import Strip

from engine.run.view import RunView
from sdtrain_tui.widgets.cells import clean, row
from sdtrain_tui.widgets.diff_lines import DiffedLines
from sdtrain_tui.widgets.numbers import count, size_text, span

Line = tuple[str, str, str]
MOST = 9


def verdict(view: RunView, state: str) -> list[Line]:
    """Rows of (label, role of the palette, text); none while the run simply goes on."""
    told = _TOLD.get(state)
    return told(view) if told else []


def _failed(view: RunView) -> list[Line]:
    failed = view.failed
    if failed is None:
        return []
    rows = [("what", "error", failed.what), ("why", "text", failed.why), ("fix", "strong", failed.fix)]
    return [line for line in rows if line[2]] + _resume(view)


def _crashed(view: RunView) -> list[Line]:
    if view.failed is not None:
        return _failed(view)
    rows = [("what", "error", "The engine is gone without a word: the machine went down, or it was killed.")]
    return rows + _resume(view)


def _disk_full(view: RunView) -> list[Line]:
    if view.paused is None:
        return _failed(view)
    text = view.paused.text or "The disk is full; the run waits and keeps its last checkpoint."
    return [("waits", "error", text), ("fix", "strong", "make room; then p goes on")]


def _stalled(view: RunView) -> list[Line]:
    return [
        ("stalled", "warn", "The engine is there but has said nothing for a while."),
        (
            "next",
            "text",
            "l shows its log, s stops it; a slow disk or a first compile may only need patience",
        ),
    ]


def _stopped(view: RunView) -> list[Line]:
    reason = view.stopped.reason if view.stopped else ""
    return ([("stopped", "text", reason)] if reason else []) + _resume(view)


def _finished(view: RunView) -> list[Line]:
    rows = [
        ("export" if not i else "", "ok", f"{export.path}  ({export.format}, {size_text(export.bytes)})")
        for i, export in enumerate(view.exports)
    ]
    if view.finished is not None:
        rows.append(("took", "text", f"{span(view.finished.seconds)} for {count(view.finished.step)} steps"))
    return rows


def _resume(view: RunView) -> list[Line]:
    if not view.checkpoints:
        return [("next", "text", "r starts it again; no checkpoint was saved before")]
    return [("next", "text", f"r goes on from the checkpoint at step {count(view.checkpoints[-1].step)}")]


def _queued(view: RunView) -> list[Line]:
    return [("queued", "text", "it has not started; r starts it")]


_TOLD = {
    "failed": _failed,
    "out-of-memory": _failed,
    "crashed": _crashed,
    "disk-full": _disk_full,
    "stalled": _stalled,
    "stopped": _stopped,
    "finished": _finished,
    "queued": _queued,
}


class Verdict(DiffedLines):
    """As high as what it has to say, and not there at all when that is nothing."""

    DEFAULT_CSS = "Verdict { height: auto; width: 1fr; padding: 0 2; display: none; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._told: list[Line] = []

    def show(self, view: RunView, state: str) -> None:
        """Take the view; only a change of what is said costs a layout."""
        told = verdict(view, state)
        if told != self._told:
            self._told = told
            self.display = bool(told)
            self.refresh(layout=True)
            self.redraw()

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        return min(MOST, len(self._wrapped(width)))

    def lines(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        return [
            row([(f"{label:<9}", palette.quiet), (text, getattr(palette, role))], width, palette.text)
            for label, role, text in self._wrapped(width)
        ]

    def _wrapped(self, width: int) -> list[Line]:
        rows: list[Line] = []
        for label, role, text in self._told:
            pieces = textwrap.wrap(clean(text), max(10, width - 9), break_on_hyphens=False)
            rows += [(label if not i else "", role, piece) for i, piece in enumerate(pieces)]
        return rows
