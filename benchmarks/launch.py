"""From the launch of an engine to its first step on the tiny model, by phase, and what its imports cost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.figures import Figure, median, run_module
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
from engine.run.launch import launch
from engine.run.lock import is_alive

ROOT = Path(__file__).parents[1]
ROUNDS = 3
GOAL_S = 6.0
PHASES = ("spawn", "imports", "loading", "caching", "first step")
# What training cannot do without, imported and nothing more: the floor of `imports` in the same minutes.
BARE_IMPORTS = (
    "import torch; from diffusers import UNet2DConditionModel, AutoencoderKL; "
    "from transformers import CLIPTextModel, CLIPTokenizer; import peft"
)
ENV = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


def start_once(plan: Plan) -> dict[str, float]:
    """Launch, wait for the first step, stop; seconds of each phase and in all."""
    run = new_run(plan)
    began = time.time()
    supervisor = launch(run, extra_env=ENV)
    try:
        wait_until(
            lambda: _first(events_of(run), "step") is not None or not is_alive(run), 300, "the first step"
        )
        return phases(began, events_of(run))
    finally:
        if is_alive(run):
            os.kill(supervisor, signal.SIGTERM)
        wait_until(lambda: not is_alive(run), 120, "the engine to stop")


def phases(began: float, events: list[Event]) -> dict[str, float]:
    """Seconds between the events that a starting engine writes; `began` is unix time."""
    marks = [
        began,
        _first(events, "launched"),
        _first(events, "started"),
        _first(events, "phase", "caching"),
        _first(events, "phase", "training"),
        _first(events, "step"),
    ]
    times = [mark for mark in marks if mark is not None]
    if len(times) != len(marks):
        raise RuntimeError(f"the engine did not come to its first step: {events[-3:]}")
    found = {name: end - start for name, start, end in zip(PHASES, times[:-1], times[1:], strict=True)}
    return {**found, "all": times[-1] - times[0]}


def _first(events: list[Event], kind: str, phase: str = "") -> float | None:
    for event in events:
        if event["kind"] == kind and (not phase or event.get("phase") == phase):
            return float(event["t"])
    return None


def bare_imports() -> float:
    """Seconds of a process that only imports what training needs."""
    began = time.perf_counter()
    subprocess.run((sys.executable, "-P", "-c", BARE_IMPORTS), check=True, cwd=ROOT, env=os.environ | ENV)
    return time.perf_counter() - began


def import_costs(module: str, top: int = 8) -> list[tuple[str, float]]:
    """The packages that take longest when `module` is imported: (name, own seconds with all its submodules)."""
    argv = (sys.executable, "-X", "importtime", "-c", f"import {module}")
    done = subprocess.run(argv, check=True, cwd=ROOT, env=os.environ | ENV, capture_output=True, text=True)
    own: dict[str, float] = {}
    for line in done.stderr.splitlines():
        if not line.startswith("import time:") or "self [us]" in line:
            continue
        micros, _, name = line.removeprefix("import time:").split("|")
        package = name.strip().partition(".")[0]
        own[package] = own.get(package, 0.0) + int(micros) / 1e6
    return sorted(own.items(), key=lambda item: -item[1])[:top]


def measure(quick: bool = False) -> list[Figure]:
    """Medians of interleaved rounds with a warm page cache and no cached latents."""
    starts: list[dict[str, float]] = []
    floors: list[float] = []
    with fresh_home() as home:
        model, pictures = write_model(home / "model"), write_pictures(home / "pictures")
        bare_imports()  # page cache
        for number in range(1 if quick else ROUNDS):
            os.environ["SDTRAIN_HOME"] = str(home / f"round-{number}")  # an empty cache
            plan = make_plan(model, pictures, train__steps=1_000_000)
            starts.append(start_once(plan))
            floors.append(bare_imports())
    costs = import_costs("engine.worker.session")
    total = median(start["all"] for start in starts)
    note = f"median of {len(starts)}, batch 4, 16 pictures, no previews, page cache warm, latents not cached"
    found = [Figure("launch.first-step", "launch to first step, tiny model", total, "s", GOAL_S, note=note)]
    for name in PHASES:
        seconds = median(start[name] for start in starts)
        found.append(Figure(f"launch.{name.replace(' ', '-')}", f"launch: {name}", seconds, "s"))
    ratio = median(start["all"] / floor for start, floor in zip(starts, floors, strict=True))
    listed = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in costs)
    title = "bare: importing torch, diffusers, transformers, peft"
    found.append(
        Figure("launch.bare", title, median(floors), "s", note=f"the worker's own imports: {listed}")
    )
    found.append(Figure("launch.ratio", "launch to first step / bare imports", ratio, "x"))
    return found


if __name__ == "__main__":
    sys.exit(run_module(measure, __doc__ or ""))
