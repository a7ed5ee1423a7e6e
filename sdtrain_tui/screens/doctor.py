"""The dataset doctor as a page: what a folder of pictures is like, and what is wrong in it."""

from __future__ import annotations

from pathlib import Path

from rich.text import Text
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import Static

from engine.dataset.scan import scan
from engine.errors import UserError
from sdtrain_tui.background import in_background
from sdtrain_tui.widgets.cells import clean
from sdtrain_tui.wizard.paths import expanded

RESOLUTION = 512


class DoctorScreen(ModalScreen[None]):
    """Scans in a thread and shows the same report as `sdtrain data`."""

    BINDINGS = [Binding("escape,q,enter", "close", "Close", show=False)]

    def __init__(self, folder: str) -> None:
        super().__init__()
        self._folder = expanded(folder)

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog report") as box:
            box.border_title = "dataset doctor"
            box.border_subtitle = "Esc closes"
            yield Static("looking ...", id="report", markup=False)

    def on_mount(self) -> None:
        self.query_one(VerticalScroll).focus()
        width = max(40, min(110, self.app.size.width * 9 // 10) - 8)
        in_background(self, lambda: report(self._folder, width), self._show)

    def _show(self, text: str) -> None:
        lines = [clean(line) for line in text.splitlines()]
        self.query_one("#report", Static).update(Text("\n".join(lines)))

    def action_close(self) -> None:
        self.dismiss(None)


def report(folder: Path, width: int) -> str:
    """What `sdtrain data` would print."""
    try:
        return scan(folder, resolution=RESOLUTION, recursive=True).text(width)
    except UserError as error:
        return str(error)
