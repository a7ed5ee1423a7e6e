"""kill -9 anywhere - worker, supervisor, both, inside a save - and the resumed run ends bit-equal."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.plan.schema import Plan
from engine.run.launch import launch
from engine.run.lock import is_alive
from engine.run.paths import RunDir
from tests.support.runs import events_of, kill, new_run, pid_of, quick_plan, run_to_end, view_of, wait_until

STEPS = 60
SAVE_EVERY = 5


def _plan(base: Path, pictures: Path) -> Plan:
    return quick_plan(
        base,
        pictures,
        train__steps=STEPS,
        train__gradient_accumulation=2,
        train__batch_size=1,
        checkpoints__every=SAVE_EVERY,
        data__flip=True,
        data__caption_dropout=0.3,
        lora__dropout=0.1,
    )


def _results(run: RunDir) -> tuple[list[float], list[float], bytes, bytes]:
    view = view_of(run)
    losses, norms = list(view.steps.loss), list(view.steps.grad_norm)
    assert list(view.steps.step) == list(range(1, STEPS + 1))
    folder = run.checkpoints / f"step-{STEPS:08d}"
    weights = (folder / "weights.safetensors").read_bytes()
    return losses, norms, weights, (folder / "optimizer.safetensors").read_bytes()


def _victims(run: RunDir, target: str) -> list[int]:
    worker, supervisor = pid_of(run, "started"), pid_of(run, "launched")
    return {"worker": [worker], "supervisor": [supervisor], "both": [supervisor, worker]}[target]


def _count(run: RunDir, kind: str) -> int:
    return sum(event["kind"] == kind for event in events_of(run))


def _strike(run: RunDir, target: str, moment: str, rng: random.Random) -> str:
    """Wait for the moment in the life of the newest worker, kill; says where it was."""
    seen = len(events_of(run))
    wanted = rng.randint(SAVE_EVERY + 1, 3 * SAVE_EVERY)
    leftovers = set(run.checkpoints.glob(".tmp-step-*"))

    def now() -> bool:
        if not is_alive(run):
            return True
        if moment == "save":
            return bool(set(run.checkpoints.glob(".tmp-step-*")) - leftovers)
        steps = [event for event in events_of(run)[seen:] if event["kind"] == "step"]
        return len(steps) >= wanted

    wait_until(now, what=f"a {moment}")
    for pid in _victims(run, target):
        kill(pid)
    return f"{target} at {moment}, step {view_of(run).step}"


def _wait_for_worker(run: RunDir, after: int) -> None:
    """Until a worker has said `started` once more than `after` times, or nobody is left."""

    def there() -> bool:
        return _count(run, "started") > after or not is_alive(run)

    wait_until(there, what="a worker")


def _survive(run: RunDir, strikes: list[tuple[str, str]], rng: random.Random) -> list[str]:
    """Launch, strike after strike, relaunch where nobody brings the worker back, and let it end."""
    done: list[str] = []
    launch(run)
    _wait_for_worker(run, 0)
    for target, moment in strikes:
        done.append(_strike(run, target, moment, rng))
        starts = _count(run, "started")
        if target != "worker":
            wait_until(lambda: not is_alive(run), what="the end of both")
            if view_of(run).finished is None:
                launch(run)
        # The supervisor brings a killed worker back by itself.
        _wait_for_worker(run, starts)
    wait_until(lambda: not is_alive(run), what="the end")
    if view_of(run).finished is None:
        run_to_end(run)
    return done


def _compare(base: Path, pictures: Path, strikes: list[tuple[str, str]], seed: int) -> None:
    plan = _plan(base, pictures)
    straight = new_run(plan)
    run_to_end(straight)
    struck = new_run(plan)
    where = _survive(struck, strikes, random.Random(seed))
    assert _results(struck) == _results(straight), where
    resumed = [event for event in events_of(struck) if event["kind"] == "resumed"]
    assert resumed, f"no kill took effect: {where}"
    assert not list(struck.checkpoints.glob(".tmp-*"))


def test_killed_runs_end_bit_equal_to_an_uninterrupted_one(
    home: Path, sd1_folder: Path, pictures: Path
) -> None:
    strikes = [("worker", "step"), ("both", "save"), ("supervisor", "step"), ("worker", "save")]
    _compare(sd1_folder, pictures, strikes, seed=1)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(4))
def test_twenty_four_kills_end_bit_equal(home: Path, sd1_folder: Path, pictures: Path, seed: int) -> None:
    rng = random.Random(100 + seed)
    strikes = [(target, moment) for target in ("worker", "supervisor", "both") for moment in ("step", "save")]
    rng.shuffle(strikes)
    _compare(sd1_folder, pictures, strikes, seed)
