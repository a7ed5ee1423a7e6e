"""The control commands: one dataclass each, read by who sends them, by the engine and by docs/events.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Final

from engine.run.event import About, Fields


@dataclass(frozen=True)
class Command(Fields):
    """Something that a running engine is asked for; `cmd` is its name in control.jsonl."""

    cmd: ClassVar[str]


@dataclass(frozen=True)
class Stop(Command):
    """Finish the update, save and leave; the run can be resumed."""

    cmd: ClassVar[str] = "stop"


@dataclass(frozen=True)
class Pause(Command):
    """Wait after this update, with the weights in memory."""

    cmd: ClassVar[str] = "pause"


@dataclass(frozen=True)
class Resume(Command):
    """Go on after a pause."""

    cmd: ClassVar[str] = "resume"


@dataclass(frozen=True)
class Save(Command):
    """Write a checkpoint after this update."""

    cmd: ClassVar[str] = "save"


@dataclass(frozen=True)
class Sample(Command):
    """Draw previews after this update."""

    cmd: ClassVar[str] = "sample"
    prompt: Annotated[str, About("draw this instead of the plan's prompts")] = ""


COMMANDS: Final[dict[str, type[Command]]] = {each.cmd: each for each in (Stop, Pause, Resume, Save, Sample)}
