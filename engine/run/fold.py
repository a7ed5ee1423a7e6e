"""The fold: from events to the picture of a run, one small function for each kind of event."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from engine.run.events import as_float
from engine.run.run_view import (
    CheckpointInfo,
    ExportInfo,
    Failure,
    Finish,
    LogLine,
    Pause,
    PreviewInfo,
    RunView,
    Stop,
    TrainableInfo,
    WarningInfo,
    int_of,
    text_of,
)
from engine.run.series import NAMES

Event = Mapping[str, Any]
PREPARING = frozenset({"loading", "caching"})
_FAILED_STATES = frozenset({"failed", "out-of-memory", "disk-full", "crashed"})
_FIGURES = NAMES[1:]


def fold(events: Iterable[Event], view: RunView | None = None) -> RunView:
    """The view after `events`, which follow those that made `view`.

    Pure: `view` keeps its values, and any split of the events into batches gives an equal result.
    Costs O(events); the sequences are shared with `view` as `engine.run.series` explains. Kinds that
    are not known are passed over, and fields of a wrong type count as missing.
    """
    draft = copy.copy(view) if view is not None else RunView()
    run: list[Event] = []
    for event in events:
        kind = event.get("kind")
        if kind == "step":
            run.append(event)
            continue
        if run:
            _steps(draft, run)
            run = []
        _mark(draft, event)
        handler = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handler is not None:
            handler(draft, event)
    if run:
        _steps(draft, run)
    return draft


def _mark(draft: RunView, event: Event) -> None:
    t = as_float(event.get("t"))
    if math.isfinite(t):
        draft.last_event_at = t
    draft.seq = int_of(event, "seq", draft.seq)


def _time(draft: RunView) -> float:
    return draft.last_event_at or 0.0


def _say(draft: RunView, level: str, text: str) -> None:
    draft.log = draft.log.added(LogLine(_time(draft), level, text))


def _steps(draft: RunView, events: list[Event]) -> None:
    """Append a run of step events column by column; a run out of order goes one by one."""
    numbers = [int_of(event, "step") for event in events]
    last = draft.steps.last_step
    ordered = all(a < b for a, b in zip([last, *numbers], numbers, strict=False))
    if ordered:
        _append(draft, numbers, events)
    else:
        for number, event in zip(numbers, events, strict=True):
            if number > 0:
                if number <= draft.steps.last_step:
                    _drop_after(draft, number - 1)
                _append(draft, [number], [event])
    for event in events:
        _mark(draft, event)
    draft.paused, draft.progress, draft.progress_text = None, None, ""
    if draft.phase != "training":
        draft.phase, draft.phase_text = "training", ""


def _append(draft: RunView, numbers: list[int], events: list[Event]) -> None:
    times = [as_float(event.get("t")) for event in events]
    figures = [[as_float(event.get(name)) for event in events] for name in _FIGURES]
    draft.steps = draft.steps.extended(numbers, [times, *figures])
    draft.step = numbers[-1]
    draft.loss, draft.lr, draft.grad_norm, draft.images_per_s = (column[-1] for column in figures)
    draft.skipped_steps += sum(event.get("skipped") is True for event in events)
    for event in reversed(events):
        if "epoch" in event:
            draft.epoch = as_float(event["epoch"])
            break


def _drop_after(draft: RunView, step: int) -> None:
    """Forget what came after update `step`: it is going to be done again."""
    draft.steps = draft.steps.until(step)
    draft.step = min(draft.step, step)
    draft.pace_from = min(draft.pace_from, len(draft.steps))
    while draft.previews and draft.previews[-1].step > step:
        draft.previews = draft.previews.cut(len(draft.previews) - 1)
    while draft.checkpoints and draft.checkpoints[-1].step > step:
        draft.checkpoints = draft.checkpoints.cut(len(draft.checkpoints) - 1)


def _begin(draft: RunView) -> None:
    """A new attempt: the end of the last one no longer counts."""
    draft.failed = draft.finished = draft.stopped = draft.paused = None
    draft.progress, draft.progress_text = None, ""
    draft.phase, draft.phase_text = "loading", ""
    draft.attempt_at = draft.last_event_at
    draft.pace_from = len(draft.steps)


def _launched(draft: RunView, event: Event) -> None:
    _begin(draft)
    draft.host = text_of(event, "host") or draft.host
    draft.restarts = int_of(event, "restarts")


def _started(draft: RunView, event: Event) -> None:
    _begin(draft)
    for name in ("name", "method", "family", "device", "host", "version", "torch", "plan_hash"):
        setattr(draft, name, text_of(event, name) or getattr(draft, name))
    draft.pid = int_of(event, "pid")
    draft.total_steps = int_of(event, "total_steps", draft.total_steps)
    draft.trainables = draft.trainables.cut(0)
    if draft.started_at is None:
        draft.started_at = draft.last_event_at
    if event.get("resumed") is not True:
        _drop_after(draft, 0)
        draft.skipped_steps = 0
    what = " ".join(part for part in (draft.method, f"on {draft.family}" if draft.family else "") if part)
    where = f", {draft.device}" if draft.device else ""
    _say(draft, "info", f"started: {what}, {draft.total_steps} steps{where}")


def _phase(draft: RunView, event: Event) -> None:
    draft.phase = text_of(event, "phase") or draft.phase
    draft.phase_text = text_of(event, "text")
    draft.progress, draft.progress_text = None, ""
    if draft.phase_text:
        _say(draft, "info", draft.phase_text)


def _progress(draft: RunView, event: Event) -> None:
    draft.phase = text_of(event, "phase") or draft.phase
    draft.progress = (int_of(event, "done"), int_of(event, "total"))
    draft.progress_text = text_of(event, "text")


def _heartbeat(draft: RunView, event: Event) -> None:
    phase = text_of(event, "phase")
    draft.step = int_of(event, "step", draft.step)
    if phase == "paused":
        # The `paused` event itself may lie outside of what a listing reads.
        draft.paused = draft.paused or Pause(_time(draft), draft.step)
    elif phase:
        draft.phase = phase


def _preview(draft: RunView, event: Event) -> None:
    preview = PreviewInfo(
        t=_time(draft),
        step=int_of(event, "step"),
        index=int_of(event, "index"),
        prompt=text_of(event, "prompt"),
        seed=int_of(event, "seed"),
        path=text_of(event, "path"),
        thumb=text_of(event, "thumb"),
        error=text_of(event, "error"),
    )
    if preview.error:
        _say(draft, "warning", f"preview {preview.index} at step {preview.step} failed: {preview.error}")
    else:
        _say(draft, "info", f"preview {preview.index} at step {preview.step}")
    place = len(draft.previews)
    while place and draft.previews[place - 1].step == preview.step:
        place -= 1
    again = draft.previews[place:]
    # The same picture drawn again has replaced its file: it is listed once.
    if preview.path and any(old.path == preview.path for old in again):
        draft.previews = draft.previews.cut(place).added(*(old for old in again if old.path != preview.path))
    draft.previews = draft.previews.added(preview)


def _checkpoint(draft: RunView, event: Event) -> None:
    step = int_of(event, "step")
    saved = CheckpointInfo(
        _time(draft), step, text_of(event, "path"), int_of(event, "bytes"), as_float(event.get("seconds", 0))
    )
    if draft.checkpoints and draft.checkpoints[-1].step == step:
        draft.checkpoints = draft.checkpoints.cut(len(draft.checkpoints) - 1)
    draft.checkpoints = draft.checkpoints.added(saved)
    _say(draft, "good", f"checkpoint at step {step} saved")


def _warning(draft: RunView, event: Event) -> None:
    step = int_of(event, "step", -1)
    warning = WarningInfo(
        _time(draft),
        text_of(event, "text"),
        text_of(event, "key"),
        text_of(event, "code"),
        step if step >= 0 else None,
    )
    draft.warnings = draft.warnings.added(warning)
    _say(draft, "warning", warning.text)


def _command(draft: RunView, event: Event) -> None:
    name, status, text = text_of(event, "cmd"), text_of(event, "status"), text_of(event, "text")
    if ident := text_of(event, "id"):
        draft.commands = {**draft.commands, ident: status}
        draft.command_texts = {**draft.command_texts, ident: text}
    level = "warning" if status == "refused" else "info"
    _say(draft, level, f"{name} {status}" + (f": {text}" if text else ""))


def _paused(draft: RunView, event: Event) -> None:
    step = int_of(event, "step", draft.step)
    draft.paused = Pause(_time(draft), step, text_of(event, "reason"), text_of(event, "text"))
    _say(draft, "info", draft.paused.text or f"paused after step {step}")


def _unpaused(draft: RunView, event: Event) -> None:
    draft.paused = None
    draft.pace_from = len(draft.steps)
    _say(draft, "info", f"going on after step {int_of(event, 'step', draft.step)}")


def _resumed(draft: RunView, event: Event) -> None:
    step = max(0, int_of(event, "from_step", draft.step))
    _drop_after(draft, step)
    draft.step = step
    draft.pace_from = len(draft.steps)
    draft.failed = draft.finished = draft.stopped = draft.paused = None
    _say(draft, "info", f"resumed from step {step}")


def _trainable(draft: RunView, event: Event) -> None:
    part = TrainableInfo(text_of(event, "module"), int_of(event, "parameters"), int_of(event, "tensors"))
    draft.trainables = draft.trainables.added(part)
    _say(draft, "info", f"training {part.module}: {part.parameters:,} parameters")


def _exported(draft: RunView, event: Event) -> None:
    export = ExportInfo(
        _time(draft),
        int_of(event, "step"),
        text_of(event, "format"),
        text_of(event, "path"),
        int_of(event, "bytes"),
        int_of(event, "tensors"),
    )
    draft.exports = draft.exports.added(export)
    _say(draft, "good", f"exported {export.format}: {export.path}")


def _failed(draft: RunView, event: Event) -> None:
    error = event.get("error")
    parts: Event = error if isinstance(error, dict) else event
    state, code = text_of(event, "state"), int_of(event, "exit_code", -1)
    draft.failed = Failure(
        t=_time(draft),
        what=text_of(parts, "what") or text_of(event, "error") or "The training failed.",
        why=text_of(parts, "why"),
        fix=text_of(parts, "fix"),
        state=state if state in _FAILED_STATES else "failed",
        signal=text_of(event, "signal"),
        exit_code=code if code >= 0 else None,
    )
    draft.paused = None
    _say(draft, "error", draft.failed.what)


def _stopped(draft: RunView, event: Event) -> None:
    draft.stopped = Stop(_time(draft), int_of(event, "step", draft.step), text_of(event, "reason"))
    draft.paused = None
    _say(draft, "info", f"stopped after step {draft.stopped.step}")


def _finished(draft: RunView, event: Event) -> None:
    step = int_of(event, "step", draft.step)
    draft.finished = Finish(_time(draft), step, as_float(event.get("seconds")))
    draft.step, draft.paused = step, None
    _say(draft, "good", f"finished after {step} steps")


_HANDLERS: dict[str, Callable[[RunView, Event], None]] = {
    "launched": _launched,
    "started": _started,
    "phase": _phase,
    "progress": _progress,
    "heartbeat": _heartbeat,
    "sample": _preview,
    "checkpoint": _checkpoint,
    "warning": _warning,
    "command": _command,
    "paused": _paused,
    "unpaused": _unpaused,
    "resumed": _resumed,
    "trainable": _trainable,
    "exported": _exported,
    "failed": _failed,
    "stopped": _stopped,
    "finished": _finished,
}
