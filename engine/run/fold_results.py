"""What a run brings forth, in the view: previews, checkpoints, exports, warnings and answers."""

from __future__ import annotations

from engine.run import kinds
from engine.run.run_view import (
    CheckpointInfo,
    ExportInfo,
    PreviewInfo,
    RunView,
    TrainableInfo,
    ValidationInfo,
    WarningInfo,
    say,
    time_of,
)


def trainable(draft: RunView, event: kinds.TrainablePart) -> None:
    """A module that trains."""
    part = TrainableInfo(event.module, event.parameters, event.tensors)
    draft.trainables = draft.trainables.added(part)
    say(draft, "info", f"training {part.module}: {part.parameters:,} parameters")


def preview(draft: RunView, event: kinds.Sample) -> None:
    """A picture, listed once however often it is drawn at one step, or the reason why there is none."""
    new = PreviewInfo(
        t=time_of(draft),
        step=event.step,
        index=event.index,
        prompt=event.prompt,
        seed=event.seed,
        path=event.path,
        thumb=event.thumb,
        error=event.error,
        to_prompt=event.to_prompt,
        to_pictures=event.to_pictures,
    )
    if new.error:
        say(draft, "warning", f"preview {new.index} at step {new.step} failed: {new.error}")
    else:
        say(draft, "info", f"preview {new.index} at step {new.step}")
    first = len(draft.previews)
    while first and draft.previews[first - 1].step == new.step:
        first -= 1
    again = draft.previews[first:]
    # The same picture drawn again has replaced its file: it is listed once.
    if new.path and any(old.path == new.path for old in again):
        draft.previews = draft.previews.cut(first).added(*(old for old in again if old.path != new.path))
    draft.previews = draft.previews.added(new)


def validation(draft: RunView, event: kinds.Validation) -> None:
    """A loss of held-out pictures; a second one of the same step has replaced the first."""
    new = ValidationInfo(
        t=time_of(draft),
        step=event.step,
        loss=event.loss,
        pictures=event.pictures,
        bands=event.bands,
        signals=event.signals,
        best_step=event.best_step,
        best_loss=event.best_loss,
        raw=event.raw,
        error=event.error,
    )
    if draft.validations and draft.validations[-1].step == new.step:
        draft.validations = draft.validations.cut(len(draft.validations) - 1)
    draft.validations = draft.validations.added(new)
    if new.error:
        say(draft, "warning", f"validation at step {new.step} failed: {new.error}")
    else:
        mark = ", the lowest so far" if new.best_step == new.step else ""
        say(draft, "info", f"validation loss {new.loss:.5g} at step {new.step}{mark}")


def checkpoint(draft: RunView, event: kinds.Checkpoint) -> None:
    """A checkpoint; a second one of the same step has replaced the first."""
    seconds = 0.0 if event.seconds is None else event.seconds
    saved = CheckpointInfo(time_of(draft), event.step, event.path, event.bytes, seconds)
    if draft.checkpoints and draft.checkpoints[-1].step == event.step:
        draft.checkpoints = draft.checkpoints.cut(len(draft.checkpoints) - 1)
    draft.checkpoints = draft.checkpoints.added(saved)
    say(draft, "good", f"checkpoint at step {event.step} saved")


def exported(draft: RunView, event: kinds.Exported) -> None:
    """A file that was written and compared."""
    done = ExportInfo(time_of(draft), event.step, event.format, event.path, event.bytes, event.tensors)
    draft.exports = draft.exports.added(done)
    say(draft, "good", f"exported {done.format}: {done.path}")


def fit(draft: RunView, event: kinds.Fit) -> None:
    """Something that is given up so that the run fits."""
    say(draft, "info", f"made to fit by {event.choice}: {event.changes}; {event.price}")


def replanned(draft: RunView, event: kinds.Replanned) -> None:
    """The plan was changed between two attempts."""
    say(draft, "info", f"{event.key} = {event.after} from here on (was {event.before})")


def warning(draft: RunView, event: kinds.Warned) -> None:
    """Something to know."""
    step = event.step if event.step is not None and event.step >= 0 else None
    draft.warnings = draft.warnings.added(
        WarningInfo(time_of(draft), event.text, event.key, event.code, step)
    )
    say(draft, "warning", event.text)


def command(draft: RunView, event: kinds.Answered) -> None:
    """What became of a command; the last answer to an id counts."""
    if event.id:
        draft.commands = {**draft.commands, event.id: event.status}
        draft.command_texts = {**draft.command_texts, event.id: event.text}
    level = "warning" if event.status == "refused" else "info"
    say(draft, level, f"{event.cmd} {event.status}" + (f": {event.text}" if event.text else ""))
