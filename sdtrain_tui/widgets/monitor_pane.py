"""A pane of the monitor: what it tells of itself, so that the screen needs no word about any single one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from textual.geometry import Size
from textual.message import Message

from engine.run.view import PreviewInfo
from sdtrain_tui.widgets.diff_lines import Pane
from sdtrain_tui.widgets.news import News


class MonitorPane(Pane):
    """A pane with a number and a name; its file and its line in `sdtrain_tui/screens/panes.py` are all of it.

    `NAME` is its id and what help calls it, `TITLE` what the palette does, `KEY` one more key beside its number or
    "". `SIDE` says whether it is one of the large panes or one of the low ones beside them, `HELP` which of its
    keys are worth a line. Its size among them belongs into its `DEFAULT_CSS`, below
    `#pictures` or `#facts`.
    """

    NAME: ClassVar[str]
    TITLE: ClassVar[str]
    KEY: ClassVar[str] = ""
    SIDE: ClassVar[Literal["pictures", "facts"]]
    HELP: ClassVar[str] = ""

    news = News()

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        # Textual looks for it in the class itself; a pane's rules name what is around it.
        cls.SCOPED_CSS = False

    class StepChosen(Message):
        """An update was pointed at; other panes may go there too."""

        def __init__(self, pane: MonitorPane, step: int) -> None:
            super().__init__()
            self.pane = pane
            self.step = step

        @property
        def control(self) -> MonitorPane:
            """The pane."""
            return self.pane

    class Opened(Message):
        """The pane asks to be shown in full, because of one preview of it."""

        def __init__(self, pane: MonitorPane, preview: PreviewInfo) -> None:
            super().__init__()
            self.pane = pane
            self.preview = preview

        @property
        def control(self) -> MonitorPane:
            """The pane."""
            return self.pane

    def show(self, news: News) -> None:
        """Take the newest news and draw them; a pane that draws much does so only when its own part has changed."""
        self.news = news
        self.redraw()

    def wanted(self, news: News) -> bool:
        """Whether there is anything to show; else its place is left to the others until it is asked for."""
        return True

    def rows_wanted(self, screen: Size) -> int | None:
        """How many rows it should have on a screen of this size; None leaves them to the style sheet."""
        return None

    def go_to_step(self, step: int) -> None:
        """Show what belongs to an update, where that means anything."""
