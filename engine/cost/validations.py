"""How many pictures' worth of training steps a plan's validations take."""

from __future__ import annotations

from engine.plan.schema import Plan

BACKWARD_WHOLE, BACKWARD_BESIDE, AGAIN = 2.0, 1.5, 1.0
"""Forward passes that the backward pass is worth where parts of the base train whole, and where something beside them
does; and what gradient checkpointing computes again. On a CPU a picture of a validation took 0.34 of one of a step for
full training of a narrow SD 1.x, 0.28 for a LoRA, 0.40 for a ControlNet; with gradient checkpointing 0.25, 0.27 and
0.31."""


def steps_worth(plan: Plan, pictures: int, whole: bool) -> float:
    """How many trained pictures take as long as all validations of a run.

    `pictures` are those of the data set, and `whole` is whether parts of the base train with all their weights. A
    validation only goes forward. Of a folder of its own the plan's most are counted, as nobody has looked there.
    """
    own, steps = plan.validation, plan.train.steps
    if not own.every:
        return 0.0
    measured = own.pictures if own.path else min(own.pictures, int(pictures * own.share + 0.5))
    times = 1 + -(-steps // own.every)
    passes = measured * own.bands * own.draws * times * (2 if plan.train.ema else 1)
    backward = BACKWARD_WHOLE if whole else BACKWARD_BESIDE
    return passes / (1 + backward + (AGAIN if plan.hardware.gradient_checkpointing else 0.0))
