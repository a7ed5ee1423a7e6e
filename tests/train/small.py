"""An optimiser on a few parameters, updated as the loop updates them, without a model."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from engine.methods.base import Trainable
from engine.plan.optimizers import OPTIMIZERS
from engine.plan.optimizers.base import elementwise
from engine.plan.schema import Optimizer, Plan
from engine.train import checkpoint, optimizer_state
from engine.train.ema import Average, average_of
from engine.train.optimizers import make_optimizer, schedule_factor, set_learning_rates, update_of
from engine.train.optimizers.update import Update
from tests.support.runs import quick_plan

ODD = replace(
    OPTIMIZERS["adamw"],
    name="odd",
    title="Odd",
    builder="tests.train.odd_optimizer",
    state_bytes=elementwise(9),
    alone=False,
)
# The fourth is large enough for states of 8 bit.
SHAPES: tuple[tuple[int, ...], ...] = ((5,), (4, 6), (3, 2), (80, 64), (4, 3, 3, 3))


def plan_of(base: Path, pictures: Path, name: str, **changes: object) -> Plan:
    """Two learning rates (the text encoder's is half), warm-up and fields for every schedule."""
    rate = OPTIMIZERS[name].learning_rate or 1e-3
    changes = {
        "train__learning_rate": rate,
        "train__warmup": 2,
        "train__rate_steps": "1:3, 0.5:5, 0.1",
        "lora__text_encoder": True,
        **changes,
    }
    plan = quick_plan(base, pictures, **changes)
    return plan.model_copy(
        update={"optimizer": Optimizer.model_construct(**{**dict(Optimizer()), "name": name})}
    )


def fitting(name: str, schedule: str) -> bool:
    """Does the schedule go with the optimiser?"""
    plan = plan_of(Path("/base"), Path("/data"), name, train__schedule=schedule)
    spec = OPTIMIZERS[name]
    return not any(problem.key == "train.schedule" for problem in spec.contradictions(plan))


@dataclass
class Small:
    """Five parameters of all ranks, at two learning rates, with an average."""

    plan: Plan
    trainables: list[Trainable]
    optimizer: torch.optim.Optimizer
    update: Update
    average: Average

    @classmethod
    def of(cls, plan: Plan) -> Small:
        draw = torch.Generator().manual_seed(3)
        dtype = torch.bfloat16 if plan.train.weights == "bf16" else torch.float32
        trainables = [
            Trainable(
                f"p{at}",
                torch.nn.Parameter(torch.randn(shape, generator=draw).to(dtype)),
                "unet",
                plan.train.learning_rate / 2 if at > 1 else None,
                at > 0,
            )
            for at, shape in enumerate(SHAPES)
        ]
        optimizer = make_optimizer(trainables, plan)
        average = average_of(trainables, optimizer, 0.0 if hasattr(optimizer, "eval") else 0.9)
        assert average is not None
        return cls(plan, trainables, optimizer, update_of(optimizer, plan, torch.device("cpu")), average)

    @property
    def parameters(self) -> list[torch.nn.Parameter]:
        return [item.parameter for item in self.trainables]

    def prepare(self, number: int, factor: float = 1.0) -> None:
        """Rates and gradients of update `number`."""
        set_learning_rates(self.optimizer, schedule_factor(number, self.plan.train))
        self.update.begin(number)
        draw = torch.Generator().manual_seed(number)
        for value in self.parameters:
            gradient = torch.randn(value.shape, generator=draw) * factor
            value.grad = gradient.to(value.dtype)

    def step(self, number: int, factor: float = 1.0) -> None:
        self.prepare(number, factor)
        self.update.step(torch.tensor(float(not math.isfinite(factor))))
        self.average.update(number)

    def again(self, folder: Path, step: int) -> Small:
        """Another process's, from what this one has saved."""
        averages = self.average.state()
        saved, _ = checkpoint.save(folder, step, self.trainables, self.optimizer, {}, averages)
        other = Small.of(self.plan)
        checkpoint.load(saved, other.trainables, other.optimizer)
        other.average.restore(checkpoint.load_averages(saved) or {})
        return other

    def state(self) -> dict[str, Any]:
        """Weights, averages and the optimiser's whole state, comparable with ==."""
        self.update.settle()
        kept = optimizer_state.read(self.trainables, self.optimizer)
        values = {item.name: item.parameter.tolist() for item in self.trainables}
        averages = {name: value.tolist() for name, value in self.average.state().items()}
        tensors = {name: (value.dtype, value.tolist()) for name, value in kept.tensors.items()}
        return {"weights": values, "averages": averages, "tensors": tensors, **kept.to_json()}


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Those in an optimiser's state of one parameter, however nested."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list):
        for entry in value.values() if isinstance(value, dict) else value:
            yield from tensors_in(entry)
