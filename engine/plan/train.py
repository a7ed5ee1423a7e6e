"""The plan's table [train]: how long, how much at once, how fast."""

from __future__ import annotations

from typing import Literal

from engine.plan.fields import Section, option
from engine.plan.schedules import SCHEDULE_TEXT, SCHEDULES, ScheduleName


class Train(Section):
    """How long, how much at once, how fast."""

    steps: int = option(
        1000,
        "optimiser updates",
        ge=1,
        le=100_000_000,
        on_resume="the run becomes longer or shorter; a schedule that ends with it is stretched",
    )
    epochs: float = option(
        0.0,
        "the run's length in epochs, each of which draws every picture as often as it counts: train.steps follows from "
        "it; 0 leaves the length to train.steps",
        ge=0,
        le=1_000_000,
        on_resume="the length is said by train.steps",
    )
    batch_size: int = option(1, "pictures at once", ge=1, le=4096)
    gradient_accumulation: int = option(1, "batches added up for one update", ge=1, le=4096)
    learning_rate: float = option(1e-4, "learning rate", gt=0, le=10)
    schedule: ScheduleName = option("constant", f"learning rate over the steps: {SCHEDULE_TEXT}")
    warmup: int = option(0, "steps over which the rate rises from 0", ge=0)
    end_share: float = option(
        0.0, "share of the learning rate that a schedule which falls ends at", ge=0, lt=1, advanced=True
    )
    cycles: int = option(
        3, "cosine_with_restarts only: how often the rate falls", ge=1, le=1000, advanced=True
    )
    power: float = option(2.0, "polynomial only: the power of what is left", gt=0, le=10, advanced=True)
    decay_share: float = option(
        0.2,
        "warmup_stable_decay only: share of the updates, at the end, over which the rate falls",
        gt=0,
        le=1,
        advanced=True,
    )
    rate_steps: str = option(
        "",
        "piecewise_constant only: shares of the learning rate, each with the last update that it holds for, such as "
        "1:500, 0.1:800, 0.01",
        advanced=True,
    )
    precision: Literal["auto", "fp32", "fp16", "bf16"] = option(
        "auto",
        "number format of the frozen parts and the maths; auto: bf16 from compute capability 8.0, fp16 below it, "
        "fp32 on a CPU",
    )
    weights: Literal["fp32", "bf16"] = option(
        "fp32",
        "number format that what trains is kept in; bf16 takes half of the memory and is rounded up or down by chance, "
        "so that small changes count",
        advanced=True,
    )
    ema: float = option(
        0.0,
        "decay of a moving average of the weights, which is then sampled and exported; 0 is off",
        ge=0,
        lt=1,
    )
    clip_norm: float = option(1.0, "gradients are scaled down to this norm; 0 is off", ge=0)

    @property
    def idle(self) -> frozenset[str]:
        of_some = frozenset().union(*(row.reads for row in SCHEDULES.values()))
        return of_some - SCHEDULES[self.schedule].reads

    @property
    def weight_bytes(self) -> int:
        """Bytes of one number that trains, and of its gradient."""
        return 2 if self.weights == "bf16" else 4
