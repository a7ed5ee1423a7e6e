"""The control commands: one dataclass each, read by who sends them, by the engine and by docs/events.md."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final

from engine.run.event import About, Fields, line


@line
class Command(Fields):
    """Something that a running engine is asked for; `cmd` is its name in control.jsonl."""

    cmd: ClassVar[str]


@line
class Stop(Command):
    """Finish the update, save and leave; the run can be resumed."""

    cmd: ClassVar[str] = "stop"


@line
class Pause(Command):
    """Wait after this update, with the weights in memory."""

    cmd: ClassVar[str] = "pause"


@line
class Resume(Command):
    """Go on after a pause."""

    cmd: ClassVar[str] = "resume"


@line
class Save(Command):
    """Write a checkpoint after this update."""

    cmd: ClassVar[str] = "save"


@line
class Sample(Command):
    """Draw previews after this update."""

    cmd: ClassVar[str] = "sample"
    prompt: Annotated[str, About("draw this instead of the plan's prompts")] = ""


COMMANDS: Final[dict[str, type[Command]]] = {each.cmd: each for each in (Stop, Pause, Resume, Save, Sample)}
