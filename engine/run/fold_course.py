"""The course of a run in the view: attempts, phases, pauses and the end."""

from __future__ import annotations

from engine.run import kinds
from engine.run.fold_steps import drop_after
from engine.run.run_view import Failure, Finish, Pause, RunView, Stop, say, time_of

_FAILED_STATES = frozenset({"failed", "out-of-memory", "disk-full", "crashed"})


def _begin(draft: RunView) -> None:
    """A new attempt: the end of the last one no longer counts."""
    draft.failed = draft.finished = draft.stopped = draft.paused = None
    draft.progress, draft.progress_text = None, ""
    draft.phase, draft.phase_text = "loading", ""
    draft.attempt_at = draft.last_event_at
    draft.pace_from = len(draft.steps)


def launched(draft: RunView, event: kinds.Launched) -> None:
    """The supervisor's start or restart."""
    _begin(draft)
    draft.host = event.host or draft.host
    draft.restarts = event.restarts


def started(draft: RunView, event: kinds.Started) -> None:
    """The worker's start; without a checkpoint the history begins anew."""
    _begin(draft)
    for name in ("name", "method", "family", "device", "host", "version", "torch", "plan_hash"):
        setattr(draft, name, getattr(event, name) or getattr(draft, name))
    draft.pid = event.pid
    draft.total_steps = draft.total_steps if event.total_steps is None else event.total_steps
    draft.trainables = draft.trainables.cut(0)
    if draft.started_at is None:
        draft.started_at = draft.last_event_at
    if not event.resumed:
        drop_after(draft, 0)
        draft.skipped_steps = 0
    what = " ".join(part for part in (draft.method, f"on {draft.family}" if draft.family else "") if part)
    where = f", {draft.device}" if draft.device else ""
    say(draft, "info", f"started: {what}, {draft.total_steps} steps{where}")


def phase(draft: RunView, event: kinds.Phase) -> None:
    """What the worker turns to; a text is worth a line of the log."""
    draft.phase = event.phase or draft.phase
    draft.phase_text = event.text
    draft.progress, draft.progress_text = None, ""
    if draft.phase_text:
        say(draft, "info", draft.phase_text)


def progress(draft: RunView, event: kinds.Progress) -> None:
    """How far a phase is."""
    draft.phase = event.phase or draft.phase
    draft.progress = (event.done, event.total)
    draft.progress_text = event.text


def heartbeat(draft: RunView, event: kinds.Heartbeat) -> None:
    """A sign of life, with the phase and the step for those who read only the end of a file."""
    draft.step = _step(draft, event.step)
    if event.phase == "paused":
        # The `paused` event itself may lie outside of what a listing reads.
        draft.paused = draft.paused or Pause(time_of(draft), draft.step)
    elif event.phase:
        draft.phase = event.phase


def paused(draft: RunView, event: kinds.Paused) -> None:
    """Somebody asked, or the disk is full."""
    step = _step(draft, event.step)
    draft.paused = Pause(time_of(draft), step, event.reason, event.text)
    say(draft, "info", draft.paused.text or f"paused after step {step}")


def unpaused(draft: RunView, event: kinds.Unpaused) -> None:
    """The pause counts neither for the speed nor for the time that is left."""
    draft.paused = None
    draft.pace_from = len(draft.steps)
    say(draft, "info", f"going on after step {_step(draft, event.step)}")


def resumed(draft: RunView, event: kinds.Resumed) -> None:
    """A checkpoint was loaded.

    Nothing is rewritten in the file, so what the run did after that checkpoint stands there twice: the first
    time is dropped here, before the steps come again. Without a usable number nothing is dropped, and the steps
    themselves say by their numbers what they repeat (see `add_steps`).
    """
    step = max(0, _step(draft, event.from_step))
    drop_after(draft, step)
    # A tail of the events may begin behind the last step, so that only this event knows where the run is.
    draft.step = step
    draft.pace_from = len(draft.steps)
    draft.failed = draft.finished = draft.stopped = draft.paused = None
    say(draft, "info", f"resumed from step {step}")


def failed(draft: RunView, event: kinds.Failed) -> None:
    """An end that nobody wanted."""
    code = event.exit_code
    draft.failed = Failure(
        t=time_of(draft),
        what=event.error or "The training failed.",
        why=event.why,
        fix=event.fix,
        state=event.state if event.state in _FAILED_STATES else "failed",
        signal=event.signal,
        exit_code=code if code is not None and code >= 0 else None,
    )
    draft.paused = None
    say(draft, "error", draft.failed.what)


def stopped(draft: RunView, event: kinds.Stopped) -> None:
    """An end that was asked for."""
    draft.stopped = Stop(time_of(draft), _step(draft, event.step), event.reason)
    draft.paused = None
    say(draft, "info", f"stopped after step {draft.stopped.step}")


def finished(draft: RunView, event: kinds.Finished) -> None:
    """The end as planned."""
    step = _step(draft, event.step)
    draft.finished = Finish(time_of(draft), step, event.seconds)
    draft.step, draft.paused = step, None
    say(draft, "good", f"finished after {step} steps")


def _step(draft: RunView, told: int | None) -> int:
    return draft.step if told is None else told
