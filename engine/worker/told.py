"""What a run's events have told of one step: how a worker that goes on there knows what is still owed."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from engine.run.jsonl import select
from engine.run.kinds import Checkpoint, Exported, Resumed, Sample, Started


@dataclass
class Told:
    """The checkpoint, the indexes of the previews, and the exported files, relative to the run's folder."""

    step: int
    checkpoint: bool = False
    previews: set[int] = field(default_factory=set)
    exports: set[str] = field(default_factory=set)


def told_of(events_file: Path, step: int) -> Told:
    """What counts of it: nothing that an attempt told which went on from an earlier step afterwards."""
    told = Told(step)
    kinds = {each.kind for each in (Checkpoint, Sample, Exported, Resumed, Started)}
    for record in select(events_file, kinds):
        kind = record["kind"]
        if kind == Started.kind:
            again = not Started.read(record).resumed
        else:
            again = kind == Resumed.kind and (Resumed.read(record).from_step or 0) < step
        if again:
            told = Told(step)
        if record.get("step") != step:
            continue
        if kind == Checkpoint.kind:
            told.checkpoint = True
        elif kind == Sample.kind:
            told.previews.add(Sample.read(record).index)
        elif kind == Exported.kind:
            told.exports.add(Exported.read(record).path)
    return told
