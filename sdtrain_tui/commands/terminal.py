"""Opening the app from a command, where there is a terminal for it."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Literal

from engine.errors import UserError
from engine.run.paths import RunDir


def has_terminal() -> bool:
    """Can a full-screen app be shown here?"""
    return sys.stdin.isatty() and sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"


def open_app(
    start: Literal["home", "wizard", "monitor"],
    run: RunDir | None = None,
    answers: Mapping[str, object] | None = None,
) -> int:
    """Show the app until the user leaves it; the exit code is the app's."""
    if not has_terminal():
        raise UserError(
            "the app needs a terminal",
            "input or output is a pipe or a file, or TERM is not set",
            "every part of it is a command too: see `sdtrain --help`",
        )
    from sdtrain_tui.app import SdtrainApp
    from sdtrain_tui.commands.texts import unguarded

    app = SdtrainApp(start=start, run=run, answers=dict(answers or {}))
    with unguarded():
        result = app.run()
    return result if isinstance(result, int) else int(app.return_code or 0)
