"""Asking a running engine for something: one line in control.jsonl, answered by `command` events."""

from __future__ import annotations

import os
import secrets
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from engine.errors import UserError
from engine.files import write_all
from engine.run.control_commands import Command, Sample, Save
from engine.run.jsonl import CHUNK, JsonLineReader, Record, encode, select
from engine.run.kinds import Answered
from engine.run.paths import RunDir

VERSION: Final = 1


def send(run: RunDir, command: Command) -> str:
    """Append the command and return its id; the answer is a `command` event with this id.

    It says nothing about whether an engine is there to read it. Raises UserError when the line
    cannot be written whole.
    """
    ident = f"{time.time_ns():x}-{os.getpid():x}-{secrets.token_hex(3)}"
    head: Record = {"v": VERSION, "id": ident, "t": round(time.time(), 3), "cmd": command.cmd}
    line, _ = encode(head | command.written())
    try:
        fd = os.open(run.control_file, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            size = os.fstat(fd).st_size
            # A line that another sender left torn is closed first; readers skip it.
            torn = size > 0 and os.pread(fd, 1, size - 1) != b"\n"
            write_all(fd, b"\n" + line if torn else line)
        finally:
            os.close(fd)
    except OSError as error:
        raise UserError(
            f"The command {command.cmd!r} could not be written to {run.control_file}",
            why=error.strerror or str(error),
            fix="free some space, or check that the run's folder is yours to write to",
        ) from error
    return ident


def answered(events_file: Path) -> set[str]:
    """The ids of all commands that the engine has answered in any way."""
    return {event["id"] for event in select(events_file, {"command"}) if isinstance(event.get("id"), str)}


def interrupted(events_file: Path) -> set[str]:
    """The ids of commands that an engine accepted and was ended before it had done them.

    A stop is none of them: it was for the engine of that time.
    """
    open_ids = set()
    for event in select(events_file, {Answered.kind}):
        answer = Answered.read(event)
        if answer.status == "accepted" and answer.cmd in (Save.cmd, Sample.cmd):
            open_ids.add(answer.id)
        else:
            open_ids.discard(answer.id)
    return open_ids


class ControlReader:
    """Reads the commands that nobody has answered yet, each one once.

    `done` are the ids to pass over; by default those answered in the events.jsonl beside the file,
    so that a restarted engine does nothing twice.
    """

    def __init__(self, path: Path, done: Collection[str] | None = None) -> None:
        self._lines = JsonLineReader(path)
        self._seen = set(answered(path.with_name("events.jsonl")) if done is None else done)

    def poll(self) -> list[Record]:
        """New commands in order: dicts with the texts `id` and `cmd` and the sender's other fields."""
        commands = []
        while records := self._lines.poll(CHUNK):
            for record in records:
                ident, cmd = record.get("id"), record.get("cmd")
                if isinstance(ident, str) and isinstance(cmd, str) and ident not in self._seen:
                    self._seen.add(ident)
                    commands.append(record)
        return commands
