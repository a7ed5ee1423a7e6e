"""Slow work beside the screen, in threads that never keep the app from leaving."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from typing import TypeVar

from textual.widget import Widget

Result = TypeVar("Result")


def in_background(owner: Widget, work: Callable[[], Result], done: Callable[[Result], object]) -> None:
    """Do `work` in a daemon thread and then `done` with its result in the app's, if `owner` is still there.

    Textual's own thread workers are waited for at exit, so that a scan of a slow disk would hold up the end
    (Textualize/textual#3966). An error that `work` does not handle itself ends the app, as anywhere else.
    """
    app = owner.app

    def finish(result: Result) -> None:
        if owner.is_running:
            done(result)

    def body() -> None:
        whole = False
        try:
            result = work()
            whole = True
        finally:
            if not whole:
                traceback.print_exc()  # into the log, before the app may be gone and this thread with it
            if app.is_running:
                if whole:
                    app.call_later(finish, result)
                else:
                    app.call_later(app.exit, None, 1)

    threading.Thread(target=body, name="sdtrain-background", daemon=True).start()
