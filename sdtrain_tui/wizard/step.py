"""What every step of the wizard has: its place in the bar, the plan keys it asks for, and how it is refreshed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, ClassVar

from rich.text import Text
from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.widget import Widget
from textual.widgets import Static

from sdtrain_tui.wizard.draft import Draft
from sdtrain_tui.wizard.field_row import FieldRow
from sdtrain_tui.wizard.more_fields import MoreFields

if TYPE_CHECKING:
    from engine.plan.fields import PlanField


class Step(VerticalScroll, can_focus=False):
    """One page. A subclass names itself and its keys, composes its rows, and shows news of the draft."""

    NAME: ClassVar[str] = ""
    LEAD: ClassVar[str] = ""
    """The question, at most 76 cells so that it takes one row on any terminal."""
    ABOUT: ClassVar[tuple[str, ...]] = ()
    """What to know here while no field has the focus."""
    OF_METHOD: ClassVar[bool] = False
    """Does the page depend on the method, so that another method needs it anew?"""
    KEYS: ClassVar[tuple[str, ...]] = ()
    """Plan keys asked for on this page."""
    PREFIXES: ClassVar[tuple[str, ...]] = ()
    """Keys that begin so belong here when a problem names them."""

    ready = True
    """Is everything on the page that keys may be for? They wait for it."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(id=f"step-{self.NAME}")
        self.draft = draft

    def compose(self) -> ComposeResult:
        yield Static(Text(self.LEAD), classes="lead", markup=False)
        yield from self.content()

    def content(self) -> ComposeResult:
        """What stands below the question."""
        yield from ()

    def rows(self, keys: Iterable[str], labels: dict[str, str] | None = None) -> Iterable[FieldRow]:
        """A row for each key that the plan's method has."""
        known = self.draft.fields()
        for key in keys:
            if key in known:
                yield FieldRow(known[key], self.draft, (labels or {}).get(key) or label_of(known[key]))

    def show(self) -> None:
        """Bring what is on the page in line with the draft."""
        for field_row in self.query(FieldRow):
            field_row.refresh_from_draft()

    def visited(self) -> None:
        """The page has come to the front."""

    def focus_first(self) -> None:
        """Put the focus where the page is filled in first."""
        for widget in self.query("*"):
            if widget.focusable:
                widget.focus()
                return

    def focus_key(self, key: str) -> bool:
        """Put the focus on a field; false when the page has none such."""
        for field_row in self.query(FieldRow):
            if field_row.field.key == key:
                target = next((child for child in field_row.children if child.focusable), None)
                if target is not None:
                    target.focus()
                    # Rows that were made for it have no place until the page is laid out.
                    self.call_after_refresh(target.scroll_visible, animate=False)
                    return True
        for more in self.query(MoreFields):
            if not more.shown and key in more.fields():
                self.call_later(self._open_and_focus, more, key)
        return False

    async def _open_and_focus(self, more: MoreFields, key: str) -> None:
        await more.open()
        self.focus_key(key)

    def explain(self, focused: Widget | None) -> list[tuple[str, str]]:
        """Paragraphs about the field in focus, or about the page."""
        field_row = inside(focused)
        return self.draft.explain(field_row.field) if field_row else [("quiet", text) for text in self.ABOUT]

    @classmethod
    def owns(cls, key: str, method: str) -> bool:
        """Is this the page for a problem with that key of a method's plan?"""
        return key in cls.KEYS or any(
            key == prefix or key.startswith(prefix + ".") for prefix in cls.PREFIXES
        )


def label_of(field: PlanField) -> str:
    """The last part of the key in words; the schema's names are the field's own terms."""
    return field.key.rpartition(".")[2].replace("_", " ")


def full_label(field: PlanField) -> str:
    """The same with the table in front, for a page of several tables."""
    return f"{field.key.partition('.')[0]} {label_of(field)}"


def note(text: str = "", *, id: str | None = None, classes: str = "") -> Static:
    """Literal text that may be updated without a layout of the whole page when its height stays."""
    return Static(Text(text), id=id, classes=f"note {classes}".strip(), markup=False)


def inside(widget: Widget | None) -> FieldRow | None:
    """The row that a widget sits in."""
    found = (
        (node for node in widget.ancestors_with_self if isinstance(node, FieldRow)) if widget else iter(())
    )
    return next(found, None)
