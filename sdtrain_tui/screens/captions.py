"""The caption editor: a page for each picture, find and replace, frequent tags; writes into a folder of captions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Horizontal
from textual.screen import Screen
from textual.widgets import Static, TextArea

from engine.errors import UserError
from sdtrain_tui.background import in_background
from sdtrain_tui.screens import help_texts
from sdtrain_tui.screens.dialogs import Ask, Confirm, Message
from sdtrain_tui.screens.hints import Hint, Hints
from sdtrain_tui.widgets.cells import clean
from sdtrain_tui.widgets.picture import PicturePane

if TYPE_CHECKING:
    from engine.dataset.caption_book import CaptionBook

TAGS = 40
MARK = "=>"


class CaptionsScreen(Screen[bool]):
    """Gives whether captions were saved. Nothing is written before Ctrl+S, and nothing among the pictures."""

    BINDINGS = [
        Binding("pagedown", "turn(1)", "Next picture", show=False, priority=True),
        Binding("pageup", "turn(-1)", "Previous picture", show=False, priority=True),
        Binding("ctrl+f", "replace", "Find and replace", show=False, priority=True),
        Binding("ctrl+t", "add", "Put a word in front", show=False, priority=True),
        Binding("ctrl+s", "save", "Save", show=False, priority=True),
        Binding("escape", "leave", "Back", show=False, priority=True),
    ]
    HELP_PARTS = help_texts.CAPTIONS

    def __init__(self, data: Path, folder: Path, trigger: str = "", recursive: bool = True) -> None:
        super().__init__()
        self._data, self._folder, self._trigger, self._recursive = data, folder, trigger, recursive
        self._book: CaptionBook | None = None
        self._number = 0
        self._saved = False

    def compose(self) -> ComposeResult:
        yield Static("looking ...", id="caption-place", markup=False)
        with Horizontal(id="caption-main"):
            yield PicturePane(id="caption-picture")
            yield TextArea(id="caption-text", tab_behavior="focus")
        yield Static("", id="caption-tags", markup=False)
        yield Hints(
            [
                Hint("PgDn", "next", "turn(1)"),
                Hint("Ctrl+S", "save", "save"),
                Hint("Ctrl+F", "replace", "replace"),
                Hint("Ctrl+T", "word in front", "add"),
                Hint("Esc", "back", "leave"),
                Hint("PgUp", "previous", "turn(-1)"),
                Hint("F1", "help", "app.help"),
            ]
        )

    def on_mount(self) -> None:
        area = self.query_one(TextArea)
        area.cursor_blink = False
        area.disabled = True
        in_background(self, self._open, self._opened)

    def _open(self) -> CaptionBook | UserError:
        from engine.dataset.caption_book import CaptionBook

        try:
            return CaptionBook.open(self._data, self._folder, self._recursive)
        except UserError as error:
            return error

    def _opened(self, book: CaptionBook | UserError) -> None:
        if isinstance(book, UserError):
            self.app.push_screen(Message.of(book, "no captions to edit"), lambda _: self.dismiss(False))
            return
        self._book = book
        area = self.query_one(TextArea)
        area.disabled = False
        area.focus()
        self._show()

    def _show(self) -> None:
        """The picture in front with its caption, and what is told of all."""
        book = self._book
        if book is None:
            return
        item = book.items[self._number]
        self.query_one(PicturePane).show(item.path if item.span is None else None)
        area, text = self.query_one(TextArea), book.text(self._number)
        if area.text != text:
            with self.prevent(TextArea.Changed):
                area.load_text(text)
                area.move_cursor(area.document.end)
        self._tell()

    def _tell(self) -> None:
        book = self._book
        assert book is not None
        item, changes = book.items[self._number], book.changes
        edited = f"   {changes} not saved" if changes else ""
        place = f" {self._number + 1}/{len(book.items)}  {item.rel}{edited}"
        self.query_one("#caption-place", Static).update(Text(clean(place)))
        tags = ", ".join(f"{tag} {count}" for tag, count in book.tags(TAGS))
        self.query_one("#caption-tags", Static).update(Text(clean(f" frequent: {tags}")))

    @on(TextArea.Changed)
    def _typed(self, event: TextArea.Changed) -> None:
        event.stop()
        if self._book is not None:
            self._book.put(self._number, event.text_area.text)
            self._tell()

    def action_turn(self, by: int) -> None:
        """Another picture."""
        if self._book is not None:
            self._number = (self._number + by) % len(self._book.items)
            self._show()

    def action_replace(self) -> None:
        """One text for another, in all captions."""
        if self._book is not None:
            lines = [f"old {MARK} new, in all captions; nothing behind the arrow takes the text out"]
            self.app.push_screen(Ask("find and replace", lines), self._replace)

    def _replace(self, asked: str | None) -> None:
        if asked is None or self._book is None:
            return
        old, arrow, new = asked.partition(MARK)
        if not arrow or not old.strip():
            self.query_one(Hints).say(f"nothing was replaced: write old {MARK} new")
            return
        count = self._book.replace(old.strip(), new.strip())
        self._show()
        self.query_one(Hints).say(f"{_counted(count)} changed")

    def action_add(self) -> None:
        """A word in front of all captions that lack it."""
        if self._book is not None:
            lines = ["put in front of each caption that lacks it; the trigger word is put there anyway"]
            self.app.push_screen(Ask("word in front", lines, self._trigger), self._add)

    def _add(self, word: str | None) -> None:
        if word is None or self._book is None:
            return
        count = self._book.add(word)
        self._show()
        self.query_one(Hints).say(f"{_counted(count)} changed")

    def action_save(self) -> None:
        """Write what was changed."""
        if self._book is None:
            return
        try:
            count = self._book.save()
        except OSError as error:
            text = f"{error.filename or self._folder}: {error.strerror or error}"
            self.app.push_screen(Message("the captions are not saved", [text], bad=True))
            return
        self._saved = self._saved or count > 0
        self._tell()
        self.query_one(Hints).say(f"{_counted(count)} written to {self._folder}")

    def action_leave(self) -> None:
        """Back to the wizard; asks where something is not saved."""
        changes = self._book.changes if self._book is not None else 0
        if not changes:
            self.dismiss(self._saved)
            return
        lines = [f"{_counted(changes)} changed and not saved."]
        self.app.push_screen(Confirm("leave?", lines, "Leave", "Stay"), self._left)

    def _left(self, sure: bool | None) -> None:
        if sure:
            self.dismiss(self._saved)


def _counted(count: int) -> str:
    return "1 caption" if count == 1 else f"{count} captions"
