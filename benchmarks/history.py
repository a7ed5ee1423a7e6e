"""Made-up runs on disk for the terminal measures: the events of a run after so many steps, and nobody training."""

from __future__ import annotations

import math
from pathlib import Path

from benchmarks.workload import make_plan, new_run
from engine.run import kinds
from engine.run.events import EventWriter
from engine.run.paths import RunDir

MODEL = "builtin:tiny"


def past_run(name: str, steps: int, pictures: Path, total: int = 2000) -> RunDir:
    """A run that has come to `steps` of `total` steps and then stopped."""
    run = new_run(make_plan(Path(MODEL), pictures, name=name, base__model=MODEL, train__steps=total))
    with EventWriter(run.events_file) as writer:
        say_start(writer, name, total)
        for step in range(1, steps + 1):
            say_step(writer, step)
        writer.emit(kinds.Stopped(steps, "stop command"))
    return run


def say_start(writer: EventWriter, name: str, total: int) -> None:
    """What a worker says before its first step."""
    writer.emit(kinds.Launched(0, "bench", 0))
    writer.emit(
        kinds.Started(
            pid=0,
            host="bench",
            version="0",
            torch="2",
            plan_hash="0",
            total_steps=total,
            name=name,
            method="lora",
            family="sd1",
            device="cpu",
            resumed=False,
        )
    )
    writer.emit(kinds.TrainablePart("unet", 797_184, 256))
    writer.emit(kinds.Phase("training", ""))


def say_step(writer: EventWriter, step: int) -> None:
    """One step event with figures that fall and jitter as real ones do."""
    jitter = math.sin(step * 12.9898) * 43758.5453 % 1
    loss = 0.1 + 0.4 / (1 + step / 200) + 0.1 * jitter
    writer.emit(
        kinds.Step(
            step=step,
            loss=loss,
            lr=1e-4,
            grad_norm=0.3 + jitter,
            images_per_s=round(40 + jitter, 3),
            epoch=round(step / 4, 4),
        )
    )
