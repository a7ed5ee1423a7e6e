"""What the shorter ways through the UNet save: forward and backward beside the libraries' own, in turns."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from benchmarks.figures import Figure, median, run_module
from benchmarks.workload import fresh_home, make_plan, write_model, write_pictures
from engine.plan.schema import Plan
from engine.train import setup
from engine.train.opening import open_training
from engine.train.training import Training

ROUNDS = 40
GOAL = 1.05
TARGETS = {"attention": "attention", "attention_ff": "attention, feed-forward, projections"}


class Calls(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts what reaches the kernels: views and copies too."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: int = 0

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        self.count += 1
        return func(*args, **(kwargs or {}))


def passes(training: Training) -> Callable[[], None]:
    """Forward and backward pass of the loss of the training's first batch."""
    loop: Any = training.loop
    batch = next(iter(training.feed.step(1, training.plan.train.batch_size)))

    def once() -> None:
        for item in training.adapted.trainables:
            item.parameter.grad = None
        loop._loss(1, batch).backward()

    return once


def times(pair: dict[bool, Callable[[], None]], rounds: int) -> dict[bool, list[float]]:
    """Milliseconds of this thread's processor time, both in turns."""
    found: dict[bool, list[float]] = {True: [], False: []}
    for number in range(rounds + 3):
        for which, once in pair.items():
            began = time.thread_time()
            once()
            if number >= 3:
                found[which].append(1000 * (time.thread_time() - began))
    return found


def both(plan: Plan) -> dict[bool, Callable[[], None]]:
    """The plan's passes, ours and the libraries' own."""
    ours = passes(open_training(plan))
    with patch.object(setup, "shorten", lambda module: None):
        return {True: ours, False: passes(open_training(plan))}


def calls(once: Callable[[], None]) -> int:
    """How many operators are called."""
    with Calls() as counter:
        once()
        count: int = counter.count
    return count


def measure(quick: bool = False) -> list[Figure]:
    """All figures: ratios of medians, and the operators' calls in bf16."""
    torch.set_num_threads(1)
    figures = []
    with fresh_home() as home:
        model, pictures = write_model(home / "model"), write_pictures(home / "pictures")
        for targets, title in TARGETS.items():
            single = make_plan(model, pictures, lora__targets=targets)
            half = make_plan(model, pictures, lora__targets=targets, train__precision="bf16")
            taken = times(both(single), 2 if quick else ROUNDS)
            counted = {which: calls(once) for which, once in both(half).items()}
            one, other = median(taken[False]), median(taken[True])
            note = f"LoRA of rank 16 on {title}; {one:.1f} ms, ours {other:.1f} ms; batch 4, fp32, 1 thread"
            figures += [
                Figure(f"direct.{targets}.ratio", f"forward and backward, {targets}: libraries / ours",
                       one / other, "x", GOAL, True, note),
                Figure(f"direct.{targets}.calls", f"calls of operators in bf16, {targets}: libraries / ours",
                       counted[False] / counted[True], "x", note=f"{counted[False]:,} and {counted[True]:,}"),
            ]  # fmt: skip
    return figures


if __name__ == "__main__":
    sys.exit(run_module(measure, __doc__ or ""))
