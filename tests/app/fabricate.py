"""Run directories as an engine would leave them, written by the real EventWriter."""

from __future__ import annotations

import math
import time
from pathlib import Path

from PIL import Image

from engine.run.create import create_run
from engine.run.events import EventWriter
from engine.run.lock import RunLock
from engine.run.paths import RunDir
from tests.support.events import raw

PLAN = """version = 1
name = "{name}"
method = "lora"
seed = 42
[base]
model = "builtin:tiny"
[data]
path = "/pictures"
[train]
steps = {total}
"""


def begin(name: str, total: int = 100) -> RunDir:
    """A run directory with nothing but its plan."""
    return create_run(PLAN.format(name=name, total=total), name)


def started(writer: EventWriter, name: str, total: int) -> None:
    """The events of a worker that has begun."""
    writer.emit(raw("launched", pid=1, host="elsewhere", restarts=0))
    writer.emit(
        raw(
            "started",
            pid=1,
            host="elsewhere",
            version="0.1",
            plan_hash="x",
            total_steps=total,
            name=name,
            method="lora",
            family="sd1",
            device="cuda:0",
            torch="2",
            resumed=False,
        )
    )


def steps(writer: EventWriter, first: int, last: int) -> None:
    """Step events with a falling loss."""
    for step in range(first, last + 1):
        loss = 0.08 + 0.15 * math.exp(-step / 60)
        writer.emit(
            raw("step", step=step, loss=loss, lr=1e-4, grad_norm=0.4, images_per_s=3.4, epoch=step / 24)
        )


def sample(run: RunDir, writer: EventWriter, step: int, index: int = 0) -> Path:
    """A generated sample picture with its thumbnail and event; gives the thumbnail's path."""
    name = f"step-{step:08d}-{index}"
    picture = Image.linear_gradient("L").resize((64, 64)).convert("RGB")
    picture.save(run.previews / f"{name}.png")
    picture.save(run.previews / f"{name}.jpg")
    writer.emit(
        raw(
            "sample",
            step=step,
            index=index,
            prompt=f"[b]a cat[/b], view {index}",
            seed=1234 + index,
            path=f"samples/{name}.png",
            thumb=f"samples/{name}.jpg",
        )
    )
    return run.previews / f"{name}.jpg"


def run_at(name: str, step: int, total: int = 100, *, checkpoint: int = 0) -> RunDir:
    """A run that has come to `step` and says nothing more; without a lock it counts as crashed."""
    run = begin(name, total)
    with EventWriter(run.events_file) as writer:
        started(writer, name, total)
        steps(writer, 1, step)
        if checkpoint:
            writer.emit(
                raw(
                    "checkpoint",
                    step=checkpoint,
                    path=f"checkpoints/step-{checkpoint:08d}",
                    bytes=9_600_000,
                    seconds=0.4,
                )
            )
    return run


def alive(run: RunDir) -> RunLock:
    """Hold the run's lock, as its engine would."""
    lock = RunLock(run.lock_file)
    assert lock.acquire()
    return lock


def emit(run: RunDir, kind: str, **fields: object) -> None:
    """One more event."""
    with EventWriter(run.events_file) as writer:
        writer.emit(raw(kind, **fields))


def old(run: RunDir, seconds: float) -> None:
    """Let the run's events be that old for whoever sorts by time."""
    import os

    then = time.time() - seconds
    os.utime(run.events_file, (then, then))
