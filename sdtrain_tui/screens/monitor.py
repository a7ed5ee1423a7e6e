"""The monitor: a run as it goes, in panes; leaving it leaves the run alone."""

from __future__ import annotations

import platform
import threading
import time
from dataclasses import replace

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Container
from textual.screen import Screen
from textual.timer import Timer

from engine.errors import UserError
from engine.run.control import send
from engine.run.control_commands import COMMANDS
from engine.run.paths import RunDir
from engine.run.view import ENDED
from sdtrain_tui.background import in_background
from sdtrain_tui.gpu import GpuMonitor, MachineReading
from sdtrain_tui.screens import help_texts, panes
from sdtrain_tui.screens.dialogs import Confirm, Message
from sdtrain_tui.screens.hints import Hint, Hints
from sdtrain_tui.screens.starting import start
from sdtrain_tui.screens.verdict import Verdict
from sdtrain_tui.screens.watcher import Watcher
from sdtrain_tui.widgets.monitor_pane import MonitorPane
from sdtrain_tui.widgets.news import News
from sdtrain_tui.widgets.progress_pane import ProgressPane

ASKED = {
    "stop": "asked to stop: it finishes the step and saves",
    "pause": "asked to pause after this step",
    "resume": "asked to go on",
    "save": "asked to save a checkpoint after this step",
    "sample": "asked to draw previews after this step",
}


