"""The smallest Textual app that shows something: what first paint costs without anything of ours."""

from __future__ import annotations

from textual.app import App, ComposeResult
from textual.widgets import Static

TEXT = "\n".join(f"line {number}: a bare Textual app with one static text" for number in range(6))


class BareApp(App[None]):
    """One text, no style sheet of its own."""

    def compose(self) -> ComposeResult:
        yield Static(TEXT)


if __name__ == "__main__":
    BareApp().run()
