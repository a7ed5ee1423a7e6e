"""What a person asks of a running engine - stop, pause, resume, save, sample - and what it answers."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType

from engine.run.control import ControlReader, answered, interrupted
from engine.run.control_commands import COMMANDS, Pause, Resume, Sample, Save, Stop
from engine.run.jsonl import Record
from engine.run.paths import RunDir
from engine.worker.telling import Telling


@dataclass
class Requests:
    """What is asked for and not yet done, in the order of asking."""

    stop: str = ""
    paused: bool = False
    saves: list[str] = field(default_factory=list)
    previews: list[tuple[str, str]] = field(default_factory=list)
    stop_ids: list[str] = field(default_factory=list)


class Commands:
    """Reads the control file and the signals; the worker acts on `requests` between steps."""

    def __init__(self, run: RunDir, telling: Telling) -> None:
        self.requests = Requests()
        self._interrupted = interrupted(run.events_file)
        done = answered(run.events_file) - self._interrupted
        self._reader = ControlReader(run.control_file, done)
        self._telling = telling
        self._signal = ""
        self._unread: list[Record] = []

    def listen(self) -> None:
        """SIGTERM and SIGINT finish the step, save and leave; SIGHUP is none of our business."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def leaving(self) -> bool:
        """Has anybody asked the engine to leave? Answers nothing, so that it can be asked where no event can be
        written."""
        self._unread += self._reader.poll()
        asked = any(command["cmd"] == Stop.cmd for command in self._unread)
        return bool(self._signal or self.requests.stop or asked)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._signal = signal.Signals(number).name

    def poll(self) -> Requests:
        """Take in what is new."""
        if self._signal:
            self.requests.stop = self.requests.stop or f"signal {self._signal}"
        self._unread += self._reader.poll()
        while self._unread:
            command = self._unread.pop(0)
            self._take(str(command["id"]), str(command["cmd"]), str(command.get("prompt", "")))
        return self.requests

    def _take(self, ident: str, name: str, prompt: str) -> None:
        requests = self.requests
        if name not in COMMANDS:
            self._telling.command(ident, name, "refused", f"unknown command; known are {', '.join(COMMANDS)}")
            return
        if name == Resume.cmd and not requests.paused:
            self._telling.command(ident, name, "done", "the run was not paused")
            return
        if name == Stop.cmd:
            requests.stop = "stop command"
            requests.stop_ids.append(ident)
        again = "the engine was ended before it had done this" if ident in self._interrupted else ""
        self._telling.command(ident, name, "accepted", again)
        if name == Stop.cmd:
            return
        if name == Save.cmd:
            requests.saves.append(ident)
        elif name == Sample.cmd:
            requests.previews.append((ident, prompt))
        else:
            requests.paused = name == Pause.cmd
            self._telling.command(ident, name, "done")

    def stopped(self) -> None:
        """The stop that was asked for is done."""
        for ident in self.requests.stop_ids:
            self._telling.command(ident, Stop.cmd, "done")

    def refuse(self, why: str) -> None:
        """Answer what is asked for when there is no more time for it; a stop has what it wants."""
        requests = self.poll()
        self.stopped()
        for ident, name in [
            *((ident, Save.cmd) for ident in requests.saves),
            *((ident, Sample.cmd) for ident, _ in requests.previews),
        ]:
            self._telling.command(ident, name, "refused", why)

    def act(self, save: Callable[[], None], sample: Callable[[str], bool]) -> None:
        """Do what was asked to be done now, and answer each."""
        while self.requests.saves:
            ident = self.requests.saves.pop(0)
            save()
            self._telling.command(ident, Save.cmd, "done")
        while self.requests.previews:
            ident, prompt = self.requests.previews.pop(0)
            self._telling.command(ident, Sample.cmd, "done" if sample(prompt) else "refused")
