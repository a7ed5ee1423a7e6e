"""Lines of found facts: a narrow label, then text; used by the steps that look at something."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from textual.strip import Strip

from sdtrain_tui.widgets.cells import clean, row
from sdtrain_tui.widgets.diff_lines import DiffedLines

if TYPE_CHECKING:
    from engine.plan.problems import Problem

Fact = tuple[str, str, str]
"""Label, role of the palette, text."""

LABEL = 22
ASCII = str.maketrans("━─×", "#-x")


class FactLines(DiffedLines):
    """As many rows as its facts need; it asks for a layout only when that number changes."""

    DEFAULT_CSS = "FactLines { height: auto; width: 1fr; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._facts: list[Fact] = []
        self._names: list[str] = []

    def show(self, facts: list[Fact]) -> None:
        """Other facts."""
        if facts != self._facts:
            self._facts = facts
            self._renew()

    @staticmethod
    def of_problem(problem: Problem) -> list[Fact]:
        """What is wrong, why, and what to do."""
        role = "error" if problem.level == "error" else "warn"
        parts = [("wrong", role, problem.what), ("why", "text", problem.why), ("fix", "text", problem.fix)]
        return [part for part in parts if part[2]]

    def show_names(self, names: list[str]) -> None:
        """What a path could be completed to, above the facts."""
        if names != self._names:
            self._names = names
            self._renew()

    def get_content_height(self, container: object, viewport: object, width: int) -> int:
        return max(1, len(self._wrapped(width)))

    def lines(self, width: int, height: int) -> list[Strip]:
        palette = self.palette
        table = ASCII if self.glyphs.chart == "ascii" else {}
        return [
            row(
                [(f"  {label:<{LABEL - 2}}", palette.quiet), (text.translate(table), getattr(palette, role))],
                width,
                palette.text,
            )
            for label, role, text in self._wrapped(width)
        ]

    def _wrapped(self, width: int) -> list[Fact]:
        facts = list(self._facts)
        if self._names:
            facts.insert(0, ("could be", "accent", "  ".join(self._names[:40])))
        rows: list[Fact] = []
        for label, role, text in facts:
            pieces = textwrap.wrap(clean(text), max(10, width - LABEL), break_on_hyphens=False) or [""]
            rows += [(label if not i else "", role, piece) for i, piece in enumerate(pieces)]
        return rows

    def _renew(self) -> None:
        if self.is_mounted and self.size and len(self._wrapped(self.size.width)) != self.size.height:
            self.refresh(layout=True)
        self.redraw()
