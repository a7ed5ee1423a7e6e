"""What a pane can know of a run: one value that every pane of the monitor is shown whenever a part of it changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine.run.view import RunView
from sdtrain_tui.gpu import MachineReading


@dataclass(frozen=True)
class Beside:
    """What the run's folder tells beside its events: prompts with a condition picture, stages of resolution."""

    conditions: frozenset[int] = frozenset()
    stages: tuple[str, ...] = ()


@dataclass(frozen=True)
class News:
    """A run and its machine as they are now.

    `output` are the lines that the engine printed since the last news. `root` is the run's folder, from which the
    paths in the view start. `now` is the time of the run's news in unix seconds, `clock` that of the machine's by
    `time.monotonic()`.
    """

    view: RunView = field(default_factory=RunView)
    state: str = "queued"
    alive: bool = False
    output: tuple[str, ...] = ()
    beside: Beside = Beside()
    root: Path = Path()
    now: float = 0.0
    machine: MachineReading = field(default_factory=MachineReading)
    clock: float = 0.0
