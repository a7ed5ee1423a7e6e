"""Counts a step of a plan that no table has, in a process of its own, while the page goes on with scaled figures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from textual.widget import Widget

from engine.errors import UserError
from sdtrain_tui.background import in_background

if TYPE_CHECKING:
    from engine.plan.schema import Plan


class Counting:
    """One plan at a time, and none twice: what was counted is kept on the disk and found by the next forecast."""

    def __init__(self, owner: Widget) -> None:
        self._owner = owner
        self._tried: list[Plan] = []
        self._busy = False

    def begin(self, plan: Plan, done: Callable[[], object]) -> bool:
        """Is this plan being counted now? `done` is called in the app's thread once it is, or once another one is that
        was being counted before it."""
        from sdtrain_tui.commands.start import torch_is_here

        if not self._busy and plan not in self._tried and torch_is_here():
            self._tried.append(plan)
            self._busy = True

            def finish(worked: bool) -> None:
                self._busy = False
                done()

            in_background(self._owner, lambda: count(plan), finish)
        return self._busy


def count(plan: Plan) -> bool:
    """Trace the plan; false where that does not work, and the scaled figures stay."""
    from engine.plan.files import dumps
    from sdtrain_tui.commands.child import run_module

    with tempfile.TemporaryDirectory(prefix="sdtrain-") as folder:
        file = Path(folder) / "plan.toml"
        file.write_text(dumps(plan), encoding="utf-8")
        try:
            run_module("engine.tracing", str(file))
        except (UserError, OSError):
            return False
    return True
