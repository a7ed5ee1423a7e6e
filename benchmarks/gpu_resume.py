"""A run that is killed and resumed, beside one that is not: through the supervisor, as a user's run would be."""

from __future__ import annotations

import contextlib
import os
import signal
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from benchmarks.workload import (
    Event,
    events_of,
    fresh_home,
    make_plan,
    new_run,
    wait_until,
    write_model,
    write_pictures,
)
from engine.plan.schema import Plan
from engine.run.fold import fold
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.paths import RunDir

PATIENCE_S = 240.0


@dataclass(frozen=True)
class Resume:
    """How the two runs compare. Differences are absolute maxima over all steps and all weights."""

    device: str
    precision: str
    deterministic: bool
    steps: int
    killed_after: int
    resumed_from: int
    losses_equal: bool
    max_loss_difference: float
    weights_equal: bool
    max_weight_difference: float


def killed_and_resumed(
    device: str, precision: str, steps: int, every: int, kill_after: int
) -> dict[str, object]:
    """Both runs at once; the second one's processes get SIGKILL after step `kill_after` and it is launched again."""
    with fresh_home() as home:
        plan = _plan(home, device, precision, steps, every)
        straight, struck = new_run(plan), new_run(plan)
        try:
            for run in (straight, struck):
                launch(run)
            wait_until(
                lambda: _step(struck) >= kill_after or not is_alive(struck), PATIENCE_S, "the step to kill at"
            )
            killed_after = _kill(struck)
            wait_until(lambda: not is_alive(struck), PATIENCE_S, "the killed engine's lock")
            launch(struck)
            for run in (straight, struck):
                wait_until(lambda run=run: not is_alive(run), PATIENCE_S, f"the end of {run.name}")  # type: ignore[misc]
        finally:
            for run in (straight, struck):
                if is_alive(run):
                    _kill(run)
        return asdict(_compare(plan, straight, struck, killed_after))


def _plan(home: Path, device: str, precision: str, steps: int, every: int) -> Plan:
    return make_plan(
        write_model(home / "model"),
        write_pictures(home / "pictures"),
        name="resume",
        train__steps=steps,
        train__precision=precision,
        checkpoints__every=every,
        hardware__device=device,
        hardware__deterministic=True,
        hardware__threads=1,
    )


def _kill(run: RunDir) -> int:
    """SIGKILL for supervisor and worker; returns the last step that was said before."""
    for kind in ("launched", "started"):
        said = [event for event in events_of(run) if event["kind"] == kind]
        with contextlib.suppress(ProcessLookupError):
            if said:
                os.kill(int(said[-1]["pid"]), signal.SIGKILL)
    return _step(run)


def _step(run: RunDir) -> int:
    return max((int(event["step"]) for event in events_of(run) if event["kind"] == "step"), default=0)


def _compare(plan: Plan, straight: RunDir, struck: RunDir, killed_after: int) -> Resume:
    first, second = _losses(straight), _losses(struck)
    resumed = [event for event in events_of(struck) if event["kind"] == "resumed"]
    if not resumed:
        raise RuntimeError(f"the kill took no effect; the run said: {_kinds(events_of(struck))}")
    one, other = (_weights(run, plan.train.steps) for run in (straight, struck))
    return Resume(
        device=plan.hardware.device,
        precision=plan.train.precision,
        deterministic=plan.hardware.deterministic,
        steps=plan.train.steps,
        killed_after=killed_after,
        resumed_from=int(resumed[-1]["from_step"]),
        losses_equal=first == second,
        max_loss_difference=max(abs(a - b) for a, b in zip(first, second, strict=True)),
        weights_equal=one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one),
        max_weight_difference=max(float((one[name] - other[name]).abs().max()) for name in one),
    )


def _losses(run: RunDir) -> list[float]:
    view = fold(events_of(run))
    if view.finished is None:
        log = run.log_file.read_text()[-1500:]
        raise RuntimeError(f"{run.name} did not finish: {view.failed}\n{log}")
    return [float(value) for value in view.steps.loss]


def _weights(run: RunDir, step: int) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(run.checkpoints / f"step-{step:08d}" / "weights.safetensors")
    return found


def _kinds(events: list[Event]) -> str:
    return ", ".join(str(event["kind"]) for event in events[-12:])
