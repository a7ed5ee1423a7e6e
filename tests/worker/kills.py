"""Kills of running engines at moments that a seed chooses, and what a run must have when it has outlived them."""

from __future__ import annotations

import json
import random
import re
import shutil
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file

from engine.plan.schema import Plan
from engine.run.control import send
from engine.run.control_commands import Sample, Save
from engine.run.events import EventReader
from engine.run.lock import is_alive
from engine.run.paths import RunDir
from tests.support.forked import launch_forked, reap, wait_for_end
from tests.support.runs import events_of, kill, new_run, pid_of, view_of, wait_until

Event = Mapping[str, Any]
_CREATED: Final = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00")
TARGETS: Final = ("worker", "supervisor", "both")
MOMENTS: Final[dict[str, tuple[Callable[[Event], bool], float]]] = {
    # What the engine tells when the moment begins, and for how long about it lasts (s).
    "loading": (lambda event: event.get("phase") == "loading", 0.3),
    "caching": (lambda event: event.get("phase") == "caching", 0.1),
    "training": (lambda event: event["kind"] == "step", 0.2),
    # The state is copied and written beside the training: 0.02 s for these models.
    "saving": (lambda event: event.get("phase") == "saving", 0.03),
    "exporting": (lambda event: event["kind"] == "checkpoint", 0.2),
    "previews": (lambda event: event.get("phase") == "sampling", 0.3),
    "making up": (lambda event: event["kind"] == "resumed", 0.2),
    "the last files": (lambda event: event.get("phase") == "exporting", 0.2),
}


@dataclass(frozen=True)
class Strike:
    """Kill `target` so many seconds after the `count`-th beginning of `moment` in one life of the engine."""

    target: str
    moment: str
    count: int
    delay: float


def strikes(number: int, rng: random.Random) -> list[Strike]:
    """So many kills, drawn by `rng`; every moment comes about as often as the others."""
    moments = [list(MOMENTS)[at % len(MOMENTS)] for at in range(number)]
    rng.shuffle(moments)
    drawn = []
    for moment in moments:
        often = 1 if moment in ("loading", "caching", "making up", "the last files") else rng.randint(1, 3)
        drawn.append(Strike(rng.choice(TARGETS), moment, often, rng.uniform(0, MOMENTS[moment][1])))
    return drawn


@dataclass
class Outcome:
    """How many kills met a live engine, by target and moment, and whether a checkpoint was being written."""

    met: Counter[str] = field(default_factory=Counter)
    torn_saves: int = 0

    def add(self, other: Outcome) -> None:
        self.met += other.met
        self.torn_saves += other.torn_saves


def outlive(run: RunDir, todo: list[Strike], rng: random.Random, cache: Path) -> Outcome:
    """Launch the run, take kills from `todo` until it ends or none is left, launch it anew where nobody does."""
    outcome, pids, starts = Outcome(), [launch_forked(run)], 0
    while todo:
        strike = todo.pop(0)
        if not _wait_for(run, strike, starts):
            if strike.moment != "making up":
                todo.insert(0, strike)  # it has ended before that moment: the next run will meet it
            break
        _ask(run, rng)
        time.sleep(strike.delay)
        starts = _count(run, "started")
        if not _kill(run, strike, outcome):
            # It was quicker: the next run is killed sooner after that moment.
            todo.insert(0, replace(strike, delay=strike.delay / 2))
            break
        if strike.target == "worker":
            _wait_for_worker(run, starts)
        else:
            wait_for_end(run)
        if is_alive(run):
            continue
        if view_of(run).finished is not None:
            break
        if todo and todo[0].moment == "caching":
            empty(cache)
        pids.append(launch_forked(run))
    _to_its_end(run, pids)
    return outcome


def _to_its_end(run: RunDir, pids: list[int]) -> None:
    """Until the run has finished; three restarts are the most that a supervisor makes."""
    wait_for_end(run)
    while view_of(run).finished is None:
        pids.append(launch_forked(run))
        wait_for_end(run)
    for pid in pids:
        reap(pid)


def _kill(run: RunDir, strike: Strike, outcome: Outcome) -> bool:
    """Kill what the strike names; False where nobody lived any more."""
    alive = is_alive(run)
    victims = {"worker": ["started"], "supervisor": ["launched"], "both": ["launched", "started"]}
    for kind in victims[strike.target]:
        kill(pid_of(run, kind))
    if alive:
        outcome.met[f"{strike.target}, {strike.moment}"] += 1
        outcome.torn_saves += any(run.checkpoints.glob(".tmp-step-*"))
    return alive


def _wait_for_worker(run: RunDir, starts: int) -> None:
    """Until a worker more than `starts` has begun, or nobody is left."""
    reader, lives = EventReader(run.events_file), 0

    def there() -> bool:
        nonlocal lives
        lives += sum(event["kind"] == "started" for event in reader.poll())
        return lives > starts or not is_alive(run)

    wait_until(there, what="a worker")


def empty(cache: Path) -> None:
    """The next run has everything to encode."""
    shutil.rmtree(cache, ignore_errors=True)
    cache.mkdir(mode=0o700)


def _wait_for(run: RunDir, strike: Strike, starts: int) -> bool:
    """Until the moment has begun in a life after the `starts`-th; False where the engine has ended before."""
    begins = MOMENTS[strike.moment][0]
    reader, lives, met = EventReader(run.events_file), 0, 0

    def now() -> bool:
        nonlocal lives, met
        for event in reader.poll():
            lives += event["kind"] == "started"
            met += lives > starts and begins(event)
        return met >= strike.count or not is_alive(run)

    wait_until(now, what=f"{strike}")
    return is_alive(run)