class MonitorScreen(Screen[None]):
    """One run. A thread reads its files; panes are fed only with what changed."""

    AUTO_FOCUS = ""
    BINDINGS = [
        Binding("q", "detach", "Detach; the run goes on", show=False, id="monitor.detach"),
        Binding("escape", "out", "One level out", show=False, id="monitor.out"),
        Binding("s", "stop", "Stop the run", show=False, id="monitor.stop"),
        Binding("p", "pause", "Pause or go on", show=False, id="monitor.pause"),
        Binding("r", "resume", "Resume from the last checkpoint", show=False, id="monitor.resume"),
        Binding("c", "ask('save')", "Save a checkpoint now", show=False, id="monitor.save"),
        Binding("g", "ask('sample')", "Draw previews now", show=False, id="monitor.sample"),
        *panes.bindings(),
        Binding("z", "zoom", "One pane in full, and back", show=False, id="monitor.zoom"),
        Binding("tab", "app.focus_next", show=False),
        Binding("shift+tab", "app.focus_previous", show=False),
    ]
    HELP_PARTS = (help_texts.MONITOR_RUN, panes.help_part())

    def __init__(self, run: RunDir, *, alone: bool = False) -> None:
        """`alone`: there is no home below, so that detaching leaves the app."""
        super().__init__()
        self._dir = run
        self._alone = alone
        self._zoomed = ""
        self._news = News(root=run.path)
        self._panes = tuple(pane(id=pane.NAME) for pane in panes.PANES)
        self._watcher = Watcher(run, self._from_thread)
        self._gpus = GpuMonitor(on_reading=self._reading_from_thread)
        self._clock: Timer | None = None

    def compose(self) -> ComposeResult:
        yield ProgressPane(id="progress")
        yield Verdict(id="verdict-lines")
        with Container(id="panes"):
            for side in ("pictures", "facts"):
                with Container(id=side):
                    yield from (pane for pane in self._panes if side == pane.SIDE)
        yield Hints([Hint("q", "back", "detach"), Hint("?", "help", "app.help")], id="hints")

    def on_mount(self) -> None:
        self.call_after_refresh(self._begin)

    def _begin(self) -> None:
        """After the first paint: readers start, and with them the work."""
        self._watcher.start()
        self._gpus.start()
        self._clock = self.set_interval(1.0, self._tick)

    def on_unmount(self) -> None:
        self._watcher.stop()
        threading.Thread(target=self._gpus.stop, daemon=True).start()

    def _from_thread(self, news: News) -> None:
        if self.is_running:
            self.app.call_later(self._show, news)

    def _reading_from_thread(self, reading: MachineReading) -> None:
        if self.is_running:
            self.app.call_later(self._show_reading, reading)

    def _show_reading(self, reading: MachineReading) -> None:
        if self.is_running and self.is_current:
            self._feed(replace(self._news, machine=reading, clock=time.monotonic(), output=()))

    def on_resize(self, event: events.Resize) -> None:
        self._fit()

    def _show(self, news: News) -> None:
        if not self.is_running:
            return
        view, state = news.view, news.state
        if not view.name:
            view = replace(view, name=self._dir.name)  # before the engine has told its own
        if state != self._news.state or news.alive != self._news.alive:
            self.query_one(Hints).show(hints_for(state, news.alive))
            self._gpus.watch(view.pid if news.alive and view.host == platform.node() else None)
        self.query_one(Verdict).show(view, state)
        self.set_class(state in ENDED and not news.alive, "-over")
        self._feed(replace(news, view=view, machine=self._news.machine, clock=self._news.clock))

    def _tick(self) -> None:
        """Time goes on between two events: elapsed, left, and how long nothing was heard."""
        if self.is_current and self._news.state not in ENDED and self._news.view.last_event_at is not None:
            self._feed(replace(self._news, now=time.time(), output=()))

    def _feed(self, news: News) -> None:
        self._news = news
        # The verdict tells a failure in full; the pane above keeps to the progress.
        self.query_one(ProgressPane).show(replace(news, view=replace(news.view, failed=None)))
        for pane in self._panes:
            pane.show(news)
            pane.set_class(not pane.wanted(news), "-unwanted")
        self._fit()

    def _fit(self) -> None:
        for pane in self._panes:
            rows = pane.rows_wanted(self.size)
            if rows is not None:
                pane.styles.height = rows

    @on(MonitorPane.StepChosen)
    def _step_chosen(self, event: MonitorPane.StepChosen) -> None:
        for pane in self._panes:
            pane.go_to_step(event.step)

    @on(MonitorPane.Opened)
    def _opened(self, event: MonitorPane.Opened) -> None:
        self._zoom_on("" if self._zoomed == event.pane.NAME else event.pane.NAME)

    def action_pane(self, name: str) -> None:
        """Focus a pane; the one that has the focus already is shown in full."""
        pane = self.query_one(f"#{name}", MonitorPane)
        if pane.has_focus or self._zoomed or not pane.display:
            self._zoom_on("" if self._zoomed == name else name)
        pane.focus()

    def action_zoom(self) -> None:
        pane = self.focused if isinstance(self.focused, MonitorPane) else self._panes[0]
        self._zoom_on("" if self._zoomed else pane.NAME)

    def _zoom_on(self, name: str) -> None:
        self._zoomed = name
        self.set_class(bool(name), "-zoomed")
        for pane in self._panes:
            pane.set_class(bool(name) and name != pane.NAME, "-away")
        sides = {pane.SIDE for pane in self._panes if not name or name == pane.NAME}
        for side in self.query("#panes > Container"):
            side.set_class(side.id not in sides, "-away")
        if name:
            self.query_one(f"#{name}").focus()

    def action_out(self) -> None:
        if self._zoomed:
            self._zoom_on("")
        elif self.focused is not None:
            self.set_focus(None)
        else:
            self.action_detach()

    def action_detach(self) -> None:
        alive = self._news.alive
        if self._alone:
            name = self._dir.name
            self.app.exit(
                0, message=f"{name} goes on. Come back with: sdtrain attach {name}" if alive else None
            )
            return
        self.app.pop_screen()

    def action_ask(self, command: str) -> None:
        if not self._news.alive:
            self.query_one(Hints).say("the run is not alive: r resumes it")
            return
        try:
            send(self._dir, COMMANDS[command]())
        except UserError as error:
            self.app.push_screen(Message.of(error))
        else:
            self.query_one(Hints).say(ASKED[command])

    def action_stop(self) -> None:
        if not self._news.alive:
            self.action_ask("stop")
            return
        lines = ["It finishes the step, saves, and can be resumed later."]
        self.app.push_screen(Confirm(f"stop {self._dir.name}?", lines, "Stop it"), self._stop)

    def _stop(self, sure: bool | None) -> None:
        if sure:
            self.action_ask("stop")

    def action_pause(self) -> None:
        self.action_ask("resume" if self._news.view.paused is not None else "pause")

    def action_resume(self) -> None:
        if self._news.alive:
            if self._news.view.paused is not None:
                self.action_ask("resume")
            else:
                self.query_one(Hints).say("it runs already")
        elif self._news.state == "finished":
            self.query_one(Hints).say("it is finished: there is nothing to resume")
        else:
            self.query_one(Hints).say("starting the engine ...")
            in_background(self, lambda: start(self._dir), self._started)

    def _started(self, error: UserError | None) -> None:
        if error is not None:
            self.app.push_screen(Message.of(error, "the run did not start"))


def hints_for(state: str, alive: bool) -> list[Hint]:
    """The keys that do something in this state."""
    hints = [Hint("q", "detach" if alive else "back", "detach")]
    if alive:
        hints.append(Hint("p", "go on" if state in ("paused", "disk-full") else "pause", "pause"))
        hints += [
            Hint("s", "stop", "stop"),
            Hint("c", "save", "ask('save')"),
            Hint("g", "preview", "ask('sample')"),
        ]
    elif state != "finished":
        hints.append(Hint("r", "resume", "resume"))
    return [
        *hints,
        Hint(panes.numbers(), "panes", "app.focus_next"),
        Hint("z", "zoom", "zoom"),
        Hint("?", "help", "app.help"),
    ]
