"""The picture of a run that the fold draws from its events: plain values, nothing that acts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from engine.run.series import Grown, StepSeries


@dataclass(frozen=True, slots=True)
class PreviewInfo:
    """A preview picture, or the `error` that came instead of it; paths are relative to the run directory."""

    t: float
    step: int
    index: int
    prompt: str = ""
    seed: int = 0
    path: str = ""
    thumb: str = ""
    error: str = ""
    to_prompt: float | None = None
    to_pictures: float | None = None


@dataclass(frozen=True, slots=True)
class ValidationInfo:
    """The loss of held-out pictures after a step, NaN with the `error` where it could not be measured.

    `bands` and `signals` are numbers by name; `raw` is the loss of the last step's own weights beside an average's.
    `best_step` and `best_loss` are the best so far, none while there is none.
    """

    t: float
    step: int
    loss: float
    pictures: int = 0
    bands: Mapping[str, float] = field(default_factory=dict)
    signals: Mapping[str, float] = field(default_factory=dict)
    best_step: int | None = None
    best_loss: float | None = None
    raw: float | None = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class CheckpointInfo:
    """A checkpoint that was committed; an old one may have been pruned from the disk since."""

    t: float
    step: int
    path: str
    bytes: int
    seconds: float


@dataclass(frozen=True)
class ExportInfo:
    """A finished export file that was read back and compared."""

    t: float
    step: int
    format: str
    path: str
    bytes: int
    tensors: int


@dataclass(frozen=True, slots=True)
class WarningInfo:
    """Something that the user should know and that did not end the run."""

    t: float
    text: str
    key: str = ""
    code: str = ""
    step: int | None = None


@dataclass(frozen=True)
class TrainableInfo:
    """A module group that trains."""

    module: str
    parameters: int
    tensors: int


@dataclass(frozen=True)
class Failure:
    """How a run failed; `state` is failed, out-of-memory, disk-full or crashed."""

    t: float
    what: str
    why: str = ""
    fix: str = ""
    state: str = "failed"
    signal: str = ""
    exit_code: int | None = None


@dataclass(frozen=True)
class Pause:
    """Where a run waits; `reason` is empty when the user asked for it, "disk-full" when the disk did."""

    t: float
    step: int
    reason: str = ""
    text: str = ""


@dataclass(frozen=True)
class Stop:
    """A clean leave before the end."""

    t: float
    step: int
    reason: str = ""


@dataclass(frozen=True)
class Finish:
    """The end as planned; `seconds` is what the worker measured."""

    t: float
    step: int
    seconds: float


@dataclass(frozen=True, slots=True)
class LogLine:
    """One readable line; `level` is info, good, warning or error."""

    t: float
    level: str
    text: str


@dataclass(slots=True)
class RunView:
    """What a run is and how far it is. A value: only the fold makes new ones, nobody changes one.

    Times are unix seconds by the engine's clock. `loss`, `lr`, `grad_norm`, `images_per_s` and
    `epoch` are those of the last step event, None before the first.
    """

    name: str = ""
    method: str = ""
    family: str = ""
    device: str = ""
    host: str = ""
    version: str = ""
    torch: str = ""
    plan_hash: str = ""
    pid: int = 0
    total_steps: int = 0
    step: int = 0
    loss: float | None = None
    lr: float | None = None
    grad_norm: float | None = None
    images_per_s: float | None = None
    epoch: float | None = None
    skipped_steps: int = 0
    phase: str = ""
    phase_text: str = ""
    progress: tuple[int, int] | None = None
    progress_text: str = ""
    started_at: float | None = None
    attempt_at: float | None = None
    last_event_at: float | None = None
    seq: int = 0
    restarts: int = 0
    pace_from: int = 0
    """Place in `steps` from which the speed is measured: pauses and restarts move it."""
    steps: StepSeries = field(default_factory=StepSeries)
    previews: Grown[PreviewInfo] = field(default_factory=Grown)
    validations: Grown[ValidationInfo] = field(default_factory=Grown)
    checkpoints: Grown[CheckpointInfo] = field(default_factory=Grown)
    exports: Grown[ExportInfo] = field(default_factory=Grown)
    warnings: Grown[WarningInfo] = field(default_factory=Grown)
    trainables: Grown[TrainableInfo] = field(default_factory=Grown)
    log: Grown[LogLine] = field(default_factory=Grown)
    commands: Mapping[str, str] = field(default_factory=dict)
    command_texts: Mapping[str, str] = field(default_factory=dict)
    failed: Failure | None = None
    finished: Finish | None = None
    stopped: Stop | None = None
    paused: Pause | None = None

    @property
    def best(self) -> tuple[int, float] | None:
        """The step with the lowest loss of held-out pictures, and that loss."""
        last = self.validations[-1] if self.validations else None
        return None if last is None or last.best_step is None else (last.best_step, last.best_loss or 0.0)


def time_of(draft: RunView) -> float:
    """The time of the last event, for what the fold makes of it."""
    return draft.last_event_at or 0.0


def say(draft: RunView, level: str, text: str) -> None:
    """One more line of the log; for the fold, while it makes a view."""
    draft.log = draft.log.added(LogLine(time_of(draft), level, text))
