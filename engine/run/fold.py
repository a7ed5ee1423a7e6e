"""The fold: from events to the picture of a run, one small function for each kind of event."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, Final

from engine.run import fold_course as course
from engine.run import fold_results as results
from engine.run import kinds
from engine.run.event import Event, Record
from engine.run.fold_steps import add_steps, mark
from engine.run.run_view import RunView


def fold(events: Iterable[Record], view: RunView | None = None) -> RunView:
    """The view after `events`, which follow those that made `view`.

    Pure: `view` keeps its values, and any split of the events into batches gives an equal result.
    Costs O(events); the sequences are shared with `view` as `engine.run.series` explains. Kinds that
    are not known are passed over, and fields of a wrong type count as missing.
    """
    draft = copy.copy(view) if view is not None else RunView()
    run: list[Record] = []
    for event in events:
        kind = event.get("kind")
        if kind == kinds.Step.kind:
            run.append(event)
            continue
        if run:
            add_steps(draft, run)
            run = []
        mark(draft, event)
        handled = _HANDLERS.get(kind) if isinstance(kind, str) else None
        if handled is not None:
            declared, handler = handled
            handler(draft, declared.read(event))
    if run:
        add_steps(draft, run)
    return draft


_BY_KIND: Final[dict[type[Event], Callable[[RunView, Any], None]]] = {
    kinds.Launched: course.launched,
    kinds.Started: course.started,
    kinds.Phase: course.phase,
    kinds.Progress: course.progress,
    kinds.Heartbeat: course.heartbeat,
    kinds.Paused: course.paused,
    kinds.Unpaused: course.unpaused,
    kinds.Resumed: course.resumed,
    kinds.Stopped: course.stopped,
    kinds.Failed: course.failed,
    kinds.Finished: course.finished,
    kinds.TrainablePart: results.trainable,
    kinds.Sample: results.preview,
    kinds.Validation: results.validation,
    kinds.Checkpoint: results.checkpoint,
    kinds.Exported: results.exported,
    kinds.Warned: results.warning,
    kinds.Fit: results.fit,
    kinds.Replanned: results.replanned,
    kinds.Answered: results.command,
}
_HANDLERS: Final = {declared.kind: (declared, handler) for declared, handler in _BY_KIND.items()}
