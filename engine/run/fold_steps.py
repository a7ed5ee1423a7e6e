"""Step events in the view: many at once, column by column, and forgetting those that are done again."""

from __future__ import annotations

from collections.abc import Sequence

from engine.run.event import Record, as_float, as_int
from engine.run.run_view import RunView
from engine.run.series import NAMES

_FIGURES = NAMES[1:]
_LAST_TIME = 253_402_214_400.0  # the end of the year 9999, after which no calendar can name a time


def mark(draft: RunView, event: Record) -> None:
    """Take the event's time and number; a field that is no number leaves the last one."""
    t = as_float(event.get("t"))
    if 0 <= t <= _LAST_TIME:
        draft.last_event_at = t
    seq = as_int(event.get("seq"))
    draft.seq = draft.seq if seq is None else seq


def add_steps(draft: RunView, events: Sequence[Record]) -> None:
    """Append a run of step events.

    A history of a million steps is folded at every attach, so steps are read as columns and make no `kinds.Step`
    each. That needs rising numbers. A number that was there already comes from an attempt whose `resumed` event
    is not among the events (a tail begins behind it, or the line was torn): it is done again, so what followed
    it goes. A step without a usable number changes no figure, but it is a sign of life all the same.
    """
    numbers = [as_int(event.get("step")) or 0 for event in events]
    last = draft.steps.last_step
    ordered = all(a < b for a, b in zip([last, *numbers], numbers, strict=False))
    if ordered:
        _append(draft, numbers, events)
    else:
        for number, event in zip(numbers, events, strict=True):
            if number > 0:
                if number <= draft.steps.last_step:
                    drop_after(draft, number - 1)
                _append(draft, [number], [event])
    for event in events:
        mark(draft, event)
    # Whoever takes a step neither waits nor loads, whatever was said last.
    draft.paused, draft.progress, draft.progress_text = None, None, ""
    if draft.phase != "training":
        draft.phase, draft.phase_text = "training", ""


def _append(draft: RunView, numbers: list[int], events: Sequence[Record]) -> None:
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


def drop_after(draft: RunView, step: int) -> None:
    """Forget what came after update `step`: it is going to be done again.

    Warnings, exports and the log stay, because they tell what happened. The last loss and throughput stay until
    the next step brings its own.
    """
    draft.steps = draft.steps.until(step)
    draft.step = min(draft.step, step)
    # The speed is measured from a position in the series that has just become shorter.
    draft.pace_from = min(draft.pace_from, len(draft.steps))
    while draft.previews and draft.previews[-1].step > step:
        draft.previews = draft.previews.cut(len(draft.previews) - 1)
    while draft.validations and draft.validations[-1].step > step:
        draft.validations = draft.validations.cut(len(draft.validations) - 1)
    while draft.checkpoints and draft.checkpoints[-1].step > step:
        draft.checkpoints = draft.checkpoints.cut(len(draft.checkpoints) - 1)