def _ask(run: RunDir, rng: random.Random) -> None:
    """Now and then a person asks for something just before the kill."""
    if rng.random() < 0.3:
        send(run, rng.choice([Save(), Sample(prompt="an extra")]))


def _count(run: RunDir, kind: str) -> int:
    return sum(event["kind"] == kind for event in events_of(run))


def valid(run: RunDir) -> list[Event]:
    """What counts of the run's events: nothing of a step that was done again later."""
    found: list[Event] = []
    for event in events_of(run):
        if event["kind"] == "started" and not event["resumed"]:
            found = []
        if event["kind"] == "resumed":
            found = [old for old in found if old.get("step", 0) <= event["from_step"]]
        found.append(event)
    return found


def lost(run: RunDir, straight: RunDir, extras: int) -> list[str]:
    """What the run lacks, has twice or has otherwise than the one that nothing has disturbed; `extras` is how many
    previews the plan asks for at a time: those behind them are of `sample` commands."""
    found = _numbers(run, straight)
    found += _told(run, straight, extras)
    found += _saved(run, straight)
    found += _files(run, straight)
    found += _commands(run)
    found += [f"left behind: {path.name}" for path in run.path.rglob(".tmp*")]
    return found


def _numbers(run: RunDir, straight: RunDir) -> list[str]:
    wrong = []
    for name in ("step", "loss", "grad_norm", "lr"):
        if list(getattr(view_of(run).steps, name)) != list(getattr(view_of(straight).steps, name)):
            wrong.append(f"{name} differs")
    return wrong


def _told(run: RunDir, straight: RunDir, extras: int) -> list[str]:
    def counted(each: RunDir, asked: set[int]) -> Counter[str]:
        rows = []
        for event in valid(each):
            if event["kind"] == "sample" and event["index"] < extras:
                rows.append(f"preview {event['index']} of step {event['step']} {event.get('error', '')}")
            if event["kind"] == "exported" and event["step"] not in asked:
                rows.append(f"export {event['path']}")
            if event["kind"] == "checkpoint" and event["step"] not in asked:
                rows.append(f"checkpoint {event['step']}")
        return Counter(rows)

    planned = {event["step"] for event in valid(straight) if event["kind"] == "checkpoint"}
    asked = {event["step"] for event in valid(run) if event["kind"] == "checkpoint"} - planned
    got, wanted = counted(run, asked), counted(straight, set())
    return [f"lost: {row}" for row in wanted - got] + [f"twice: {row}" for row in got - wanted]


def _saved(run: RunDir, straight: RunDir) -> list[str]:
    wrong = []
    for folder in sorted(straight.checkpoints.iterdir()):
        for name in ("weights.safetensors", "optimizer.safetensors", "state.json"):
            mine = run.checkpoints / folder.name / name
            if not mine.is_file() or mine.read_bytes() != (folder / name).read_bytes():
                wrong.append(f"{folder.name}/{name} differs")
    return wrong


def _files(run: RunDir, straight: RunDir) -> list[str]:
    wrong = []
    for file in [*straight.previews.rglob("*"), *straight.exports.rglob("*")]:
        mine = run.path / file.relative_to(straight.path)
        if file.is_file() and not (mine.is_file() and _same(mine, file)):
            wrong.append(f"{file.relative_to(straight.path)} differs")
    return wrong


def _same(one: Path, other: Path) -> bool:
    """The same bytes; of files that hold the time of their making, the same tensors."""
    if one.suffix == ".safetensors":
        mine, wanted = load_file(one), load_file(other)
        return mine.keys() == wanted.keys() and all(mine[key].equal(wanted[key]) for key in wanted)
    if one.suffix == ".pt":
        return bool(plain(torch.load(one, weights_only=True)) == plain(torch.load(other, weights_only=True)))
    return one.suffix == ".md" or one.read_bytes() == other.read_bytes()


def plain(value: Any) -> Any:
    """What a pickle holds, but for when it was made."""
    if isinstance(value, torch.Tensor):
        return value.tolist()
    if isinstance(value, str):
        return _CREATED.sub("", value)
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    return [plain(each) for each in value] if isinstance(value, list | tuple) else value


def _commands(run: RunDir) -> list[str]:
    """Every command that was accepted is done."""
    status = {event["id"]: event["status"] for event in events_of(run) if event["kind"] == "command"}
    known = (
        {json.loads(line)["id"] for line in run.control_file.read_text().splitlines()}
        if (run.control_file.exists())
        else set()
    )
    left = [f"command {ident} is {state}" for ident, state in status.items() if state == "accepted"]
    return left + [f"nobody answered {ident}" for ident in known - status.keys()]


def many(plan: Plan, kills: int, seed: int, cache: Path) -> tuple[Outcome, Sequence[str]]:
    """As many kills of runs of this plan as asked; what they met, and what any run has lost."""
    rng = random.Random(seed)
    straight = new_run(plan)
    pid = launch_forked(straight)
    wait_for_end(straight)
    reap(pid)
    assert view_of(straight).finished is not None, straight.log_file.read_text()[-2000:]
    todo, outcome, wrong = strikes(kills, rng), Outcome(), []
    while todo:
        if todo[0].moment == "caching":
            empty(cache)
        if todo[0].moment == "making up":  # there is something to make up only after another kill
            todo.insert(0, Strike("both", "exporting", 1, 0.05))
        run = new_run(plan)
        outcome.add(outlive(run, todo, rng, cache))
        found = lost(run, straight, plan.samples.count)
        wrong += [f"{run.name}: {each}" for each in found]
        if not found:
            shutil.rmtree(run.path)
    return outcome, wrong
