"""The terminal app: its screens and its bindings."""

from __future__ import annotations

import asyncio
import locale
import logging
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Literal

# Textual reads these when it is imported: no animation may run on a screen that goes over SSH.
os.environ.setdefault("TEXTUAL_ANIMATIONS", "none")
os.environ.setdefault("TEXTUAL_FPS", "20")

from rich.console import Console
from textual import events
from textual.app import SystemCommand
from textual.binding import Binding
from textual.driver import Driver
from textual.screen import Screen

from sdtrain_tui import terminal
from sdtrain_tui.keyboard import Keyboard
from sdtrain_tui.themes import DEFAULT, load_themes
from sdtrain_tui.widgets.glyphs import SETS
from sdtrain_tui.widgets.sparse_output import SparseApp

if TYPE_CHECKING:
    from engine.run.paths import RunDir

Start = Literal["home", "wizard", "monitor"]
LEAVING = ("ctrl+c", "ctrl+q")
"""Keys that wait for no screen."""


def glyph_set() -> str:
    """$SDTRAIN_GLYPHS (braille, block, ascii), else what the locale can show: without UTF-8 it is ascii."""
    asked = os.environ.get("SDTRAIN_GLYPHS", "")
    if asked in SETS:
        return asked
    return "braille" if "UTF8" in locale.getencoding().upper().replace("-", "") else "ascii"


class SdtrainApp(SparseApp[int]):
    """Home, wizard and monitor in one window; training itself runs elsewhere."""

    TITLE = "sdtrain"
    CSS_PATH = "app.tcss"
    ENABLE_COMMAND_PALETTE = True
    HORIZONTAL_BREAKPOINTS = [(0, "-compact"), (110, "-normal"), (170, "-large")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (32, "-tall")]
    BINDINGS = [
        Binding(",".join(LEAVING), "quit", "Quit", show=False, priority=True, id="quit"),
        Binding("question_mark,f1", "help", "Help", show=False, id="help"),
    ]

    def __init__(
        self, start: Start = "home", run: RunDir | None = None, answers: Mapping[str, object] | None = None
    ) -> None:
        """`run` is the run to watch (start="monitor"); `answers` are plan keys already given (start="wizard")."""
        super().__init__()
        self.animation_level = "none"
        # What a bug prints goes to the log, where colours are noise.
        self.error_console = Console(stderr=True, color_system=None, markup=False, highlight=False)
        self._start = start
        self._run = run
        self._answers = dict(answers or {})
        self._farewell = ""
        self._keyboard = Keyboard(self, super().on_event)
        self.glyph_set = glyph_set()

    async def on_event(self, event: events.Event) -> None:
        leaving = isinstance(event, events.Key) and event.key in LEAVING
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded and not leaving:
            self._keyboard.take(event)
        else:
            await super().on_event(event)

    def get_driver_class(self) -> type[Driver]:
        return terminal.safe_driver(super().get_driver_class())

    def get_default_screen(self) -> Screen[Any]:
        if self._start == "monitor" and self._run is not None:
            from sdtrain_tui.screens.monitor import MonitorScreen

            return MonitorScreen(self._run, alone=True)
        if self._start == "wizard":
            from sdtrain_tui.screens.wizard import WizardScreen

            return WizardScreen(self._answers, alone=True)
        from sdtrain_tui.screens.home import HomeScreen

        return HomeScreen()

    def on_mount(self) -> None:
        self.set_class(self.glyph_set == "ascii", "-ascii")
        self._use_themes()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGHUP):
            try:
                loop.add_signal_handler(number, self.exit, None, 128 + number)
            except (ValueError, RuntimeError, NotImplementedError):
                return  # not the main thread, as in some tests: the process keeps its own handlers

    def _use_themes(self) -> None:
        found = load_themes()
        for theme in found.themes.values():
            self.register_theme(theme)
        for warning in found.warnings:
            logging.getLogger(__name__).warning("%s", warning)
        if DEFAULT in found.themes:
            self.theme = DEFAULT

    def exit(self, result: int | None = None, return_code: int = 0, message: Any = None) -> None:
        """Leave; a text in `message` is printed once the terminal is the user's again."""
        self._farewell = message if isinstance(message, str) else ""
        super().exit(result, return_code)

    def run(self, **options: Any) -> int | None:
        """Run until the user leaves. Everything but the driver writes to the app's log meanwhile."""
        with terminal.guarded():
            result = super().run(**options)
        if self._farewell:
            sys.stdout.write(self._farewell + "\n")
        if self.return_code == 1:
            sys.stderr.write(
                f"sdtrain: the terminal app met a bug and closed; runs go on. Details: {terminal.log_file()}\n"
            )
            return 1
        return result

    def action_help(self) -> None:
        """Keys of the current screen; a second press closes them."""
        from sdtrain_tui.screens.help import HelpScreen

        if not isinstance(self.screen, HelpScreen):
            self.push_screen(HelpScreen.for_screen(self.screen))

    def get_system_commands(self, screen: Screen[Any]) -> Iterable[SystemCommand]:
        """The palette: what the current screen can do, then the app's own commands."""
        seen: set[str] = set()
        for active in screen.active_bindings.values():
            binding = active.binding
            if binding.id and binding.action not in seen and active.node is screen:
                seen.add(binding.action)
                yield SystemCommand(
                    binding.description,
                    binding.tooltip or f"key {binding.key}",
                    self._runner(screen, binding.action),
                )
        yield SystemCommand("Help", "keys of this screen", self.action_help)
        yield SystemCommand("Theme", "choose another theme", self.action_change_theme)
        yield SystemCommand("Quit", "leave; runs go on", self.action_quit)

    def _runner(self, screen: Screen[Any], action: str) -> Callable[[], None]:
        def start() -> None:
            self.call_later(screen.run_action, action)

        return start
