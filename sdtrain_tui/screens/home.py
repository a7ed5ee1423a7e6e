"""Home: all runs at a glance, and the way to a new one."""

from __future__ import annotations

import threading

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.screen import Screen
from textual.widgets import Static

from engine.errors import UserError
from engine.run.control import send
from engine.run.control_commands import COMMANDS
from engine.run.listing import RunSummary
from engine.run.paths import RunDir
from sdtrain_tui.background import in_background
from sdtrain_tui.screens import help_texts
from sdtrain_tui.screens.dialogs import Ask, Confirm, Message
from sdtrain_tui.screens.hints import Hint, Hints
from sdtrain_tui.screens.run_detail import RunDetail
from sdtrain_tui.screens.run_list import RunList
from sdtrain_tui.screens.run_table import LIVE, RunTable
from sdtrain_tui.screens.starting import start

EVERY = 1.0
"""Seconds between two looks at the runs; nothing is sent where nothing changed."""

WELCOME = """\
No runs yet. Two ways to begin:

  n             a new run: seven short questions, each answered already.
                You need a folder of pictures; the rest can be derived.

  sdtrain demo  (in a shell) builds a small world of pictures and
                trains the built-in tiny model on it: a whole run in
                minutes, on any machine.

A run goes on when you close this terminal. Come back with: sdtrain"""


class HomeScreen(Screen[None]):
    """Runs, newest first; a thread looks at them once a second."""

    BINDINGS = [
        Binding("n", "new", "New run", show=False, id="home.new"),
        Binding("enter", "attach", "Watch the run", show=False, id="home.attach"),
        Binding("s", "stop", "Stop the run", show=False, id="home.stop"),
        Binding("p", "pause", "Pause or go on", show=False, id="home.pause"),
        Binding("r", "resume", "Resume the run", show=False, id="home.resume"),
        Binding("d", "doctor", "Look at a folder of pictures", show=False, id="home.doctor"),
        Binding("q,escape", "app.quit", "Quit", show=False, id="home.quit"),
    ]
    HELP_PARTS = help_texts.HOME

    def __init__(self) -> None:
        super().__init__()
        self.ready = False
        """Have the runs been looked at? Keys wait for it."""
        self._end = threading.Event()
        self._now = threading.Event()

    def compose(self) -> ComposeResult:
        yield RunTable(id="runs")
        yield Static(Text(WELCOME), id="welcome", markup=False)
        yield RunDetail(id="detail")
        yield Hints(id="hints")

    def on_mount(self) -> None:
        self.query_one("#welcome").display = False
        self.query_one(RunTable).focus()
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """After the first paint."""
        self._now.set()
        threading.Thread(target=self._look, name="sdtrain-runs", daemon=True).start()

    def on_unmount(self) -> None:
        self._end.set()
        self._now.set()

    def on_screen_resume(self) -> None:
        self._now.set()

    def _look(self) -> None:
        """The thread: looks, and tells the app only what is new."""
        last: list[RunSummary] | None = None
        runs = RunList()
        while not self._end.is_set():
            self._now.wait(EVERY)
            self._now.clear()
            if self._end.is_set() or not self.is_current:
                continue
            found = runs.look()
            if found != last and self.is_running:
                last = found
                self.app.call_later(self._show, found)

    def _show(self, runs: list[RunSummary]) -> None:
        if not self.is_running:
            return
        table = self.query_one(RunTable)
        table.show(runs)
        table.display = self.query_one(RunDetail).display = bool(runs)
        self.query_one("#welcome").display = not runs
        self._show_current()
        self.ready = True

    @on(RunTable.Moved)
    def _show_current(self) -> None:
        run = self.query_one(RunTable).current
        self.query_one(RunDetail).show(run)
        self.query_one(Hints).show(hints_for(run))

    @on(RunTable.Taken)
    def action_attach(self) -> None:
        run = self.query_one(RunTable).current
        if run is not None:
            from sdtrain_tui.screens.monitor import MonitorScreen

            self.app.push_screen(MonitorScreen(RunDir(run.path)))

    def action_new(self) -> None:
        from sdtrain_tui.screens.wizard import WizardScreen

        self.app.push_screen(WizardScreen({}))

    def action_doctor(self) -> None:
        lines = ["The doctor only reads.", "A folder of pictures:"]
        self.app.push_screen(Ask("dataset doctor", lines), self._doctor)

    def _doctor(self, folder: str | None) -> None:
        if folder:
            from sdtrain_tui.screens.doctor import DoctorScreen

            self.app.push_screen(DoctorScreen(folder))

    def action_stop(self) -> None:
        run = self._live()
        if run is not None:
            question = Confirm(
                f"stop {run.name}?", ["It finishes the step, saves, and can be resumed."], "Stop it"
            )
            self.app.push_screen(question, lambda sure: self._send(run, "stop") if sure else None)

    def action_pause(self) -> None:
        run = self._live()
        if run is not None:
            self._send(run, "resume" if run.state == "paused" else "pause")

    def action_resume(self) -> None:
        run = self.query_one(RunTable).current
        if run is None:
            return
        if run.state == "paused":
            self._send(run, "resume")
        elif run.state in LIVE or run.state == "finished":
            lines = [f"{run.name} is {run.state}."]
            if run.state == "finished":
                lines.append(f"sdtrain resume {run.name} --steps N (in a shell) makes it longer.")
            self.app.push_screen(Message("nothing to resume", lines))
        else:
            in_background(self, lambda: start(RunDir(run.path)), self._started)

    def _live(self) -> RunSummary | None:
        run = self.query_one(RunTable).current
        if run is not None and run.state not in LIVE:
            self.app.push_screen(Message("not running", [f"{run.name} is {run.state}.", "r resumes it."]))
            return None
        return run

    def _send(self, run: RunSummary, command: str) -> None:
        try:
            send(RunDir(run.path), COMMANDS[command]())
        except UserError as error:
            self.app.push_screen(Message.of(error))
        self._now.set()

    def _started(self, error: UserError | None) -> None:
        if error is not None:
            self.app.push_screen(Message.of(error, "the run did not start"))
        self._now.set()


def hints_for(run: RunSummary | None) -> list[Hint]:
    """The keys that make sense for the run under the cursor."""
    hints = [Hint("n", "new", "new")]
    if run is not None:
        hints.append(Hint("Enter", "watch", "attach"))
        if run.state in LIVE:
            hints.append(Hint("s", "stop", "stop"))
            hints.append(Hint("p", "go on" if run.state == "paused" else "pause", "pause"))
        elif run.state != "finished":
            hints.append(Hint("r", "resume", "resume"))
    return [
        *hints,
        Hint("d", "data doctor", "doctor"),
        Hint("q", "quit", "app.quit"),
        Hint("?", "help", "app.help"),
    ]
